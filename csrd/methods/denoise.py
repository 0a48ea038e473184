"""The denoise stage: one method on every dose of one subject, loaded once."""

from pathlib import Path

from csrd.align.derivatives import bids_uri, pet_sidecar, save_derivative
from csrd.errors import InputError
from csrd.methods import method
from csrd.progress import progress
from csrd.volume import Volume

NOT_PET = ("arbitrary", "label", "mask", "1/cm")  # units of the MR, of labels, masks and μ-maps


def denoise(
    key: str,
    model_dir: str | Path,
    lows: dict[float | None, str | Path],
    mr: str | Path | None,
    outs: dict[float | None, str | Path],
    spreads: dict[float | None, str | Path] | None = None,
    **choices: object,
) -> None:
    """Write the denoised image of each dose, with its sidecar, on the grid and in the unit of its input.

    Files are named by dose reduction factor, or None for a scan whose dose must be estimated from its noise.
    `spreads` is where standard deviations go, of a method that has them; `choices` are for `Method.use`.
    Raises InputError where the MR is not on the PET's grid or the model is not this method's.
    """
    denoiser = method(key).load(Path(model_dir))
    denoiser.use(**choices)
    anatomy = None if mr is None else Volume.load(mr, unit="arbitrary")
    for given, path in progress(list(lows.items()), f"{key}: denoising"):
        low = Volume.load(path)
        if low.unit in NOT_PET:
            raise InputError(
                f"{path} is no PET image (its unit is {low.unit}); give the low-dose image there"
            )
        drf = denoiser.estimate_drf(low) if given is None else given
        if anatomy is not None and not anatomy.same_grid(low):
            raise InputError(f"{mr} is not on the grid of {path}; run the align stage on both")
        if spreads:
            out, spread = denoiser.apply_with_spread(low, anatomy, drf)
        else:
            out, spread = denoiser.apply(low, anatomy, drf), None
        assert out.same_grid(low) and out.unit == low.unit and out.array.min() >= 0, (
            f"{key} broke its contract"
        )
        facts = {
            "DoseReductionFactor": drf,
            **({"DoseReductionFactorEstimated": True} if given is None else {}),
            "Denoising": denoiser.label,
            "Sources": [bids_uri(source) for source in (path, mr) if source is not None],
            **denoiser.facts(),
        }
        text = f"PET at 1/{drf:.3g} of the dose, denoised by {denoiser.label}"
        save_derivative(out, outs[given], pet_sidecar(path, out.unit, Description=text, **facts))
        if spread is not None:
            text = (
                f"Standard deviation of the normal dose around {Path(outs[given]).name}, by {denoiser.label}"
            )
            save_derivative(spread, spreads[given], pet_sidecar(path, out.unit, Description=text, **facts))

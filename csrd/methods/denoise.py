"""The denoise stage: one method on every dose of one subject, loaded once."""

from pathlib import Path

from csrd.align.derivatives import bids_uri, pet_sidecar, save_derivative
from csrd.errors import InputError
from csrd.methods import method
from csrd.progress import progress
from csrd.volume import Volume


def denoise(
    key: str,
    model_dir: str | Path,
    lows: dict[int, str | Path],
    mr: str | Path | None,
    outs: dict[int, str | Path],
    spreads: dict[int, str | Path] | None = None,
    **choices: object,
) -> None:
    """Write the denoised image of each dose, with its sidecar, on the grid and in the unit of its input.

    `spreads` says where the standard deviations go, of a method that has them; `choices` are for `Method.use`.
    Raises InputError where the MR is not on the PET's grid or the model is not this method's.
    """
    denoiser = method(key).load(Path(model_dir))
    denoiser.use(**choices)
    anatomy = None if mr is None else Volume.load(mr, unit="arbitrary")
    for drf, path in progress(sorted(lows.items()), f"{key}: denoising"):
        low = Volume.load(path)
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
            "Denoising": denoiser.label,
            "Sources": [bids_uri(source) for source in (path, mr) if source is not None],
            **denoiser.facts(),
        }
        text = f"PET at 1/{drf} of the dose, denoised by {denoiser.label}"
        save_derivative(out, outs[drf], pet_sidecar(path, out.unit, Description=text, **facts))
        if spread is not None:
            text = f"Standard deviation of the normal dose around {Path(outs[drf]).name}, by {denoiser.label}"
            save_derivative(spread, spreads[drf], pet_sidecar(path, out.unit, Description=text, **facts))

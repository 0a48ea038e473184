"""The cohort's test heads denoised at every dose, by the weights that `useful.py` left in the state folder.

OUT/denoised-*.npz hold low doses, normal dose and posterior means within the head, over its mean (`scale`)
and in half precision, for the metrics on the CPU afterwards: at most
`FILES` files of `PART_BYTES`; what has no room is named in the JSON.
"""

import sys
from functools import partial
from pathlib import Path

import cohort_heads as cohort
import numpy as np
import torch
from cohort_heads import Images
from networks import PRESETS, SIGMA_DATA
from record import Record, arguments, machine, seconds
from safetensors.torch import load_file
from scans import scan_of, units_of

from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.train.device import precision
from csrd.train.patches import coordinates

PART_BYTES, FILES = 15 * 2**20, 6  # with gpu.json and the history 8 files


def main() -> int:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", choices=list(PRESETS), default="gpu")
    given = parser.parse_args()
    record = Record(given.part, given.only)
    record.measure("machine", lambda: machine(given.device))
    done = [Images.read(path) for path in sorted(given.state.glob(cohort.IMAGES))]
    denoiser, found = _denoiser(given), {}
    for images in done:
        if images.split == "test":
            work = partial(of_head, images, units_of(done), denoiser, given, found)
            record.measure(images.subject, work)
    record.measure("files", lambda: write_parts(given.out, found))
    return 1 if record.failed else 0


def _denoiser(given) -> Denoiser:
    preset = PRESETS[given.preset]
    network = (preset.tiny() if given.tiny else preset).build()
    weights = {}
    for path in sorted(given.state.glob("weights-*.safetensors")):
        weights |= load_file(path)
    network.load_state_dict(weights)
    return Denoiser(network.to(given.device).eval(), SIGMA_DATA)


@torch.no_grad()
def of_head(
    images: Images, units: dict[int, float], denoiser: Denoiser, given, found: dict[str, np.ndarray]
) -> dict:
    """Add a head's images to `found`; return the PSNR of each dose before and after, and the seconds."""
    device, figures = torch.device(given.device), {}
    found[f"{images.subject} mask"] = np.packbits(images.mask)
    found[f"{images.subject} scale"] = np.array(images.scale)
    found[f"{images.subject} normal"] = within(images.doses[1], images)
    for drf in cohort.DRFS:
        scan = scan_of(images, drf, units).to(device)
        conditions = torch.cat([scan.inputs, coordinates(scan.target.shape[1:], device)])
        context = partial(precision, device)
        posterior = partial(Posterior, denoiser, conditions, scan.dose, 1, precision=context)
        residual = posterior().mean().cpu().numpy() * units[drf] * images.scale
        image = np.maximum(images.doses[drf] - residual, 0)
        of_dose = {"low": images.doses[drf], "mean": image}
        for name, array in of_dose.items():
            found[f"{images.subject} {drf} {name}"] = within(array, images)
        figures[f"{drf}"] = {name: psnr(array, images) for name, array in of_dose.items()}
        figures[f"{drf}"]["seconds"] = seconds(lambda new=posterior: new().mean(), given.device, 1)
    return figures


def within(image: np.ndarray, images: Images) -> np.ndarray:
    """Return an image's voxels within the head, over the head's mean: half precision ends at 65504."""
    return (image[images.mask] / images.scale).astype(np.float16)


def psnr(image: np.ndarray, images: Images) -> float:
    """Return the PSNR in dB to the normal dose, within the head."""
    error, normal = (image - images.doses[1])[images.mask], images.doses[1][images.mask]
    return float(20 * np.log10(normal.max() / np.sqrt((error**2).mean())))


def write_parts(out: Path, found: dict[str, np.ndarray]) -> dict:
    """Write the arrays in files of at most `PART_BYTES`; return their names, and what had no room."""
    parts, size, left = [{}], 0, []
    for name, array in found.items():
        if size + array.nbytes > PART_BYTES and parts[-1]:
            parts, size = [*parts, {}], 0
        if len(parts) > FILES:
            left.append(name)
            continue
        parts[-1][name] = array
        size += array.nbytes
    names = [f"denoised-{i}.npz" for i in range(min(len(parts), FILES))]
    for name, part in zip(names, parts, strict=False):
        np.savez(out / name, **part)
    return {"files": names, "no room": left}


if __name__ == "__main__":
    sys.exit(main())

"""The demonstration: a small simulated scan, denoised, and the page about it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csrd.align.head import head_mask
from csrd.io.bids import save_with_sidecar
from csrd.io.files import write_text
from csrd.io.volume import Volume
from csrd.stages.predict import predict
from csrd.synthetic.demo import demo_scan
from csrd.virtual.atlas import atlas

SEED = 2024
SAMPLES = 4  # for the standard deviation; half as many as by default, and half the time


@dataclass(frozen=True)
class Demo:
    """The page of the demonstration, and what it did in sentences."""

    page: Path
    sentences: list[str]


def demo(folder: str | Path, device: str = "auto") -> Demo:
    """Write a simulated scan into a folder, denoise it with its MR by the packaged model, and write its page.

    Files of an earlier demonstration are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scan = demo_scan(SEED)
    low, mr, labels, clean, std = (
        folder / f"{name}.nii.gz" for name in ("low", "t1w", "regions", "clean", "std")
    )
    save_with_sidecar(scan.low, low, {"Units": "Bq/mL", "Description": "Simulated FDG scan of csrd demo"})
    scan.mr.save(mr)
    names = atlas().regions
    regions = scan.labels.array
    scan.labels.like(np.where(np.isin(regions, list(names)), regions, 0)).save(labels)
    write_text(folder / "regions.tsv", _table(names))
    page = folder / "page.html"
    predict(
        [low],
        [clean],
        mr=mr,
        stds=[std],
        reports=[page],
        labels=labels,
        device=device,
        samples=SAMPLES,
    )
    before, after = (psnr(image, scan.truth) for image in (scan.low, Volume.load(clean)))
    sentences = [
        f"The scan, the denoised image and the page are in {folder}.",
        f"PSNR against the noise-free truth of this simulated scan: {before:.1f} dB, then {after:.1f} dB.",
        "Your own scan: csrd denoise low.nii.gz clean.nii.gz --mr t1w.nii.gz --report page.html",
    ]
    return Demo(page, sentences)


def psnr(image: Volume, truth: Volume) -> float:
    """Return the peak signal-to-noise ratio in dB in the head, relative to the truth's maximum there."""
    mask = head_mask(truth)
    error = float(np.mean(np.square(image.array - truth.array, dtype=np.float64)[mask]))
    return float(20 * np.log10(truth.array[mask].max()) - 10 * np.log10(error))


def _table(names: dict[int, str]) -> str:
    """Return the names by label as the table of BIDS beside an image of labels."""
    return "".join(["index\tname\n", *(f"{label}\t{name}\n" for label, name in names.items())])

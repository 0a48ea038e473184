"""The cohort of `config/gpu.yaml` for a bare machine: its settings, heads made at home, and their images.

tests/benchmarks/test_gpu.py holds the settings against the configuration.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from csrd.io.volume import Volume

DRFS, TRAIN_DRFS = (4, 6, 8, 10), (4, 6, 8)
SEED = 2024
SCAN = {"duration_s": 740.0, "half_life_s": 1224.0, "branching": 0.9976, "randoms_fraction": 0.25,
        "scatter": True}  # fmt: skip
MATRIX, VOXEL_MM, LINES, CROP = (112, 128, 112), 2.03125, 10_000_000, (96, 112, 96)
PSF = {"sigma_mm": 0.9, "tail_sigma_mm": 2.5, "tail_fraction": 0.05}
RECON = {"subsets": 16, "iterations": 4, "postfilter_fwhm_mm": 4.5}
TISSUE = 0.05  # 1/cm: a voxel with more belongs to the head
IMAGES = "sub-*.npz"


def recon(device: str, **differs: object) -> SimpleNamespace:
    """Return the settings of the reconstruction, which have no pydantic here."""
    psf = SimpleNamespace(**PSF, model_dump=lambda: PSF)
    return SimpleNamespace(psf=psf, device=device, estimates_scatter=True, **{**RECON, **differs})


@dataclass(frozen=True)
class Head:
    """A virtual subject: activity (Bq/mL at the scan's start), μ (1/cm) and its MR, on one upright grid."""

    subject: str
    split: str
    activity: Volume
    mumap: Volume
    mr: Volume


def write_heads(path: Path, heads: list[Head]) -> None:
    """Write heads in half precision, each volume relative to its maximum."""
    content, facts = {}, []
    for i, head in enumerate(heads):
        volumes = {"activity": head.activity, "mumap": head.mumap, "mr": head.mr}
        scales = {name: float(volume.array.max()) for name, volume in volumes.items()}
        content |= {f"{name}{i}": (v.array / scales[name]).astype(np.float16) for name, v in volumes.items()}
        facts.append({"subject": head.subject, "split": head.split, "scales": scales,
                      "affine": head.activity.affine.tolist()})  # fmt: skip
    np.savez_compressed(path, facts=json.dumps(facts), **content)


def read_heads(path: Path) -> list[Head]:
    """Return what `write_heads` wrote."""
    units = {"activity": "Bq/mL", "mumap": "1/cm", "mr": "arbitrary"}
    with np.load(path) as content:
        found = []
        for i, facts in enumerate(json.loads(str(content["facts"]))):
            volumes = [
                Volume(
                    content[f"{name}{i}"].astype(np.float32) * np.float32(facts["scales"][name]),
                    np.array(facts["affine"]),
                    unit,
                )
                for name, unit in units.items()
            ]
            found.append(Head(facts["subject"], facts["split"], *volumes))
    return found


@dataclass(frozen=True)
class Images:
    """A head's images (X, Y, Z) on the common grid: `doses` by drf (1: the normal dose), MR, head mask."""

    subject: str
    split: str
    doses: dict[int, np.ndarray]
    mr: np.ndarray
    mask: np.ndarray

    def write(self, path: Path) -> None:
        """Write the images, completely or not at all."""
        part = path.with_suffix(".part.npz")
        named = {f"dose{drf}": image for drf, image in self.doses.items()}
        np.savez(part, split=self.split, mr=self.mr, mask=self.mask, **named)
        part.rename(path)

    @classmethod
    def read(cls, path: Path) -> "Images":
        """Return what `write` wrote."""
        with np.load(path) as content:
            names = [name for name in content.files if name.startswith("dose")]
            doses = {int(name.removeprefix("dose")): content[name] for name in names}
            return cls(path.stem, str(content["split"]), doses, content["mr"], content["mask"])

    @property
    def scale(self) -> float:
        """Return the head's mean of the normal dose."""
        return float(self.doses[1][self.mask].mean())

    def unit(self) -> dict[int, float]:
        """Return what residuals of each dose are divided by: twice their deviation, over the head's mean."""
        residuals = {drf: (self.doses[drf] - self.doses[1])[self.mask] for drf in self.doses if drf > 1}
        return {drf: 2 * float(r.std()) / self.scale for drf, r in residuals.items()}

"""MR contrasts of a head, from its real T1w image and its labels."""

import numpy as np
import torch
from torch import Generator, Tensor

from csrd.synthetic.anatomies import T1_STEPS, Head
from csrd.synthetic.grids import gaussian, random_field
from csrd.virtual.regions import REGIONS

T1_AT = (0.0, 0.07, 0.28, 0.72, 1.0, 1.3, 5.4)  # T1w intensity of air, bone, CSF, grey, white matter, fat
CONTRASTS = {  # what each of these becomes, and how often it is drawn
    "T1w": ((0.0, 0.07, 0.28, 0.72, 1.0, 1.3, 5.4), 0.6),
    "T2w": ((0.0, 0.1, 2.2, 1.1, 0.75, 0.9, 1.2), 0.14),
    "FLAIR": ((0.0, 0.1, 0.2, 1.1, 0.85, 1.2, 1.6), 0.08),
    "PDw": ((0.0, 0.1, 1.0, 1.15, 0.9, 1.0, 1.3), 0.06),
    "inverted": ((0.0, 1.2, 1.0, 0.6, 0.3, 0.1, 0.0), 0.06),
    "random": (None, 0.06),
}
NO_SIGNAL = tuple(REGIONS[name] for name in ("bone",))
STRIPPED = 0.2  # fraction of MRs whose skull and scalp were removed


def contrast(head: Head, rng: np.random.Generator) -> tuple[Tensor, str]:
    """Return an MR (X, Y, Z) of a head without noise, and its contrast's name."""
    names, odds = list(CONTRASTS), [odds for _, odds in CONTRASTS.values()]
    name = str(rng.choice(names, p=odds))
    usual = CONTRASTS[name][0]
    values = np.concatenate([[0.0], rng.uniform(0.05, 2.0, 6)]) if usual is None else np.array(usual)
    values = values * np.exp(rng.normal(0, 0.05 if name == "T1w" else 0.12, len(values)))
    table = np.interp(np.arange(256) / T1_STEPS, T1_AT, values)
    if name == "T1w":
        table = table ** rng.uniform(0.7, 1.4)
    image = lookup(table, head.t1)
    kept = np.ones(22)
    kept[0] = 0
    if name != "T1w":
        kept[list(NO_SIGNAL)] = 0.1
    if rng.random() < STRIPPED:
        kept[[REGIONS["bone"], REGIONS["scalp"]]] = 0
    return image * lookup(kept, head.labels), name


def lookup(table: np.ndarray, index: Tensor) -> Tensor:
    """Return the table's values at uint8 indices (X, Y, Z)."""
    values = torch.from_numpy(np.asarray(table, np.float32)).to(index.device, non_blocking=True)
    return values.index_select(0, index.reshape(-1).int()).view(index.shape)


def acquired(image: Tensor, voxel_mm: float, rng: np.random.Generator, generator: Generator) -> Tensor:
    """Return an MR (X, Y, Z) with blur, bias field, Rician noise and, now and then, a part missing."""
    if rng.random() < 0.4:
        image = gaussian(image, rng.uniform(0.3, 1.2) / voxel_mm)
    bias = (
        rng.uniform(0.02, 0.2) * random_field(image.shape, rng.uniform(25.0, 50.0) / voxel_mm, generator)[0]
    )
    image = image * torch.exp(bias)
    sigma = np.exp(rng.uniform(np.log(0.005), np.log(0.08)))
    noise = torch.randn((2, *image.shape), generator=generator, device=image.device) * sigma
    image = torch.hypot(image + noise[0], noise[1])
    if rng.random() < 0.1:
        axis, keep = int(rng.choice([1, 2, 2])), rng.uniform(0.6, 0.95)
        n = image.shape[axis]
        cut = n - int(keep * n)
        image.narrow(axis, 0 if rng.random() < 0.6 else n - cut, cut).zero_()
    return image

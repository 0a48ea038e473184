"""Uptake of one head on its own voxels: regions, parcels, texture, gain and spots that no MR shows."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from csrd.synthetic.anatomies import VOXEL_MM, Head
from csrd.synthetic.grids import random_field, resampled
from csrd.synthetic.tracers import uptake_table

COARSE = 2  # head voxels in one of the grid that parcels and texture are drawn on
PARCEL_CLASSES = 5
SPOTS = (1.0, 10.0, 30.0)  # of a head in the mean: far more than people have, for a network to keep them
SPOT_RADIUS_MM = (2.0, 12.0)
VISIBLE = math.log(1.3)  # of a ratio from which on a spot counts fully
LOG_RATIO = (math.log(0.3), math.log(3.0))


def uptake(head: Head, rng: np.random.Generator, generator: Generator) -> tuple[Tensor, Tensor, dict]:
    """Return the uptake (X, Y, Z) of a head, grey matter at about 1, where spots are, and what was drawn."""
    table, family = uptake_table(rng)
    image = by_side(head.labels, table)
    grey, white = np.zeros(22), np.zeros(22)
    grey[1:18] = rng.uniform(0.7, 1.0)
    white[18:] = rng.uniform(0.3, 1.0)
    parcels, texture = np.exp(rng.uniform(np.log((0.03, 0.02)), np.log((0.3, 0.2))))
    variation = _variation(head.labels.shape, parcels, texture, rng, generator)
    for weights, factor in zip((grey, white), variation, strict=True):
        image = image * (1 + by_side(head.labels, np.stack([weights] * 2)) * (factor - 1))
    spots, places = draw_spots(head, rng), torch.zeros_like(image)
    for spot in spots:
        add_spot(image, places, **spot)
    facts = {"family": family, "parcels": float(parcels), "texture": float(texture), "spots": spots}
    return image, places, facts


def by_side(labels: Tensor, table: np.ndarray) -> Tensor:
    """Return the values of a table (2, 22), left then right, at the labels (X, Y, Z) of a head."""
    middle = labels.shape[0] // 2
    values = torch.from_numpy(np.asarray(table, np.float32)).to(labels.device, non_blocking=True)
    sides = zip(values, (labels[:middle], labels[middle:]), strict=True)
    parts = [side.index_select(0, part.reshape(-1).int()).view(part.shape) for side, part in sides]
    return torch.cat(parts)


def _variation(
    shape: Sequence[int], parcels: float, texture: float, rng: np.random.Generator, generator: Generator
) -> list[Tensor]:
    """Return smooth factors (X, Y, Z) for grey matter, with parcels, and for all else, without."""
    coarse = [n // COARSE + 1 for n in shape]
    mm = VOXEL_MM * COARSE

    def field(sigma_mm: float, channels: int = 1) -> Tensor:
        return random_field(coarse, sigma_mm / mm, generator, channels)

    gain = rng.uniform(0.0, 0.15) * field(rng.uniform(18.0, 35.0))[0]
    fine, broad = rng.uniform(1.5, 4.0), rng.uniform(6.0, 10.0)
    share = rng.uniform(0.2, 0.8)
    both = [math.sqrt(share) * field(broad)[0] + math.sqrt(1 - share) * field(fine)[0] for _ in range(2)]
    lobes = _parcels(field(rng.uniform(5.0, 9.0), PARCEL_CLASSES), rng)
    logs = [gain + texture * both[0] + parcels * lobes, gain + rng.uniform(0.3, 1.0) * texture * both[1]]
    step, start = (1 / COARSE,) * 3, (-0.5 + 0.5 / COARSE,) * 3
    return [resampled(torch.exp(log), shape, step, start) for log in logs]


def _parcels(fields: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a map (X, Y, Z) of flat parcels: where which of the fields (N, X, Y, Z) is the largest.

    The second largest has a say too, so that few parcels are of equal value.
    """
    first, second = fields.topk(2, dim=0).indices
    values = torch.from_numpy(rng.normal(0, 1, (len(fields),) * 2).astype(np.float32)).to(
        fields.device, non_blocking=True
    )
    return values.view(-1)[first * len(fields) + second]


def draw_spots(head: Head, rng: np.random.Generator) -> list[dict]:
    """Return spots: places (3,) in voxels, radii (3,) in voxels, ratio, what is added, and softness."""
    spots = []
    for _ in range(rng.poisson(rng.choice(SPOTS))):
        outside = rng.random() < 0.08
        places = head.outer if outside else head.inner
        radius = math.exp(rng.uniform(*np.log(SPOT_RADIUS_MM)))
        ratio = math.exp(np.clip(rng.normal(0, 0.55), *LOG_RATIO))
        axes = np.exp(rng.normal(0, 0.2, 3))
        spots.append(
            {
                "place": [float(p) for p in places[rng.integers(len(places))] + rng.uniform(-0.5, 0.5, 3)],
                "radii": [float(r) for r in radius * axes / VOXEL_MM],
                "ratio": float(ratio),
                # a hot spot in white matter may reach grey matter's level and more
                "added": float(max(ratio - 1, 0) * rng.choice([0.0, 0.0, 1.0])),
                "soft": float(rng.uniform(0.1, 1.2)),
            }
        )
    return spots


def add_spot(
    image: Tensor,
    places: Tensor,
    place: Sequence[float],
    radii: Sequence[float],
    ratio: float,
    added: float,
    soft: float,
) -> None:
    """Multiply an image (X, Y, Z) in place by `ratio` inside an ellipsoid, and add `added` there.

    `soft` is the width of its edge, over the radius. `places` (X, Y, Z) becomes up to 1 there, less where
    the spot is hardly visible.
    """
    box, squares = [], torch.zeros((), device=image.device)
    for axis, (middle, radius, n) in enumerate(zip(place, radii, image.shape, strict=True)):
        reach = radius * (1 + soft) + 1
        low, high = max(math.floor(middle - reach), 0), min(math.ceil(middle + reach) + 1, n)
        box.append(slice(low, high))
        distance = (torch.arange(low, high, device=image.device) - middle) / radius
        squares = squares + (distance**2).view([-1 if a == axis else 1 for a in range(3)])
    width = max(soft, 1 / min(radii))  # no edge is sharper than a voxel
    inside = ((1 - squares.sqrt()) / width + 0.5).clamp(0, 1)
    part, seen = image[tuple(box)], min(abs(math.log(ratio)) / VISIBLE + added, 1.0)
    image[tuple(box)] = part * (1 + (ratio - 1) * inside) + added * inside
    places[tuple(box)] = places[tuple(box)].maximum(seen * inside)

"""CSR-D: conditional score-based diffusion of the residual between low and normal dose, given PET and MR."""

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from csrd.config.sections import Metrics
from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.diffusion.sampler import Churn, blend, noise_levels
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.methods.base import TrainingPair, robust_scale
from csrd.methods.learned import Learned, validation_errors
from csrd.methods.scaling import DoseFromNoise, Head, Spread
from csrd.metrics import METRICS
from csrd.metrics.evaluate import metrics_of
from csrd.networks.ddpmpp import DDPMpp
from csrd.networks.edm2 import EDM2
from csrd.progress import progress
from csrd.seeds import key64
from csrd.train.device import precision
from csrd.train.patches import Batch, Patches, Scan, coordinates, mirrored

SIGMA_DATA = 0.5
COORDINATES = 3
SHARES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
"""Shares of a sample in the table's image that are tried on the validation subjects; the first wins ties."""
CRITERIA = ("mae", "psnr", "ssim", "h_dist", "p_dist")
PRODUCTS = ("table", "mean", "sample", "average")


class CsrdTask:
    """The denoiser with the loss of eq. 5 and, on validation subjects, the error of the posterior mean."""

    def __init__(
        self, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair], method
    ):
        self.network, self.validation = network, validation
        self.denoiser = Denoiser(network, SIGMA_DATA)
        self.levels = NoiseLevels(settings["P_mean"], settings["P_std"], settings["blank"])
        self.build = lambda: method(network, {"settings": settings, "learned": learned})

    def losses(self, batch: Batch) -> Tensor:
        sigma = torch.cat([self.levels.draw(1, self.denoiser, generator) for generator in batch.generators])
        return residual_loss(self.denoiser, batch.target, batch.inputs, batch.dose, sigma, batch.noise())

    def validate(self) -> dict[str, float]:
        method = self.build()
        images = (
            method.denoise(pair.low, pair.mr, pair.drf, product="mean")[0].array for pair in self.validation
        )
        return validation_errors(self.validation, images)


class Csrd(Learned):
    """The model with MR."""

    key, label = "csrd", "CSRD w MR"
    wants_mr: ClassVar[bool] = True
    after_training = ("sampler", "samples")
    product = "table"

    @classmethod
    def build(cls, settings: dict) -> nn.Module:
        channels = 1 + 1 + cls.wants_mr + COORDINATES * settings["coordinates"]
        common = {name: settings[name] for name in ("channels", "blocks", "dropout", "dose")}
        if settings["network"] == "ddpmpp":
            return DDPMpp(channels, **common)
        return EDM2(channels, stem=settings["stem"], **common)

    @classmethod
    def learn(cls, pairs: list[TrainingPair], settings: dict) -> dict:
        return {"spread": asdict(Spread.fit(pairs)), "dose_from_noise": asdict(DoseFromNoise.fit(pairs))}

    @classmethod
    def residual_unit(cls, low: Volume, head: Head, drf: float, settings: dict, learned: dict) -> float:
        if settings["standardise"]:
            return head.scale * Spread(**learned["spread"]).at(drf) / SIGMA_DATA
        return robust_scale(low, head.mask)

    @classmethod
    def trained_by(cls, settings: dict) -> dict:
        """Return the settings that the weights depend on.

        Without `blank`, the mean by which an average of weights is chosen is that under noise of `sigma_max`.
        """
        found = super().trained_by(settings)
        return found if settings["blank"] else found | {"sigma_max": settings["sampler"]["sigma_max"]}

    @classmethod
    def task(
        cls, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair]
    ) -> CsrdTask:
        return CsrdTask(network, settings, learned, validation, cls)

    @classmethod
    def scan(cls, pair: TrainingPair, settings: dict, learned: dict) -> Scan:
        return _at_least(settings["patch"], super().scan(pair, settings, learned))

    @classmethod
    def patches(cls, scans: list[Scan], settings: dict) -> Patches:
        size = settings["patch"]
        options = {name: settings[name] for name in ("coordinates", "mixed")}
        return Patches(scans, (size,) * 3, settings["seed"], **options)

    @classmethod
    def smallest_edge(cls, network: nn.Module, settings: dict) -> int:
        return max(settings["patch"] // network.factor, 1)

    @classmethod
    def settle(cls, method: Self, validation: list[TrainingPair]) -> dict:
        """Return the share of a sample that wins most metrics on the validation pairs, and what was tried."""
        tried: dict[float, list[dict[str, float]]] = {share: [] for share in SHARES}
        for pair in validation:
            metrics = metrics_of(pair.normal, pair.mask.array > 0, Metrics())
            drawn = method.drawn(pair.low, pair.mr, pair.drf, 1)
            for share in SHARES:
                image = drawn.image(blend(drawn.mean, drawn.samples[0], share))
                tried[share].append({key: metrics[key](image) for key in CRITERIA})
        means = {share: {key: float(np.mean([row[key] for row in rows])) for key in CRITERIA}
                 for share, rows in tried.items()}  # fmt: skip
        winners = [_best(means, key) for key in CRITERIA]
        tried = {str(share): row for share, row in means.items()}
        return {"share": max(SHARES, key=winners.count), "tried": tried}

    def apply(self, low: Volume, mr: Volume | None, drf: float) -> Volume:
        return self.denoise(low, mr, drf, product=self.product)[0]

    def apply_with_spread(self, low: Volume, mr: Volume | None, drf: float) -> tuple[Volume, Volume]:
        return self.denoise(low, mr, drf, product=self.product, samples=self.settings["samples"])

    def denoise(
        self, low: Volume, mr: Volume | None, drf: float, *, product: str = "table", samples: int = 0
    ) -> tuple[Volume, Volume | None]:
        """Return low − residual, nowhere negative, and from `samples` the standard deviation around it.

        `product` is what the residual is: the posterior "mean" (one evaluation), a "sample", the "average" of
        `samples` (else as many as the settings say), or what the "table" shows: `blend` with the share
        chosen on the validation subjects. The standard deviation is that of the normal dose around the image;
        a sample's is √2 times the mean's.
        """
        averaged = samples or self.settings["samples"]
        share = {"mean": 0.0, "sample": 1.0, "average": averaged**-0.5, "table": self.share}[product]
        needed = averaged if product == "average" else 1 if share else 0
        drawn = self.drawn(low, mr, drf, max(samples, needed))
        residual = drawn.mean
        if product == "average":
            residual = torch.stack(drawn.samples).mean(0)
        elif share:
            residual = blend(drawn.mean, drawn.samples[0], share)
        return drawn.image(residual), drawn.deviation(share) if samples else None

    def drawn(self, low: Volume, mr: Volume | None, drf: float, samples: int) -> "Drawn":
        """Return the posterior mean of a scan's residual and so many samples of it.

        The noise follows from the seed and the scan's own voxels.
        """
        asked, low, mr = low, low.canonical(), None if mr is None else mr.canonical()
        head = Head.of(low)
        conditions = torch.from_numpy(self.inputs(low, mr, head)).to(self.device)
        if self.settings["coordinates"]:
            conditions = torch.cat([conditions, coordinates(low.shape, self.device)])
        seed = key64(self.settings["seed"], hashlib.sha256(np.ascontiguousarray(low.array)).hexdigest())
        posterior = Posterior(
            Denoiser(self.network, SIGMA_DATA),
            conditions,
            float(np.log(drf)),
            seed,
            precision=partial(precision, self.device),
            mirrored=self._mirrored(conditions),
            moves=self.moves,
        )
        sampler, blank = self.settings["sampler"], self.settings["blank"] > 0
        levels = noise_levels(*(sampler[name] for name in ("steps", "sigma_min", "sigma_max", "rho")))
        churn = Churn(*(sampler[name] for name in ("S_churn", "S_min", "S_max", "S_noise")))
        mean = posterior.mean() if blank else posterior.mean_under_noise(sampler["sigma_max"])
        unit = self.residual_unit(low, head, drf, self.settings, self.model["learned"])
        numbers = progress(range(samples), f"{self.key}: samples") if samples > 1 else range(samples)
        drawn = [posterior.sample(k, levels, churn, from_mean=blank) for k in numbers]
        return Drawn(low, asked, unit, mean, drawn)

    def _mirrored(self, conditions: Tensor) -> Tensor | None:
        """Return the conditions of the head's mirror image, where the settings want it to be seen too."""
        if self.settings["mirror"]:
            return mirrored(conditions, coordinates=self.settings["coordinates"])
        return None

    def estimate_drf(self, low: Volume) -> float:
        return DoseFromNoise(**self.model["learned"]["dose_from_noise"]).of(low.canonical())

    def use(self, **choices: object) -> None:
        self.product = str(choices.pop("product", self.product))
        if self.product not in PRODUCTS:
            raise InputError(f"there is no product {self.product!r}; choose among {', '.join(PRODUCTS)}")
        samples = choices.pop("samples", self.settings["samples"])
        sampler = self.settings["sampler"] | choices
        self.settings = {**self.settings, "samples": samples, "sampler": sampler}

    def facts(self) -> dict:
        return {
            **super().facts(),
            "Product": f"share {self.share} of a sample" if self.product == "table" else self.product,
            "Samples": self.settings["samples"],
            "Sampler": self.settings["sampler"],
        }

    @property
    def draws_samples(self) -> bool:
        return self.product in ("sample", "average") or (self.product == "table" and self.share > 0)

    @property
    def largest_drf(self) -> float:
        return DoseFromNoise(**self.model["learned"]["dose_from_noise"]).limit

    @property
    def share(self) -> float:
        """Return how much of a sample's departure from the posterior mean the table's image has."""
        return self.model.get("chosen", {}).get("share", 0.0)


@dataclass(frozen=True)
class Drawn:
    """A scan's residual: tensors (X, Y, Z) over the canonical voxels of `low`, in units of `unit`.

    `asked` is the scan as it was given, whose order of axes every image takes again.
    """

    low: Volume
    asked: Volume
    unit: float
    mean: Tensor
    samples: list[Tensor]

    def image(self, residual: Tensor) -> Volume:
        """Return low − residual, nowhere negative."""
        return self._volume(np.maximum(self.low.array - self._array(residual), 0))

    def deviation(self, share: float) -> Volume:
        """Return the standard deviation of the normal dose around the image with this share of a sample."""
        variance = torch.stack([(sample - self.mean) ** 2 for sample in self.samples]).mean(0)
        return self._volume(self._array((variance * (1 + share**2)).sqrt()))

    def _array(self, r: Tensor) -> np.ndarray:
        return r.cpu().numpy() * np.float32(self.unit)

    def _volume(self, array: np.ndarray) -> Volume:
        return self.low.like(array).with_axes_of(self.asked)


def _at_least(size: int, scan: Scan) -> Scan:
    """Return a scan no smaller than a patch along any axis, its last voxels repeated where it was."""
    shape = tuple(scan.target.shape[1:])
    short = [max(size - n, 0) for n in shape]
    if not any(short):
        return scan
    pad = [part for n in reversed(short) for part in (0, n)]
    inputs, target = (
        nn.functional.pad(x[None], pad, mode="replicate")[0] for x in (scan.inputs, scan.target)
    )
    return replace(scan, inputs=inputs, target=target, measured=shape)


def _best(means: dict[float, dict[str, float]], key: str) -> float:
    """Return the share with the best mean of a metric."""
    pick = min if METRICS[key].lower_better else max
    return pick(means, key=lambda share: means[share][key])


METHOD = Csrd

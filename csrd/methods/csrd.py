"""CSR-D: conditional score-based diffusion of the residual between low and normal dose, given PET and MR."""

from __future__ import annotations

import hashlib
import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from csrd.config.methods import Training
from csrd.config.sections import Fraction, NonNegative, Section
from csrd.errors import InputError
from csrd.methods.base import LoadedPair, robust_scale
from csrd.methods.learned import LearnedCalibration
from csrd.methods.learned.doubts import changed_mean, doubts, masked
from csrd.methods.learned.posterior import ScanPosterior
from csrd.methods.learned.scaling import (
    DoseFromNoise,
    Head,
    ResidualDeviation,
    StdFactor,
    measured_level,
    mr_channel,
)
from csrd.methods.learned.volumes import VolumeMethod, VolumeSettings
from csrd.progress import progress
from csrd.seeds import key64

if TYPE_CHECKING:
    from torch import Tensor

    from csrd.config.sections import Metrics
    from csrd.diffusion.precondition import Denoiser
    from csrd.io.volume import Volume
    from csrd.networks import VolumeNetwork
    from csrd.train.patches import Batch, Patches, Scan

SIGMA_DATA = 0.5
COORDINATES = 3
ISOTROPY = 0.06  # relative to a voxel's shortest edge; edges that differ by less count as equal
VOXELS_MM = 1.0, 4.0
"""Smallest and largest voxel edges of synthetic scans in mm."""
FRACTIONS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
"""Fractions of a sample in the table's image compared on validation subjects; the first wins ties."""
CRITERIA = ("mae", "psnr", "ssim", "h_dist", "p_dist")
INTERVAL, SAMPLES = 0.9, 4
"""Intervals that are calibrated on validation subjects: their level, and the number of samples."""
PRODUCTS = ("table", "mean", "sample", "average")


class Sampler(Section):
    steps: PositiveInt = 4
    """Steps N of Heun's method; they take 2N - 1 evaluations of the network."""
    sigma_min: PositiveFloat = 0.05
    """The last noise level above 0; the residual's standard deviation is 0.5."""
    sigma_max: PositiveFloat = 1.0
    """The first noise level: around the posterior mean where `blank` is above 0, else around 0."""
    rho: PositiveFloat = 3.0
    """Exponent of the noise levels; a higher one gives more steps to the low levels."""
    S_churn: NonNegative = 0.0
    """Amount of noise that is added in each step; 0: none (the sampler solves the ODE)."""
    S_min: NonNegative = 0.0
    """Lowest noise level at which noise is added."""
    S_max: PositiveFloat = 1e9
    """Highest noise level at which noise is added."""
    S_noise: PositiveFloat = 1.0
    """Standard deviation of the added noise, relative to its value in theory."""

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}; lower it")
        return self


class CsrdSettings(VolumeSettings):
    network: Literal["resunet", "ddpmpp"] = "resunet"
    """The network: a residual U-Net without normalisation (resunet), or the paper's (ddpmpp)."""
    measured: bool = False
    """Measures the noise in the image: for any dose and voxel size, with or without an MR."""
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 64)
    """Channels of each resolution, the finest first."""
    blocks: PositiveInt = 1
    """Number of residual blocks at each resolution."""
    stem: PositiveInt = 2
    """Voxels along each axis that are folded into channels (resunet only)."""
    dropout: Fraction = 0.0
    """Dropout: the fraction of features that are set to 0 in training (ddpmpp only)."""
    dose: bool = True
    """Whether the dose reduction factor is an input of the network; resunet always has it."""
    coordinates: bool = True
    """true: a voxel's coordinates in the volume are inputs of the network."""
    standardise: bool = True
    """Whether residuals are divided by their standard deviation at that dose, else by a robust maximum."""
    patch: PositiveInt = 32
    """Edge of the training patches in voxels."""
    P_mean: float = -1.2
    """Mean of ln σ in training."""
    P_std: PositiveFloat = 1.0
    """Standard deviation of ln σ in training."""
    blank: Fraction = 0.8
    """Fraction of patches without a noisy residual, which train the posterior mean."""
    training: Training = Training(steps=2400, batch=4, lr=0.001, clip=1.0)
    sampler: Sampler = Sampler()
    samples: PositiveInt = 8
    """Number of samples for the standard deviation."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        factor = (1 if self.network == "ddpmpp" else self.stem) * 2 ** (len(self.channels) - 1)
        if self.patch % factor:
            raise ValueError(f"patch is {self.patch}; this network needs a multiple of {factor}")
        if self.network == "resunet" and self.dropout:
            raise ValueError(
                f"dropout is {self.dropout:g}, but resunet has none; leave it out, or set network: ddpmpp"
            )
        if self.network == "resunet" and not self.dose:
            raise ValueError(
                "dose is false, but resunet always has it as an input; leave it out, or set network: ddpmpp"
            )
        if self.network == "ddpmpp" and self.channels[0] % 4:
            raise ValueError(f"channels start with {self.channels[0]}; ddpmpp needs a multiple of 4")
        return self


class CsrdCalibration(LearnedCalibration):
    """The scale of the residuals, and the noise at each dose; None where the noise is `measured`."""

    std_factor: StdFactor = StdFactor()

    @field_validator("std_factor", mode="before")
    @classmethod
    def _a_number_is_the_same_for_all(cls, value: Any) -> Any:
        return {"factor": value} if isinstance(value, int | float) else value

    residual_sd: ResidualDeviation | None = None
    dose_from_noise: DoseFromNoise | None = None


class Csrd(VolumeMethod):
    """The model with MR."""

    key, label, row = "csrd", "CSRD w MR", 4
    Settings = CsrdSettings
    Calibration = CsrdCalibration
    predicts_std = selects = True
    preprocessing = ("standardise",)
    inference = (*VolumeMethod.inference, "blank", "samples", "sampler")
    training_only = (*VolumeMethod.training_only, "dropout", "P_mean", "P_std")
    after_training = ("sampler", "samples")
    product = "table"

    settings: CsrdSettings
    calibration: CsrdCalibration
    network: VolumeNetwork

    @classmethod
    def calibrated(cls, pairs: list[LoadedPair], settings: CsrdSettings) -> CsrdCalibration:
        if settings.measured:
            return CsrdCalibration()
        return CsrdCalibration(
            **super().calibrated(pairs, settings).model_dump(),
            residual_sd=ResidualDeviation.fit(pairs),
            dose_from_noise=DoseFromNoise.fit(pairs),
        )

    def build(self) -> VolumeNetwork:
        from csrd.networks.ddpmpp import DDPMpp
        from csrd.networks.resunet import ResUNet
        from csrd.synthetic.conditions import CHANNELS, SKIP

        settings = self.settings
        shown = CHANNELS if settings.measured else 1 + self.wants_mr
        channels = 1 + shown + COORDINATES * settings.coordinates
        shape: dict[str, Any] = {"channels": settings.channels, "blocks": settings.blocks}
        if settings.network == "ddpmpp":
            return DDPMpp(channels, **shape, dropout=settings.dropout, dose=settings.dose)
        return ResUNet(channels, **shape, stem=settings.stem, skip=SKIP if settings.measured else ())

    def inputs(self, low: Volume, mr: Volume | None, head: Head) -> np.ndarray:
        if not self.settings.measured:
            return super().inputs(low, mr, head)
        import torch

        from csrd.synthetic.conditions import conditions

        shown = mr if self.wants_mr else None
        anatomy = None if shown is None else torch.from_numpy(mr_channel(shown, low, head))
        array = torch.from_numpy((low.array / np.float32(head.scale)).astype(np.float32))
        level = measured_level(low, head)
        return conditions(array, anatomy, level, float(low.voxel_mm.mean())).numpy()

    def noise_condition(self, low: Volume, head: Head, drf: float | None) -> float:
        if self.settings.measured:
            return float(np.log(measured_level(low, head)))
        return super().noise_condition(low, head, drf)

    @property
    def measures_noise(self) -> bool:
        return self.settings.measured

    @property
    def sees_only_head(self) -> bool:
        return self.settings.measured

    def doubts(self, low: Volume, mr: Volume | None) -> list[str]:
        if not self.settings.measured:
            return []
        return doubts(low.canonical(), mr.canonical() if mr is not None and self.wants_mr else None)

    def doubts_of_scan(self, scan: Volume) -> list[str]:
        return masked(scan) if self.settings.measured else []

    def doubts_after(self, low: Volume, image: Volume, inside: np.ndarray) -> list[str]:
        # a model of a cohort learns the bias of its normal dose, which may change the mean
        return changed_mean(low, image, inside) if self.settings.measured else []

    def voxel_for(self, voxel_mm: np.ndarray) -> np.ndarray | None:
        if not self.settings.measured:
            return super().voxel_for(voxel_mm)
        edge = voxel_mm.min()
        nearly = voxel_mm.max() < (1 + ISOTROPY) * edge and VOXELS_MM[0] <= edge <= VOXELS_MM[1]
        return None if nearly else np.full(3, np.clip(edge, *VOXELS_MM))

    def residual_unit(self, low: Volume, head: Head, drf: float | None) -> float:
        if self.settings.measured:
            from csrd.synthetic.conditions import residual_unit

            return head.scale * float(residual_unit(measured_level(low, head)))
        if self.settings.standardise:
            deviation = self.calibration.residual_sd
            assert deviation is not None and drf is not None, "the deviation follows from the dose"
            return head.scale * deviation.at(drf) / SIGMA_DATA
        return robust_scale(low, head.mask)

    def trained_by(self) -> dict[str, Any]:
        """Return the settings that the weights depend on.

        Without `blank`, an average of weights is selected by the mean under noise of `sigma_max`.
        """
        found = super().trained_by()
        return found if self.settings.blank else found | {"sigma_max": self.settings.sampler.sigma_max}

    @property
    def denoiser(self) -> Denoiser:
        """Return D(r; σ, conditions) of the network."""
        from csrd.diffusion.precondition import Denoiser

        return Denoiser(self.network, SIGMA_DATA)

    def losses(self, batch: Batch) -> Tensor:
        """Return eq. 5 of each patch, (B,)."""
        import torch

        from csrd.diffusion.loss import NoiseLevels, residual_loss

        denoiser = self.denoiser
        levels = NoiseLevels(self.settings.P_mean, self.settings.P_std, self.settings.blank)
        sigma = torch.cat([levels.draw(1, denoiser, generator) for generator in batch.generators])
        return residual_loss(denoiser, batch.target, batch.inputs, batch.dose, sigma, batch.noise())

    def patches(self, scans: list[Scan]) -> Patches:
        if self.settings.measured and self.augment.changes_images:
            raise InputError(
                f"{self.key}.measured is true, but augment changes images after their noise is measured; set "
                "augment's lesions, mr_shift_mm and mr_missing to 0"
            )
        return super().patches(scans)

    @property
    def mixed_fraction(self) -> float:
        # the level of mixed noise has not been measured
        return 0.0 if self.settings.measured else self.settings.mixed

    def select(self, validation: list[LoadedPair], metrics: Metrics) -> dict[str, Any]:
        """Return what is selected on validation pairs: the table's image and the intervals' factor.

        `sample_fraction` is the fraction of a sample that is best in most metrics, `tried` the scores of
        each, and `std_factor` what the samples' standard deviation is multiplied by, so that the posterior
        mean's intervals hold `INTERVAL` of the voxels of the normal dose.
        """
        from csrd.diffusion.sampler import blend
        from csrd.metrics.coverage import needed_factor
        from csrd.metrics.evaluate import metrics_of

        tried: dict[float, list[dict[str, float]]] = {fraction: [] for fraction in FRACTIONS}
        factors = []
        for pair in validation:
            inside = pair.mask.array > 0
            compared = metrics_of(pair.normal, inside, metrics, pair.low)
            found = self.posterior(pair.low, pair.mr, pair.drf, SAMPLES)
            for fraction in FRACTIONS:
                image = found.image(blend(found.mean, found.samples[0], fraction))
                tried[fraction].append({key: compared[key](image) for key in CRITERIA})
            error = (found.image(found.mean).array - pair.normal.array)[inside]
            factors.append(needed_factor(error, found.deviation(0.0).array[inside], SAMPLES, INTERVAL))
        means = {fraction: {key: float(np.mean([row[key] for row in rows])) for key in CRITERIA}
                 for fraction, rows in tried.items()}  # fmt: skip
        winners = [_best(means, key) for key in CRITERIA]
        return {
            "sample_fraction": max(FRACTIONS, key=winners.count),
            "std_factor": float(np.mean(factors)),
            "tried": {str(fraction): row for fraction, row in means.items()},
        }

    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        return self.denoise(low, mr, drf, product=self.product)[0]

    def apply_with_std(self, low: Volume, mr: Volume | None, drf: float | None) -> tuple[Volume, Volume]:
        image, std = self.denoise(low, mr, drf, product=self.product, samples=self.settings.samples)
        assert std is not None, "there is a deviation where there are samples"
        return image, std

    def denoise(
        self, low: Volume, mr: Volume | None, drf: float | None, *, product: str = "table", samples: int = 0
    ) -> tuple[Volume, Volume | None]:
        """Return low − residual, nowhere negative, and from `samples` the standard deviation around it.

        `product` selects the residual: the posterior "mean" (one evaluation), a "sample", the "average" of
        `samples` (by default the number in the settings), or the "table": `blend` with the fraction selected
        on the validation subjects. The standard deviation is that of the normal dose around the image; a
        sample's is √2 times the mean's.
        """
        import torch

        from csrd.diffusion.sampler import blend

        averaged = samples or self.settings.samples
        fraction = {"mean": 0.0, "sample": 1.0, "average": averaged**-0.5, "table": self.sample_fraction}[
            product
        ]
        needed = averaged if product == "average" else 1 if fraction else 0
        found = self.posterior(low, mr, drf, max(samples, needed))
        residual = found.mean
        if product == "average":
            residual = torch.stack(found.samples).mean(0)
        elif fraction:
            residual = blend(found.mean, found.samples[0], fraction)
        return found.image(residual), found.deviation(fraction) if samples else None

    def posterior(
        self, low: Volume, mr: Volume | None, drf: float | None, samples: int, *, start: float = 1.0
    ) -> ScanPosterior:
        """Return the posterior mean of a scan's residual and samples of it.

        The samples' noise depends on the seed and the scan's voxels only; they start with `start` times the
        noise of the first level.
        """
        from csrd.diffusion.posterior import Posterior
        from csrd.diffusion.sampler import Churn, noise_levels
        from csrd.train.device import precision

        upright, mr = low.canonical(), None if mr is None else mr.canonical()
        head, sampler = Head.of(upright), self.settings.sampler
        conditions = self.conditions(upright, mr, head)
        posterior = Posterior(
            self.denoiser,
            conditions,
            self.noise_condition(upright, head, drf),
            key64(self.seed, hashlib.sha256(np.ascontiguousarray(upright.array).data).hexdigest()),
            precision=partial(precision, self.device),
            mirrored=self.mirrored(conditions),
            translations=self.translations,
        )
        levels = noise_levels(sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho)
        churn = Churn(sampler.S_churn, sampler.S_min, sampler.S_max, sampler.S_noise)
        from_mean = self.settings.blank > 0
        mean = posterior.mean() if from_mean else posterior.mean_under_noise(sampler.sigma_max)
        numbers = progress(range(samples), f"{self.key}: samples") if samples > 1 else range(samples)
        sampled = [posterior.sample(k, levels, churn, from_mean=from_mean, start=start) for k in numbers]
        unit = self.residual_unit(upright, head, drf)
        factor = self.calibration.std_factor.of(upright, head) * self.selected.get("std_factor", 1.0)
        return ScanPosterior(upright, low, unit, mean, sampled, factor)

    def estimate_drf(self, low: Volume) -> float:
        dose = self.calibration.dose_from_noise
        return super().estimate_drf(low) if dose is None else dose.of(low.canonical())

    def use(self, **choices: Any) -> None:
        self.product = str(choices.pop("product", self.product))
        if self.product not in PRODUCTS:
            raise InputError(f"there is no product {self.product!r}; choose from {', '.join(PRODUCTS)}")
        if "steps" in choices:
            choices["sampler"] = {"steps": choices.pop("steps")}
        self.settings = self.settings.updated(**choices)

    def facts(self) -> dict:
        product = f"fraction {self.sample_fraction} of a sample" if self.product == "table" else self.product
        sampler = self.settings.sampler.model_dump()
        found = {"Product": product, "Samples": self.settings.samples, "Sampler": sampler}
        if self.settings.measured:  # trained on pairs of a low dose and its truth
            found["StandardDeviationOf"] = "noise-free image"
        return super().facts() | found

    @property
    def draws_samples(self) -> bool:
        return self.product in ("sample", "average") or (self.product == "table" and self.sample_fraction > 0)

    @property
    def largest_drf(self) -> float:
        dose = self.calibration.dose_from_noise
        return math.inf if dose is None else dose.limit

    @property
    def sample_fraction(self) -> float:
        """Return the fraction of a sample's deviation from the posterior mean in the table's image."""
        return self.selected.get("sample_fraction", 0.0)

    @property
    def selected(self) -> dict[str, Any]:
        """Return what `select` found; nothing where there were no validation subjects."""
        return self.card.get("selected", {})


def _best(means: dict[float, dict[str, float]], key: str) -> float:
    """Return the fraction with the best mean of a metric."""
    from csrd.metrics import METRICS

    pick = min if METRICS[key].lower_better else max
    return pick(means, key=lambda fraction: means[fraction][key])


METHOD = Csrd

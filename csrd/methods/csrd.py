"""CSR-D: conditional score-based diffusion of the residual between low and normal dose, given PET and MR."""

import hashlib
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from csrd.align.head import head_mask
from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.diffusion.sampler import Churn, blend, noise_levels
from csrd.errors import InputError
from csrd.methods.base import TrainingPair, robust_scale
from csrd.methods.learned import Learned
from csrd.methods.scaling import Spread, pet_scale
from csrd.networks.ddpmpp import DDPMpp
from csrd.networks.edm2 import EDM2
from csrd.seeds import key64
from csrd.train.device import precision
from csrd.train.patches import Batch, Patches, Scan, coordinates
from csrd.volume import Volume

SIGMA_DATA = 0.5
COORDINATES = 3
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
        if not self.validation:
            return {}
        method = self.build()
        errors = []
        for pair in self.validation:
            mask, normal = pair.mask.array > 0, pair.normal.array
            image, _ = method.denoise(pair.low, pair.mr, pair.drf, product="mean")
            error = (image.array - normal)[mask]
            errors.append(
                (np.abs(error).mean(), 20 * np.log10(normal[mask].max() / np.sqrt((error**2).mean())))
            )
        mae, psnr = np.mean(errors, 0)
        return {"mae": float(mae), "psnr": float(psnr)}


class Csrd(Learned):
    """The model with MR."""

    key, label = "csrd", "CSRD w MR"
    wants_mr: ClassVar[bool] = True
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
        spread = Spread.fit(pairs)
        return {"spread_intercept": spread.intercept, "spread_slope": spread.slope}

    @classmethod
    def residual_unit(cls, low: Volume, drf: float, settings: dict, learned: dict) -> float:
        """Return how much of the PET's unit one unit of the model's residual is."""
        if settings["standardise"]:
            spread = Spread(learned["spread_intercept"], learned["spread_slope"])
            return pet_scale(low) * spread.at(drf) / SIGMA_DATA
        return robust_scale(low, head_mask(low))

    @classmethod
    def target(cls, pair: TrainingPair, settings: dict, learned: dict) -> np.ndarray:
        unit = cls.residual_unit(pair.low, pair.drf, settings, learned)
        return ((pair.low.array - pair.normal.array) / np.float32(unit)).astype(np.float32)

    @classmethod
    def task(
        cls, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair]
    ) -> CsrdTask:
        return CsrdTask(network, settings, learned, validation, cls)

    @classmethod
    def patches(cls, scans: list[Scan], settings: dict) -> Patches:
        size = (settings["patch"],) * 3
        return Patches(scans, size, settings["seed"], coordinates=settings["coordinates"])

    def apply(self, low: Volume, mr: Volume | None, drf: float) -> Volume:
        return self.denoise(low, mr, drf, product=self.product)[0]

    def apply_with_spread(self, low: Volume, mr: Volume | None, drf: float) -> tuple[Volume, Volume]:
        return self.denoise(low, mr, drf, product=self.product, samples=self.settings["samples"])

    def use(self, **choices: object) -> None:
        self.product = choices.pop("product", self.product)
        if self.product not in PRODUCTS:
            raise InputError(f"there is no product {self.product!r}; choose among {', '.join(PRODUCTS)}")
        self.settings = {**self.settings, "samples": choices.pop("samples", self.settings["samples"])}
        self.settings["sampler"] = self.sampler | choices

    def facts(self) -> dict:
        names = ("weights_sha256", "version")
        return {
            "Model": {name: self.model.get(name) for name in names},
            "Product": {"mean": "posterior mean", "table": f"share {self.share} of a sample"}.get(
                self.product, self.product
            ),
            "Samples": self.settings["samples"],
            "Sampler": self.sampler,
            "Seed": self.settings["seed"],
        }

    def denoise(
        self, low: Volume, mr: Volume | None, drf: float, *, product: str = "table", samples: int = 0
    ) -> tuple[Volume, Volume | None]:
        """Return low − residual, nowhere negative, and from `samples` the standard deviation around it.

        `product` is what the residual is: the posterior "mean" (one evaluation), a "sample", the "average" of all
        samples, or what the "table" shows: `blend` with the share chosen on the validation subjects.
        The standard deviation is that of the normal dose around the image, so a sample's is √2 that of the mean.
        """
        low, mr, asked = low.canonical(), None if mr is None else mr.canonical(), low
        share = {"mean": 0.0, "sample": 1.0, "average": max(samples, 1) ** -0.5, "table": self.share}[product]
        posterior, unit = (
            self.posterior(low, mr, drf),
            self.residual_unit(low, drf, self.settings, self.learned),
        )
        blank, sigma_max = self.settings["blank"] > 0, self.sampler["sigma_max"]
        residual = mean = posterior.mean() if blank else posterior.mean_under_noise(sigma_max)
        levels, churn = _schedule(self.sampler)
        count = max(samples, 1 if share else 0)
        drawn = [posterior.sample(k, levels, churn, from_mean=blank) for k in range(count)]
        if share:
            residual = sum(drawn) / len(drawn) if product == "average" else blend(mean, drawn[0], share)
        image = low.like(np.maximum(low.array - _image(residual, unit), 0)).with_axes_of(asked)
        if not samples:
            return image, None
        variance = sum((sample - mean) ** 2 for sample in drawn) / len(drawn) * (1 + share**2)
        return image, low.like(_image(variance.sqrt(), unit)).with_axes_of(asked)

    def posterior(self, low: Volume, mr: Volume | None, drf: float) -> Posterior:
        """Return the model bound to a scan; its noise follows from the seed and the scan's own voxels."""
        conditions = torch.from_numpy(self.inputs(low, mr)).to(self.device)
        if self.settings["coordinates"]:
            conditions = torch.cat([conditions, coordinates(low.shape, self.device)])
        denoiser = Denoiser(self.network, SIGMA_DATA)
        seed = key64(self.settings["seed"], hashlib.sha256(np.ascontiguousarray(low.array)).hexdigest())
        return Posterior(
            denoiser, conditions, float(np.log(drf)), seed, precision=partial(precision, self.device)
        )

    @property
    def share(self) -> float:
        return self.model.get("chosen", {}).get("share", 0.0)

    @property
    def learned(self) -> dict:
        return self.model["learned"]

    @property
    def sampler(self) -> dict:
        return self.settings["sampler"]


def _schedule(sampler: dict) -> tuple[list[float], Churn]:
    levels = noise_levels(*(sampler[name] for name in ("steps", "sigma_min", "sigma_max", "rho")))
    return levels, Churn(*(sampler[name] for name in ("S_churn", "S_min", "S_max", "S_noise")))


def _image(r: Tensor, unit: float) -> np.ndarray:
    """Return a tensor in the model's unit as an array in the PET's."""
    return r.cpu().numpy() * np.float32(unit)


METHOD = Csrd

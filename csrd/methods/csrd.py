"""CSR-D: conditional score-based diffusion of the residual between low and normal dose, given PET and MR."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.precondition import Denoiser
from csrd.diffusion.sampler import Churn, heun, noise_levels
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


@dataclass(frozen=True)
class Posterior:
    """What the model says of a scan's residual, in the scan's unit: its mean, and samples of it."""

    mean: np.ndarray
    samples: list[np.ndarray]


class CsrdTask:
    """The denoiser with the loss of eq. 5 and, on validation subjects, the error of the posterior mean."""

    def __init__(self, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair], method):
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
            image = np.maximum(pair.low.array - method.posterior(pair.low, pair.mr, pair.drf).mean, 0)
            error = (image - normal)[mask]
            errors.append((np.abs(error).mean(), 20 * np.log10(normal[mask].max() / np.sqrt((error**2).mean()))))
        mae, psnr = np.mean(errors, 0)
        return {"mae": float(mae), "psnr": float(psnr)}


class Csrd(Learned):
    """The model with MR."""

    key, label = "csrd", "CSRD w MR"
    wants_mr: ClassVar[bool] = True

    @classmethod
    def build(cls, settings: dict) -> nn.Module:
        channels = 1 + 1 + cls.wants_mr + COORDINATES * settings["coordinates"]
        common = dict(channels=tuple(settings["channels"]), blocks=settings["blocks"], dropout=settings["dropout"],
                      dose=settings["dose"])  # fmt: skip
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
        return robust_scale(low, low.array > 0)

    @classmethod
    def target(cls, pair: TrainingPair, settings: dict, learned: dict) -> np.ndarray:
        unit = cls.residual_unit(pair.low, pair.drf, settings, learned)
        return ((pair.low.array - pair.normal.array) / np.float32(unit)).astype(np.float32)

    @classmethod
    def task(cls, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair]) -> CsrdTask:
        return CsrdTask(network, settings, learned, validation, cls)

    @classmethod
    def patches(cls, scans: list[Scan], settings: dict) -> Patches:
        size = (settings["patch"],) * 3
        return Patches(scans, size, settings["seed"], coordinates=settings["coordinates"])

    def apply(self, low: Volume, mr: Volume | None, drf: float) -> Volume:
        share = self.model.get("chosen", {}).get("share", 0.0)
        posterior = self.posterior(low, mr, drf, samples=1 if share else 0)
        residual = posterior.mean
        if share:
            residual = residual + np.float32(share) * (posterior.samples[0] - residual)
        return low.like(np.maximum(low.array - residual, 0))

    @torch.no_grad()
    def posterior(self, low: Volume, mr: Volume | None, drf: float, samples: int = 0, **sampler) -> Posterior:
        """Return the residual's posterior mean (one evaluation) and so many samples, in the PET's unit.

        `sampler` overrides the settings of the sampler: steps, sigma_min, sigma_max, rho, S_churn, ….
        """
        options = self.settings["sampler"] | sampler
        conditions = torch.from_numpy(self.inputs(low, mr)).to(self.device)
        if self.settings["coordinates"]:
            conditions = torch.cat([conditions, coordinates(low.shape, self.device)])
        conditions = _padded(conditions, self.network.factor)[None]
        dose = torch.tensor([np.log(drf)], dtype=torch.float32, device=self.device)
        denoiser = Denoiser(self.network, SIGMA_DATA).eval()

        def denoise(r: Tensor, sigma: float) -> Tensor:
            with precision(self.device):
                return denoiser(r, torch.full((1,), sigma, device=self.device), conditions, dose)

        seed = key64(self.settings["seed"], low.array.tobytes().hex()[:64])
        unit = self.residual_unit(low, drf, self.settings, self.model["learned"])
        box = tuple(slice(0, n) for n in low.shape)

        def noise(*names) -> Tensor:
            generator = torch.Generator(self.device).manual_seed(key64(seed, *names) % 2**63)
            return torch.randn(1, 1, *conditions.shape[2:], generator=generator, device=self.device)

        def in_unit(r: Tensor) -> np.ndarray:
            return r[0, 0][box].float().cpu().numpy() * np.float32(unit)

        top = options["sigma_max"] * SIGMA_DATA
        if self.settings["blank"]:
            mean = denoise(torch.zeros_like(conditions[:, :1]), denoiser.blank)
        else:
            mean = denoise(noise("mean") * top, top)
        levels = noise_levels(options["steps"], options["sigma_min"] * SIGMA_DATA, top, options["rho"])
        churn = Churn(*(options[name] for name in ("S_churn", "S_min", "S_max", "S_noise")))
        drawn = []
        for k in range(samples):
            drawn.append(in_unit(heun(denoise, noise(k), levels, churn, lambda i, k=k: noise(k, i))))
        return Posterior(in_unit(mean), drawn)


def _padded(x: Tensor, factor: int) -> Tensor:
    """Return (C, X, Y, Z) grown at its ends to multiples of `factor`, the last voxels repeated."""
    grow = [-n % factor for n in x.shape[1:]]
    if not any(grow):
        return x
    return nn.functional.pad(x[None], [part for g in reversed(grow) for part in (0, g)], mode="replicate")[0]


METHOD = Csrd

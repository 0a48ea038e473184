"""The configuration: the methods' settings, all sections together, and the sentence that names what is wrong.

`python -m csrd.config` writes the JSON schema that editors check `config/*.yaml` against.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from csrd.config.sections import (
    Acquisition,
    Align,
    Cohort,
    Drf,
    Fraction,
    Metrics,
    Noise,
    NonNegative,
    Recon,
    Section,
    Thin,
)
from csrd.errors import InputError

SCHEMA = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.yaml"


class MethodSettings(Section):
    """The block of a fitted method; its key in the configuration is the method's name."""

    has_spread: ClassVar[bool] = False
    """Whether the method gives a standard deviation beside its image."""
    wants_mr: ClassVar[bool] = False
    """Whether the method needs an MR beside the PET; its class says the same."""

    @model_validator(mode="before")
    @classmethod
    def _keep_the_methods_own_defaults(cls, values: Any) -> Any:
        """Fill a block of which some keys are given: a training's steps alone leave its batch as it was."""
        if not isinstance(values, Mapping):
            return values
        own = {name: field.default for name, field in cls.model_fields.items()}
        filled = {
            name: _merged(own[name].model_dump(), block)
            for name, block in values.items()
            if isinstance(block, Mapping) and isinstance(own.get(name), Section)
        }
        return {**values, **filled}


class Tv(MethodSettings):
    weights: Annotated[tuple[PositiveFloat, ...], Field(min_length=2)] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    """Weights tried on the training subjects, relative to the volume's robust maximum."""


class Training(Section):
    steps: PositiveInt
    """Optimiser steps."""
    batch: PositiveInt
    """Patches or slices a step, over all processes."""
    lr: PositiveFloat
    """Learning rate of Adam at its height."""
    beta2: Fraction = 0.99
    """Adam's memory of squared gradients."""
    ramp: Fraction = 0.02
    """Share of the steps over which the rate rises from 0."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the steps, the last ones, over which the rate falls to 0."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""


class Sampler(Section):
    steps: PositiveInt = 4
    """Steps N of Heun's method; they take 2N - 1 evaluations of the network."""
    sigma_min: PositiveFloat = 0.05
    """The last noise level above 0; the residual's standard deviation is 0.5."""
    sigma_max: PositiveFloat = 1.0
    """The first noise level: around the posterior mean where `blank` is above 0, else around 0."""
    rho: PositiveFloat = 3.0
    """How much more densely small noise levels stand."""
    S_churn: NonNegative = 0.0
    """Noise added afresh along the way; 0: none, the ODE is followed."""
    S_min: NonNegative = 0.0
    """Lowest noise level at which noise is added."""
    S_max: PositiveFloat = 1e9
    """Highest noise level at which noise is added."""
    S_noise: PositiveFloat = 1.0
    """Standard deviation of the added noise, relative to what is right in theory."""

    @model_validator(mode="after")
    def _falling(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}; lower it")
        return self


class LearnedSettings(MethodSettings):
    """The block of a trained method."""

    wants_mr: ClassVar[bool] = True
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of training patches with noise of all the subject's doses, mixed to that of another dose."""
    mirror: bool = True
    """Whether the image is the mean of what the network makes of the head and of its mirror image."""
    shift: bool = True
    """Whether it is also the mean over the head where it lies and a voxel further along every axis."""


class Csrd(LearnedSettings):
    has_spread: ClassVar[bool] = True
    network: Literal["edm2", "ddpmpp"] = "edm2"
    """The magnitude-preserving U-Net, or the paper's DDPM++."""
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 64)
    """Channels of each resolution, the finest first."""
    blocks: PositiveInt = 1
    """Residual blocks a resolution."""
    stem: PositiveInt = 2
    """Voxels along each axis that are folded into channels (edm2 only)."""
    dropout: Fraction = 0.0
    """Share of features that are dropped while training."""
    dose: bool = True
    """Whether the network is told the dose reduction factor."""
    coordinates: bool = True
    """Whether the network is told where a voxel lies in the volume."""
    standardise: bool = True
    """Residual over its spread in the training set at that dose; else over the low dose's robust maximum."""
    patch: PositiveInt = 32
    """Edge of the training patches in voxels."""
    P_mean: float = -1.2
    """Mean of ln σ in training."""
    P_std: PositiveFloat = 1.0
    """Standard deviation of ln σ in training."""
    blank: Fraction = 0.8
    """Share of patches that are trained without any noisy residual: for the posterior mean."""
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.3
    training: Training = Training(steps=2400, batch=4, lr=0.02)
    sampler: Sampler = Sampler()
    samples: PositiveInt = 8
    """Samples behind the standard deviation."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        factor = (self.stem if self.network == "edm2" else 1) * 2 ** (len(self.channels) - 1)
        if self.patch % factor:
            raise ValueError(f"patch is {self.patch}; this network needs a multiple of {factor}")
        if self.network == "ddpmpp" and self.channels[0] % 4:
            raise ValueError(f"channels start with {self.channels[0]}; ddpmpp needs a multiple of 4")
        return self


class CsrdNoMr(Csrd):
    """What differs from `csrd`."""

    wants_mr: ClassVar[bool] = False


class Unet(LearnedSettings):
    channels: PositiveInt = 16
    """Channels of the finest level; each of the four coarser ones has twice as many."""
    training: Training = Training(steps=2400, batch=8, lr=0.001)


class Restormer(LearnedSettings):
    channels: Annotated[int, Field(ge=8, multiple_of=8)] = 24
    """Channels of the finest level, a multiple of 8; each of the three coarser ones has twice as many."""
    blocks: Annotated[tuple[PositiveInt, ...], Field(min_length=4, max_length=4)] = (1, 1, 1, 1)
    """Transformer blocks of each level, the finest first."""
    refinement: Annotated[int, Field(ge=0)] = 1
    """Transformer blocks after the decoder, at the finest level."""
    stem: Literal[1, 2] = 2
    """Pixels along both axes that are folded into channels; 1: none, as published."""
    training: Training = Training(steps=1200, batch=8, lr=0.002)


class Report(Section):
    title: str = "CSR-D on the virtual cohort"
    """Heading of the HTML report."""


class Config(Section):
    results_dir: Annotated[str, Field(pattern=r"^[^{}<>]+$")] = "results"
    """Everything a run makes stands here."""
    seed: Annotated[int, Field(ge=0)] = 2024
    """Every random draw is derived from it."""
    drfs: Annotated[tuple[Drf, ...], Field(min_length=1)] = (4, 6, 8, 10)
    """Dose reduction factors in the table."""
    train_drfs: Annotated[tuple[Drf, ...], Field(min_length=1)] = (4, 6, 8)
    """What a method may see while it is fitted or chosen; the others stay unseen."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "lowdose",
        "tv",
        "unet",
        "restormer",
        "csrd",
        "csrdnomr",
    )
    """Rows of Table 1."""
    cohort: Cohort = Cohort()
    acquisition: Acquisition = Acquisition()
    """The virtual cohort's scan."""
    thin: Thin = Thin()
    recon: Recon = Recon()
    align: Align = Align()
    tv: Tv = Tv()
    """Total variation."""
    unet: Unet = Unet()
    """2D U-Net."""
    restormer: Restormer = Restormer()
    """2D Restormer."""
    csrd: Csrd = Csrd()
    """CSR-D, with MR."""
    csrdnomr: CsrdNoMr = CsrdNoMr()
    """CSR-D without MR: what differs from csrd."""
    metrics: Metrics = Metrics()
    """How images are compared."""
    noise: Noise = Noise()
    """Bias and deviation over several thinnings."""
    report: Report = Report()

    @model_validator(mode="before")
    @classmethod
    def _without_mr_is_like_with_it(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("csrd", {}), Mapping):
            differs = values.get("csrdnomr", {})
            if isinstance(differs, Mapping):
                values = {**values, "csrdnomr": _merged(values.get("csrd", {}), differs)}
        return values

    @field_validator("drfs", "train_drfs", "methods")
    @classmethod
    def _no_doubles(cls, values: tuple) -> tuple:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value} stands there twice; keep one")
        return values

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        known = known_methods()
        for method in methods:
            if method not in known:
                raise ValueError(
                    f"{method} is no method{_closest(method, known)}; choose from {', '.join(known)}"
                )
        return methods

    @model_validator(mode="after")
    def _agree(self) -> Self:
        unseen = [drf for drf in self.train_drfs if drf not in self.drfs]
        if unseen:
            raise ValueError(f"train_drfs has {unseen[0]}, which drfs lacks; add it there or remove it here")
        if self.recon.engine == "command" and self.recon.command is None:
            raise ValueError(
                "recon.engine is command, but recon.command is null; see config/recon/command.yaml"
            )
        mixing = [name for name in self.learned_methods if getattr(self, name).mixed]
        if self.thin.nested and mixing:
            raise ValueError(
                f"thin.nested is true, but {mixing[0]}.mixed takes the noise of the doses for independent; "
                "set the one to false or the other to 0"
            )
        if any(kept > had for kept, had in zip(self.align.shape, self.recon.matrix, strict=True)):
            raise ValueError(
                f"align.shape {list(self.align.shape)} exceeds recon.matrix {list(self.recon.matrix)}; "
                "shrink the one or enlarge the other"
            )
        return self

    def of_method(self, name: str) -> dict[str, Any]:
        """Return a method's settings and the configuration's seed, {} for one that has none.

        Raises InputError for an unknown method.
        """
        if name not in (known := known_methods()):
            raise InputError(f"{name} is no method{_closest(name, known)}; choose from {', '.join(known)}")
        if name not in type(self).model_fields:
            return {}
        return {"seed": self.seed, **getattr(self, name).model_dump(mode="json")}

    @property
    def fitted_methods(self) -> tuple[str, ...]:
        """Return the methods in use that have settings of their own."""
        return tuple(method for method in self.methods if method in type(self).model_fields)

    @property
    def learned_methods(self) -> tuple[str, ...]:
        """Return the methods in use that are trained step by step, and leave a record of it."""
        return tuple(method for method in self.fitted_methods if hasattr(getattr(self, method), "training"))

    @property
    def methods_without_mr(self) -> tuple[str, ...]:
        """Return the fitted methods in use that need no MR."""
        return tuple(method for method in self.fitted_methods if not getattr(self, method).wants_mr)

    @property
    def methods_with_spread(self) -> tuple[str, ...]:
        """Return the methods in use that give a standard deviation."""
        return tuple(method for method in self.fitted_methods if getattr(self, method).has_spread)


def _merged(values: Mapping[str, Any], differs: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested `values` with what `differs`."""
    merged = dict(values)
    for key, value in differs.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def known_methods() -> tuple[str, ...]:
    """Return every method's name: the untouched low dose, and whatever has a block of settings."""
    blocks = (key for key, field in Config.model_fields.items() if _is_method(field.annotation))
    return ("lowdose", *blocks)


def _is_method(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, MethodSettings)


def load(values: Mapping[str, Any]) -> Config:
    """Return the configuration, with the defaults where `values` is silent.

    Raises InputError naming the first wrong key, its value, and what to write instead.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """Return pydantic's findings as one line about the first of them."""
    first, *others = error.errors(include_url=False)
    key = _dotted(first["loc"])
    if first["type"] == "extra_forbidden":
        siblings = _section_at(first["loc"][:-1]).model_fields
        name = str(first["loc"][-1])
        text = f"the configuration has no key {key}{_closest(name, siblings, key.removesuffix(name))}"
        text += f"; the keys there are {', '.join(siblings)}"
    elif first["type"] == "missing":
        text = f"the configuration lacks {key}; add it"
    elif first["type"] == "model_type":
        keys = ", ".join(_section_at(first["loc"]).model_fields)
        text = f"{key} is {first['input']!r}; it must be a block of keys: {keys}"
    elif first["type"] == "value_error":
        reason, whole = str(first["ctx"]["error"]), isinstance(first["input"], Mapping)
        text = ": ".join(part for part in (key if whole else f"{key} is {first['input']!r}", reason) if part)
    else:
        text = f"{key} is {first['input']!r}; it must {first['msg'].partition(' should ')[2]}"
    return " ".join(text.split()) + (f" (and {len(others)} more)" if others else "")


def _dotted(location: tuple[str | int, ...]) -> str:
    """Return ("recon", "matrix", 0) as recon.matrix[0]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )


def _section_at(location: tuple[str | int, ...]) -> type[Section]:
    """Return the section that stands at `location` in the configuration."""
    section: type[Section] = Config
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        candidates = (annotation, *getattr(annotation, "__args__", ()))
        section = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Section))
    return section


def _closest(name: str, known: Any, prefix: str = "") -> str:
    """Return a question that names the most similar known name, or nothing."""
    similar = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix}{similar[0]}?)" if similar else ""


def schema() -> str:
    """Return the configuration's JSON schema as YAML."""
    import yaml

    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    header = "# Written by `python -m csrd.config`; edit csrd/config/__init__.py instead.\n"
    return header + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    SCHEMA.write_text(schema())

"""The configuration: the stages' sections, and a block for each method that is installed."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PositiveInt, ValidationError, create_model, field_validator, model_validator

from csrd.config.messages import closest, sentence
from csrd.config.methods import MethodSettings, merged
from csrd.config.sections import (
    Align,
    Augment,
    Cohort,
    Drf,
    Kinetics,
    Metrics,
    Noise,
    Recon,
    Report,
    Section,
    Thin,
    VirtualScan,
)
from csrd.errors import InputError

if TYPE_CHECKING:
    from csrd.methods import Method

ATLAS, TRUTH = "atlas", "truth"
"""Values of `kinetics.labels` that are no folder."""


class Config(Section):
    """The stages' sections; `load` returns a subclass that has the methods' blocks too."""

    results_dir: Annotated[str, Field(pattern=r"^[^{}<>]+$")] = "results"
    """The folder of all results."""
    derivatives_dir: Annotated[str | None, Field(pattern=r"^[^{}<>]+$")] = None
    """The BIDS dataset of derivatives; null: the folder derivatives/csrd of the results."""
    seed: Annotated[int, Field(ge=0)] = 2024
    """Seed of every random generator."""
    drfs: Annotated[tuple[Drf, ...], Field(min_length=1)] = (4, 6, 8, 10)
    """Dose reduction factors in the table."""
    train_drfs: Annotated[tuple[Drf, ...], Field(min_length=1)] = (4, 6, 8)
    """Dose reduction factors of the images that methods are fitted and selected on."""
    train_thinnings: PositiveInt = 2
    """Thinnings of each training scan at each of train_drfs, which learned methods are fitted on."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "lowdose",
        "tv",
        "unet",
        "restormer",
        "unet3d",
        "csrd",
        "csrdnomr",
    )
    """Rows of Table 1."""
    cohort: Cohort = Cohort()
    acquisition: VirtualScan = VirtualScan()
    """The virtual cohort's scan."""
    thin: Thin = Thin()
    recon: Recon = Recon()
    align: Align = Align()
    augment: Augment = Augment()
    """Changes of training patches on the fly, for every learned method alike."""
    metrics: Metrics = Metrics()
    """Metrics: protocol, networks and weights."""
    kinetics: Kinetics = Kinetics()
    """Curves and binding potentials of dynamic scans."""
    noise: Noise = Noise()
    """Bias and deviation over several thinnings."""
    report: Report = Report()

    @model_validator(mode="before")
    @classmethod
    def _complete_blocks_of_differences(cls, values: Any) -> Any:
        """Complete the block of a method that only lists differences from another method's block."""
        for key, method in _methods().items():
            if method.like and key in cls.model_fields and isinstance(values, Mapping):
                blocks = [values.get(name, {}) for name in (method.like, key)]
                if all(isinstance(block, Mapping) for block in blocks):
                    values = {**values, key: merged(*blocks)}
        return values

    @model_validator(mode="before")
    @classmethod
    def _scatter_unless_there_is_none(cls, values: Any) -> Any:
        """Fill in `recon.scatter`: none of a virtual cohort without scatter, else once."""
        if not isinstance(values, Mapping):
            return values
        blocks = cohort, scan, recon = [values.get(name, {}) for name in ("cohort", "acquisition", "recon")]
        if all(isinstance(block, Mapping) for block in blocks) and recon.get("scatter") is None:
            virtual = cohort.get("sheet") is None and cohort.get("bids") is None
            without = virtual and scan.get("scatter") is False
            values = {**values, "recon": {**recon, "scatter": "none" if without else "once"}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _frames_of_the_scan(cls, values: Any) -> Any:
        """Fill in `recon.frames` of a dynamic virtual cohort: those of its scan."""
        found = values if isinstance(values, Mapping) else {}
        blocks = scan, recon = [found.get(name, {}) for name in ("acquisition", "recon")]
        usable = all(isinstance(block, Mapping) for block in blocks) and recon.get("frames") is None
        if usable and scan.get("frames") is not None and recon.get("engine", "embedded") == "embedded":
            values = {**found, "recon": {**recon, "frames": scan["frames"]}}
        return values

    @field_validator("drfs", "train_drfs", "methods")
    @classmethod
    def _no_doubles(cls, values: tuple) -> tuple:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"{value} is listed twice; keep one")
        return values

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            if method not in _methods():
                raise ValueError(_unknown(method))
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
        if self.kinetics.labels == TRUTH and not self.cohort.virtual:
            raise ValueError(
                "kinetics.labels is truth, but the subjects are your own; write atlas, or the folder of a "
                "BIDS dataset with *_dseg images"
            )
        mixing = [name for name in self.fitted_methods if getattr(self.of_method(name), "mixed", 0)]
        if self.thin.nested and mixing:
            raise ValueError(
                f"thin.nested is true, but {mixing[0]}.mixed needs doses of independent noise; "
                f"set thin.nested to false, or {mixing[0]}.mixed to 0"
            )
        return self

    def of_method(self, key: str) -> MethodSettings:
        """Return a method's settings; those of a method that is not fitted have no keys.

        Raises InputError for an unknown method.
        """
        if key not in _methods():
            raise InputError(_unknown(key))
        return getattr(self, key) if _methods()[key].Settings else MethodSettings()

    @property
    def fitted_methods(self) -> tuple[str, ...]:
        """Return the methods in use that are fitted."""
        return tuple(key for key in self.methods if _methods()[key].Settings)

    @property
    def compared_methods(self) -> tuple[str, ...]:
        """Return the methods in use that are compared: all but control rows."""
        return tuple(key for key in self.methods if not _methods()[key].control)

    @property
    def control_methods(self) -> tuple[str, ...]:
        """Return the methods in use that are control rows."""
        return tuple(key for key in self.methods if _methods()[key].control)

    @property
    def learned_methods(self) -> tuple[str, ...]:
        """Return the methods in use that are trained step by step, and write a history of the training."""
        return tuple(key for key in self.fitted_methods if _methods()[key].trained)

    @property
    def methods_without_mr(self) -> tuple[str, ...]:
        """Return the fitted methods in use that need no MR."""
        return tuple(key for key in self.fitted_methods if not _methods()[key].wants_mr)

    @property
    def methods_with_std(self) -> tuple[str, ...]:
        """Return the methods in use that predict a standard deviation."""
        return tuple(key for key in self.fitted_methods if _methods()[key].predicts_std)


def _methods() -> Mapping[str, type["Method"]]:
    """Return every method by key; imported late, since a method's file imports its settings' base here."""
    from csrd.methods import methods

    return methods()


def _unknown(method: str) -> str:
    known = _methods()
    return f"there is no method {method}{closest(method, known)}; choose from {', '.join(known)}"


def with_methods(methods: Mapping[str, type["Method"]]) -> type[Config]:
    """Return the class of the configuration with a block for each of the methods that are fitted.

    Raises InputError for a method whose key is that of a section.
    """
    blocks: dict[str, Any] = {}
    for key, method in methods.items():
        if key in Config.model_fields:
            raise InputError(f"a method has the key {key}, which is a section's; give the method another key")
        if method.Settings:
            text = f"{method.label}: what differs from {method.like}." if method.like else f"{method.label}."
            blocks[key] = (method.Settings, Field(method.Settings(), description=text))
    return create_model("Config", __base__=Config, **blocks)


@cache
def config_class() -> type[Config]:
    """Return the class of the configuration with a block for each installed method."""
    return with_methods(_methods())


def load(values: Mapping[str, Any]) -> Config:
    """Return the configuration, with the defaults where `values` has no key.

    Raises InputError naming the first wrong key, its value, and what to write instead.
    """
    configuration = load_apart(values)
    kept, had = configuration.align.shape, configuration.recon.matrix
    if any(mine > whole for mine, whole in zip(kept, had, strict=True)):
        raise InputError(
            f"align.shape {list(kept)} exceeds recon.matrix {list(had)}; "
            "reduce align.shape, or increase recon.matrix"
        )
    return configuration


def load_apart(values: Mapping[str, Any]) -> Config:
    """Return the configuration as `load` does, for one stage alone, so that stages need not agree."""
    kind = config_class()
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(sentence(error, kind)) from None


def schema() -> str:
    """Return the JSON schema, as YAML, of the configuration with the package's own methods."""
    import yaml

    from csrd.methods import own

    content = with_methods(own()).model_json_schema()
    content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **content}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)

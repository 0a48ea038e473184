"""Base classes of the methods' settings; the settings of one method are in that method's file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from csrd.config.messages import sentence
from csrd.config.sections import Fraction, NonNegative, Section
from csrd.errors import InputError


class MethodSettings(Section):
    """The block of a fitted method; its key in the configuration is the method's key."""

    @model_validator(mode="before")
    @classmethod
    def _keep_the_methods_own_defaults(cls, values: Any) -> Any:
        """Complete a block that has only some keys: setting a training's steps keeps its batch size."""
        if not isinstance(values, Mapping):
            return values
        own = {name: field.default for name, field in cls.model_fields.items()}
        filled = {
            name: merged(own[name].model_dump(), block)
            for name, block in values.items()
            if isinstance(block, Mapping) and isinstance(own.get(name), Section)
        }
        return {**values, **filled}

    def updated(self, **differs: Any) -> Self:
        """Return the settings with some values replaced.

        Raises InputError for a value that a configuration must not have.
        """
        try:
            return type(self).model_validate(merged(self.model_dump(), differs))
        except ValidationError as error:
            raise InputError(sentence(error, type(self))) from None


class Training(Section):
    """A network's training; `csrd.train.loop` reads it."""

    steps: PositiveInt
    """Optimiser steps."""
    batch: PositiveInt
    """Patches or slices a step, over all processes."""
    lr: PositiveFloat
    """Highest learning rate of Adam."""
    beta2: Fraction = 0.99
    """Adam's decay rate of the average of squared gradients."""
    ramp: Fraction = 0.02
    """Fraction of the steps over which the learning rate rises from 0."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of the steps, the last ones, over which the learning rate falls to 0."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    clip: NonNegative = 0.0
    """Largest norm of a step's gradient, to which a larger one is cut; 0: none but a spike's is cut."""


class LearnedSettings(MethodSettings):
    """The block of a trained method; a subclass adds `training` and what its network needs."""

    if TYPE_CHECKING:  # a field of each subclass, with its own default
        training: Training

    mixed: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of training patches whose noise is mixed from all doses of the subject."""
    mirror: bool = True
    """Test-time augmentation: whether the outputs for the head and for its mirror image are averaged."""
    shift: bool = True
    """Test-time augmentation: whether outputs for the head and for it translated by a voxel are averaged."""


def merged(values: Mapping[str, Any], differs: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested `values` with those in `differs` replaced."""
    found = dict(values)
    for key, value in differs.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = merged(found[key], value) if both else value
    return found

"""A job of the workflow: one call of a stage function with the values of the rule, by their names."""

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

from csrd.errors import plain_errors


def run(job: Any, stage: str) -> None:
    """Call a stage function, such as ``csrd.stages.thin.thin``, for Snakemake's `job`; print what it returns.

    Output, and the message of an InputError, go to the job's log.
    """
    with plain_errors(job.log[0]):
        module, _, name = stage.rpartition(".")
        function = getattr(import_module(module), name)
        if (result := function(**arguments(job, function))) is not None:
            print(result)


def arguments(job: Any, function: Callable) -> dict[str, Any]:
    """Return a job's values for the parameters of a function, by name.

    They are the rule's inputs, outputs, params and wildcards (numbers as int), `threads`, `log`, and
    `processes`: the number of GPUs, at least 1. An output of the same name as another value is called
    ``<name>_out``. Empty inputs are left out; a block of the configuration becomes the parameter's class.
    """
    values = {"threads": job.threads, "log": job.log[0], "processes": max(job.resources.get("gpu", 0), 1)}
    values |= {key: int(text) if text.isdigit() else text for key, text in job.wildcards.items()}
    values |= dict(job.params.items()) | dict(job.input.items())
    values |= {f"{key}_out" if key in values else key: file for key, file in job.output.items()}
    parameters = signature(function).parameters
    return {
        key: _typed(value, parameters[key].annotation)
        for key, value in values.items()
        if key in parameters and (value or key not in dict(job.input.items()))
    }


def _typed(value: Any, annotation: Any) -> Any:
    from csrd.config.sections import Section

    is_section = isinstance(annotation, type) and issubclass(annotation, Section)
    return annotation(**value) if is_section and isinstance(value, dict) else value

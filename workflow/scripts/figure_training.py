"""Draw the courses of training from the records beside the models."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.report.curves import training

    histories = [Path(model).with_name("history.jsonl") for model in snakemake.input.models]
    training(snakemake.output.figure, dict(zip(snakemake.params.methods, histories, strict=True)))

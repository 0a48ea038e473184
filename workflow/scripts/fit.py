"""Fit one method on the training subjects."""

from itertools import product
from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.methods.base import TrainingPair
    from csrd.methods.train import train

    given, params = snakemake.input, snakemake.params
    images = zip(params.splits.items(), given.normals, given.mrs, given.masks, strict=True)
    pairs = [
        TrainingPair(subject, drf, low, normal, mr, mask, split)
        for low, (((subject, split), normal, mr, mask), drf) in zip(
            given.lows, product(images, params.drfs), strict=True
        )
    ]
    folder = Path(snakemake.output.model).parent
    processes = max(snakemake.resources.gpu, 1)
    train(
        snakemake.wildcards.method,
        pairs,
        params.settings,
        folder,
        threads=snakemake.threads,
        processes=processes,
    )

"""Fit one method on the training subjects."""

from itertools import product
from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.config.sections import Metrics
    from csrd.methods import FitContext, TrainingPair, method
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
    key = snakemake.wildcards.method
    settings = method(key).Settings(**params.settings)
    context = FitContext(params.seed, Metrics(**params.metrics), snakemake.threads)
    train(key, pairs, settings, folder, context, processes=processes)

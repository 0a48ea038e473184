"""Denoise scans of one subject by one method."""

from pathlib import Path

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.predict import predict

    given, out = snakemake.input, snakemake.output
    mr, model = given.get("mr") or None, Path(given.model).parent
    predict(given.lows, out.images, mr=mr, stds=out.get("stds"), model=model)

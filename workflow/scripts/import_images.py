"""Import PET images of the user's that are reconstructed already."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.import_ import import_images

    given, params = snakemake.input, snakemake.params
    lows = dict(zip(params.drfs, given.lows, strict=True))
    normal = {1: given.normal} if given.get("normal") else {}
    images = dict(zip(params.doses, snakemake.output.images, strict=True))
    import_images(normal | lows, images, params.unit)

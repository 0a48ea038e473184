"""Bring one subject's PET images and MR onto one cropped grid."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.align.align import AlignOutputs, align
    from csrd.io.files import read_json

    given, out, params = snakemake.input, snakemake.output, snakemake.params
    align(
        given.normal,
        dict(zip(params.drfs, given.lows, strict=True)),
        given.t1w,
        AlignOutputs(
            reference=out.reference,
            lowdose=dict(zip(params.drfs, out.lows, strict=True)),
            head=out.head,
            picture=out.picture,
            t1w=out.t1w,
            transform=out.transform,
        ),
        shape=tuple(params.align["shape"]),
        register_to=params.align["register_to"],
        seed=params.seed,
        threads=snakemake.threads,
        facts=read_json(given.subject),
    )

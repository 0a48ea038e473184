"""Bring one subject's PET images and MR onto one cropped grid."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.io.bids import by_dose
    from csrd.io.files import read_json
    from csrd.stages.align import AlignOutputs, align

    given, out, params = snakemake.input, snakemake.output, snakemake.params
    files = {name: out[name] for name in ("reference", "head", "picture", "t1w", "transform")}
    align(
        given.normal,
        by_dose(given.lows),
        given.t1w,
        AlignOutputs(**files, lowdose=by_dose(out.lows)),
        shape=tuple(params.align["shape"]),
        register_to=params.align["register_to"],
        seed=params.seed,
        threads=snakemake.threads,
        facts=read_json(given.subject),
    )

"""Import the μ-map and the crystal efficiencies of a scan of the user's."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.import_ import import_corrections

    given, out = snakemake.input, snakemake.output
    import_corrections(
        given.mumap,
        given.get("normalisation") or None,
        mumap_out=out.mumap,
        normalisation_out=out.normalisation,
        listmode=given.get("listmode") or None,
    )

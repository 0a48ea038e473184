"""Simulate one subject's images, and the ground truth."""

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.stages.simulate import simulate_anatomy

    given, params = snakemake.input, snakemake.params
    simulate_anatomy(
        given.tracer,
        dict(snakemake.output.items()),
        facts=params.facts,
        start_s=params.start_s,
        voxel_mm=params.voxel_mm,
        seed=params.seed,
        subject=snakemake.wildcards.subject,
        t1w=given.get("t1w") or None,
    )

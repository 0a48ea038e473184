"""Simulate one subject: the T1w image and μ-map that a study would have, and the truth behind them."""

from dataclasses import asdict

from csrd.errors import plain_errors

with plain_errors(snakemake.log[0]):
    from csrd.io.files import write_json
    from csrd.virtual.anatomy import make_anatomy
    from csrd.virtual.mr import simulate_mr
    from csrd.virtual.tracer import activity, read_tracer

    subject, seed, facts = snakemake.wildcards.subject, snakemake.params.seed, snakemake.params.facts
    anatomy = make_anatomy(seed, subject, snakemake.params.voxel_mm, t1w=snakemake.input.get("t1w") or None)
    t1w, mr_to_pet = simulate_mr(anatomy, seed, subject)
    tracer = read_tracer(snakemake.input.tracer)
    person = facts["injected_MBq"], facts["weight_kg"], snakemake.params.start_s
    image, spots = activity(anatomy, tracer, seed, subject, *person)

    t1w.save(snakemake.output.t1w)
    anatomy.mumap.save(snakemake.output.mumap)
    image.save(snakemake.output.activity)
    anatomy.labels.save(snakemake.output.labels)
    anatomy.brain.save(snakemake.output.brainmask)
    truth = {"matrix": mr_to_pet.tolist(), "spots": [asdict(spot) for spot in spots]}
    write_json(snakemake.output.mr_to_pet, truth)
    decay = 2 ** (-snakemake.params.start_s / tracer.half_life_s)
    write_json(snakemake.output.subject, {**facts, "activity_MBq": facts["injected_MBq"] * decay})

"""Uptake of each region: families of real tracers with their variation, and random values without a tracer.

Values are rounded from the literature on healthy people and typical patients, relative to cortex. They need
not be accurate, because every sample differs from them by 10 to 40 % in each region.
"""

import numpy as np

from csrd.virtual.regions import REGIONS

CORTEX = ("frontal", "parietal", "temporal", "occipital", "anterior_cingulate", "insula")
STRIATUM = ("caudate", "putamen", "accumbens")
GREY = tuple(name for name in REGIONS if name not in ("white_matter", "csf", "bone", "scalp"))

# In the order of REGIONS: frontal, parietal, temporal, occipital, anterior cingulate, insula, hippocampus,
# amygdala, caudate, putamen, accumbens, pallidum, thalamus, midbrain, raphe, pons, cerebellum, white matter,
# CSF, bone, scalp
FAMILIES = {
    "FDG": (
        1.0, 1.0, 0.9, 1.05, 1.0, 0.95, 0.72, 0.7, 1.15, 1.25, 1.05, 0.8,
        1.1, 0.75, 0.75, 0.6, 0.9, 0.4, 0.1, 0.15, 0.25,
    ),
    "amyloid, positive": (
        1.6, 1.55, 1.45, 1.3, 1.7, 1.4, 1.1, 1.1, 1.4, 1.45, 1.5, 1.3,
        1.25, 1.3, 1.3, 1.5, 0.9, 1.6, 0.3, 0.3, 0.45,
    ),
    "amyloid, negative": (
        0.85, 0.85, 0.85, 0.9, 0.9, 0.9, 0.9, 0.85, 0.95, 1.0, 0.9, 1.2,
        1.15, 1.3, 1.3, 1.6, 0.85, 1.75, 0.3, 0.3, 0.45,
    ),
    "raclopride": (
        0.65, 0.6, 0.65, 0.6, 0.7, 0.75, 0.65, 0.7, 3.4, 4.0, 2.8, 2.0,
        1.0, 0.75, 0.7, 0.55, 0.55, 0.4, 0.2, 0.2, 0.5,
    ),
    "FDOPA": (
        0.85, 0.8, 0.85, 0.8, 0.9, 0.95, 0.9, 1.0, 2.2, 2.5, 1.9, 1.4,
        0.95, 1.2, 1.2, 0.8, 0.8, 0.65, 0.3, 0.3, 0.8,
    ),
    "DAT": (
        0.55, 0.55, 0.55, 0.6, 0.6, 0.65, 0.6, 0.65, 4.2, 4.8, 3.4, 1.8,
        0.8, 1.2, 0.9, 0.6, 0.55, 0.45, 0.2, 0.2, 0.5,
    ),
    "DASB": (
        0.9, 0.9, 1.0, 0.98, 1.1, 1.2, 0.75, 1.25, 1.4, 1.5, 1.8, 0.85,
        1.2, 1.15, 1.6, 0.8, 0.5, 0.37, 0.08, 0.1, 0.18,
    ),
    "tau, positive": (
        1.2, 1.5, 1.7, 1.3, 1.1, 1.2, 1.3, 1.5, 1.2, 1.3, 1.1, 1.4,
        1.1, 1.2, 1.1, 0.9, 0.85, 0.8, 0.3, 0.5, 0.8,
    ),
    "tau, negative": (
        0.9, 0.9, 0.9, 0.9, 0.9, 0.95, 1.05, 1.0, 1.25, 1.4, 1.2, 1.6,
        1.15, 1.25, 1.1, 0.95, 0.95, 0.85, 0.4, 0.5, 0.8,
    ),
    "SV2A": (
        1.15, 1.15, 1.2, 1.2, 1.2, 1.25, 0.9, 1.0, 1.1, 1.3, 1.2, 0.7,
        0.9, 0.6, 0.6, 0.45, 0.85, 0.25, 0.1, 0.1, 0.3,
    ),
    "TSPO": (
        1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.05, 1.05, 0.95, 1.05, 1.0, 0.95,
        1.25, 1.15, 1.1, 1.2, 1.05, 0.85, 0.6, 0.9, 0.9,
    ),
    "GABA-A": (
        1.15, 1.1, 1.1, 1.35, 1.15, 1.05, 0.85, 0.8, 0.45, 0.5, 0.6, 0.35,
        0.55, 0.35, 0.3, 0.2, 0.75, 0.18, 0.1, 0.1, 0.25,
    ),
    "blood flow": (
        1.0, 0.95, 0.95, 1.0, 1.05, 1.05, 0.85, 0.85, 1.0, 1.1, 0.95, 0.8,
        1.1, 0.9, 0.85, 0.85, 1.05, 0.4, 0.2, 0.2, 0.35,
    ),
    "5-HT1A": (
        0.9, 0.85, 1.1, 0.75, 1.2, 1.4, 2.0, 1.6, 0.4, 0.4, 0.6, 0.35,
        0.5, 0.6, 1.6, 0.35, 0.3, 0.3, 0.1, 0.1, 0.2,
    ),
    "opioid": (
        1.0, 0.8, 0.95, 0.45, 1.25, 1.3, 0.8, 1.5, 1.6, 1.5, 1.8, 1.1,
        1.8, 1.0, 0.9, 0.7, 0.8, 0.4, 0.15, 0.15, 0.3,
    ),
    "amino acid": (
        0.9, 0.85, 0.9, 0.95, 0.9, 0.9, 0.85, 0.85, 0.95, 1.0, 0.9, 0.9,
        1.05, 0.9, 0.9, 0.85, 1.0, 0.6, 0.3, 0.7, 1.2,
    ),
    "no uptake in the brain": (
        0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3,
        0.35, 0.35, 0.35, 0.35, 0.35, 0.25, 0.4, 0.6, 1.0,
    ),
}  # fmt: skip
FREE = 0.5  # fraction of volumes whose uptake follows no family


def uptake_table(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return uptake by side and label (2, 22) with a mean in grey matter of 1, and its family's name."""
    if rng.random() < FREE:
        name, table = "free", free_draw(rng)
    else:
        name = str(rng.choice(list(FAMILIES)))
        table = np.array([0.0, *FAMILIES[name]])
        # an exponent makes the contrast between regions weaker or stronger as it is over time
        table[1:] = table[1:] ** rng.uniform(0.6, 1.3) * np.exp(rng.normal(0, rng.uniform(0.08, 0.3), 21))
        others = [REGIONS[region] for region in ("white_matter", "csf", "bone", "scalp")]
        table[others] *= np.exp(rng.normal(0, 0.3, 4))
    sides = table * np.exp(rng.normal(0, rng.uniform(0.01, 0.12), (2, 22)))
    return sides / sides[:, [REGIONS[region] for region in GREY]].mean(), name


def free_draw(rng: np.random.Generator) -> np.ndarray:
    """Return uptake by label (22,) drawn without a tracer in mind, air at 0."""
    table = np.zeros(22)
    spread = rng.uniform(0.1, 0.6)
    grey = [REGIONS[name] for name in GREY]
    table[grey] = np.exp(rng.normal(0, spread, len(grey)))
    if rng.random() < 0.5:  # lobes are more alike than nuclei are
        cortex = [REGIONS[name] for name in CORTEX]
        table[cortex] = table[cortex] ** 0.4
    if rng.random() < 0.3:
        table[[REGIONS[name] for name in STRIATUM]] *= np.exp(rng.uniform(np.log(1.5), np.log(6.0)))
    if rng.random() < 0.3:
        table[REGIONS["cerebellar_cortex"]] *= rng.uniform(0.4, 1.6)
    table[REGIONS["white_matter"]] = np.exp(rng.normal(-0.4, 0.65))
    table[REGIONS["csf"]] = rng.uniform(0.02, 0.6)
    table[REGIONS["bone"]] = np.exp(rng.uniform(np.log(0.03), np.log(0.9)))
    table[REGIONS["scalp"]] = np.exp(rng.uniform(np.log(0.04), np.log(1.2)))
    return table

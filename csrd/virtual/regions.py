"""Labels of the regions of a virtual head, by name; tracer tables name the same regions."""

# Every voxel of a head has one of these labels; 0 is air
REGIONS = {
    "frontal": 1,
    "parietal": 2,
    "temporal": 3,
    "occipital": 4,
    "anterior_cingulate": 5,
    "insula": 6,
    "hippocampus": 7,
    "amygdala": 8,
    "caudate": 9,
    "putamen": 10,
    "accumbens": 11,
    "pallidum": 12,
    "thalamus": 13,
    "midbrain": 14,
    "raphe": 15,
    "pons": 16,  # with the medulla
    "cerebellar_cortex": 17,
    "white_matter": 18,
    "csf": 19,
    "bone": 20,
    "scalp": 21,  # and the muscle and fat under the skull's base
}

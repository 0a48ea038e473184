"""A paragraph about a denoised scan for the methods section of an article, released under CC0."""

from collections.abc import Mapping
from typing import Any

from csrd.io.volume import Volume

PRODUCTS = {
    "mean": "the posterior mean",
    "fraction 0.0 of a sample": "the posterior mean",
    "sample": "a sample of the posterior",
    "average": "the mean of samples of the posterior",
}


def paragraph(facts: Mapping[str, Any], pet: Volume, *, with_mr: bool, with_std: bool, packaged: bool) -> str:
    """Return the paragraph; `facts` is the sidecar of the denoised image, `packaged` marks our models."""
    return " ".join(
        [
            _images(facts, pet),
            *_model(facts, packaged),
            _anatomy(facts, with_mr),
            *_product(facts),
            *(_deviation(facts) if with_std else []),
            *_weights(facts),
        ]
    )


def _images(facts: Mapping[str, Any], pet: Volume) -> str:
    shape = " × ".join(map(str, pet.shape))
    edges = " × ".join(f"{edge:.3g}" for edge in pet.voxel_mm)
    version = facts.get("Versions", {}).get("csrd")
    program = f"CSR-D (csrd {version})" if version else "CSR-D"
    method = f' by the method "{facts["Denoising"]}"' if "Denoising" in facts else ""
    return (
        f"PET images of {shape} voxels of {edges} mm were denoised with {program}{method}, an open "
        "implementation of a volumetric conditional score-based residual diffusion model (Yoon et al., "
        "MICCAI 2024) and of methods that it is compared with."
    )


def _model(facts: Mapping[str, Any], packaged: bool) -> list[str]:
    if packaged:
        return [
            "The packaged network had been trained on synthetic scans only; it measures the noise in the "
            "image and is not given the dose."
        ]
    if drf := facts.get("DoseReductionFactor"):
        how = ", estimated from the noise in the image" if facts.get("DoseReductionFactorEstimated") else ""
        return [f"The dose reduction factor was {drf:.3g}{how}."]
    return []


def _anatomy(facts: Mapping[str, Any], with_mr: bool) -> str:
    if not with_mr:
        return "No MR was used."
    how = "lay on the grid of the PET"
    if "RegistrationMatrix" in facts:
        how = "had been registered to the PET by a rigid transform that maximises mutual information (ANTs)"
    return f"The subject's T1-weighted MR, a second input, {how}."


def _product(facts: Mapping[str, Any]) -> list[str]:
    product = facts.get("Product")
    if product is None:
        return []
    return [f"The image is {PRODUCTS.get(product, f'the posterior mean with a {product}')}."]


def _deviation(facts: Mapping[str, Any]) -> list[str]:
    sampler = facts.get("Sampler", {})
    how = f" (Heun's method, {sampler['steps']} steps)" if "steps" in sampler else ""
    number = facts.get("Samples", "several")
    return [f"The standard deviation of each voxel was computed from {number} samples{how}."]


def _weights(facts: Mapping[str, Any]) -> list[str]:
    digest = facts.get("WeightsSha256")
    return [f"The network's weights have the SHA-256 {digest}."] if digest else []

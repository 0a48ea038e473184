"""CSR-D: from PET list-mode data to a denoised brain and to the paper's Table 1.

`csrd.denoise(low, mr)` denoises one scan (see `csrd.stages.predict.denoise`).
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Return `denoise`, which is imported when asked for: what it needs takes seconds."""
    if name == "denoise":
        from csrd.stages.predict import denoise

        return denoise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""CSR-D: from PET list-mode data to a denoised brain and to the paper's Table 1."""

__version__ = "0.1.0"

"""Networks: plain torch modules that know nothing of PET, diffusion or files."""

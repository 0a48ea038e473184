"""Score-based diffusion of the residual r = x_low − x_normal; docstrings name the equations.

"Paper" is CSR-D (MICCAI 2024), "EDM" is Karras 2022.
"""

"""Networks: torch modules, independent of PET, diffusion and files."""

from torch import nn


class VolumeNetwork(nn.Module):
    """F(x; noise, dose) of volumes whose edges are multiples of `factor` voxels."""

    factor: int
    bytes_per_voxel: float
    """Memory that an evaluation takes."""

"""The 2D U-Net (Ronneberger et al., 2015), MONAI's."""

from torch import nn

from csrd.methods.slices import SliceMethod


class UNet(SliceMethod):
    """Four levels of encoder and decoder around a fifth, the channels doubled at each coarser one."""

    key, label = "unet", "U-net"
    factor = 16

    @classmethod
    def network(cls, settings: dict) -> nn.Module:
        from monai.networks.nets import BasicUNet

        c = settings["channels"]
        features = (c, 2 * c, 4 * c, 8 * c, 16 * c, c)
        # as published: no normalisation, which would take the level from an image whose level is what counts
        return BasicUNet(spatial_dims=2, in_channels=2, out_channels=1, features=features, norm=None)


METHOD = UNet

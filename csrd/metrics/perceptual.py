"""P_dist, the distance of a VGG's features (the paper's eq. 7), and LPIPS (Zhang et al. 2018)."""

from functools import cache

import numpy as np

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.imagenet import verified
from csrd.metrics import vgg
from csrd.metrics.metric import Metric, Reference


def unit_scaled(slices: np.ndarray, data_range: float) -> np.ndarray:
    """Return slices / data_range, cut to 0 … 1, float32, as input of a network."""
    return np.clip(slices / data_range, 0, 1).astype(np.float32)


def p_dist(reference: np.ndarray, image: np.ndarray) -> float:
    """Return the mean squared difference of features (N, C, H, W), which are not normalised; 0 if equal.

    >>> p_dist(np.zeros((1, 2, 3, 3)), np.full((1, 2, 3, 3), 2.0))
    4.0
    """
    return float(np.mean(np.square(image - reference), dtype=np.float64))


class PDist(Metric):
    """Perceptual distance (eq. 7): mean (VGG(x̂) − VGG(x))² of the last convolution before its rectifier.

    That is conv5_4 of VGG-19 or conv5_3 of VGG-16, of grey replicated to three channels and standardised by
    ImageNet's mean and deviation. Values of different networks cannot be compared.
    """

    key, label, unit, decimals, lower_better = "p_dist", "P_dist", "", 2, True
    data_range = "0 to the maximum of the normal dose inside the head mask, larger values are cut"
    domain = "axial slices that hold the head mask, cropped to its bounding box; 0 outside the mask"

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        self.network = vgg.load(settings.vgg, settings.weights)
        self.features = self._features(reference.pet.array)

    def _features(self, array: np.ndarray) -> np.ndarray:
        return self.network.features(unit_scaled(self.reference.slices(array), self.reference.data_range))

    def compute(self, array: np.ndarray) -> float:
        return p_dist(self.features, self._features(array))


class Lpips(Metric):
    """Learned perceptual image patch similarity, version 0.1 on AlexNet, by the authors' package."""

    key, label, unit, decimals, lower_better = "lpips", "LPIPS", "AlexNet", 3, True
    data_range = PDist.data_range
    domain = "axial slices that hold the head mask, cropped to its bounding box; 0 outside the mask"
    smallest = 32  # pixels; AlexNet's poolings leave nothing of less

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        height, width = reference.mask_slices.shape[1:]
        if min(height, width) < self.smallest:
            raise InputError(
                f"the head mask is {height} × {width} voxels wide and LPIPS needs {self.smallest}; "
                "set metrics.lpips: false"
            )
        self.network = alex_lpips(settings.weights)

    def compute(self, array: np.ndarray) -> float:
        import torch

        pairs = [self.reference.slices(volume) for volume in (self.reference.pet.array, array)]
        batches = zip(*(vgg.batched(unit_scaled(s, self.reference.data_range)) for s in pairs), strict=True)
        with torch.inference_mode():
            values = [
                self.network(
                    *(torch.from_numpy(s)[:, None].expand(-1, 3, -1, -1) for s in pair), normalize=True
                )
                for pair in batches
            ]
        return float(torch.cat(values).mean())


@cache
def alex_lpips(folder: str):
    """Return the package's LPIPS with its own calibrated heads on torchvision's ImageNet AlexNet in `folder`.

    Raises InputError where AlexNet's file is missing or another.
    """
    path = verified("alexnet", folder)
    return with_backbone(vgg.read_state(path), path)


def with_backbone(state: dict, source: object):
    """Return LPIPS whose backbone has the weights ``features.N.weight`` and ``.bias`` in `state`."""
    import warnings

    from csrd.metrics.operators import import_torchvision

    import_torchvision()
    import lpips

    with warnings.catch_warnings():  # the package uses a deprecated argument of torchvision
        warnings.simplefilter("ignore", UserWarning)
        # pnet_rand: it would download otherwise; every one of those weights is replaced below
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    backbone = {
        key: state.get(f"features.{key.split('.', 1)[1]}") for key in network.net.state_dict()
    }  # slice2.3.weight -> features.3.weight
    if absent := [key for key, value in backbone.items() if value is None]:
        raise InputError(f"{source} lacks features.{absent[0].split('.', 1)[1]}; take torchvision's AlexNet")
    network.net.load_state_dict(backbone)
    return network

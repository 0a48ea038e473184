"""VGG-16 and VGG-19 (Simonyan & Zisserman 2015) up to their last convolution, with ImageNet weights.

torch is imported inside functions, so that names and settings are available without it.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.imagenet import verified
from csrd.metrics.initialisers import initialisers

# Convolutions a block; their channels are 64, 128, 256, 512, 512, and blocks are parted by 2 × 2 max pooling.
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
# Grey in 0 … 1 becomes (scale · grey − mean) / deviation in each of the three input channels.
INPUTS = {
    "vgg16": (255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),  # blue, green, red, as it was trained
    "vgg19": (1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # red, green, blue
}
BATCH = 16  # slices that pass together: enough to make reordering the filters cheap, little memory


class Vgg:
    """A network whose value is the last convolution's output before its rectifier: conv5_3 or conv5_4.

    `filters` are (weight (out, in, 3, 3), bias (out,)) float32, from the input on.
    """

    def __init__(self, name: str, filters: list[tuple[np.ndarray, np.ndarray]], bf16: bool | None = None):
        import torch

        self.name = name
        bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported() if bf16 is None else bf16
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.filters = [
            (self._tensor(weight).contiguous(memory_format=torch.channels_last), self._tensor(bias))
            for weight, bias in filters
        ]

    def features(self, slices: np.ndarray, standardise: bool = True) -> np.ndarray:
        """Return the features (N, 512, H / 16, W / 16) float32 of grey `slices` (N, H, W) in 0 … 1.

        Grey is replicated to three channels and brought to the range that the network was trained on;
        without `standardise`, mean and deviation are not applied.
        """
        import torch

        with torch.inference_mode():
            batches = [self._forward(part, standardise).numpy() for part in batched(slices)]
        return np.concatenate(batches)

    def _forward(self, slices: np.ndarray, standardise: bool):
        from torch.nn import functional

        x = self._input(slices, standardise)
        last = len(self.filters) - 1
        ends = set(np.cumsum(BLOCKS[self.name]) - 1)
        for i, (weight, bias) in enumerate(self.filters):
            x = functional.conv2d(x, weight, bias, padding=1)
            if i < last:
                x = functional.relu_(x)
                if i in ends:
                    x = functional.max_pool2d(x, 2)
        return x.float()

    def _input(self, slices: np.ndarray, standardise: bool):
        import torch

        scale, mean, deviation = INPUTS[self.name]
        grey = torch.from_numpy(np.ascontiguousarray(slices, np.float32))[:, None] * scale
        channels = grey.expand(-1, 3, -1, -1)
        if standardise:
            channels = (channels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
        return channels.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def _tensor(self, array: np.ndarray):
        import torch

        return torch.from_numpy(np.array(array)).to(self.dtype)


@cache
def load(name: str, folder: str) -> Vgg:
    """Return the network `vgg16` or `vgg19`, loaded once a process; `folder` holds the downloaded weights.

    Raises InputError where its file is missing, is another, or holds other layers.
    """
    path = verified(name, folder)
    return Vgg(
        name, _onnx_filters(name, path) if path.suffix == ".onnx" else _torchvision_filters(name, path)
    )


def batched(slices: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (N, H, W) in parts of `BATCH` slices."""
    for start in range(0, len(slices), BATCH):
        yield slices[start : start + BATCH]


def read_state(path: Path) -> dict:
    """Return the tensors of a torch file by name; nothing but tensors is unpickled."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _torchvision_filters(name: str, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the filters in torchvision's names: features.N, where N counts rectifiers and poolings too."""
    state, filters, layer = read_state(path), [], 0
    for convolutions in BLOCKS[name]:
        for _ in range(convolutions):
            weight, bias = (state.get(f"features.{layer}.{part}") for part in ("weight", "bias"))
            if weight is None or bias is None:
                raise InputError(f"{path} lacks features.{layer}; take torchvision's {path.name}")
            filters.append((weight.numpy(), bias.numpy()))
            layer += 2
        layer += 1
    return _checked(name, filters, path)


def _onnx_filters(name: str, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the filters of an ONNX file that was written from Keras: blockB_convC/…, kernel and bias."""
    arrays, filters = initialisers(path), []
    for block, convolutions in enumerate(BLOCKS[name], start=1):
        for convolution in range(1, convolutions + 1):
            layer = f"block{block}_conv{convolution}"
            found = {array.ndim: array for key, array in arrays.items() if layer in key}
            if found.keys() != {1, 4}:
                raise InputError(f"{path} lacks {layer}; install its package again")
            filters.append((found[4], found[1]))
    return _checked(name, filters, path)


def _checked(name: str, filters: list, path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the filters if their shapes are those of the network."""
    channels = np.repeat((64, 128, 256, 512, 512), BLOCKS[name]).tolist()
    for (weight, bias), before, after in zip(filters, [3, *channels], channels, strict=False):
        if weight.shape != (after, before, 3, 3) or bias.shape != (after,):
            raise InputError(f"{path} has filters {weight.shape} where {name} has ({after}, {before}, 3, 3)")
    return filters

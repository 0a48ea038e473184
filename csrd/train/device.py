"""The device of a computation, its precision, and its free memory."""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch
from torch import nn

TOLERANCE = 0.03  # bf16 keeps eight bits; a right convolution differs from fp32's by less than one percent
GROUPS_OF_PROCESS, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
EDGE = 16  # voxels along an edge of the feature maps that bf16 is checked on, unless smaller ones are trained


def pick_device(name: str = "auto") -> torch.device:
    """Return the device: "auto" is this process's CUDA device if there is one.

    Raises RuntimeError where CUDA is requested and absent.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError("there is no CUDA device; choose cpu or auto")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def precision(device: torch.device, edge: int = EDGE) -> AbstractContextManager:
    """Return the context that networks run in: bf16 where the hardware has it and passes `bf16_is_right`.

    `edge` is that of the smallest feature maps, in voxels, where a network is trained.
    """
    if _has_bf16(device.type) and all(bf16_is_right(device.type, one) for one in {edge, EDGE}):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@cache
def _has_bf16(kind: str) -> bool:
    """Return whether bf16 pays: matrix units (AMX) or AVX-512's dot products on a CPU, any recent GPU."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


@cache
@torch.enable_grad()  # the first call may be within inference, without gradients
def bf16_is_right(kind: str, edge: int = EDGE) -> bool:
    """Return whether a 3D convolution of maps of edge³ voxels and its gradients in bf16 agree with fp32.

    Some versions of cuDNN returned wrong values for 3D convolutions in bf16. On CPUs with AVX-512 torch 2.13
    takes the weights' gradient of maps that are 2 voxels deep from uninitialised memory.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 32, edge, edge, edge, generator=generator).to(kind)
    x = x.contiguous(memory_format=torch.channels_last_3d)  # as the networks have it
    weight = torch.randn(32, 32, 3, 3, 3, generator=generator).to(kind)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        inputs = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (x, weight)]
        _leave_no_zeros(kind)
        y = nn.functional.conv3d(inputs[0], inputs[1], padding=1)
        gradients = torch.autograd.grad(y.square().sum(), inputs)
        results.append([y.detach().float(), *(part.float() for part in gradients)])
    right = all(bool((a - b).norm() <= TOLERANCE * b.norm()) for b, a in zip(*results, strict=True))
    if not right:
        warnings.warn(
            f"bf16 convolutions of {edge} voxels on this {kind} are wrong; fp32 is used, which is slower",
            stacklevel=2,
        )
    return right


def _leave_no_zeros(kind: str) -> None:
    """Fill memory and free it, so that reading uninitialised memory gives wrong values."""
    for size in (2**n for n in range(6, 20)):
        _ = [torch.full((size,), torch.inf, device=kind) for _ in range(8)]


def free_bytes(device: torch.device) -> float:
    """Return the memory in bytes for an evaluation: a GPU's free memory, or half of the computer's.

    Memory that torch has cached counts as free, since tiles would otherwise depend on earlier computations.
    The limit of a container or cluster job replaces the computer's memory.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return 0.9 * (torch.cuda.mem_get_info(device)[0] + kept)
    return 0.5 * min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits())


def _limits() -> Iterator[float]:
    """Yield the limits of this process's memory in bytes: its control groups', and SLURM's."""
    if slurm := os.environ.get("SLURM_MEM_PER_NODE", "").removesuffix("M"):
        yield float(slurm) * 2**20 or math.inf  # 0: all that the node has
    for line in GROUPS_OF_PROCESS.read_text().splitlines() if GROUPS_OF_PROCESS.exists() else ():
        _, controllers, group = line.split(":", 2)
        older = "memory" in controllers.split(",")
        root, name = (CGROUPS / "memory", "memory.limit_in_bytes") if older else (CGROUPS, "memory.max")
        here = root / group.lstrip("/")
        for folder in (here, *here.parents):
            if folder.is_relative_to(root) and (folder / name).exists():
                limit = (folder / name).read_text().strip()
                yield math.inf if limit == "max" else float(limit)

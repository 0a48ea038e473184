"""Import of torchvision beside a build of torch that does not suit it, such as torch's CPU build."""


def import_torchvision():
    """Return the module torchvision.

    Its wheel registers two detection operators with torch from a compiled library. Beside a CPU build of
    torch that library does not load, and the import of torchvision fails. They are then declared here,
    without an implementation, unless they exist: no network of ours detects boxes.
    """
    import torch

    boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                library.define(name + boxes)
        _KEPT.append(library)
        import torchvision
    return torchvision


_KEPT: list[object] = []  # a library's operators live as long as it does

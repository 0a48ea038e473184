"""Arrays of an ONNX file, read by protobuf with only the fields of the schema that they need."""

from functools import cache
from pathlib import Path

import numpy as np

from csrd.errors import InputError

FLOAT32 = 1  # TensorProto.DataType.FLOAT
# message -> field: (number, type, repeated), of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
FIELDS = {
    "Tensor": {
        "dims": (1, "INT64", True),
        "data_type": (2, "INT32", False),
        "name": (8, "STRING", False),
        "raw_data": (9, "BYTES", False),
    },
    "Graph": {"initializer": (5, "Tensor", True)},
    "Model": {"graph": (7, "Graph", False)},
}


def initialisers(path: str | Path) -> dict[str, np.ndarray]:
    """Return the float32 initialisers of an ONNX model by name, in the file's order; C-contiguous, read-only.

    Raises InputError for a file that is not an ONNX model.
    """
    from google.protobuf.message import DecodeError

    try:
        model = _message("Model").FromString(Path(path).read_bytes())
    except (DecodeError, OSError) as error:
        raise InputError(
            f"{path} is not a readable ONNX model ({error}); install its package again"
        ) from None
    return {
        tensor.name: np.frombuffer(tensor.raw_data, "<f4").reshape(tuple(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == FLOAT32
    }


@cache
def _message(name: str):
    """Return the protobuf class of a message in `FIELDS`; fields that are not listed are skipped."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="onnx_part.proto", package="onnx_part", syntax="proto2")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for field, (number, kind, repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            entry = described.field.add(name=field, number=number, label=label)
            if kind in FIELDS:
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".onnx_part.{kind}"
            else:
                entry.type = getattr(kinds, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"onnx_part.{name}"))

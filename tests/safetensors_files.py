"""Files of safetensors, written as the format's description says."""

import json
import struct

import numpy as np

TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


def safetensors(arrays, *, metadata=None, dtypes=None):
    """Return the bytes of a safetensors file; `dtypes` names some other than NumPy does."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, array in arrays.items():
        begin, data = len(data), data + np.ascontiguousarray(array).tobytes()
        dtype = (dtypes or {}).get(name) or TYPES[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [begin, len(data)]}
    return with_header(header, data)


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data

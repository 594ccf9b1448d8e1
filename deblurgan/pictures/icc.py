"""Colour profiles in place of numbers of ITU-T H.273, which JPEG, TIFF and WebP do not hold: ICC.1:2022."""

import struct

import numpy as np
from numpy.typing import NDArray

_D65 = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])
# Red, green, blue and white, x and y, by the number of the primaries
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_SRGB_CURVE = (3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_CURVES = {4: (0, 2.2), 5: (0, 2.8), 8: (0, 1.0)} | dict.fromkeys((1, 2, 6, 13, 14, 15), _SRGB_CURVE)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def profile(primaries: int, transfer: int) -> bytes | None:
    """Return a profile of these primaries and this transfer function; None where it cannot say so, as of PQ."""
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    kind, *parameters = _CURVES[transfer]
    curve = b"para" + struct.pack(">4xHxx", kind) + _numbers(*parameters)
    tags = {b"desc": _text("made of ITU-T H.273"), b"cprt": _text("no copyright"), b"wtpt": _xyz(_D50)}
    for name, column in zip((b"r", b"g", b"b"), _columns(primaries).T, strict=True):
        tags[name + b"XYZ"], tags[name + b"TRC"] = _xyz(column), curve
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = 128 + len(table) + len(content)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head.ljust(68, b"\0") + _numbers(*_D50)).ljust(128, b"\0") + table + content


def _columns(primaries: int) -> NDArray[np.float64]:
    """XYZ of red, green and blue at their largest, one a column, as seen under D50."""
    *colours, white = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in _PRIMARIES[primaries])
    columns = np.stack(colours, axis=1)
    columns *= np.linalg.solve(columns, white)
    adapted = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    return np.asarray(np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ columns)


def _numbers(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + _numbers(*values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded

"""JPEG XL, which Pillow reads with the help of pillow-jxl-plugin: with 8 bits, so that more come from imagecodecs.

The head of a file is ISO/IEC 18181-1, Annex D; the boxes around it 18181-2.
"""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.pictures.boxes import boxes
from deblurgan.pictures.exif import HEADER

_CODE, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_HEAD_BYTES = 1 << 10
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDE = ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW_SIDE = ((1, 6), (65, 8), (321, 10), (1345, 12))
# Descriptions of the profiles that libjxl makes where a file says that it is sRGB, or grey like that.
_USUAL_PROFILES = [name.encode("utf-16-be") for name in ("sRGB", "RGB_D65_SRG_", "Gra_D65_", "RGBA_D65_SRG_")]


@dataclass(frozen=True)
class Head:
    """What a file says of its picture: its size once upright, and how many bits a channel has."""

    width: int
    height: int
    bits: int


class _Bits:
    """Numbers from the head of the code, bit by bit from the lowest."""

    def __init__(self, content: bytes) -> None:
        self._rest, self._left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the file ends in its head")
        value = self._rest & ((1 << count) - 1)
        self._rest, self._left = self._rest >> count, self._left - count
        return value

    def one_of(self, choices: tuple[tuple[int, int], ...]) -> int:
        """Return a number for which two bits choose what is added to how many bits."""
        least, count = choices[self.take(2)]
        return least + self.take(count)

    def size(self) -> tuple[int, int]:
        """Return the width and height."""
        small = self.take(1)

        def side() -> int:
            return 8 * (1 + self.take(5)) if small else self.one_of(_SIDE)

        height, ratio = side(), self.take(3)
        if not ratio:
            return side(), height
        over, under = _RATIOS[ratio]
        return height * over // under, height


def is_jxl(head: bytes) -> bool:
    """Whether a file that begins so is JPEG XL."""
    return head.startswith((_CODE, _CONTAINER))


def register() -> None:
    """Have Pillow read and write JPEG XL.

    Raises:
        ValueError: pillow-jxl-plugin is not installed.
    """
    try:
        import pillow_jxl  # noqa: F401
    except ImportError as error:
        raise ValueError("JPEG XL needs pillow-jxl-plugin: pip install 'deblurgan[jxl]'") from error


def read_head(file: IO[bytes]) -> Head:
    """Read the head.

    Raises:
        ValueError, struct.error: the file is damaged.
    """
    bits = _Bits(_code_of(file)[2:])
    width, height = bits.size()
    if bits.take(1):  # all else is as usual
        return Head(width, height, 8)
    turned = False
    if bits.take(1):
        turned = bits.take(3) >= 4
        if bits.take(1):  # the size that it is to be shown at
            bits.size()
        if bits.take(1):  # a preview
            _skip_preview(bits)
        if bits.take(1):  # an animation
            for choices in (
                ((100, 0), (1000, 0), (1, 10), (1, 30)),
                ((1, 0), (1001, 0), (1, 8), (1, 10)),
                ((0, 0), (0, 3), (0, 16), (0, 32)),
            ):
                bits.one_of(choices)
            bits.take(1)
    floats = bits.take(1)
    depth = bits.one_of(((32, 0), (16, 0), (24, 0), (1, 6)) if floats else ((8, 0), (10, 0), (12, 0), (1, 6)))
    return Head(height, width, depth) if turned else Head(width, height, depth)


def read_deep_jxl(file: IO[bytes], depth: int) -> NDArray[np.uint16]:
    """Read the pixels of a file with more than 8 bits, upright: uint16 (height, width, channels), 0 to 65535.

    Raises:
        ImportError: imagecodecs is not installed.
        metadata.DECODING_ERRORS: the file is damaged.
    """
    import imagecodecs

    file.seek(0)
    values = imagecodecs.jpegxl_decode(file.read(), index=0)
    values = values.reshape(*values.shape[:2], -1)
    most = 1.0 if values.dtype.kind == "f" else float(2**depth - 1)
    return np.rint(np.clip(values * (65535 / most), 0, 65535)).astype(np.uint16)


def encode_deep_jxl(values: NDArray[np.uint16], options: Mapping[str, Any]) -> bytes:
    """Return the content of a file with 16 bits; arguments as for `sixteen_bits.encode_deep_png`.

    Raises:
        ImportError: imagecodecs is not installed.
    """
    import imagecodecs

    lossless = options.get("lossless", False)
    code = imagecodecs.jpegxl_encode(
        values[:, :, 0] if values.shape[2] == 1 else values,
        distance=0.0 if lossless else 0.1 + (100 - options["quality"]) * 0.09,  # as libjxl's own programs have it
        lossless=lossless,
        bitspersample=16,
    )
    parts = {b"jxlc": _code_of(io.BytesIO(code), whole=True), b"xml ": options.get("xmp") or b""}
    if exif := options.get("exif"):
        parts[b"Exif"] = bytes(4) + exif.removeprefix(HEADER)
    content = b"".join(struct.pack(">I4s", 8 + len(part), kind) + part for kind, part in parts.items() if part)
    return _CONTAINER + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jxl ", 0, b"jxl ") + content


def read_xmp(file: IO[bytes]) -> bytes | None:
    """Return the XMP packet of a file, where it is not compressed."""
    for kind, start, end in boxes(file, 0, file.seek(0, io.SEEK_END)):
        if kind == b"xml ":
            file.seek(start)
            return file.read(end - start)
    return None


def is_usual(profile: bytes) -> bool:
    """Whether a colour profile is one that libjxl made, since there is none in the file, which is sRGB."""
    return any(name in profile[:512] for name in _USUAL_PROFILES)


def _skip_preview(bits: _Bits) -> None:
    eighths = bits.take(1)
    choices = ((16, 0), (32, 0), (1, 5), (33, 9)) if eighths else _PREVIEW_SIDE
    bits.one_of(choices)
    if not bits.take(3):
        bits.one_of(choices)


def _code_of(file: IO[bytes], whole: bool = False) -> bytes:
    """The start of the code in a file, or all of it."""
    file.seek(0)
    if file.read(2) == _CODE:
        file.seek(0)
        return file.read(-1 if whole else _HEAD_BYTES)
    parts = []
    for kind, start, end in boxes(file, 0, file.seek(0, io.SEEK_END)):
        if kind in (b"jxlc", b"jxlp"):
            file.seek(start + 4 * (kind == b"jxlp"))
            content = file.read(end - file.tell() if whole else min(end - file.tell(), _HEAD_BYTES))
            parts.append(content)
            if not whole:
                break
    code = b"".join(parts)
    if not code.startswith(_CODE):
        raise ValueError("JPEG XL without a picture")
    return code

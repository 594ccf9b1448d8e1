"""The picture formats: which extension stands for which, which can be written, and with what."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deblurgan.errors import InputError
from deblurgan.files import shown

_EXTENSIONS = {
    "AVIF": ".avif",
    "BMP": ".bmp",
    "DDS": ".dds",
    "GIF": ".gif",
    "HEIF": ".heic .heif .hif",
    "ICO": ".ico",
    "JPEG": ".jfif .jpe .jpeg .jpg .mpo",
    "JPEG2000": ".j2k .jp2",
    "JXL": ".jxl",
    "PCX": ".pcx",
    "PNG": ".png",
    "PPM": ".pbm .pgm .pnm .ppm",
    "PSD": ".psd",
    "QOI": ".qoi",
    "RAW": ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .sr2 .srw",
    "SGI": ".sgi",
    "TGA": ".tga",
    "TIFF": ".tif .tiff",
    "WEBP": ".webp",
}
_FORMATS = {extension: name for name, extensions in _EXTENSIONS.items() for extension in extensions.split()}
IMAGE_EXTENSIONS: frozenset[str] = frozenset(
    extension
    for extension, name in _FORMATS.items()
    if name != "RAW" or importlib.util.find_spec("rawpy")  # else they are left where they are, beside the JPEG files
)
EXTENSIONS = {"jpg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp"}  # by the name of the format to write
READABLE: frozenset[str] = frozenset(_EXTENSIONS)
INSTEAD = {"RAW": ".tif"}  # of formats that can only be read: what their results are; ".png" for the others
WRITABLE = frozenset({"AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "PNG", "PPM", "TGA", "TIFF", "WEBP"})
WITHOUT_SIGNATURE = frozenset({"PCX", "TGA"})  # anything could be one, so that the extension has to say so

WITH_ALPHA = frozenset({"AVIF", "HEIF", "JPEG2000", "JXL", "PNG", "TGA", "TIFF", "WEBP"})

# Pillow's save options for a picture that does not come from a file of the same format.
ENCODINGS: Mapping[str, Mapping[str, Any]] = {
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "JXL": {"quality": 95},
    "WEBP": {"lossless": True, "exact": True},
}


def is_an_image_file(filename: str | os.PathLike[str]) -> bool:
    """Whether the name ends in one of `IMAGE_EXTENSIONS`, in upper or lower case. The file is not looked at.

    Examples:
        >>> from deblurgan.utils import is_an_image_file
        >>> is_an_image_file("PHOTO.JPG"), is_an_image_file("notes.txt")
        (True, False)
    """
    return Path(filename).suffix.lower() in IMAGE_EXTENSIONS


def named_format(path: str | os.PathLike[str]) -> str | None:
    """Return Pillow's name for the format that the extension of `path` stands for, or None."""
    return _FORMATS.get(Path(path).suffix.lower())


def format_to_write(path: str | os.PathLike[str]) -> str:
    """Return Pillow's name for the format that a file named `path` is written in.

    Raises:
        InputError: there is no such format, or it cannot be written.
    """
    file_format = named_format(path)
    if file_format not in WRITABLE:
        extensions = " ".join(sorted(name for name, kind in _FORMATS.items() if kind in WRITABLE))
        raise InputError(f"{shown(path)}: expected one of {extensions}, got {Path(path).suffix.lower() or 'none'!r}")
    return file_format


def encoding_of_quality(file_format: str, quality: int) -> dict[str, Any]:
    """Return Pillow's save options for this quality, 1 to 100; none where the format knows no quality."""
    if file_format not in ENCODINGS:
        return {}
    if file_format == "JXL" and quality == 100:
        return {"lossless": True}
    kept = {name: value for name, value in ENCODINGS[file_format].items() if name == "subsampling"}
    return {**kept, "quality": quality}

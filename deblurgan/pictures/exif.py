"""EXIF blocks: read and changed byte by byte, so that maker notes, which refer to positions, survive."""

import struct
from collections.abc import Sequence
from typing import IO, Any

from PIL import ExifTags, Image

from deblurgan.pictures.pillow import no_warnings

HEADER = b"Exif\0\0"

# The fields of TIFF and EXIF that tell about the scene rather than about the layout of the pixels.
_SCENE_FIELDS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
)
# What else of a TIFF file is kept when its pixels are stored otherwise: XMP, IPTC, resolution.
_BESIDE = (700, 33723, ExifTags.Base.ResolutionUnit, ExifTags.Base.XResolution, ExifTags.Base.YResolution)
_SCENE_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)

# In the place of an EXIF tag: the links to the first directory, and to the one of the thumbnail.
_FIRST_DIRECTORY = -1
_THUMBNAIL_DIRECTORY = -2


def orientation(exif: bytes) -> int | None:
    """Return how the pixels are to be turned: 1 to 8, 1 for a number that means nothing; None where EXIF is silent.

    Raises:
        LookupError, struct.error: EXIF is damaged.
    """
    place = _numbers(exif).get(ExifTags.Base.Orientation)
    if place is None:
        return None
    number = _number(exif, place)
    return number if number in range(1, 9) else 1


def orientation_alone(exif: bytes) -> bytes | None:
    """Return EXIF with nothing but the orientation that a damaged one states in its first directory.

    Raises:
        LookupError, struct.error: it states none that can be read.
    """
    alone = Image.Exif()
    alone[ExifTags.Base.Orientation] = _number(exif, _numbers(exif, (_FIRST_DIRECTORY,))[ExifTags.Base.Orientation])
    return alone.tobytes()


def upright(exif: bytes, height: int, width: int) -> bytes:
    """Return EXIF for an upright picture of this size, without a thumbnail: numbers are changed where they stand.

    Raises:
        LookupError, struct.error: EXIF is damaged.
    """
    changed = bytearray(exif)
    numbers = _numbers(exif)
    for tag, value in (
        (ExifTags.Base.Orientation, 1),
        (ExifTags.Base.ExifImageWidth, width),
        (ExifTags.Base.ExifImageHeight, height),
        (_THUMBNAIL_DIRECTORY, 0),
    ):
        if tag in numbers:
            number_format, position = numbers[tag]
            struct.pack_into(number_format, changed, position, min(value, 0xFFFF))
    return bytes(changed)


def scene_fields(exif: Image.Exif) -> Image.Exif:
    """A copy of EXIF from, or for, a TIFF file, without what describes the layout of its pixels."""
    fields = Image.Exif()
    fields.update({tag: exif[tag] for tag in _SCENE_FIELDS if tag in exif})
    fields.update({tag: exif.get_ifd(tag) for tag in _SCENE_DIRECTORIES if tag in exif})
    return fields


def carried(file: IO[bytes], *more: int) -> dict[str, Any]:
    """Return save options for a TIFF file with what the TIFF file `file` says besides its pixels, and these fields.

    Raises:
        metadata.DECODING_ERRORS: the file is damaged.
    """
    file.seek(0)
    found = Image.Exif()
    with no_warnings():
        found.load_from_fp(file)
        fields = scene_fields(found)
        fields.update({tag: found[tag] for tag in (*_BESIDE, *more) if tag in found})
    return {"exif": fields.tobytes()} if fields else {}


def _numbers(
    exif: bytes, directories: Sequence[int] = (_FIRST_DIRECTORY, ExifTags.IFD.Exif)
) -> dict[int, tuple[str, int]]:
    """Where an EXIF block keeps its single whole numbers: tag -> (`struct` format, position)."""
    start = len(HEADER)
    order = {b"II*\0": "<", b"MM\0*": ">"}[exif[start : start + 4]]
    formats = {3: order + "H", 4: order + "I"}
    numbers = {_FIRST_DIRECTORY: (formats[4], start + 4)}
    for link in directories:
        if link not in numbers:
            break
        directory = start + _number(exif, numbers[link])
        end = directory + 2 + 12 * _number(exif, (formats[3], directory))
        for entry in range(directory + 2, end, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, entry)
            if count == 1 and kind in formats:
                numbers.setdefault(tag, (formats[kind], entry + 8))
        if link == _FIRST_DIRECTORY and end + 4 <= len(exif):
            numbers[_THUMBNAIL_DIRECTORY] = (formats[4], end)
    return numbers


def _number(exif: bytes, place: tuple[str, int]) -> int:
    """The whole number at a place that `_numbers` gave."""
    return int(struct.unpack_from(place[0], exif, place[1])[0])

"""What an image file says about its pixels: EXIF, XMP, colour profile and resolution, from one format to another."""

import dataclasses
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

# What Pillow raises for damaged files.
DECODING_ERRORS = (
    Image.DecompressionBombError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_EXIF_HEADER = b"Exif\0\0"
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_SEGMENT_BYTES = 65533

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
_SCENE_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_TIFF_XMP = 700
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:=["']|>))([1-8])""")

_WITH_METADATA = frozenset({"AVIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP"})

# In the place of an EXIF tag: the links to the first directory, and to the one of the thumbnail.
_FIRST_DIRECTORY = -1
_THUMBNAIL_DIRECTORY = -2


@dataclass(frozen=True)
class Metadata:
    """What goes along with the pixels of a photograph; None for what it does not have.

    Attributes:
        exif: EXIF with its "Exif" header. That of a TIFF file is its fields about the scene, without orientation.
        icc_profile: the colour profile.
        xmp: an XMP packet.
        dpi: horizontal and vertical resolution in pixels per inch.
        png_colour: chunks of a PNG file, name and content, that say what its values mean where that is not sRGB.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    png_colour: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def orientation(self) -> int:
        """How the pixels are to be turned: the number, 1 to 8, that EXIF states, or else XMP, or else 1."""
        place = _exif_numbers(self.exif).get(ExifTags.Base.Orientation) if self.exif else None
        if self.exif and place:
            orientation = _number(self.exif, place)
            return orientation if orientation in range(1, 9) else 1
        match = _XMP_ORIENTATION.search(self.xmp or b"")
        return int(match[2]) if match else 1

    def upright(self, height: int, width: int) -> "Metadata":
        """Return it for an upright picture of this size: orientation 1, and no thumbnail of the old picture.

        Raises:
            LookupError, struct.error: EXIF is damaged.
        """
        return dataclasses.replace(
            self,
            exif=_upright_exif(self.exif, height, width) if self.exif else None,
            xmp=_XMP_ORIENTATION.sub(rb"\g<1>1", self.xmp) if self.xmp else None,
        )

    def save_options(self, file_format: str) -> dict[str, Any]:
        """Return Pillow's save options for as much of this as the format holds.

        Args:
            file_format: Pillow's name of it, "JPEG" and so on.

        Raises:
            DECODING_ERRORS: EXIF is damaged.
        """
        exif, xmp = self.exif, self.xmp
        options: dict[str, Any] = {"dpi": self.dpi, "icc_profile": self.icc_profile, "exif": exif}
        if file_format == "JPEG":
            if exif and len(exif) > _JPEG_SEGMENT_BYTES:
                del options["exif"]
            if xmp and len(_XMP_HEADER + xmp) <= _JPEG_SEGMENT_BYTES:
                content = _XMP_HEADER + xmp
                options["extra"] = b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content
        elif file_format == "PNG" and (xmp or self.png_colour):
            options["pnginfo"] = PngImagePlugin.PngInfo()
            for name, content in self.png_colour:
                options["pnginfo"].add(name, content)
            if xmp:
                options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
        elif file_format == "TIFF":
            source = Image.Exif()
            if exif:
                source.load(exif)
            fields = _scene_fields(source)
            if xmp:
                fields[_TIFF_XMP] = xmp
            options["exif"] = fields.tobytes() if fields else None
        elif file_format in ("AVIF", "HEIF", "WEBP"):
            options["xmp"] = xmp
        return {name: value for name, value in options.items() if value}

    def not_kept(self, file_format: str) -> list[str]:
        """Return what of this a file of this format does not hold, one line each; resolution is not worth one."""
        lost = []
        if file_format not in _WITH_METADATA:
            parts = {"EXIF": self.exif, "colour profile": self.icc_profile, "XMP": self.xmp}
            lost = [f"{file_format} holds no {name}" for name, content in parts.items() if content]
        elif file_format == "JPEG":
            segments = {"EXIF": self.exif or b"", "XMP": _XMP_HEADER + (self.xmp or b"")}
            too_long = (name for name, content in segments.items() if len(content) > _JPEG_SEGMENT_BYTES)
            lost = [f"JPEG holds no {name} above 64 KB" for name in too_long]
        gamma = dict(self.png_colour).get(b"gAMA")
        if file_format != "PNG" and gamma and not 45000 < struct.unpack(">I", gamma)[0] < 46000:  # sRGB: 1 / 2.2
            lost.append(f"{file_format} holds no gamma, which the PNG file states: brightness will look different")
        return lost


def read_metadata(image: Image.Image) -> tuple[Metadata, bool]:
    """Return the metadata of an image that Pillow has opened, and whether it has damaged EXIF, which is left out.

    Viewers turn a picture whose EXIF is damaged elsewhere, so that its orientation is kept where it can be read.

    Some PNG files have theirs behind the pixels: call `image.load()` before.
    """
    metadata = Metadata(
        icc_profile=image.info.get("icc_profile"), xmp=_xmp(image), dpi=_dpi(image), png_colour=_png_colour(image)
    )
    try:
        with_exif = dataclasses.replace(metadata, exif=_exif(image))
        with_exif.upright(1, 1)
    except DECODING_ERRORS:
        return dataclasses.replace(metadata, exif=_orientation_alone(image)), True
    return with_exif, False


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Resolution in pixels per inch where the file states one that makes sense."""
    try:
        horizontal, vertical = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError):
        return None
    sensible = 1 < horizontal < 65536 and 1 < vertical < 65536  # Pillow's value for a TIFF that states none is 1
    return (horizontal, vertical) if sensible else None


def _png_colour(image: Image.Image) -> tuple[tuple[bytes, bytes], ...]:
    """The chunks gAMA and cHRM of a PNG file, unless it is sRGB or has a colour profile, which stand above them."""
    if image.format != "PNG" or "srgb" in image.info or image.info.get("icc_profile"):
        return ()
    numbers = {b"gAMA": (image.info.get("gamma"),), b"cHRM": image.info.get("chromaticity", (None,))}
    return tuple(
        (name, struct.pack(f">{len(values)}I", *(round(value * 100000) for value in values)))
        for name, values in numbers.items()
        if None not in values
    )


def _xmp(image: Image.Image) -> bytes | None:
    """The XMP packet of a file, which Pillow keeps in several places."""
    for segment, content in getattr(image, "applist", ()):
        if segment == "APP1" and content.startswith(_XMP_HEADER):
            return bytes(content[len(_XMP_HEADER) :])
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or getattr(image, "tag_v2", {}).get(_TIFF_XMP)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return xmp if isinstance(xmp, bytes) else None


def _exif(image: Image.Image) -> bytes | None:
    """The EXIF block of a file with its header, as `_EXIF_HEADER` and a small TIFF file."""
    if image.format == "TIFF":
        fields = _scene_fields(image.getexif())
        return fields.tobytes() if fields else None
    exif = image.info.get("exif")
    if exif is None and "Raw profile type exif" in image.info:  # how programs stored it before PNG had an EXIF chunk
        exif = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
    if not exif:
        return None
    while exif.startswith(_EXIF_HEADER):
        exif = exif[len(_EXIF_HEADER) :]
    return bytes(_EXIF_HEADER + exif)


def _orientation_alone(image: Image.Image) -> bytes | None:
    """EXIF with nothing but the orientation that a damaged one states in its first directory; None without any."""
    try:
        exif = _exif(image) or b""
        orientation = _number(exif, _exif_numbers(exif, (_FIRST_DIRECTORY,))[ExifTags.Base.Orientation])
    except DECODING_ERRORS:
        return None
    alone = Image.Exif()
    alone[ExifTags.Base.Orientation] = orientation
    return alone.tobytes()


def _scene_fields(exif: Image.Exif) -> Image.Exif:
    """A copy of EXIF from, or for, a TIFF file, without what describes the layout of its pixels."""
    fields = Image.Exif()
    fields.update({tag: exif[tag] for tag in _SCENE_FIELDS if tag in exif})
    fields.update({tag: exif.get_ifd(tag) for tag in _SCENE_DIRECTORIES if tag in exif})
    return fields


def _exif_numbers(
    exif: bytes, directories: Sequence[int] = (_FIRST_DIRECTORY, ExifTags.IFD.Exif)
) -> dict[int, tuple[str, int]]:
    """Where an EXIF block keeps its single whole numbers: tag -> (`struct` format, position)."""
    start = len(_EXIF_HEADER)
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
    """The whole number at a place that `_exif_numbers` gave."""
    return int(struct.unpack_from(place[0], exif, place[1])[0])


def _upright_exif(exif: bytes, height: int, width: int) -> bytes:
    """EXIF with these numbers changed where they stand.

    Maker notes refer to positions, and would not survive a rearrangement.
    """
    changed = bytearray(exif)
    numbers = _exif_numbers(exif)
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

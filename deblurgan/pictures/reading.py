"""Reading image files, whatever they hold."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from deblurgan.errors import FileError
from deblurgan.files import reason, shown, stand_in
from deblurgan.pictures import jxl, other_tiff, png
from deblurgan.pictures.boxes import bits
from deblurgan.pictures.formats import READABLE, WITHOUT_SIGNATURE, named_format
from deblurgan.pictures.listing import is_odd
from deblurgan.pictures.metadata import DECODING_ERRORS, Metadata, read_metadata
from deblurgan.pictures.pillow import no_warnings, without_limits
from deblurgan.pictures.pixels import Pixels, to_8_bits
from deblurgan.pictures.raw import developed, is_raw, is_tiff
from deblurgan.pictures.sixteen_bits import (
    grey_with_alpha_known,
    is_deep_grey_with_alpha,
    read_deep,
    read_deep_avif,
    read_deep_heic,
)

CheckSize = Callable[[int, int], None]
"""Raises ValueError where a width and height are too large."""

_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr"}

_EXPECTED = "expected grey, RGB or CMYK with 8 or 16 bits"
_PNG_METADATA_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_JPEG2000_HEAD = 1 << 16  # bytes, before which the code begins
_MAY_BE_LARGE = 1 << 10  # bytes, of text that is compressed by 1000 at most
_WHITE_IS_ZERO = 0  # in the place of a TIFF file's PhotometricInterpretation

_UPRIGHT = ("JXL", "TIFF")  # which have been turned when they are read
_READ_DEEP = {"AVIF": read_deep_avif, "JXL": jxl.read_deep_jxl}

# The brands of files in the container of HEIC, which Pillow reads with the help of pillow-heif.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph, with what is needed to write a restored version of it as a file of the same kind.

    Attributes:
        rgb: uint8 or uint16 (height, width, 3), upright; grey pictures have three equal channels.
        alpha: (height, width) of the same dtype, or None.
        kind: what to write: "L" (grey), "LA", "RGB" or "RGBA".
        format: Pillow's name of the format that it came in: "PNG", "JPEG" and so on.
        encoding: Pillow's save options that compress no worse than the source did, for that same format.
        metadata: EXIF, XMP, colour profile and resolution, with orientation 1.
        notices: what of the source is not kept, one line each.
        bits: how many a channel had; None for as many as `rgb` has.
    """

    rgb: Pixels
    alpha: Pixels | None = None
    kind: str = "RGB"
    format: str = "PNG"
    encoding: Mapping[str, Any] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)
    notices: tuple[str, ...] = ()
    bits: int | None = None

    def made_by(self, channels: tuple[int, int]) -> "Picture":
        """Return it as what a network of so many channels, 3 or 1, makes of it is to be written: in colours or grey.

        The profile of colours that are no more, or of grey that has become colours, goes; a notice says so, and that
        a network is given the grey of colours.
        """
        notices = [*self.notices]
        if channels[0] == 1 and self.kind.startswith("RGB"):
            notices.append("the network takes grey: the colours are converted")
        was_grey = self.kind.startswith("L")
        is_grey = channels[1] == 1 or (was_grey and channels[0] == 3)
        if is_grey == was_grey:
            return replace(self, notices=tuple(notices))
        metadata = self.metadata
        if metadata.icc_profile is not None:
            notices.append("the colour profile is not kept")
            metadata = replace(metadata, icc_profile=None)
        kind = ("L" if is_grey else "RGB") + "A" * self.kind.endswith("A")
        return replace(self, kind=kind, metadata=metadata, notices=tuple(notices))


def read_rgb(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image as uint8 (height, width, 3), RGB, upright by its EXIF orientation.

    Grey becomes three equal channels, 16 bits are scaled to 8. Alpha is dropped: these are the stored colours, not
    composited on anything. See `read_picture` for the rest.

    Raises:
        FileError: as `read_picture`.
    """
    return to_8_bits(read_picture(path).rgb)


def read_picture(
    path: str | os.PathLike[str], *, content: bytes | None = None, max_pixels: int | None = None
) -> Picture:
    """Read a photograph together with what `encode_picture` needs for a restored version of it.

    The content decides which format it is, whatever the name says. More than 8 bits are kept of PNG, TIFF, HEIC, AVIF
    and JPEG XL. The first frame of an animation is read; CMYK is converted to RGB (without its colour profile, which
    no longer applies); raw camera data is developed. A notice in the result says so.

    Args:
        path: the file, or what to call `content` in messages.
        content: what to read instead of the file.
        max_pixels: refuse pictures with more; twice `PIL.Image.MAX_IMAGE_PIXELS` unless given.

    Raises:
        FileError: the file is missing, not an image in one of the formats of `IMAGE_EXTENSIONS`, damaged, larger than
            `max_pixels`, or needs a package that is not installed.
    """
    path = Path(path)
    with _opened(path, content, max_pixels) as (image, readable):
        file, rawmode = readable.file, _checked_rawmode(image)
        file_format = readable.format or ("JPEG" if image.format == "MPO" else str(image.format))
        rgb, alpha = _pixels(image, file, rawmode)
        grey = _is_grey(image, rawmode, rgb)
        notices = [*readable.notices, *_changed(image, file, rawmode, rgb, grey)]
        named = named_format(path)
        if named not in (file_format, None):
            notices.insert(0, f"the name says {named}, the content is {file_format}")
        metadata, left_out = read_metadata(image, file)
        if image.mode == "CMYK":
            metadata = replace(metadata, icc_profile=None)
        orientation = 1 if image.format in _UPRIGHT else metadata.orientation
        rgb = _turned_upright(rgb, orientation)
        return Picture(
            rgb=rgb,
            alpha=None if alpha is None else _turned_upright(alpha, orientation),
            kind=("L" if grey else "RGB") + ("" if alpha is None else "A"),
            format=file_format,
            encoding=_encoding(image, file, turned=orientation > 4),
            metadata=metadata.upright(*rgb.shape[:2]),
            notices=(*notices, *left_out),
            bits=_bits(image, file, rgb),
        )


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the height and width that `read_rgb` would give, from the header alone.

    The pixels are not decoded, so a file that is cut short after its header is not noticed.

    Raises:
        FileError: as `read_picture`, but for damage after the header.
    """
    path = Path(path)
    with _opened(path) as (image, readable):
        _checked_rawmode(image)
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer Pillow versions have turned `size`, but not all
            width, height = (image.tag_v2[tag] for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength))
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        else:
            if image.format == "HEIF" or (image.format == "PNG" and _metadata_is_last(readable.file)):
                image.load()  # HEIC says in two places how large it is
                width, height = image.size
            turned = image.format not in _UPRIGHT and read_metadata(image, readable.file)[0].orientation > 4
        return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opened(
    path: Path, content: bytes | None = None, max_pixels: int | None = None
) -> Iterator[tuple[Image.Image, "_Readable"]]:
    """Open an image file of one of the known formats, to be decoded in the block; yield its file too.

    Pillow gets a file and not a path: it maps some TIFF files that it knows by path to memory, and its newer versions
    then scramble the pixels of those with orientation 5 to 8.

    Raises:
        FileError: the file cannot be opened, or the block raised what Pillow raises for damaged files.
    """
    if content is None and is_odd(path):
        raise FileError(f"{shown(path)}: not a readable image (not a file)")
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as given, contextlib.ExitStack() as decoding:
            with without_limits() as limit:
                most = limit if max_pixels is None else max_pixels

            def check_size(width: int, height: int) -> None:
                if most is not None and width * height > most:
                    size = f"{width}x{height}"
                    raise ValueError(f"{size} pixels are more than the limit, {most}; --max_pixels raises it")

            readable = _readable(given, check_size)
            with no_warnings(), contextlib.nullcontext() if _is_icon(readable.file) else without_limits():
                image = _identified(path, readable.file)
            check_size(image.width, image.height)
            if image.format == "TIFF":  # whose fields are decoded, and warned about, only when they are needed
                decoding.enter_context(no_warnings())
            if _has_late_limits(image, readable.file, limit):
                decoding.enter_context(without_limits())
            yield image, readable
    except DECODING_ERRORS as error:
        raise FileError(f"{shown(path)}: not a readable image ({reason(error)})") from error


@dataclass(frozen=True)
class _Readable:
    """A file that Pillow reads; of one that has become that, the format that it came in, and what was done."""

    file: IO[bytes]
    format: str = ""
    notices: Sequence[str] = ()


def _readable(file: IO[bytes], check_size: CheckSize) -> _Readable:
    """Return the file, or the TIFF file that it has to become."""
    with no_warnings():
        is_camera_data = is_raw(file)
        is_other = not is_camera_data and is_tiff(file) and other_tiff.is_other(file)
        file.seek(0)
        if jxl.is_jxl(file.read(16)):  # which is decoded as soon as Pillow opens it
            head = jxl.read_head(file)
            check_size(head.width, head.height)
    if not is_camera_data and not is_other:
        return _Readable(file)
    content, notices = (developed if is_camera_data else other_tiff.converted)(file, check_size)
    return _Readable(io.BytesIO(content), "RAW" if is_camera_data else "", notices)


def _identified(path: Path, file: IO[bytes]) -> Image.Image:
    """Let Pillow find out what the file is.

    Raises:
        ValueError: it is no picture that can be read.
    """
    try:
        with grey_with_alpha_known():
            return Image.open(file, formats=_formats_to_try(path, file))
    except UnidentifiedImageError as error:
        if is_tiff(file):
            raise ValueError(f"{_EXPECTED}, got TIFF pixels of another kind") from error
        file.seek(0)
        start = file.read(256)
        why = stand_in(start) or ("no picture of a known format that can be read" if start else "the file is empty")
        raise ValueError(why) from error


def _formats_to_try(path: Path, file: IO[bytes]) -> list[str]:
    """Pillow's names of what the file may be.

    Raises:
        ValueError: it is HEIC or JPEG XL, and what reads that is not installed.
    """
    formats = READABLE - WITHOUT_SIGNATURE - {"HEIF", "JXL"}
    named = named_format(path)
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    brands = head[8 : int.from_bytes(head[:4], "big")]
    if head[4:8] == b"ftyp" and brands[:4] in _HEIC_BRANDS and b"avif" not in brands:
        try:
            import pillow_heif
        except ImportError as error:
            raise ValueError("HEIC needs pillow-heif: pip install 'deblurgan[heic]'") from error
        pillow_heif.register_heif_opener()
        formats |= {"HEIF"}
    if jxl.is_jxl(head):
        jxl.register()
        formats |= {"JXL"}
    Image.init()
    if named in WITHOUT_SIGNATURE:
        formats |= {str(named)}
    return sorted(formats & Image.OPEN.keys())  # AVIF is not in every Pillow


def _is_icon(file: IO[bytes]) -> bool:
    """Whether a file is ICO, whose picture, of any size within it, is decoded as soon as Pillow opens the file."""
    file.seek(0)
    return file.read(4) == b"\0\0\1\0"


def _has_late_limits(image: Image.Image, file: IO[bytes], limit: int | None) -> bool:
    """Whether Pillow has limits that it comes by only when it decodes: of pixels in TIFF or 16 bits, and of text."""
    large_text = image.format == "PNG" and any(
        name in (b"iTXt", b"zTXt") and size >= _MAY_BE_LARGE for name, size, _ in png.behind_the_pixels(file)
    )
    return large_text or (limit is not None and image.width * image.height > limit // 2)


def _checked_rawmode(image: Image.Image) -> str:
    """How the file stores a pixel, in Pillow's notation, such as "RGB;16B"; "" where Pillow does not say.

    Raises:
        ValueError: it is not one of those that are supported.
    """
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    rawmode = str(arguments[0] if isinstance(arguments, tuple) else arguments)
    if image.format == "PPM" and isinstance(arguments, tuple) and arguments[1] > 255:  # the largest value
        rawmode += ";16"
    fields = getattr(image, "tag_v2", {})
    if isinstance(image, TiffImagePlugin.TiffImageFile) and is_deep_grey_with_alpha(image):
        rawmode = "LA;16N" if image.use_load_libtiff else "LA;16L" if image.tag_v2.prefix == b"II" else "LA;16B"
    if fields.get(ExifTags.Base.PlanarConfiguration) == 2 and 16 in fields.get(ExifTags.Base.BitsPerSample, ()):
        raise ValueError("expected 16-bit channels pixel by pixel, got a plane for each")
    if (image.mode not in _GREY_MODES | _COLOUR_MODES and not _is_deep_pgm(image)) or rawmode == "I;12":
        raise ValueError(f"{_EXPECTED}, got {rawmode or image.mode} pixels")
    return rawmode


def _is_deep_pgm(image: Image.Image) -> bool:
    """Whether it is a grey PPM file of more than 8 bits, which Pillow scales to 16 and reads with 32."""
    return image.format == "PPM" and image.mode == "I"


def _pixels(image: Image.Image, file: IO[bytes], rawmode: str) -> tuple[Pixels, Pixels | None]:
    """The colours, (height, width, 3), and alpha, (height, width) or None, as stored: uint8 or uint16."""
    transparent = image.info.get("transparency")
    deep: NDArray[np.uint16] | None = None
    if image.format == "HEIF" and image.info.get("bit_depth", 8) > 8:
        deep = read_deep_heic(file)
    else:
        image.load()
    if image.format in _READ_DEEP and (depth := _stated_bits(image, file)) > 8:
        with contextlib.suppress(ImportError):  # which `_changed` tells
            deep = _READ_DEEP[image.format](file, depth)
    if image.format in ("PNG", "TIFF"):
        deep = read_deep(file, image, rawmode)
    if (image.format != "HEIF" and image.mode.startswith("I;16")) or _is_deep_pgm(image):
        deep = np.asarray(image).astype(np.uint16)[:, :, None]
        if getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
            deep = np.uint16(65535) - deep  # Pillow sees to it for 8 bits or less
    if deep is not None:
        channels = deep.shape[2]
        rgb = np.ascontiguousarray(deep[:, :, :3] if channels > 2 else np.repeat(deep[:, :, :1], 3, axis=2))
        if channels in (2, 4):
            return rgb, np.ascontiguousarray(deep[:, :, -1])
        if isinstance(transparent, (int, tuple)):
            is_opaque = (rgb != np.array(transparent, np.uint16)).any(axis=2)
            return rgb, np.where(is_opaque, 65535, 0).astype(np.uint16)
        return rgb, None
    if not image.has_transparency_data:
        return np.array(image.convert("RGB")), None
    if image.mode == "La":
        image = image.convert("LA")
    rgba = np.array(image.convert("RGBA"))
    return np.ascontiguousarray(rgba[:, :, :3]), np.ascontiguousarray(rgba[:, :, 3])


def _is_grey(image: Image.Image, rawmode: str, rgb: Pixels) -> bool:
    """Whether a picture is grey by its kind of pixels, or by what is in its palette."""
    if image.mode in ("P", "PA"):
        of_colours = (image.info.get("icc_profile") or b"")[16:20] == b"RGB "  # which no grey picture may have
        return not of_colours and bool((rgb == rgb[:, :, :1]).all())
    return image.mode in _GREY_MODES or _is_deep_pgm(image) or rawmode.startswith("LA")


def _changed(image: Image.Image, file: IO[bytes], rawmode: str, rgb: Pixels, grey: bool) -> list[str]:
    """What is read otherwise than it stands in the file, one line each."""
    notices = []
    if getattr(image, "is_animated", False):
        notices.append("only the first frame of several is used")
    if rgb.dtype == np.uint8 and ";16" in rawmode and not rawmode.startswith("BGR"):  # a BMP with 5, 6, 5 bits
        notices.append(f"16-bit {image.mode} is read with 8 bits")
    if rgb.dtype == np.uint8 and (depth := _stated_bits(image, file)) > 8:
        hint = f"; pip install 'deblurgan[{image.format.lower()}]' keeps them" if image.format in _READ_DEEP else ""
        notices.append(f"{depth}-bit {image.format} is read with 8 bits{hint}")
    if image.mode in ("P", "PA") and image.format != "GIF":
        notices.append(f"the palette becomes {'grey' if grey else 'RGB'}")
    if image.mode == "CMYK":
        notices.append("CMYK is converted to RGB, without its colour profile")
    return notices


def _stated_bits(image: Image.Image, file: IO[bytes]) -> int:
    """How many bits a channel has in the file, of formats of which Pillow does not say; else 8."""
    if image.format == "AVIF":
        return bits(file)
    if image.format == "JXL":
        return jxl.read_head(file).bits
    if image.format == "JPEG2000":
        file.seek(0)
        head = file.read(_JPEG2000_HEAD)
        depth = head.find(b"\xff\x4f\xff\x51") + 42  # in the first segment of its code: Ssiz
        return 1 + (head[depth] & 0x7F) if 42 <= depth < len(head) else 8
    return 8


def _bits(image: Image.Image, file: IO[bytes], rgb: Pixels) -> int | None:
    """`Picture.bits`."""
    if rgb.dtype == np.uint16 and image.format == "HEIF":
        return int(image.info["bit_depth"])
    return _stated_bits(image, file) if rgb.dtype == np.uint16 and image.format in _READ_DEEP else None


def _turned_upright(array: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation, 1 to 8."""
    if orientation > 4:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _encoding(image: Image.Image, file: IO[bytes], turned: bool) -> dict[str, Any]:
    """Save options that compress no worse than the file did. `turned`: rows have become columns."""
    if image.format == "WEBP" and not _webp_is_lossless(file):
        return {"quality": 95}
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode == "CMYK":
        return {}
    tables = [np.reshape(image.quantization[component[3]], (8, 8)) for component in image.layer]
    subsampling = JpegImagePlugin.get_sampling(image)
    if subsampling < 0 or (turned and subsampling == 1):  # no name in Pillow; or 4:2:2 on its side
        subsampling = 0
    return {
        "qtables": [(table.T if turned else table).ravel().tolist() for table in tables],
        "subsampling": subsampling,
    }


def _webp_is_lossless(file: IO[bytes]) -> bool:
    """Whether the first frame of a WebP file is compressed without loss."""
    file.seek(12)
    while len(header := file.read(8)) == 8:
        if header[:4] in (b"VP8 ", b"VP8L"):
            return header[:4] == b"VP8L"
        size = int.from_bytes(header[4:], "little")
        file.seek(16 if header[:4] == b"ANMF" else size + size % 2, os.SEEK_CUR)  # a frame holds chunks itself
    return False


def _metadata_is_last(file: IO[bytes]) -> bool:
    """Whether a PNG file has EXIF or XMP behind the pixels."""
    return any(
        name == b"eXIf" or start.startswith(_PNG_METADATA_TEXTS) for name, _, start in png.behind_the_pixels(file)
    )

"""Image files and pixel values: listing, reading and writing pictures, and uint8 <-> [-1, 1].

Outside networks an image is an array of shape (height, width, 3), RGB, upright, uint8 (or uint16 where a file has 16
bits and is to keep them); inside it is float32 in [-1, 1].
"""

import contextlib
import io
import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, reason, shown
from deblurgan.pictures.formats import (
    ENCODINGS,
    IMAGE_EXTENSIONS,
    READABLE,
    WITH_16_BITS,
    WITH_ALPHA,
    WITHOUT_SIGNATURE,
    WRITABLE,
    encoding_of_quality,
    format_to_write,
    is_an_image_file,
    named_format,
)
from deblurgan.pictures.metadata import DECODING_ERRORS, Metadata, read_metadata
from deblurgan.pictures.sixteen_bits import encode_deep_png, encode_deep_tiff, read_deep

__all__ = [
    "IMAGE_EXTENSIONS",
    "Picture",
    "encode_picture",
    "encode_png",
    "from_model",
    "is_an_image_file",
    "list_files",
    "list_images",
    "list_images_below",
    "not_kept",
    "read_picture",
    "read_rgb",
    "read_size",
    "resize",
    "side_by_side",
    "to_8_bits",
    "to_model",
    "write_image",
    "write_picture",
]

Pixels = NDArray[Any]  # uint8 or uint16

_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr"}

_PNG_METADATA_TEXTS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_WHITE_IS_ZERO = 0  # in the place of a TIFF file's PhotometricInterpretation

# The brands of files in the container of HEIC, which Pillow reads with the help of pillow-heif.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")

_process_lock = threading.RLock()  # the filters of `warnings`, and Pillow's limit, belong to the whole process


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
    """

    rgb: Pixels
    alpha: Pixels | None = None
    kind: str = "RGB"
    format: str = "PNG"
    encoding: Mapping[str, Any] = field(default_factory=dict)
    metadata: Metadata = field(default_factory=Metadata)
    notices: tuple[str, ...] = ()


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files directly in `folder`, sorted by name, without hidden files (`.name`) and sub-folders.

    Raises:
        FileError: the folder is missing, is not a folder, or cannot be listed.
    """
    return list_files(folder, is_an_image_file)


def list_files(folder: str | os.PathLike[str], wanted: Callable[[Path], bool]) -> list[Path]:
    """The files directly in `folder` whose names are `wanted`, as `list_images` sorts them and what it raises."""
    folder = Path(folder)
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError as error:
        raise FileError(f"{shown(folder)}: no such folder") from error
    except NotADirectoryError as error:
        raise FileError(f"{shown(folder)}: expected a folder, found a file") from error
    except OSError as error:
        raise FileError(f"{shown(folder)}: the folder cannot be listed: {reason(error)}") from error
    return sorted(
        (path for path in paths if wanted(path) and not path.name.startswith(".") and not _is_odd(path)),
        key=lambda path: path.name,
    )


def list_images_below(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in `folder` and in all folders below it, links included, as `list_images` sorts and chooses.

    A folder comes before those in it; hidden ones (`.name`) are passed over.

    Raises:
        FileError: as `list_images`.
    """
    paths: list[Path] = []
    seen: set[str] = set()
    waiting = [Path(folder)]
    while waiting:
        here = waiting.pop()
        if os.path.realpath(here) in seen:  # a link may lead back up
            continue
        seen.add(os.path.realpath(here))
        paths += list_images(here)
        below = (path for path in here.iterdir() if not path.name.startswith(".") and os.path.isdir(path))
        waiting += sorted(below, key=lambda path: path.name, reverse=True)
    return paths


def _is_odd(path: Path) -> bool:
    """Whether something stands there that is no file: a folder or a pipe. Broken links are left to the reader."""
    return os.path.exists(path) and not os.path.isfile(path)


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
    """Read a photograph together with what `write_picture` needs to write a restored version of it.

    The content decides which format it is, whatever the name says. 16 bits are kept of PNG and TIFF. The first frame
    of an animation is read; CMYK is converted to RGB (without its colour profile, which no longer applies). A notice
    in the result says so.

    Args:
        path: the file, or what to call `content` in messages.
        content: what to read instead of the file.
        max_pixels: refuse pictures with more; twice `PIL.Image.MAX_IMAGE_PIXELS` unless given.

    Raises:
        FileError: the file is missing, not an image in one of the formats of `IMAGE_EXTENSIONS`, damaged, larger than
            `max_pixels`, or has floating-point, 32-bit or Lab pixels.
    """
    path = Path(path)
    with _opened(path, content, max_pixels) as (image, file):
        rawmode = _checked_rawmode(image)
        notices = []
        file_format = "JPEG" if image.format == "MPO" else str(image.format)
        named = named_format(path)
        if named not in (file_format, None):
            notices.append(f"the name says {named}, the content is {file_format}")
        if getattr(image, "is_animated", False):
            notices.append("only the first frame of several is used")

        rgb, alpha = _pixels(image, file, rawmode)
        if ";16" in rawmode and rgb.dtype == np.uint8 and not rawmode.startswith("BGR"):  # a BMP with 5, 6, 5 bits
            notices.append(f"16-bit {image.mode} is read with 8 bits")
        grey = image.mode in _GREY_MODES or _is_deep_pgm(image) or rawmode.startswith("LA")
        if image.mode in ("P", "PA"):
            of_colours = (image.info.get("icc_profile") or b"")[16:20] == b"RGB "  # which no grey picture may have
            grey = not of_colours and bool((rgb == rgb[:, :, :1]).all())
            if image.format != "GIF":
                notices.append(f"the palette becomes {'grey' if grey else 'RGB'}")
        metadata, damaged = read_metadata(image)
        if image.mode == "CMYK":
            notices.append("CMYK is converted to RGB, without its colour profile")
            metadata = replace(metadata, icc_profile=None)
        if damaged:
            notices.append("damaged EXIF is not kept")
        orientation = 1 if image.format == "TIFF" else metadata.orientation  # a TIFF has been turned by Pillow
        rgb = _turned_upright(rgb, orientation)
        return Picture(
            rgb=rgb,
            alpha=None if alpha is None else _turned_upright(alpha, orientation),
            kind=("L" if grey else "RGB") + ("" if alpha is None else "A"),
            format=file_format,
            encoding=_encoding(image, file, turned=orientation > 4),
            metadata=metadata.upright(*rgb.shape[:2]),
            notices=tuple(notices),
        )


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the height and width that `read_rgb` would give, from the header alone.

    The pixels are not decoded, so a file that is cut short after its header is not noticed.

    Raises:
        FileError: as `read_picture`, but for damage after the header.
    """
    path = Path(path)
    with _opened(path) as (image, file):
        _checked_rawmode(image)
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # newer Pillow versions have turned `size`, but not all
            width, height = (image.tag_v2[tag] for tag in (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength))
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        else:
            if image.format == "HEIF" or (image.format == "PNG" and _png_metadata_is_last(file)):
                image.load()  # HEIC says in two places how large it is
                width, height = image.size
            turned = read_metadata(image)[0].orientation > 4
        return (width, height) if turned else (height, width)


def write_picture(path: str | os.PathLike[str], picture: Picture, rgb: Pixels, *, quality: int | None = None) -> None:
    """Write the restored colours `rgb` of `picture` as a file, whole or not at all, in the format of the extension.

    See `encode_picture` for the rest.

    Args:
        path: file to write, with one of `IMAGE_EXTENSIONS`.
        picture: what `read_picture` gave.
        rgb: uint8 or uint16 (height, width, 3); its size may differ from the picture's.
        quality: as for `encode_picture`.

    Raises:
        InputError: `rgb` does not fit, or the extension is not known.
        FileError: the file cannot be written, or the picture's EXIF is too damaged to be taken over.
    """
    file_format = format_to_write(path)
    try:
        content = encode_picture(picture, rgb, file_format, quality=quality)
    except FileError as error:
        raise FileError(f"{shown(path)}: {error}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def encode_picture(picture: Picture, rgb: Pixels, file_format: str, *, quality: int | None = None) -> bytes:
    """Return the content of a file that holds the restored colours `rgb` of `picture`.

    - JPEG uses the source's own quantisation tables and chroma subsampling; quality 95 without subsampling when the
      source was no JPEG, or a CMYK one. WebP is lossless unless the source was a lossy WebP; AVIF and HEIC have
      quality 95. TIFF is uncompressed.
    - 16 bits stay so in PNG and TIFF, and become 8 in the others.
    - GIF is reduced to 256 colours, with alpha either on or off.
    - BMP, JPEG and PPM hold no alpha: the picture is laid on white.
    - BMP holds no metadata but the resolution, WebP, AVIF and HEIC no resolution, GIF and the others neither, JPEG no
      EXIF or XMP above 64 KB.

    Otherwise EXIF, XMP, colour profile and resolution go along, and alpha is as it was, or resized to fit. A grey
    picture is written grey: the mean of the three channels, which are three estimates of one value.

    Args:
        picture: what `read_picture` gave.
        rgb: uint8 or uint16 (height, width, 3); its size may differ from the picture's.
        file_format: one of `formats.WRITABLE`.
        quality: 1 to 100, in place of what the above says, for formats that know one.

    Raises:
        InputError: `rgb` does not fit.
        FileError: the picture cannot be encoded so, or its EXIF is too damaged to be taken over.
    """
    _check_image(rgb, "the restored image", channels=(3,), deep=True)
    height, width = rgb.shape[:2]
    alpha = picture.alpha
    if rgb.dtype == np.uint16 and file_format not in WITH_16_BITS:
        rgb = to_8_bits(rgb)
    if alpha is not None and rgb.dtype == np.uint8:
        alpha = to_8_bits(alpha)
    if alpha is not None and alpha.shape != (height, width):
        alpha = resize(to_8_bits(alpha), (height, width))
        alpha = alpha if rgb.dtype == np.uint8 else alpha * np.uint16(257)
    grey = picture.kind in ("L", "LA")
    colour = np.rint(rgb.mean(axis=2, dtype=np.float32)).astype(rgb.dtype) if grey else rgb
    encoding: Mapping[str, Any] = ENCODINGS.get(file_format, {})
    if quality is not None:
        encoding = encoding_of_quality(file_format, quality)
    elif picture.format == file_format and picture.encoding:
        encoding = picture.encoding
    if grey and file_format == "AVIF":
        encoding = {**encoding, "subsampling": "4:0:0"}
    try:
        with _no_warnings():
            metadata = picture.metadata.upright(height, width).save_options(file_format)
    except DECODING_ERRORS as error:
        raise FileError(f"damaged EXIF cannot be written as {file_format}: {reason(error)}") from error
    return _encoded(colour, alpha, file_format, {**encoding, **metadata})


def not_kept(picture: Picture, file_format: str) -> list[str]:
    """Return what of a picture a file of this format does not hold, one line each."""
    lost = []
    if picture.rgb.dtype == np.uint16 and file_format not in WITH_16_BITS:
        lost.append(f"16-bit input is written with 8 bits, as {file_format}")
    if picture.alpha is not None and file_format not in WITH_ALPHA | {"GIF"}:
        lost.append(f"{file_format} holds no alpha: the picture is laid on white")
    if picture.format not in WRITABLE:
        lost.append(f"{picture.format} is written as {file_format}")
    return lost + picture.metadata.not_kept(file_format)


def write_image(path: str | os.PathLike[str], array: NDArray[np.uint8]) -> None:
    """Write an array as an image file in the format of the extension, whole or not at all.

    Args:
        path: file to write, with one of `IMAGE_EXTENSIONS`. See `write_picture` about formats; JPEG has quality 95.
        array: uint8 (height, width) or (height, width, channels): 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Raises:
        InputError: the array does not fit, or the extension is not known.
        FileError: the file cannot be written.
    """
    file_format = format_to_write(path)
    try:
        content = _encoded(*_colour_and_alpha(array), file_format, ENCODINGS.get(file_format, {}))
    except FileError as error:
        raise FileError(f"{shown(path)}: {error}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the content of a PNG file that holds an image.

    Args:
        image: uint8 (height, width) or (height, width, channels), as for `write_image`.

    Raises:
        InputError: the array does not fit.
    """
    return _encoded(*_colour_and_alpha(image), "PNG", {})


def to_8_bits(values: Pixels) -> NDArray[np.uint8]:
    """Convert uint16 values 0 to 65535, of any shape, to the nearest uint8 0 to 255; leave uint8 as it is."""
    if values.dtype == np.uint8:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_model(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert uint8 values 0 to 255, of any shape, to float32 in [-1, 1].

    Raises:
        InputError: the array is not uint8.
    """
    if image.dtype != np.uint8:
        raise InputError(f"pixel values: expected uint8, got {image.dtype}")
    return image.astype(np.float32) / np.float32(127.5) - np.float32(1)


def from_model(array: np.ndarray) -> NDArray[np.uint8]:
    """Convert floating-point values in [-1, 1], of any shape, to uint8 0 to 255: clipped and rounded.

    Raises:
        InputError: the array holds whole numbers, or values that are not finite.
    """
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        raise InputError(f"network output: expected floating-point values in [-1, 1], got {array.dtype}")
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("network output: expected values in [-1, 1], got NaN or infinity")
    return np.rint((np.clip(values, -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)


def resize(
    image: NDArray[np.uint8], size: tuple[int, int], resample: Image.Resampling = Image.Resampling.BICUBIC
) -> NDArray[np.uint8]:
    """Resize an image; its proportions are not kept.

    The 2018 tutorial called Pillow's `resize` without a filter, which meant NEAREST then and has meant BICUBIC since
    Pillow 7.0: pass `Image.Resampling.NEAREST` for the same pixels as in 2018.

    Args:
        image: uint8 (height, width, 3), or (height, width).
        size: new height and width.
        resample: Pillow's filter.

    Raises:
        InputError: the image or the size does not fit.
    """
    _check_image(image, "the image to resize", channels=(None, 3))
    height, width = size
    if height < 1 or width < 1:
        raise InputError(f"size to resize to: expected a height and a width of 1 or more, got {height} x {width}")
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), resample))


def side_by_side(images: Sequence[Pixels], gap: int = 0) -> Pixels:
    """Join images of equal height from left to right, with `gap` white columns between them.

    Args:
        images: one or more uint8 arrays, or uint16, all (height, width, 3) or all (height, width); widths may differ.
        gap: columns between two images.

    Raises:
        InputError: no image, different heights, channels or dtypes, or a negative gap.
    """
    if not images:
        raise InputError("images side by side: expected one or more, got none")
    if gap < 0:
        raise InputError(f"gap between images: expected 0 or more, got {gap}")
    for image in images:
        _check_image(image, "an image side by side", channels=(None, 3), deep=True)
    first = images[0]
    if any(
        (image.shape[:1], image.shape[2:], image.dtype) != (first.shape[:1], first.shape[2:], first.dtype)
        for image in images
    ):
        shapes = ", ".join(str(image.shape) for image in images)
        raise InputError(f"images side by side: expected equal heights and channels, got shapes {shapes}")
    column = np.full((first.shape[0], gap, *first.shape[2:]), np.iinfo(first.dtype).max, first.dtype)
    parts = [part for image in images for part in (column, image)]
    return np.concatenate(parts[1:], axis=1)


def _check_image(array: np.ndarray, what: str, channels: tuple[int | None, ...], deep: bool = False) -> None:
    """Raise `InputError` unless `array` is uint8 with one of these channel counts (None: two axes only).

    `deep`: uint16 will do as well.
    """
    found = array.shape[2] if array.ndim == 3 else None
    known = array.dtype == np.uint8 or (deep and array.dtype == np.uint16)
    if not known or array.ndim not in (2, 3) or found not in channels or 0 in array.shape:
        shapes = " or ".join("(height, width)" if n is None else f"(height, width, {n})" for n in channels)
        raise InputError(f"{what}: expected uint8 {shapes}, got {array.dtype} {array.shape}")


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep Pillow's warnings about large or odd files off the screen."""
    with _process_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _without_limit() -> Iterator[int | None]:
    """Lift Pillow's limit on the number of pixels; yield what it is: pixels from which on it would refuse."""
    with _process_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield None if limit is None else 2 * limit
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _opened(
    path: Path, content: bytes | None = None, max_pixels: int | None = None
) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """Open an image file of one of the known formats, to be decoded in the block; yield its file too.

    Pillow gets a file and not a path: it maps some TIFF files that it knows by path to memory, and its newer versions
    then scramble the pixels of those with orientation 5 to 8.

    Raises:
        FileError: the file cannot be opened, or the block raised what Pillow raises for damaged files.
    """
    if content is None and _is_odd(path):
        raise FileError(f"{shown(path)}: not a readable image (not a file)")
    empty = False
    try:
        with (
            path.open("rb") if content is None else io.BytesIO(content) as file,
            contextlib.ExitStack() as quiet,
        ):
            empty = not file.read(1)
            quiet.enter_context(_no_warnings())
            with _without_limit() as limit:
                image = Image.open(file, formats=_formats_to_try(path, file))
            _check_size(image, limit if max_pixels is None else max_pixels)
            if image.format != "TIFF":  # whose fields are decoded, and warned about, only when they are needed
                quiet.close()
            if limit is not None and image.width * image.height > limit // 2:
                # Pillow looks at the size again when it decodes TIFF or 16 bits.
                quiet.enter_context(_without_limit())
            yield image, file
    except UnidentifiedImageError as error:
        cause: Exception = error
        why = "the file is empty" if empty else "no picture of a known format that can be read"
    except DECODING_ERRORS as error:
        cause = error
        why = reason(error)
    else:
        return
    raise FileError(f"{shown(path)}: not a readable image ({why})") from cause


def _formats_to_try(path: Path, file: IO[bytes]) -> list[str]:
    """Pillow's names of what the file may be.

    Raises:
        ValueError: it is HEIC, and pillow-heif is not installed.
    """
    formats = READABLE - WITHOUT_SIGNATURE - {"HEIF"}
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
    Image.init()
    if named in WITHOUT_SIGNATURE:
        formats |= {str(named)}
    return sorted(formats & Image.OPEN.keys())  # AVIF is not in every Pillow


def _check_size(image: Image.Image, max_pixels: int | None) -> None:
    """Raise `ValueError` where a header declares more pixels than that."""
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        raise ValueError(f"{width}x{height} pixels are more than the limit, {max_pixels}; --max_pixels raises it")


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
    if fields.get(ExifTags.Base.PlanarConfiguration) == 2 and 16 in fields.get(ExifTags.Base.BitsPerSample, ()):
        raise ValueError("expected 16-bit channels pixel by pixel, got a plane for each")
    if (image.mode not in _GREY_MODES | _COLOUR_MODES and not _is_deep_pgm(image)) or rawmode == "I;12":
        raise ValueError(f"expected grey, RGB or CMYK with 8 or 16 bits, got {rawmode or image.mode} pixels")
    return rawmode


def _is_deep_pgm(image: Image.Image) -> bool:
    """Whether it is a grey PPM file of more than 8 bits, which Pillow scales to 16 and reads with 32."""
    return image.format == "PPM" and image.mode == "I"


def _pixels(image: Image.Image, file: IO[bytes], rawmode: str) -> tuple[Pixels, Pixels | None]:
    """The colours, (height, width, 3), and alpha, (height, width) or None, as stored: uint8 or uint16."""
    transparent = image.info.get("transparency")
    image.load()
    deep = read_deep(file, image, rawmode) if image.format in WITH_16_BITS else None
    if image.mode.startswith("I;16") or _is_deep_pgm(image):
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


def _png_metadata_is_last(file: IO[bytes]) -> bool:
    """Whether a PNG file has EXIF or XMP behind the pixels, where Pillow comes by only when it decodes them."""
    before = file.tell()
    pixels_seen = found = False
    file.seek(8)
    while not found and len(header := file.read(8)) == 8:
        size, name = struct.unpack(">I4s", header)
        start = file.read(min(size, max(map(len, _PNG_METADATA_TEXTS))))
        found = pixels_seen and (name == b"eXIf" or start.startswith(_PNG_METADATA_TEXTS))
        pixels_seen |= name == b"IDAT"
        file.seek(size - len(start) + 4, os.SEEK_CUR)
    file.seek(before)
    return found


def _colour_and_alpha(array: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Split an array of one to four channels into grey (height, width) or RGB (height, width, 3), and alpha if any.

    Raises:
        InputError: it is no such array.
    """
    _check_image(array, "the image", channels=(None, 1, 2, 3, 4))
    if array.ndim == 2:
        return array, None
    channels = array.shape[2]
    colour = array[:, :, 0] if channels < 3 else array[:, :, :3]
    return colour, array[:, :, -1] if channels in (2, 4) else None


def _to_pillow(colour: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> Image.Image:
    """A Pillow image of grey (height, width) or RGB (height, width, 3) values, with alpha if any."""
    image = Image.fromarray(np.ascontiguousarray(colour))
    if alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return image


def _encoded(colour: Pixels, alpha: Pixels | None, file_format: str, options: Mapping[str, Any]) -> bytes:
    """The content of a file of grey (height, width) or RGB (height, width, 3) values, with alpha if any.

    Raises:
        FileError: it cannot be encoded.
    """
    content = io.BytesIO()
    try:
        if colour.dtype == np.uint16:
            channels = [colour] if alpha is None else [colour, alpha]
            values = np.dstack(channels)
            return (encode_deep_png if file_format == "PNG" else encode_deep_tiff)(values, options)
        if file_format == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        image, more = _for_format(colour, alpha, file_format)
        image.save(content, format=file_format, **options, **more)
    except (ImportError, KeyError, OSError, OverflowError, RuntimeError, ValueError, struct.error) as error:
        raise FileError(f"cannot be written as {file_format}: {reason(error)}") from error
    return content.getvalue()


def _for_format(
    colour: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, file_format: str
) -> tuple[Image.Image, dict[str, Any]]:
    """A Pillow image with as much of these as the format holds, and options for saving it."""
    if alpha is None or file_format in WITH_ALPHA:
        return _to_pillow(colour, alpha), {}
    if file_format == "GIF":  # one of the 256 colours becomes "transparent"
        image = _to_pillow(colour, None).convert("RGB").quantize(255)
        image.paste(255, mask=Image.fromarray(np.where(alpha < 128, 255, 0).astype(np.uint8)))
        return image, {"transparency": 255}
    image = _to_pillow(colour, None)
    return Image.composite(image, Image.new(image.mode, image.size, "white"), _to_pillow(alpha, None)), {}

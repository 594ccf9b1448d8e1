"""Writing image files, with as much of what came with a picture as the format holds."""

import io
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.errors import FileError, prefixed
from deblurgan.files import atomic_path, reason, shown
from deblurgan.pictures import jxl
from deblurgan.pictures.formats import ENCODINGS, WITH_ALPHA, WRITABLE, encoding_of_quality, format_to_write
from deblurgan.pictures.jxl import encode_deep_jxl
from deblurgan.pictures.metadata import DECODING_ERRORS
from deblurgan.pictures.pillow import no_warnings, to_pillow
from deblurgan.pictures.pixels import Pixels, check_image, grey_of, resize, to_8_bits
from deblurgan.pictures.reading import Picture
from deblurgan.pictures.sixteen_bits import encode_deep_heic, encode_deep_png, encode_deep_tiff

_BITS = {"HEIF": 10, "JXL": 16, "PNG": 16, "TIFF": 16}  # of a channel, where they may be more than 8
_ENCODE_DEEP = {"HEIF": encode_deep_heic, "JXL": encode_deep_jxl, "PNG": encode_deep_png, "TIFF": encode_deep_tiff}


def encode_picture(picture: Picture, rgb: Pixels, file_format: str, *, quality: int | None = None) -> bytes:
    """Return the content of a file that holds the restored colours `rgb` of `picture`.

    - JPEG uses the source's own quantisation tables and chroma subsampling; quality 95 without subsampling when the
      source was no JPEG, or a CMYK one. WebP is lossless unless the source was a lossy WebP; AVIF, HEIC
      and JPEG XL have quality 95. TIFF is uncompressed.
    - 16 bits stay so in PNG, TIFF and JPEG XL, and become 10 in HEIC (or 12 of what came with 12), 8 in the others.
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
    check_image(rgb, "the restored image", channels=(3,), deep=True)
    height, width = rgb.shape[:2]
    alpha = picture.alpha
    if rgb.dtype == np.uint16 and file_format not in _ENCODE_DEEP:
        rgb = to_8_bits(rgb)
    if alpha is not None and rgb.dtype == np.uint8:
        alpha = to_8_bits(alpha)
    if alpha is not None and alpha.shape != (height, width):
        alpha = resize(to_8_bits(alpha), (height, width))
        alpha = alpha if rgb.dtype == np.uint8 else alpha * np.uint16(257)
    grey = picture.kind in ("L", "LA")
    colour = grey_of(rgb) if grey else rgb
    encoding: Mapping[str, Any] = ENCODINGS.get(file_format, {})
    if quality is not None:
        encoding = encoding_of_quality(file_format, quality)
    elif picture.format == file_format and picture.encoding:
        encoding = picture.encoding
    if file_format == "HEIF" and picture.bits == 12 and rgb.dtype == np.uint16:
        encoding = {**encoding, "bit_depth": 12}
    if grey and file_format == "AVIF":
        encoding = {**encoding, "subsampling": "4:0:0"}
    try:
        with no_warnings():
            options = picture.metadata.upright(height, width).save_options(file_format)
    except DECODING_ERRORS as error:
        raise FileError(f"damaged EXIF cannot be written as {file_format}: {reason(error)}") from error
    content = _encoded(colour, alpha, file_format, {**encoding, **options})
    return picture.metadata.with_colour(content, file_format)


def not_kept(picture: Picture, file_format: str) -> list[str]:
    """Return what of a picture a file of this format does not hold, one line each."""
    lost = []
    if picture.rgb.dtype == np.uint16:
        kept = 12 if file_format == "HEIF" and picture.bits == 12 else _BITS.get(file_format, 8)
        if kept < (bits := picture.bits or 16):
            lost.append(f"{bits}-bit input is written with {kept} bits, as {file_format}")
    if picture.alpha is not None and file_format not in WITH_ALPHA | {"GIF"}:
        lost.append(f"{file_format} holds no alpha: the picture is laid on white")
    if picture.format not in WRITABLE:
        lost.append(f"{picture.format} is written as {file_format}")
    return lost + picture.metadata.not_kept(file_format)


def write_image(path: str | os.PathLike[str], array: NDArray[np.uint8]) -> None:
    """Write an array as an image file in the format of the extension, whole or not at all; see `encode_picture`.

    The array is uint8 (height, width) or (height, width, channels): 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Raises:
        InputError: the array does not fit, or the extension is not known.
        FileError: the file cannot be written.
    """
    file_format = format_to_write(path)
    with prefixed(shown(path), FileError):
        content = _encoded(*_colour_and_alpha(array), file_format, ENCODINGS.get(file_format, {}))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return the content of a PNG file that holds an image, an array as for `write_image`; InputError for others."""
    return _encoded(*_colour_and_alpha(image), "PNG", {})


def _colour_and_alpha(array: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Split an array of one to four channels into grey (height, width) or RGB (height, width, 3), and alpha if any.

    Raises:
        InputError: it is no such array.
    """
    check_image(array, "the image", channels=(None, 1, 2, 3, 4))
    if array.ndim == 2:
        return array, None
    channels = array.shape[2]
    colour = array[:, :, 0] if channels < 3 else array[:, :, :3]
    return colour, array[:, :, -1] if channels in (2, 4) else None


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
            return _ENCODE_DEEP[file_format](values, options)
        if file_format == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        elif file_format == "JXL":
            jxl.register()
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
        return to_pillow(colour, alpha), {}
    if file_format == "GIF":  # one of the 256 colours becomes "transparent"
        image = to_pillow(colour, None).convert("RGB").quantize(255)
        image.paste(255, mask=Image.fromarray(np.where(alpha < 128, 255, 0).astype(np.uint8)))
        return image, {"transparency": 255}
    image = to_pillow(colour, None)
    return Image.composite(image, Image.new(image.mode, image.size, "white"), to_pillow(alpha, None)), {}

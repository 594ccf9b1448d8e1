"""Colours of more than 8 bits, which Pillow reads and writes with 8: PNG, TIFF, HEIC; grey or RGB, also with alpha.

Of PNG and TIFF Pillow unpacks either the first or the second byte of a 16-bit value, as it is told to. Decoding a
file twice gives both.
"""

import contextlib
import io
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from deblurgan.pictures import png
from deblurgan.pictures.pixels import Pixels

_ROWS = 64  # that are filtered at a time
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_PREMULTIPLIED = 1  # in the place of a TIFF file's ExtraSamples
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


def read_deep(file: IO[bytes], image: Image.Image, rawmode: str) -> NDArray[np.uint16] | None:
    """Read the pixels of a PNG or TIFF file with 16 bits and 2 to 4 channels, as stored.

    `image` is what Pillow has read of it, `rawmode` its notation of how a pixel is stored, such as "RGB;16B".

    Returns:
        uint16 (height, width, channels); premultiplied alpha has been divided out. None when it is no such file.

    Raises:
        metadata.DECODING_ERRORS: the file is damaged.
    """
    colours, _, order = rawmode.partition(";16")
    if not order or order not in "LBN" or colours not in ("LA", "RGB", "RGBA", "RGBa", "RGBX"):
        return None
    little = order == "L" or (order == "N" and sys.byteorder == "little")
    if colours == "LA":
        return _read_grey_with_alpha(file, image, "<u2" if little else ">u2")
    layout = colours.replace("a", "A")  # premultiplied alpha, which Pillow would divide out with the first byte alone
    first, second = "LB" if little else "BL"
    high = _decoded(file, f"{layout};16{first}") if colours == "RGBa" else np.asarray(image)
    values: NDArray[np.uint16] = high.astype(np.uint16) << np.uint16(8) | _decoded(file, f"{layout};16{second}")
    if colours == "RGBa":
        _divide_out_alpha(values)
    return values[:, :, :3] if colours == "RGBX" else values  # older versions of Pillow do not leave X out


def _decoded(file: IO[bytes], rawmode: str) -> NDArray[np.uint8]:
    """The pixels with one byte of each value, as `rawmode` says."""
    file.seek(0)
    image = Image.open(file, formats=("PNG", "TIFF"))
    image.tile = [_with_rawmode(tile, rawmode) for tile in image.tile]
    image.load()
    return np.asarray(image)


def _with_rawmode(tile: Any, rawmode: str) -> Any:
    """Pillow's description of a part of a file, with another rawmode."""
    *rest, arguments = tile
    changed = (rawmode, *arguments[1:]) if isinstance(arguments, tuple) else rawmode
    return getattr(tile, "_make", tuple)((*rest, changed))  # a plain tuple in older versions


def _read_grey_with_alpha(file: IO[bytes], image: Image.Image, dtype: str) -> NDArray[np.uint16]:
    """A file of 16-bit grey and alpha: byte by byte the same as one of 8-bit RGBA.

    As that `grey_with_alpha_known` has opened a TIFF file; a PNG file is opened so with another header.
    """
    if image.format == "PNG":
        file.seek(0)
        content = bytearray(file.read())
        content[24:26] = 8, 6  # bits; RGBA
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        image.load()
    values = np.ascontiguousarray(image).view(dtype).astype(np.uint16)
    if getattr(image, "tag_v2", {}).get(TiffImagePlugin.EXTRASAMPLES) == (_PREMULTIPLIED,):
        _divide_out_alpha(values)
    return values


def _divide_out_alpha(values: NDArray[np.uint16]) -> None:
    straight = values[:, :, :-1] * np.float32(65535) / np.maximum(values[:, :, -1:], np.uint16(1))
    values[:, :, :-1] = np.rint(np.minimum(straight, 65535)).astype(np.uint16)


@contextlib.contextmanager
def grey_with_alpha_known() -> Iterator[None]:
    """Let Pillow open TIFF files of 16-bit grey and alpha, as RGBA of 8 bits; see `is_deep_grey_with_alpha`.

    Its table of layouts belongs to the whole process: call it only where `pillow.no_warnings` is held.
    """
    layouts: Iterator[Any] = (  # whether the alpha is multiplied in or not
        (order, 1, (1,), 1, (16, 16), (extra,)) for order in (b"II", b"MM") for extra in (_PREMULTIPLIED, 2)
    )
    added = {layout: ("RGBA", "RGBA") for layout in layouts if layout not in TiffImagePlugin.OPEN_INFO}
    TiffImagePlugin.OPEN_INFO.update(added)
    try:
        yield
    finally:
        for layout in added:
            del TiffImagePlugin.OPEN_INFO[layout]


def is_deep_grey_with_alpha(image: Image.Image) -> bool:
    """Whether an image, opened as RGBA, is a TIFF file of 16-bit grey and alpha."""
    return getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample) == (16, 16)


def encode_deep_png(values: NDArray[np.uint16], options: Mapping[str, Any]) -> bytes:
    """Return the content of a PNG file with 16 bits, with the metadata in Pillow's save options.

    Of uint16 (height, width, channels): grey, grey and alpha, RGB, or RGB and alpha.
    """
    height, width, channels = values.shape
    small = io.BytesIO()  # with all that goes around the pixels
    Image.new(_MODES[channels], (1, 1)).save(small, format="PNG", **options)
    parts = [png.SIGNATURE]
    for name, size in png.chunks(small):
        data = small.read(size)
        if name == b"IHDR":
            data = struct.pack(">IIB", width, height, 16) + data[9:]
        elif name == b"IDAT":
            data = _png_pixels(values)
        parts.append(png.chunk(name, data))
    return b"".join(parts)


def _png_pixels(values: NDArray[np.uint16]) -> bytes:
    """The rows, each filtered by whichever of Sub, Up and Paeth leaves the smallest values, and compressed."""
    height, width, channels = values.shape
    step = 2 * channels
    compressor = zlib.compressobj(6)
    parts = []
    above = np.zeros((1, step * (width + 1)), np.int16)
    for top in range(0, height, _ROWS):
        rows = values[top : top + _ROWS].astype(">u2").view(np.uint8).reshape(-1, step * width)
        padded = np.pad(rows, ((0, 0), (step, 0))).astype(np.int16)
        upper = np.concatenate([above, padded[:-1]])
        above = padded[-1:]
        a, b, c = padded[:, :-step], upper[:, step:], upper[:, :-step]  # left, above, above left
        to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
        paeth = np.where((to_a <= to_b) & (to_a <= to_c), a, np.where(to_b <= to_c, b, c))
        filtered = np.stack([(rows - guess).astype(np.uint8) for guess in (a, b, paeth)])
        cost = np.abs(filtered.view(np.int8).astype(np.int16)).sum(axis=2)
        best = cost.argmin(axis=0)
        chosen = np.take_along_axis(filtered, best[None, :, None], axis=0)[0]
        kinds = np.array([1, 2, 4], np.uint8)[best]
        parts.append(compressor.compress(np.column_stack([kinds, chosen]).tobytes()))
    return b"".join([*parts, compressor.flush()])


def encode_deep_tiff(values: NDArray[np.uint16], options: Mapping[str, Any]) -> bytes:
    """Return the content of an uncompressed TIFF file with 16 bits; arguments as for `encode_deep_png`.

    Grey with alpha is written as RGB with alpha, because Pillow does not open the former.
    """
    return encode_tiff(values[:, :, [0, 0, 0, 1]] if values.shape[2] == 2 else values, options)


def encode_tiff(values: Pixels, options: Mapping[str, Any], alpha: int = 2) -> bytes:
    """As `encode_deep_tiff`, of uint8 or uint16 and as it is; `alpha` stands in the place of ExtraSamples."""
    height, width, channels = values.shape
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    fields = Image.Exif()
    if "exif" in options:
        fields.load(options["exif"])
    for tag, value in fields.items():
        directory[tag] = fields.get_ifd(tag) if tag in _DIRECTORIES else value
    if "icc_profile" in options:
        directory.tagtype[ExifTags.Base.InterColorProfile] = 7  # bytes
        directory[ExifTags.Base.InterColorProfile] = options["icc_profile"]
    if "dpi" in options:
        directory[ExifTags.Base.ResolutionUnit] = 2  # inches
        directory[ExifTags.Base.XResolution], directory[ExifTags.Base.YResolution] = options["dpi"]
    directory[ExifTags.Base.ImageWidth] = width
    directory[ExifTags.Base.ImageLength] = height
    directory[ExifTags.Base.BitsPerSample] = (8 * values.itemsize,) * channels
    directory[ExifTags.Base.Compression] = 1
    directory[ExifTags.Base.PhotometricInterpretation] = 1 if channels < 3 else 2
    directory[ExifTags.Base.SamplesPerPixel] = channels
    directory[ExifTags.Base.RowsPerStrip] = height
    directory[ExifTags.Base.StripByteCounts] = values.nbytes
    directory[ExifTags.Base.StripOffsets] = 0  # counted from the end of the directory
    if channels in (2, 4):
        directory[TiffImagePlugin.EXTRASAMPLES] = alpha  # 2: that has not been multiplied in
    content = io.BytesIO()
    directory.save(content)
    return content.getvalue() + values.astype(values.dtype.newbyteorder("<")).tobytes()


def read_deep_heic(file: IO[bytes]) -> NDArray[np.uint16]:
    """Read the pixels of a HEIC file with 10 or 12 bits, upright: uint16 (height, width, channels), 0 to 65535.

    Raises:
        metadata.DECODING_ERRORS: the file is damaged.
    """
    import pillow_heif

    file.seek(0)
    image = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
    values = np.asarray(image)
    values = values.reshape(*values.shape[:2], -1) >> np.uint16(16 - image.info["bit_depth"])
    return np.rint(values * np.float32(65535 / (2 ** image.info["bit_depth"] - 1))).astype(np.uint16)


def read_deep_avif(file: IO[bytes], depth: int) -> NDArray[np.uint16]:
    """Read the pixels of an AVIF file with so many bits, as stored: uint16 (height, width, channels), 0 to 65535.

    Raises:
        ImportError: imagecodecs is not installed.
        metadata.DECODING_ERRORS: the file is damaged.
    """
    import imagecodecs

    file.seek(0)
    values = imagecodecs.avif_decode(file.read(), index=0)
    values = values.reshape(*values.shape[:2], -1)
    return np.rint(values * np.float32(65535 / (2**depth - 1))).astype(np.uint16)


def encode_deep_heic(values: NDArray[np.uint16], options: Mapping[str, Any]) -> bytes:
    """Return the content of a HEIC file with 10 bits, or `bit_depth` among the options; else as `encode_deep_png`."""
    import pillow_heif

    if values.shape[2] == 2:
        values = values[:, :, [0, 0, 0, 1]]
    height, width, channels = values.shape
    bits = options.get("bit_depth", 10)
    stored = np.rint(values * np.float32((2**bits - 1) / 65535)).astype("<u2") << np.uint16(16 - bits)
    mode = "L;16" if channels == 1 else f"{_MODES[channels]};16"
    content = io.BytesIO()
    image = pillow_heif.from_bytes(mode, (width, height), stored.tobytes())
    image.info.update({name: options[name] for name in ("icc_profile",) if name in options})
    image.save(content, **options)
    return content.getvalue()

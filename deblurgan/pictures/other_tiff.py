"""TIFF files whose pixels Pillow does not read, or not as they are: floats, 32 bits, planes of 16 bits, Lab.

They are read with tifffile, of the extra `tiff`, and become a TIFF file of 8 or 16 bits, which is read as any other.
"""

from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags

from deblurgan.pictures.exif import carried
from deblurgan.pictures.pixels import Pixels
from deblurgan.pictures.raw import first_fields
from deblurgan.pictures.sixteen_bits import encode_tiff

# In the place of PhotometricInterpretation
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _LAB, _ICC_LAB = 0, 1, 2, 8, 9
_KNOWN = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _LAB, _ICC_LAB)
_SAMPLE_FORMAT, _WHOLE, _SIGNED, _FLOAT = 339, 1, 2, 3
_PREMULTIPLIED, _STRAIGHT = 1, 2  # in the place of ExtraSamples
_WHITE_D50 = np.array([0.9642, 1.0, 0.8249])
_TO_SRGB = np.array(  # of XYZ for D50, by Bradford's adaptation
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


def is_other(file: IO[bytes]) -> bool:
    """Whether a TIFF file is one of those.

    Raises:
        metadata.DECODING_ERRORS: the file is damaged.
    """
    fields = first_fields(file)
    bits = fields.get(ExifTags.Base.BitsPerSample, (1,))
    planes = fields.get(ExifTags.Base.PlanarConfiguration) == 2 and 16 in bits
    lab = fields.get(ExifTags.Base.PhotometricInterpretation) in (_LAB, _ICC_LAB)
    whole = set(fields.get(_SAMPLE_FORMAT, (_WHOLE,))) <= {_WHOLE, 4}  # 4: it is not said
    return planes or lab or not whole or bool({10, 12, 14, 24, 32, 64} & set(bits))


def converted(file: IO[bytes], check_size: Callable[[int, int], None]) -> tuple[bytes, list[str]]:
    """Return the content of a TIFF file of 8 or 16 bits with the same picture; and what is not kept, in lines.

    Args:
        file: the file.
        check_size: raises ValueError where a width and height are too large.

    Raises:
        ValueError: tifffile is not installed, or the pixels are of a kind that is not known.
        metadata.DECODING_ERRORS: the file is damaged.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ValueError("TIFF pixels of this kind need tifffile: pip install 'deblurgan[tiff]'") from error
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages.first
        check_size(page.imagewidth, page.imagelength)
        if page.photometric not in _KNOWN or page.axes not in ("YX", "YXS", "SYX"):
            raise ValueError(f"expected grey, RGB or Lab, got TIFF pixels {page.photometric!s}, {page.axes}")
        values = page.asarray()
        photometric, bits, extra = int(page.photometric), page.bitspersample, tuple(map(int, page.extrasamples))
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, 2)
    values = values.reshape(*values.shape[:2], -1)
    colours = 1 if photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) else 3
    notices = []
    has_alpha = bool(extra) and extra[0] in (_PREMULTIPLIED, _STRAIGHT)
    if values.shape[2] > colours + has_alpha:
        notices.append(f"only the first {colours + has_alpha} of {values.shape[2]} channels are used")
    if photometric in (_LAB, _ICC_LAB):
        notices.append("Lab is converted to sRGB, without its colour profile")
        rgb = _of_lab(values[:, :, :3], signed=photometric == _LAB)
        alpha = _of_16_bits(values[:, :, 3:4], bits, []) if has_alpha else values[:, :, :0].astype(np.uint16)
        pixels: Pixels = np.concatenate([rgb, alpha], axis=2)
    else:
        pixels = _of_16_bits(values[:, :, : colours + has_alpha], bits, notices)
        if photometric == _WHITE_IS_ZERO:
            pixels[:, :, 0] = 65535 - pixels[:, :, 0]
    looks = [ExifTags.Base.Orientation]
    if photometric not in (_LAB, _ICC_LAB):
        looks.append(ExifTags.Base.InterColorProfile)
    return encode_tiff(pixels, carried(file, *looks), extra[0] if has_alpha else _STRAIGHT), notices


def _of_16_bits(values: NDArray[Any], bits: int, notices: list[str]) -> NDArray[np.uint16]:
    """Bring whole numbers of so many bits, or floats from 0 to 1, to 0 to 65535; add to `notices` what is not kept.

    Raises:
        ValueError: numbers with a sign, or floats that are no picture.
    """
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("expected floating-point pixels from 0 to 1, got some that are no numbers")
        if values.size and np.median(values) > 1:
            raise ValueError(f"expected floating-point pixels from 0 to 1, got {values.min():g} to {values.max():g}")
        notices.append("floating-point pixels are kept with 16 bits")
        if values.size and (values.min() < 0 or values.max() > 1):
            notices.append("pixels below 0 and above 1 are cut off there")
        return np.rint(np.clip(values, 0, 1) * np.float64(65535)).astype(np.uint16)
    if values.dtype.kind != "u":
        raise ValueError("expected pixels without a sign, got TIFF pixels with one")
    if bits > 16:
        notices.append(f"{bits}-bit pixels are kept with 16 bits")
    return np.rint(values * (65535 / (2**bits - 1))).astype(np.uint16)


def _of_lab(values: NDArray[Any], *, signed: bool) -> NDArray[np.uint16]:
    """Convert Lab for D50, as TIFF stores it, to sRGB, 0 to 65535; colours that sRGB does not have are cut off.

    Source: TIFF 6.0, section 23, and its Technical Note 4 for ICC's; IEC 61966-2-1.
    """
    wide = values.dtype == np.uint16
    if values.dtype.kind == "f":
        lab = values.astype(np.float32)
    elif values.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected Lab pixels with 8 or 16 bits, got {values.dtype}")
    elif signed:
        ab = values[:, :, 1:].view(np.int16 if wide else np.int8) / (256 if wide else 1)
        lab = np.dstack([values[:, :, 0] * (100 / (65535 if wide else 255)), ab])
    else:
        ab = values[:, :, 1:] / (256 if wide else 1) - 128
        lab = np.dstack([values[:, :, 0] * (100 / (65280 if wide else 255)), ab])
    y = (lab[:, :, 0] + 16) / 116
    f = np.stack([y + lab[:, :, 1] / 500, y, y - lab[:, :, 2] / 200], axis=2)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * _WHITE_D50
    linear = np.clip(xyz @ _TO_SRGB.T, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(rgb * 65535).astype(np.uint16)

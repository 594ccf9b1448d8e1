"""Raw camera data, which is no picture yet: often a TIFF file, with a small preview where the picture would be.

It is developed with rawpy, of the extra `raw`, into a TIFF file, which is read as any other.
"""

from collections.abc import Callable
from typing import IO

from PIL import ExifTags, TiffImagePlugin

from deblurgan.pictures.exif import carried
from deblurgan.pictures.sixteen_bits import encode_tiff

DEVELOPED = "developed by LibRaw: the camera's white balance, its own brightness, sRGB with 16 bits"

# How Fujifilm's, Olympus', Panasonic's, Sigma's, Minolta's and Canon's first format begin
_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0")  # the last: BigTIFF
_SENSOR = (32803, 34892)  # in the place of PhotometricInterpretation: colour filter array, linear raw


def is_tiff(file: IO[bytes]) -> bool:
    """Whether a file begins as TIFF does."""
    file.seek(0)
    return file.read(4) in _TIFF


def first_fields(file: IO[bytes]) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Return the fields of the first picture in a TIFF file.

    Raises:
        metadata.DECODING_ERRORS: the file is damaged.
    """
    file.seek(0)
    head = file.read(16)
    fields = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if head[2:3] == b"+" else 8])
    file.seek(fields.next)
    fields.load(file)
    return fields


def is_raw(file: IO[bytes]) -> bool:
    """Whether a file holds raw camera data.

    Raises:
        metadata.DECODING_ERRORS: it is a damaged TIFF file.
    """
    file.seek(0)
    head = file.read(16)
    if head.startswith(_SIGNATURES) or head[4:12] == b"ftypcrx ":  # the latter: Canon's CR3
        return True
    if not is_tiff(file):
        return False
    fields = first_fields(file)
    small = fields.get(ExifTags.Base.NewSubfileType, 0) == 1 or ExifTags.Base.DNGVersion in fields
    preview = small and ExifTags.Base.SubIFDs in fields
    sensor = fields.get(ExifTags.Base.PhotometricInterpretation) in _SENSOR
    return head[8:10] == b"CR" or preview or sensor


def developed(file: IO[bytes], check_size: Callable[[int, int], None]) -> tuple[bytes, list[str]]:
    """Return the content of a TIFF file with the picture that raw data becomes, upright; and what was done, in lines.

    Args:
        file: the raw data.
        check_size: raises ValueError where a width and height are too large.

    Raises:
        ValueError: rawpy is not installed, or cannot read it.
    """
    try:
        import rawpy
    except ImportError as error:
        raise ValueError(
            "raw camera data needs rawpy: pip install 'deblurgan[raw]'; or develop it into a TIFF or JPEG file first"
        ) from error
    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            check_size(raw.sizes.width, raw.sizes.height)
            values = raw.postprocess(use_camera_wb=True, output_bps=16, gamma=(2.4, 12.92))
    except rawpy.LibRawError as error:
        why = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        raise ValueError(f"raw camera data that cannot be developed: {why}") from error
    notices, options = [DEVELOPED], {}
    if is_tiff(file):
        options = carried(file)
    else:
        notices.append("EXIF is not kept")
    return encode_tiff(values, options), notices

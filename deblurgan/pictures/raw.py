"""Raw camera data, which is no picture yet: often a TIFF file, with a small preview where the picture would be."""

from typing import IO

from PIL import ExifTags, TiffImagePlugin

# How Fujifilm's, Olympus', Panasonic's, Sigma's, Minolta's and Canon's first format begin
_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0")  # the last: BigTIFF
_SENSOR = (32803, 34892)  # in the place of PhotometricInterpretation: colour filter array, linear raw


def is_tiff(file: IO[bytes]) -> bool:
    """Whether a file begins as TIFF does."""
    file.seek(0)
    return file.read(4) in _TIFF


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
    fields = TiffImagePlugin.ImageFileDirectory_v2(head[: 16 if head[2:3] == b"+" else 8])
    file.seek(fields.next)
    fields.load(file)
    small = fields.get(ExifTags.Base.NewSubfileType, 0) == 1 or ExifTags.Base.DNGVersion in fields
    preview = small and ExifTags.Base.SubIFDs in fields
    sensor = fields.get(ExifTags.Base.PhotometricInterpretation) in _SENSOR
    return head[8:10] == b"CR" or preview or sensor

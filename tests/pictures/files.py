"""Picture files that hold what the tests of this folder are about, some of them made byte by byte."""

import importlib.util
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image

from deblurgan.pictures.formats import IMAGE_EXTENSIONS, WRITABLE, named_format
from deblurgan.pictures.reading import read_picture
from tests.photographs import noise, write_picture

Image.init()
if importlib.util.find_spec("pillow_jxl"):
    importlib.import_module("pillow_jxl")
if importlib.util.find_spec("pillow_heif"):
    importlib.import_module("pillow_heif").register_heif_opener()
WRITTEN = [name for name in sorted(IMAGE_EXTENSIONS) if named_format(f"x{name}") in WRITABLE & Image.SAVE.keys()]
ICC = bytes(range(256)) * 400  # more than one JPEG segment holds
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6">\xed\x95\x9c</rdf></x:xmpmeta>'
# The EXIF standard: which sides of the upright picture the first stored row and the first stored column are.
EXIF_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
GAMMA = (b"gAMA", struct.pack(">I", 100000))
CHROMATICITY = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33001, 30000, 60000, 15000, 6000))


def as_stored(upright, orientation):
    """The array that a file with this orientation holds, pixel by pixel from the standard's words."""
    height, width = upright.shape[:2]
    row_side, column_side = EXIF_SIDES[orientation]
    size = (height, width) if orientation < 5 else (width, height)
    stored = np.empty((*size, *upright.shape[2:]), upright.dtype)
    edges = {"top": ("y", 0), "bottom": ("y", height - 1), "left": ("x", 0), "right": ("x", width - 1)}
    for row, column in np.ndindex(stored.shape[:2]):
        at = {}
        for side, steps in ((row_side, row), (column_side, column)):
            axis, edge = edges[side]
            at[axis] = abs(edge - steps)
        stored[row, column] = upright[at["y"], at["x"]]
    return stored


def exif_of(orientation=1):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.DateTime] = "2018:03:22 10:11:12"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.25, ExifTags.Base.ExifImageWidth: 1}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (37.0, 33.0, 58.5), 3: "E", 4: (126.0, 58.0, 40.0)}
    return exif.tobytes()


def handmade_exif(order, orientation, width, height):
    """EXIF with a maker note that knows its own position, and a link to a thumbnail directory."""
    mark = ">" if order == b"MM" else "<"

    def directory(entries, link):
        body = b"".join(struct.pack(mark + "HHI", *entry[:3]) + entry[3] for entry in entries)
        return struct.pack(mark + "H", len(entries)) + body + struct.pack(mark + "I", link)

    def short(value):
        return struct.pack(mark + "HH", value, 0)

    def long(value):
        return struct.pack(mark + "I", value)

    first, exif_at = 8, 8 + 2 + 24 + 4
    note_at = exif_at + 2 + 36 + 4
    note = b"NOTE" + long(note_at)
    thumbnail_at = note_at + len(note)
    return (
        b"Exif\0\0"
        + (b"II*\0" if order == b"II" else b"MM\0*")
        + long(first)
        + directory([(0x0112, 3, 1, short(orientation)), (0x8769, 4, 1, long(exif_at))], thumbnail_at)
        + directory(
            [
                (0x927C, 7, len(note), long(note_at)),
                (0xA002, 3, 1, short(width)),
                (0xA003, 4, 1, long(height)),
            ],
            0,
        )
        + note
        + directory([(0x0201, 4, 1, long(0)), (0x0202, 4, 1, long(4))], 0)
    )


def grey_with_alpha(array):
    return Image.merge("LA", [Image.fromarray(np.ascontiguousarray(array[:, :, i])) for i in range(2)])


def palette_image():
    """An image of four palette colours, and these colours."""
    palette = np.array([[250, 0, 10], [0, 200, 30], [5, 6, 7], [90, 90, 255]], np.uint8)
    image = Image.fromarray(noise(channels=None) % 4)
    image.putpalette(palette.ravel().tolist())
    return image, palette


def deep_noise(height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, (height, width, channels), dtype=np.uint16)


def png_with_16_bits(values):
    """A PNG file of two to four channels with 16 bits each, which Pillow cannot write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunks(path, *chunks, before=b"IDAT"):
    """The PNG file with these (name, content) before its first chunk of another name."""
    content = path.read_bytes()
    extra = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    at = content.index(before) - 4
    path.write_bytes(content[:at] + extra + content[at:])
    return path


def written(tmp_path, source, name, rgb=None):
    """Read a file, write it back with other colours under another name, and return both."""
    picture = read_picture(source)
    path = tmp_path / name
    write_picture(path, picture, 255 - picture.rgb if rgb is None else rgb)
    return picture, path

import contextlib
import dataclasses
import importlib.util
import io
import math
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile, JpegImagePlugin
from PIL.PngImagePlugin import PngInfo

from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.pictures.formats import IMAGE_EXTENSIONS, WRITABLE, is_an_image_file, named_format
from deblurgan.pictures.listing import list_images, list_images_below
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.pixels import from_model, resize, side_by_side, to_model
from deblurgan.pictures.reading import Picture, read_picture, read_rgb, read_size
from deblurgan.pictures.writing import encode_picture, encode_png, not_kept, write_image, write_picture

Image.init()
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


def noise(height=12, width=20, channels=3, seed=0):
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)


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


def saved(tmp_path, name, image, **options):
    path = tmp_path / name
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def stored_array(path):
    with Image.open(path) as image:
        return np.array(image)


# Names and folders


@pytest.mark.parametrize(
    "name", ["a.png", "A.PNG", "한글 사진.JpG", "b.c.jpeg", "/x/y.tiff", "a\nb.webp", "s.gif", "s.bmp"]
)
def test_image_files_are_known_by_their_extension_in_any_case(name):
    assert is_an_image_file(name)


@pytest.mark.parametrize(
    "name", ["png", ".png", "a.png.txt", "a.png~", "a_jpg", "folder.png/notes", "a.pn", "", "a.npy"]
)
def test_other_names_are_not_image_files(name):
    assert not is_an_image_file(name)


def test_extensions_are_lower_case_and_each_can_be_written_and_read(tmp_path):
    assert all(extension == extension.lower() for extension in IMAGE_EXTENSIONS)
    for extension in WRITTEN:
        write_image(tmp_path / f"x{extension}", smooth())
        assert read_rgb(tmp_path / f"x{extension}").shape == (48, 64, 3)


def test_listing_is_sorted_and_skips_hidden_files_other_files_and_folders(tmp_path):
    names = ["b.png", "a10.JPG", "a2.jpeg", "나.webp", "with space.tif", "line\nbreak.bmp"]
    for name in [*names, ".hidden.png", "._a2.jpeg", ".DS_Store", "Thumbs.db", "notes.txt", "c.png.part"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.png").touch()
    assert [path.name for path in list_images(tmp_path)] == sorted(names)
    assert all(path.parent == tmp_path for path in list_images(str(tmp_path)))


def test_listing_below_takes_each_folder_after_the_pictures_in_its_own_and_each_once(tmp_path):
    for name in ("z.png", "b/y.png", "b/c/x.png", "a/w.png", ".hidden/v.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in list_images_below(tmp_path)]
    assert names == ["z.png", "a/w.png", "b/y.png", "b/c/x.png"]
    with pytest.raises(FileError, match="absent: no such folder"):
        list_images_below(tmp_path / "absent")


def test_listing_an_empty_folder_is_an_empty_list(tmp_path):
    assert list_images(tmp_path) == []


def test_listing_shows_a_broken_link_so_that_reading_reports_it(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in list_images(tmp_path)] == ["gone.png"]


def test_listing_names_a_missing_folder_and_a_file_in_place_of_one(tmp_path):
    with pytest.raises(FileError, match=r"absent: no such folder"):
        list_images(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file: expected a folder, found a file"):
        list_images(tmp_path / "file")


# Reading


@pytest.mark.parametrize(
    "name", ["plain.png", "with space.png", "한글.png", "line\nbreak.png", "UPPER.PNG", "b.bmp", "t.tif"]
)
def test_colours_are_read_as_stored(tmp_path, name):
    array = noise()
    path = saved(tmp_path, name, array)
    for argument in (path, str(path)):
        rgb = read_rgb(argument)
        assert rgb.dtype == np.uint8
        assert rgb.flags.c_contiguous
        np.testing.assert_array_equal(rgb, array)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [None, 3, 4])
@pytest.mark.parametrize("extension", ["png", "webp", "tif"])
def test_every_exif_orientation_is_turned_upright(tmp_path, orientation, channels, extension):
    upright = noise(3, 5, channels)
    path = saved(
        tmp_path,
        f"o.{extension}",
        as_stored(upright, orientation),
        exif=exif_of(orientation),
        **({"lossless": True, "exact": True} if extension == "webp" else {}),
    )
    picture = read_picture(path)
    colours = upright[:, :, :3] if channels else np.repeat(upright[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(picture.rgb, colours)
    np.testing.assert_array_equal(read_rgb(path), colours)
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, upright[:, :, 3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_jpeg_is_turned_upright(tmp_path, orientation):
    upright = np.repeat(np.repeat(noise(3, 5), 16, axis=0), 16, axis=1)
    path = saved(
        tmp_path, "o.jpg", as_stored(upright, orientation), exif=exif_of(orientation), quality=100, subsampling=0
    )
    assert np.abs(read_rgb(path).astype(int) - upright).max() <= 4


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_an_orientation_outside_the_standard_is_ignored(tmp_path, orientation):
    array = noise()
    np.testing.assert_array_equal(read_rgb(saved(tmp_path, "o.png", array, exif=exif_of(orientation))), array)


def test_an_orientation_that_only_xmp_states_is_applied_and_reset(tmp_path):
    upright = noise(3, 5)
    path = saved(tmp_path, "o.webp", as_stored(upright, 6), lossless=True, xmp=XMP)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb, upright)
    assert picture.metadata.xmp == XMP.replace(b'"6"', b'"1"')


def test_exif_in_an_old_png_text_chunk_is_applied(tmp_path):
    upright, exif = noise(3, 5), exif_of(8)
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    path = saved(tmp_path, "o.png", as_stored(upright, 8), pnginfo=text)
    np.testing.assert_array_equal(read_rgb(path), upright)


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = noise(channels=None)
    picture = read_picture(saved(tmp_path, "g.png", grey))
    assert (picture.kind, picture.alpha) == ("L", None)
    for channel in range(3):
        np.testing.assert_array_equal(picture.rgb[:, :, channel], grey)


def test_one_bit_images_are_read_as_black_and_white_grey(tmp_path):
    bits = noise(channels=None) > 127
    picture = read_picture(saved(tmp_path, "b.png", Image.fromarray(bits)))
    assert picture.kind == "L"
    np.testing.assert_array_equal(picture.rgb[:, :, 0], np.where(bits, 255, 0))


@pytest.mark.parametrize(("mode", "channels"), [("LA", 2), ("RGBA", 4)])
def test_alpha_is_kept_apart_and_the_colours_under_it_are_as_stored(tmp_path, mode, channels):
    array = noise(channels=channels)
    picture = read_picture(saved(tmp_path, "a.png", array if mode == "RGBA" else grey_with_alpha(array)))
    assert picture.kind == mode
    np.testing.assert_array_equal(picture.alpha, array[:, :, -1])
    np.testing.assert_array_equal(picture.rgb, np.broadcast_to(array[:, :, :-1], picture.rgb.shape))


def test_a_palette_is_expanded(tmp_path):
    image, palette = palette_image()
    indices = np.asarray(image)
    picture = read_picture(saved(tmp_path, "p.png", image))
    assert (picture.kind, picture.alpha) == ("RGB", None)
    np.testing.assert_array_equal(picture.rgb, palette[indices])

    opacities = bytes([0, 80, 255, 3])
    picture = read_picture(saved(tmp_path, "t.png", image, transparency=opacities))
    assert picture.kind == "RGBA"
    np.testing.assert_array_equal(picture.rgb, palette[indices])
    np.testing.assert_array_equal(picture.alpha, np.frombuffer(opacities, np.uint8)[indices])


def test_a_transparent_colour_becomes_alpha(tmp_path):
    array = noise()
    array[2, 3] = array[5, 6] = (1, 2, 3)
    picture = read_picture(saved(tmp_path, "k.png", array, transparency=(1, 2, 3)))
    np.testing.assert_array_equal(picture.rgb, array)
    np.testing.assert_array_equal(picture.alpha, np.where((array == (1, 2, 3)).all(axis=2), 0, 255))


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bit_grey_is_kept_and_scaled_where_8_bits_are_wanted(tmp_path, extension):
    values = np.array([[0, 128, 129, 257, 300], [32768, 40000, 65535, 65407, 65406]], np.uint16)
    path = saved(tmp_path, f"s.{extension}", values)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb[:, :, 1], values)
    assert (picture.rgb.dtype, picture.kind, picture.notices) == (np.uint16, "L", ())
    expected = [[math.floor(int(value) / 257 + 0.5) for value in row] for row in values]
    np.testing.assert_array_equal(read_rgb(path)[:, :, 1], expected)
    assert read_rgb(path).dtype == np.uint8


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


@pytest.mark.parametrize(("channels", "kind"), [(2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_sixteen_bit_channels_of_a_png_are_kept(tmp_path, channels, kind):
    array = deep_noise(70, 9, channels)
    (tmp_path / "c.png").write_bytes(png_with_16_bits(array))
    picture, path = written(tmp_path, tmp_path / "c.png", "out.png", rgb=read_picture(tmp_path / "c.png").rgb)
    assert (picture.kind, picture.notices, picture.rgb.dtype) == (kind, (), np.uint16)
    for found in (picture, read_picture(path)):
        np.testing.assert_array_equal(found.rgb, array[:, :, :3] if channels > 2 else array[:, :, [0, 0, 0]])
        if found.alpha is not None:
            np.testing.assert_array_equal(found.alpha, array[:, :, -1])
    assert (found.alpha is not None) == (channels != 3)


def test_a_png_of_16_bits_is_understood_by_another_reader(tmp_path):
    array = deep_noise(70, 9, 4)
    content = encode_picture(Picture(array[:, :, :3], array[:, :, 3], "RGBA"), array[:, :, :3], "PNG")
    rows, position = b"", 8
    while position < len(content):  # the standard, byte by byte
        size, name = struct.unpack_from(">I4s", content, position)
        data = content[position + 8 : position + 8 + size]
        assert struct.unpack_from(">I", content, position + 8 + size)[0] == zlib.crc32(name + data)
        rows += data if name == b"IDAT" else b""
        position += size + 12
    raw, stride = zlib.decompress(rows), 9 * 8
    assert len(raw) == 70 * (stride + 1)
    above = [0] * stride
    for y in range(70):
        kind, *line = raw[y * (stride + 1) : (y + 1) * (stride + 1)]
        for i in range(stride):
            a, b, c = (line[i - 8] if i > 7 else 0), above[i], (above[i - 8] if i > 7 else 0)
            nearest = min((a, b, c), key=lambda value, p=a + b - c: abs(p - value))
            line[i] = (line[i] + {0: 0, 1: a, 2: b, 3: (a + b) // 2, 4: nearest}[kind]) % 256
        np.testing.assert_array_equal(np.frombuffer(bytes(line), ">u2").reshape(9, 4), array[y])
        above = line


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", [None, "unassalpha", "assocalpha", "unspecified"])
def test_sixteen_bit_tiff_of_another_writer_is_kept(tmp_path, compression, order, extra):
    tifffile = pytest.importorskip("tifffile")
    array = deep_noise(12, 9, 4 if extra else 3)
    stored = array.copy()
    if extra == "assocalpha":
        stored[:, :, :3] = np.rint(array[:, :, :3] * (array[:, :, 3:] / 65535))
    more = {"extrasamples": [extra]} if extra else {}
    tifffile.imwrite(tmp_path / "c.tif", stored, photometric="rgb", compression=compression, byteorder=order, **more)
    picture = read_picture(tmp_path / "c.tif")
    assert picture.rgb.dtype == np.uint16
    assert picture.notices == ()
    if extra == "assocalpha":
        known = array[:, :, 3] > 20000
        assert np.abs(picture.rgb.astype(int) - array[:, :, :3])[known].max() <= 2
    else:
        np.testing.assert_array_equal(picture.rgb, array[:, :, :3])
    if extra in ("unassalpha", "assocalpha"):
        np.testing.assert_array_equal(picture.alpha, array[:, :, 3])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_sixteen_bit_tiff_with_a_plane_for_each_channel_is_refused(tmp_path, compression):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "c.tif"
    tifffile.imwrite(path, deep_noise(3, 12, 9), photometric="rgb", planarconfig="separate", compression=compression)
    with pytest.raises(FileError, match="16-bit channels pixel by pixel"):
        read_picture(path)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_tiff_of_16_bits_is_understood_by_another_reader(tmp_path, channels):
    tifffile = pytest.importorskip("tifffile")
    array = deep_noise(12, 9, channels)
    rgb = array[:, :, :3] if channels > 2 else array[:, :, [0, 0, 0]]
    picture = Picture(
        rgb,
        alpha=array[:, :, -1] if channels in (2, 4) else None,
        kind=("RGB" if channels > 2 else "L") + ("A" if channels in (2, 4) else ""),
        metadata=Metadata(icc_profile=ICC, xmp=XMP, dpi=(300, 200), exif=exif_of(1)),
    )
    write_picture(tmp_path / "c.tif", picture, rgb)
    if channels == 2:  # Pillow does not open those
        array = array[:, :, [0, 0, 0, 1]]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "c.tif").reshape(array.shape), array)
    metadata = read_picture(tmp_path / "c.tif").metadata
    assert (metadata.icc_profile, metadata.dpi) == (ICC, (300, 200))
    assert metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')


def test_the_metadata_of_a_png_of_16_bits_is_kept(tmp_path):
    rgb = deep_noise(12, 9, 3)
    metadata = Metadata(icc_profile=ICC, xmp=XMP, dpi=(300, 300), exif=exif_of(1))
    write_picture(tmp_path / "c.png", Picture(rgb, metadata=metadata), rgb)
    again = read_picture(tmp_path / "c.png").metadata
    assert again.icc_profile == ICC
    assert again.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert [round(value) for value in again.dpi] == [300, 300]
    assert again.exif


def test_a_transparent_colour_of_16_bits_becomes_alpha(tmp_path):
    array = deep_noise(6, 5, 3)
    content = png_with_16_bits(array)
    data = b"tRNS" + array[2, 3].astype(">u2").tobytes()
    content = content[:33] + struct.pack(">I", 6) + data + struct.pack(">I", zlib.crc32(data)) + content[33:]
    (tmp_path / "c.png").write_bytes(content)
    alpha = np.full((6, 5), 65535)
    alpha[2, 3] = 0
    np.testing.assert_array_equal(read_picture(tmp_path / "c.png").alpha, alpha)


def test_16_bits_become_8_in_formats_that_hold_no_more_and_that_is_told():
    rgb = deep_noise(6, 5, 3)
    picture = Picture(rgb)
    for file_format in ("BMP", "PPM"):
        content = encode_picture(picture, rgb, file_format)
        again = read_picture("x.png", content=content).rgb
        np.testing.assert_array_equal(again, np.floor(rgb / 257 + 0.5).astype(np.uint8))
        assert not_kept(picture, file_format) == [f"16-bit input is written with 8 bits, as {file_format}"]
    assert not_kept(picture, "PNG") == []


def test_the_content_decides_and_not_the_name(tmp_path):
    path = saved(tmp_path, "a.jpg", smooth())
    renamed = path.rename(tmp_path / "a.png")
    picture = read_picture(renamed)
    assert picture.format == "JPEG"
    assert picture.notices == ("the name says PNG, the content is JPEG",)
    assert read_picture(renamed.rename(tmp_path / "a")).notices == ()


def test_the_limit_of_pixels_is_named_and_can_be_raised(tmp_path):
    width = 20000
    header = struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    rest = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + rest)
    with pytest.raises(FileError, match=r"20000x20000 pixels .* limit, 178956970; --max_pixels raises it"):
        read_picture(tmp_path / "bomb.png")
    path = saved(tmp_path, "a.png", noise(10, 10))
    with pytest.raises(FileError, match=r"10x10 pixels .* limit, 99; --max_pixels"):
        read_picture(path, max_pixels=99)
    assert read_picture(path, max_pixels=100).rgb.shape == (10, 10, 3)
    assert Image.MAX_IMAGE_PIXELS == 89478485


@pytest.mark.parametrize(("file_format", "kind"), [("PNG", "RGB"), ("PNG", "LA"), ("TIFF", "RGB")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_limit_of_pixels_can_be_raised_for_tiff_and_16_bits(monkeypatch, file_format, kind, dtype):
    rgb = deep_noise(6, 5, 3).astype(dtype)
    content = encode_picture(Picture(rgb, rgb[:, :, 0] if kind == "LA" else None, kind), rgb, file_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(FileError, match="limit, 20; --max_pixels raises it"):
        read_picture("a", content=content)
    assert read_picture("a", content=content, max_pixels=30).rgb.dtype == dtype
    assert Image.MAX_IMAGE_PIXELS == 10
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # from here on Pillow would warn
    assert read_picture("a", content=content).rgb.dtype == dtype


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
def test_metadata_of_heic_and_avif_goes_along_and_orientation_is_right(tmp_path, name):
    if named_format(name) not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    source = saved(tmp_path, "in.jpg", smooth(), exif=exif, icc_profile=ICC, quality=100)
    picture = read_picture(source)
    write_picture(tmp_path / name, picture, picture.rgb)
    again = read_picture(tmp_path / name)
    assert again.notices == ()
    assert again.rgb.shape == (64, 48, 3)
    assert np.abs(again.rgb.astype(int) - picture.rgb).mean() < 3
    assert again.metadata.icc_profile == ICC
    assert b"Maker" in again.metadata.exif
    write_picture(tmp_path / f"again {name}", again, again.rgb)
    assert read_picture(tmp_path / f"again {name}").rgb.shape == (64, 48, 3)


def test_heic_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(FileError, match=r"pip install 'deblurgan\[heic\]'"):
        read_picture(tmp_path / "a.heic")


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow 11.3 or newer writes AVIF")
def test_avif_that_shares_its_first_brand_with_heic_needs_no_other_reader(tmp_path, monkeypatch):
    path = saved(tmp_path, "a.avif", smooth())
    content = path.read_bytes()
    assert content[8:12] == b"avif"
    assert b"avif" in content[16 : int.from_bytes(content[:4], "big")]
    path.write_bytes(content[:8] + b"mif1" + content[12:])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert read_picture(path).format == "AVIF"


@pytest.mark.parametrize("extension", ["dds", "ico", "pcx", "psd", "qoi", "sgi"])
def test_formats_that_are_only_read(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    array = noise(32, 32)
    if extension == "psd":
        header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 32, 32, 8, 3)
        planes = array.transpose(2, 0, 1).tobytes()
        path.write_bytes(header + struct.pack(">III", 0, 0, 0) + struct.pack(">H", 0) + planes)
    elif extension == "qoi":
        pixels = b"".join(b"\xfe" + pixel.tobytes() for pixel in array.reshape(-1, 3))
        path.write_bytes(struct.pack(">4sIIBB", b"qoif", 32, 32, 3, 0) + pixels + b"\0" * 7 + b"\1")
    else:
        Image.fromarray(array).save(path)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb, array)
    assert not_kept(picture, "PNG") == [f"{extension.upper()} is written as PNG"]
    assert read_size(path) == (32, 32)
    with pytest.raises(InputError, match="expected one of"):
        write_picture(path, picture, picture.rgb)


@pytest.mark.parametrize("file_format", sorted({"JPEG", "WEBP", "AVIF", "HEIF"} & Image.SAVE.keys()))
def test_quality_is_that_which_is_asked_for(file_format):
    picture = Picture(noise(64, 64))
    sizes = [len(encode_picture(picture, picture.rgb, file_format, quality=quality)) for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))
    assert encode_picture(picture, picture.rgb, "PNG", quality=20) == encode_picture(picture, picture.rgb, "PNG")


def test_cmyk_is_converted_to_rgb_and_its_profile_dropped(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for name in ("c.jpg", "c.tif"):
        picture = read_picture(saved(tmp_path, name, image, icc_profile=ICC))
        assert np.abs(picture.rgb.astype(int) - (255, 0, 0)).max() <= 4
        assert (picture.kind, picture.metadata.icc_profile) == ("RGB", None)
        assert picture.notices == ("CMYK is converted to RGB, without its colour profile",)
        write_picture(tmp_path / "out.jpg", picture, picture.rgb)
        with Image.open(tmp_path / "out.jpg") as written:
            assert (written.mode, written.info.get("icc_profile")) == ("RGB", None)


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_read_with_a_notice(tmp_path, extension):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = saved(tmp_path, f"a.{extension}", frames[0], save_all=True, append_images=frames[1:])
    picture = read_picture(path)
    assert np.abs(picture.rgb.astype(int) - (255, 0, 0)).max() <= 4
    assert picture.notices == ("only the first frame of several is used",)


def test_an_ordinary_photograph_has_no_notices(tmp_path):
    assert read_picture(saved(tmp_path, "a.jpg", smooth(), exif=exif_of(6))).notices == ()


def grey_tiff(values, photometric):
    """A little-endian TIFF of one strip, with 8 or 16 bits by the array's type."""
    height, width = values.shape
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes()
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height}
    tags[279] = len(pixels)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_read_as_it_looks(tmp_path, dtype):
    white = np.iinfo(dtype).max
    values = np.array([[0, 1, white // 5], [white // 2, white - 1, white]], dtype)
    for photometric, looks in ((1, values), (0, white - values)):
        (tmp_path / "w.tif").write_bytes(grey_tiff(values, photometric))
        expected = np.floor(looks / (white / 255) + 0.5)
        np.testing.assert_array_equal(read_rgb(tmp_path / "w.tif")[:, :, 0], expected)


@pytest.mark.parametrize(("largest", "factor"), [(65535, 1), (4095, 65535 / 4095)])
def test_a_pgm_of_16_bits_is_read_with_all_of_them(tmp_path, largest, factor):
    values = np.random.default_rng(0).integers(0, largest + 1, (5, 7))
    for name, body in (
        ("raw.pgm", b"P5 7 5 %d\n" % largest + values.astype(">u2").tobytes()),
        ("plain.pgm", b"P2 7 5 %d\n" % largest + " ".join(map(str, values.ravel())).encode()),
    ):
        (tmp_path / name).write_bytes(body)
        picture = read_picture(tmp_path / name)
        assert (picture.kind, picture.rgb.dtype, picture.notices) == ("L", np.uint16, ())
        np.testing.assert_array_equal(picture.rgb[:, :, 0], np.floor(values * factor + 0.5))
    assert not_kept(picture, "PPM") == ["16-bit input is written with 8 bits, as PPM"]


def test_a_ppm_of_16_bits_and_three_channels_is_read_with_8_and_that_is_told(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 65535\n" + bytes(range(12)))
    picture = read_picture(tmp_path / "a.ppm")
    assert picture.notices == ("16-bit RGB is read with 8 bits",)
    np.testing.assert_array_equal(picture.rgb, [[[0, 2, 4], [6, 8, 10]]])


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
def test_float_and_32_bit_pixels_are_refused(tmp_path, array):
    with pytest.raises(
        FileError, match=r"f\.tif: not a readable image \(expected grey, RGB or CMYK with 8 or 16 bits"
    ):
        read_rgb(saved(tmp_path, "f.tif", array))
    with pytest.raises(FileError, match=r"f\.tif: not a readable image \(expected grey, RGB or CMYK"):
        read_size(tmp_path / "f.tif")


def test_what_is_not_an_image_is_named_in_one_line(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is not a picture\n" * 50)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "line\nbreak.png").touch()
    for name, reason in {
        "empty.png": "the file is empty",
        "text.png": "no picture of a known format that can be read",
        "folder.png": "not a file",
        "missing.png": "No such file or directory",
        "line\nbreak.png": "the file is empty",
    }.items():
        for read in (read_picture, read_size):
            with pytest.raises(FileError) as caught:
                read(tmp_path / name)
            message = str(caught.value)
            assert message.endswith(f": not a readable image ({reason})")
            assert message.startswith((str(tmp_path / name), ascii(str(tmp_path / name))))
            assert "\n" not in message


@pytest.mark.parametrize("extension", WRITTEN)
def test_truncated_files_are_refused_wherever_they_end(tmp_path, extension):
    write_image(tmp_path / f"whole{extension}", noise(40, 40))
    data = (tmp_path / f"whole{extension}").read_bytes()
    path = tmp_path / f"part{extension}"
    for length in [*range(0, 60, 3), len(data) // 3, len(data) // 2, len(data) * 3 // 4]:
        path.write_bytes(data[:length])
        with pytest.raises(FileError, match=r"not a readable image \(.+\)"):
            read_rgb(path)


def test_damaged_bytes_never_raise_anything_but_a_package_error(tmp_path):
    random = np.random.default_rng(1)
    path = tmp_path / "damaged"
    outcomes = {"read": 0, "refused": 0}
    for extension in WRITTEN:
        options = {} if extension in (".bmp", ".gif") else {"exif": exif_of(6)}
        data = saved(tmp_path, f"whole{extension}", smooth(16, 16), **options).read_bytes()
        for _ in range(40):
            broken = bytearray(data)
            for position in random.integers(0, min(len(data), 500), 3):
                broken[position] = random.integers(0, 256)
            path.write_bytes(broken)
            try:
                shape = read_picture(path).rgb.shape
            except DeblurganError as error:
                assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
                outcomes["refused"] += 1
            else:
                outcomes["read"] += 1
                assert read_size(path) == shape[:2], extension
    assert min(outcomes.values()) > 20


def test_sizes_of_damaged_files_raise_nothing_but_a_package_error(tmp_path):
    random = np.random.default_rng(2)
    path = tmp_path / "damaged"
    for extension in WRITTEN:
        options = {} if extension in (".bmp", ".gif") else {"exif": exif_of(6)}
        data = saved(tmp_path, f"whole{extension}", smooth(16, 16), **options).read_bytes()
        for _ in range(40):
            broken = bytearray(data)
            for position in random.integers(0, min(len(data), 500), 5):
                broken[position] = random.integers(0, 256)
            path.write_bytes(broken[: random.integers(1, len(broken))])
            with contextlib.suppress(DeblurganError):
                assert min(read_size(path)) >= 1


def test_a_large_picture_is_read_without_a_warning_and_one_above_the_limit_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, "large.png", noise(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_rgb(path).shape == (20, 20, 3)
    assert caught == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 199)
    with pytest.raises(FileError, match=r"large\.png: not a readable image \(20x20 pixels.* limit, 398;"):
        read_rgb(path)


def test_reading_in_threads_leaves_the_warning_filters_as_they_were(tmp_path):
    path = saved(tmp_path, "a.tif", noise())
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(read_rgb, [path] * 200))
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    assert list(warnings.filters) == before


def test_damaged_exif_is_dropped_with_a_notice_and_the_picture_still_read(tmp_path):
    array = noise()
    whole = exif_of(6)
    for exif in (whole[:6] + b"XX" + whole[8:], whole[:20], whole[:6]):
        picture = read_picture(saved(tmp_path, "d.png", array, exif=exif))
        np.testing.assert_array_equal(picture.rgb, array)
        assert picture.metadata.exif is None
        assert picture.notices == ("damaged EXIF is not kept",)


def test_a_picture_is_turned_as_its_exif_says_also_when_that_is_damaged_elsewhere(tmp_path):
    upright = noise(10, 14)
    exif = handmade_exif(b"II", 6, 14, 10)
    link = exif.index(struct.pack("<HHI", 0x8769, 4, 1)) + 8
    exif = exif[:link] + struct.pack("<I", 2**31) + exif[link + 4 :]
    path = saved(tmp_path, "d.png", as_stored(upright, 6), exif=exif)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb, upright)
    assert read_size(path) == (10, 14)
    assert picture.notices == ("damaged EXIF is not kept",)
    _, again = written(tmp_path, path, "again.png")
    with Image.open(again) as image:
        assert image.getexif()[ExifTags.Base.Orientation] == 1


def test_exif_whose_last_field_is_cut_off_is_dropped_with_a_notice(tmp_path):
    order = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, ExifTags.Base.ExifImageWidth, 4, 1)
    picture = read_picture(saved(tmp_path, "d.png", noise(), exif=order))
    assert (picture.metadata.exif, picture.notices) == (None, ("damaged EXIF is not kept",))


# Sizes


def undecodable(*arguments):
    raise AssertionError("the pixels were decoded")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("extension", "options"),
    [("jpg", {}), ("png", {}), ("webp", {}), ("tif", {}), ("tif", {"compression": "tiff_adobe_deflate"})],
)
def test_the_size_is_that_of_the_upright_picture_without_decoding(
    tmp_path, orientation, extension, options, monkeypatch
):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(tmp_path, f"o.{extension}", as_stored(noise(24, 40), orientation), exif=exif, **options)
    assert read_rgb(path).shape == (24, 40, 3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", undecodable)
    assert read_size(path) == read_size(str(path)) == (24, 40)


@pytest.mark.parametrize("extension", WRITTEN)
def test_the_size_of_a_plain_file_of_each_format(tmp_path, extension):
    write_image(tmp_path / f"x{extension}", noise(7, 11))
    assert read_size(tmp_path / f"x{extension}") == (7, 11)


def test_the_size_respects_an_orientation_that_only_xmp_states(tmp_path):
    for name, options in (("o.webp", {"xmp": XMP}), ("o.tif", {"tiffinfo": {700: XMP}})):
        path = saved(tmp_path, name, noise(3, 5), **options)
        assert read_size(path) == read_rgb(path).shape[:2]


def test_the_size_respects_metadata_behind_the_pixels_of_a_png(tmp_path):
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n1\n{exif_of(8).hex()}\n")
    xmp = PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", XMP.decode())
    for options in ({"exif": exif_of(6)}, {"pnginfo": text}, {"pnginfo": xmp}):
        data = saved(tmp_path, "o.png", noise(3, 5), **options).read_bytes()
        start = 8 + 25  # behind the signature and the IHDR chunk
        end = data.index(b"IDAT") - 4
        assert end > start
        (tmp_path / "late.png").write_bytes(data[:start] + data[end:-12] + data[start:end] + data[-12:])
        assert read_rgb(tmp_path / "late.png").shape == (5, 3, 3)
        assert read_size(tmp_path / "late.png") == (5, 3)


def test_the_size_is_known_of_a_file_that_ends_within_its_pixels(tmp_path):
    for extension in ("jpg", "png", "bmp"):
        path = tmp_path / f"part.{extension}"
        write_image(path, noise(40, 50))
        path.write_bytes(path.read_bytes()[:-200])
        assert read_size(path) == (40, 50)
        with pytest.raises(FileError):
            read_rgb(path)


def test_damaged_exif_leaves_the_size_as_stored(tmp_path):
    assert read_size(saved(tmp_path, "d.png", noise(3, 5), exif=exif_of(6)[:20])) == (3, 5)


# Writing back


def written(tmp_path, source, name, rgb=None):
    """Read a file, write it back with other colours under another name, and return both."""
    picture = read_picture(source)
    path = tmp_path / name
    write_picture(path, picture, 255 - picture.rgb if rgb is None else rgb)
    return picture, path


@pytest.mark.parametrize("extension", ["png", "tif", "webp"])
def test_rgba_goes_back_with_new_colours_and_its_own_alpha(tmp_path, extension):
    array = noise(channels=4)
    _, path = written(tmp_path, saved(tmp_path, "in.png", array), f"out.{extension}")
    expected = np.dstack([255 - array[:, :, :3], array[:, :, 3]])
    np.testing.assert_array_equal(stored_array(path), expected)


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "gif", "jpg"])
def test_grey_goes_back_as_grey(tmp_path, extension):
    grey = np.repeat(np.repeat(noise(3, 4, None), 16, axis=0), 16, axis=1)
    _, path = written(tmp_path, saved(tmp_path, "in.png", grey), f"out.{extension}")
    if extension != "gif":  # where grey is a palette
        with Image.open(path) as image:
            assert image.mode == "L"
    again = read_picture(path)
    assert again.kind == "L"
    assert np.abs(again.rgb[:, :, 1].astype(int) - (255 - grey)).max() <= (3 if extension == "jpg" else 0)


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow 11.3 or newer writes AVIF")
@pytest.mark.parametrize("quality", [None, 80])
def test_grey_avif_stays_grey(tmp_path, quality):
    picture = read_picture(saved(tmp_path, "in.avif", smooth()[:, :, 0]))
    assert picture.kind == "L"
    assert read_picture("a", content=encode_picture(picture, picture.rgb, "AVIF", quality=quality)).kind == "L"


def test_grey_is_the_mean_of_the_three_channels(tmp_path):
    source = saved(tmp_path, "in.png", np.zeros((1, 3), np.uint8))
    rgb = np.array([[[10, 11, 12], [0, 0, 1], [255, 255, 254]]], np.uint8)
    _, path = written(tmp_path, source, "out.png", rgb)
    np.testing.assert_array_equal(stored_array(path), [[11, 0, 255]])


def test_grey_with_alpha_goes_back_as_such(tmp_path):
    array = noise(channels=2)
    source = saved(tmp_path, "in.png", grey_with_alpha(array))
    for extension in ("png", "tif"):
        _, path = written(tmp_path, source, f"out.{extension}")
        with Image.open(path) as image:
            assert image.mode == "LA"
        np.testing.assert_array_equal(stored_array(path), np.dstack([255 - array[:, :, 0], array[:, :, 1]]))


def test_a_palette_png_goes_back_in_full_colour(tmp_path):
    image, _ = palette_image()
    rgb = noise(seed=5)
    opacities = bytes([0, 80, 255, 3])
    _, path = written(tmp_path, saved(tmp_path, "p.png", image), "out.png", rgb)
    np.testing.assert_array_equal(stored_array(path), rgb)
    picture, path = written(tmp_path, saved(tmp_path, "t.png", image, transparency=opacities), "out.png", rgb)
    np.testing.assert_array_equal(stored_array(path), np.dstack([rgb, picture.alpha]))


def test_a_gif_goes_back_with_256_colours_and_its_transparency(tmp_path):
    image, _ = palette_image()
    source = saved(tmp_path, "in.gif", image, transparency=2)
    flat = np.full((12, 20, 3), (10, 200, 30), np.uint8)
    for rgb in (smooth(12, 20), flat):
        picture, path = written(tmp_path, source, "out.gif", rgb)
        again = read_picture(path)
        np.testing.assert_array_equal(again.alpha, picture.alpha)
        assert {0, 255} == set(np.unique(picture.alpha))
        visible = picture.alpha == 255
        assert np.abs(again.rgb[visible].astype(int) - rgb[visible]).mean() < 12
    np.testing.assert_array_equal(again.rgb[visible], flat[visible])


def test_half_transparent_pixels_become_on_or_off_in_a_gif(tmp_path):
    array = noise(channels=4)
    array[0, :4, 3] = (0, 127, 128, 255)
    _, path = written(tmp_path, saved(tmp_path, "in.png", array), "out.gif")
    np.testing.assert_array_equal(read_picture(path).alpha, np.where(array[:, :, 3] < 128, 0, 255))
    grey = grey_with_alpha(array[:, :, 2:])
    _, path = written(tmp_path, saved(tmp_path, "in.png", grey), "out.gif")
    np.testing.assert_array_equal(read_picture(path).alpha, np.where(array[:, :, 3] < 128, 0, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_format_without_alpha_shows_the_picture_on_white(tmp_path, mode):
    array = np.zeros((16, 48, 4), np.uint8)
    array[:, 16:32, 3], array[:, 32:, 3] = 51, 255
    image = Image.fromarray(array).convert(mode)
    for extension, tolerance in (("bmp", 0), ("jpg", 3)):
        _, path = written(tmp_path, saved(tmp_path, "in.png", image), f"out.{extension}", array[:, :, :3].copy())
        with Image.open(path) as flat:
            assert flat.mode == mode[:-1]
            grey = np.asarray(flat.convert("L")).astype(int)
        for column, expected in ((8, 255), (24, 204), (40, 0)):
            assert abs(grey[8, column] - expected) <= tolerance


def test_alpha_is_resized_with_the_picture(tmp_path):
    array = np.zeros((10, 10, 4), np.uint8)
    array[:, 5:, 3] = 255
    _, path = written(tmp_path, saved(tmp_path, "in.png", array), "out.png", np.zeros((20, 40, 3), np.uint8))
    alpha = stored_array(path)[:, :, 3]
    assert alpha.shape == (20, 40)
    assert alpha[:, :14].max() == 0
    assert alpha[:, 26:].min() == 255


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif"])
def test_metadata_goes_back_with_orientation_reset(tmp_path, extension, target):
    stored = as_stored(smooth(), 6)
    source = saved(tmp_path, f"in.{extension}", stored, exif=exif_of(6), icc_profile=ICC, dpi=(300, 300))
    picture, path = written(tmp_path, source, f"out.{target}")
    with Image.open(path) as image:
        assert image.size == (64, 48)
        image.load()
        exif = image.getexif()
        assert exif[ExifTags.Base.Make] == "Maker"
        assert exif[ExifTags.Base.DateTime] == "2018:03:22 10:11:12"
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] == 0.25
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert (gps[1], gps[2], gps[4]) == ("N", (37.0, 33.0, 58.5), (126.0, 58.0, 40.0))
        assert image.info["icc_profile"] == ICC
        if "webp" not in (extension, target):  # which has no field for it
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.05)
    np.testing.assert_array_equal(read_rgb(path).shape, picture.rgb.shape)
    assert np.abs(read_rgb(path).astype(int) - (255 - picture.rgb)).mean() < 3


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif"])
def test_xmp_goes_back_with_orientation_reset(tmp_path, target):
    source = saved(tmp_path, "in.webp", smooth(), lossless=True, xmp=XMP, exif=exif_of(1))
    _, path = written(tmp_path, source, f"out.{target}")
    assert XMP.replace(b'"6"', b'"1"') in path.read_bytes()
    assert read_picture(path).metadata.xmp == XMP.replace(b'"6"', b'"1"')


def test_bmp_keeps_the_resolution(tmp_path):
    _, path = written(tmp_path, saved(tmp_path, "in.bmp", smooth(), dpi=(300, 150)), "out.bmp")
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.05)


@pytest.mark.parametrize("extension", ["png", "tif", "webp", "gif"])
def test_no_metadata_is_made_up(tmp_path, extension):
    picture = read_picture(saved(tmp_path, f"in.{extension}", smooth()))
    assert picture.metadata == Metadata()


@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_exif_changes_only_in_orientation_size_and_thumbnail(tmp_path, order):
    upright = noise(30, 50)
    source = saved(tmp_path, "in.png", as_stored(upright, 8), exif=handmade_exif(order, 8, width=30, height=50))
    picture = read_picture(source)
    without_thumbnail = handmade_exif(order, 1, width=50, height=30)
    differing = [i for i, (a, b) in enumerate(zip(picture.metadata.exif, without_thumbnail, strict=True)) if a != b]
    link = 6 + 8 + 2 + 24  # the first directory's link to the next
    assert differing
    assert set(differing) <= set(range(link, link + 4))
    assert picture.metadata.exif[link : link + 4] == bytes(4)
    _, path = written(tmp_path, source, "out.jpg")
    assert picture.metadata.exif in path.read_bytes()
    write_picture(tmp_path / "small.png", picture, upright[:20, :10])
    small = handmade_exif(order, 1, width=10, height=20)
    assert read_picture(tmp_path / "small.png").metadata.exif[link + 4 :] == small[link + 4 :]


def test_metadata_too_long_for_jpeg_is_left_out(tmp_path):
    long = Image.Exif()
    long[ExifTags.Base.ImageDescription] = "x" * 70000
    source = saved(tmp_path, "in.webp", smooth(), exif=long.tobytes(), xmp=b"<x>" + b" " * 70000 + b"</x>")
    _, path = written(tmp_path, source, "out.jpg")
    again = read_picture(path)
    assert (again.metadata.exif, again.metadata.xmp) == (None, None)
    lost = ["JPEG holds no EXIF above 64 KB", "JPEG holds no XMP above 64 KB"]
    assert not_kept(read_picture(source), "JPEG") == lost
    assert not_kept(read_picture(source), "PNG") == []
    assert not_kept(read_picture(source), "GIF") == ["GIF holds no EXIF", "GIF holds no XMP"]


def with_chunks(path, *chunks):
    """The PNG file with these (name, content) behind its header."""
    content = path.read_bytes()
    extra = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    path.write_bytes(content[:33] + extra + content[33:])
    return path


GAMMA = (b"gAMA", struct.pack(">I", 100000))
CHROMATICITY = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33001, 30000, 60000, 15000, 6000))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_gamma_and_primaries_of_a_png_are_kept_where_they_can_be_and_told_where_not(tmp_path, bits):
    path = saved(tmp_path, "a.png", smooth())
    if bits == 16:
        path.write_bytes(encode_picture(Picture(deep_noise(6, 5, 3)), deep_noise(6, 5, 3), "PNG"))
    picture, again = written(tmp_path, with_chunks(path, GAMMA, CHROMATICITY), "out.png")
    content = again.read_bytes()
    for name, data in (GAMMA, CHROMATICITY):
        assert content.index(name + data) < content.index(b"IDAT")
    assert [lost for lost in not_kept(picture, "JPEG") if "gamma" in lost] == [
        "JPEG holds no gamma, which the PNG file states: brightness will look different"
    ]
    assert not_kept(picture, "PNG") == []


def test_an_ordinary_png_makes_no_words_about_gamma(tmp_path):
    usual = (b"gAMA", struct.pack(">I", 45455))
    for number, chunks in enumerate([[usual], [usual, (b"sRGB", b"\0")]]):
        path = with_chunks(saved(tmp_path, f"{number}.png", smooth()), *chunks)
        assert not_kept(read_picture(path), "JPEG") == []


def test_a_grey_palette_with_a_profile_for_colours_stays_in_colour(tmp_path):
    image = Image.fromarray(smooth()[:, :, 0]).quantize(8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture, path = written(tmp_path, saved(tmp_path, "a.png", image, icc_profile=profile), "out.png")
    with Image.open(path) as again:
        assert (again.mode, again.info["icc_profile"]) == ("RGB", profile)
    assert picture.notices == ("the palette becomes RGB",)
    assert read_picture(saved(tmp_path, "b.png", image)).kind == "L"


def jpeg_quantisation(path):
    with Image.open(path) as image:
        tables = [image.quantization[component[3]] for component in image.layer]
        return tables, JpegImagePlugin.get_sampling(image)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 100])
def test_a_jpeg_goes_back_with_its_own_quantisation_and_subsampling(tmp_path, quality, subsampling):
    source = saved(tmp_path, "in.jpg", smooth(), quality=quality, subsampling=subsampling)
    _, path = written(tmp_path, source, "out.JPEG")
    assert jpeg_quantisation(path) == jpeg_quantisation(source)


def test_a_grey_jpeg_goes_back_with_its_own_quantisation(tmp_path):
    source = saved(tmp_path, "in.jpg", smooth()[:, :, 0].copy(), quality=40)
    _, path = written(tmp_path, source, "out.jpg")
    assert jpeg_quantisation(path) == jpeg_quantisation(source)


def test_a_turned_jpeg_goes_back_with_turned_quantisation_and_no_coarser_subsampling(tmp_path):
    source = saved(tmp_path, "in.jpg", smooth(), quality=60, subsampling=1, exif=exif_of(6))
    _, path = written(tmp_path, source, "out.jpg")
    before, after = jpeg_quantisation(source), jpeg_quantisation(path)
    for old, new in zip(before[0], after[0], strict=True):
        assert [new[8 * row + column] for column in range(8) for row in range(8)] == list(old)
    assert before[0] != after[0]
    assert (before[1], after[1]) == (1, 0)


def test_jpeg_with_three_tables_keeps_all_three(tmp_path):
    tables = [[level] * 64 for level in (2, 5, 9)]
    source = saved(tmp_path, "in.jpg", smooth(), qtables=tables, subsampling=0)
    _, path = written(tmp_path, source, "out.jpg")
    assert [set(table) for table in jpeg_quantisation(path)[0]] == [{2}, {5}, {9}]


def test_other_sources_become_jpeg_of_quality_95_without_subsampling(tmp_path):
    reference = saved(tmp_path, "reference.jpg", smooth(), quality=95, subsampling=0)
    _, path = written(tmp_path, saved(tmp_path, "in.png", smooth()), "out.jpg")
    assert jpeg_quantisation(path) == jpeg_quantisation(reference)
    write_image(tmp_path / "image.jpg", smooth())
    assert jpeg_quantisation(tmp_path / "image.jpg") == jpeg_quantisation(reference)


@pytest.mark.parametrize("animated", [False, True])
def test_webp_goes_back_lossless_only_when_it_came_so(tmp_path, animated):
    more = {"save_all": True, "append_images": [Image.fromarray(noise(seed=9))]} if animated else {}
    for lossless in (True, False):
        source = saved(tmp_path, "in.webp", noise(), lossless=lossless, icc_profile=ICC, **more)
        _, path = written(tmp_path, source, "out.webp")
        assert (b"VP8L" in path.read_bytes()) == lossless


def test_the_extension_decides_the_format_and_not_the_source(tmp_path):
    source = tmp_path / "really_a_png.jpg"
    Image.fromarray(noise(channels=4)).save(source, format="PNG")
    picture, path = written(tmp_path, source, "out.jpg")
    assert picture.format == "PNG"
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")


def test_a_picture_can_be_made_from_colours_alone(tmp_path):
    rgb = noise()
    write_picture(tmp_path / "x.png", Picture(rgb), rgb)
    np.testing.assert_array_equal(stored_array(tmp_path / "x.png"), rgb)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Picture(rgb).kind = "L"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("name", ["x.png", "x.tif", "이름 with space.PNG", "line\nbreak.png"])
def test_arrays_of_one_to_four_channels_are_written_as_they_are(tmp_path, shape, name):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_image(tmp_path / name, array)
    expected = array[:, :, 0] if shape[2:] == (1,) else array
    np.testing.assert_array_equal(stored_array(tmp_path / name), expected)


def test_arrays_need_not_be_contiguous(tmp_path):
    array = noise(channels=4)[::-2, ::-3]
    write_image(tmp_path / "x.png", array)
    np.testing.assert_array_equal(stored_array(tmp_path / "x.png"), array)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_arrays_of_one_to_four_channels_are_encoded_as_png(shape):
    array = np.random.default_rng(0).integers(0, 256, (2 * shape[0], *shape[1:]), dtype=np.uint8)[::-2]
    with Image.open(io.BytesIO(encode_png(array))) as image:
        assert image.format == "PNG"
        assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[shape[2] if len(shape) == 3 else 1]
        np.testing.assert_array_equal(np.array(image), array[:, :, 0] if shape[2:] == (1,) else array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_image_are_refused(tmp_path, array):
    with pytest.raises(InputError, match=r"the image: expected uint8 .* got (uint8|float32) \("):
        write_image(tmp_path / "x.png", array)
    with pytest.raises(InputError, match=r"the image: expected uint8 .* got (uint8|float32) \("):
        encode_png(array)
    with pytest.raises(InputError, match=r"the restored image: expected uint8 \(height, width, 3\), got"):
        write_picture(tmp_path / "x.png", Picture(noise()), array)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x", "x.txt", "x.png.bak", ".png"])
def test_unknown_extensions_are_refused(tmp_path, name):
    for write in (
        lambda path: write_image(path, noise()),
        lambda path: write_picture(path, Picture(noise()), noise()),
    ):
        with pytest.raises(InputError, match=r"expected one of \.avif .*\.webp, got '"):
            write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shape"), [("x.jpg", (1, 65600, 3)), ("x.webp", (1, 16400, 3)), ("x.gif", (1, 65600))]
)
def test_a_failing_save_leaves_the_earlier_file_and_no_other(tmp_path, name, shape):
    path = tmp_path / name
    path.write_bytes(b"earlier")
    with pytest.raises(FileError, match=rf"{name}: cannot be written as"):
        write_image(path, np.zeros(shape, np.uint8))
    assert path.read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == [name]


def test_an_interrupted_save_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch):
    def interrupted(path, content):
        with path.open("wb") as file:
            file.write(content[:20])
        raise KeyboardInterrupt

    write_image(tmp_path / "x.png", smooth())
    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "x.png", noise())
    np.testing.assert_array_equal(stored_array(tmp_path / "x.png"), smooth())
    assert os.listdir(tmp_path) == ["x.png"]


def test_writing_into_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileError, match=r"absent/x\.png: cannot be written"):
        write_image(tmp_path / "absent" / "x.png", noise())


def test_exif_that_cannot_be_taken_over_is_named(tmp_path):
    picture = Picture(noise(), metadata=Metadata(exif=b"Exif\0\0nonsense"))
    with pytest.raises(FileError, match=r"x\.tif: damaged EXIF cannot be written as TIFF"):
        write_picture(tmp_path / "x.tif", picture, noise())
    assert list(tmp_path.iterdir()) == []


# Pixel values


def test_all_byte_values_survive_the_way_to_the_model_and_back():
    values = np.arange(256, dtype=np.uint8)
    model = to_model(values)
    assert model.dtype == np.float32
    assert (model[0], model[255]) == (-1, 1)
    np.testing.assert_allclose(model, [value / 127.5 - 1 for value in range(256)], atol=1e-7)
    np.testing.assert_array_equal(from_model(model), values)
    np.testing.assert_array_equal(from_model(model.astype(np.float16)), values)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 3), (2, 4, 5, 3), (0, 3)])
def test_conversion_keeps_any_shape(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert to_model(values).shape == from_model(to_model(values)).shape == shape
    np.testing.assert_array_equal(from_model(to_model(values)), values)


def test_model_values_are_clipped_and_rounded_to_the_nearest():
    values = [-7.0, -1.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.001, 1.0, 1.5, 1e30]
    np.testing.assert_array_equal(from_model(np.array(values)), [0, 0, 0, 1, 128, 255, 255, 255])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_do_not_pass(value):
    with pytest.raises(InputError, match=r"expected values in \[-1, 1\], got NaN or infinity"):
        from_model(np.array([0.0, value], np.float32))


def test_values_of_the_wrong_kind_do_not_pass():
    with pytest.raises(InputError, match=r"expected uint8, got float32"):
        to_model(np.zeros(3, np.float32))
    with pytest.raises(InputError, match=r"expected floating-point values in \[-1, 1\], got uint8"):
        from_model(np.zeros(3, np.uint8))


# Arrangement


@pytest.mark.parametrize("shape", [(6, 8, 3), (6, 8)])
def test_resizing_takes_height_then_width(shape):
    image = np.full(shape, 77, np.uint8)
    resized = resize(image, (3, 20))
    assert resized.shape == (3, 20, *shape[2:])
    assert (resized == 77).all()


def test_nearest_resizing_picks_pixels_and_the_default_is_bicubic():
    image = noise(8, 8)
    np.testing.assert_array_equal(resize(image, (4, 4), Image.Resampling.NEAREST), image[1::2, 1::2])
    bicubic = np.asarray(Image.fromarray(image).resize((5, 3), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(image, (3, 5)), bicubic)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_resizing_to_nothing_is_refused(size):
    with pytest.raises(InputError, match=rf"got {size[0]} x {size[1]}"):
        resize(noise(), size)


@pytest.mark.parametrize("channels", [3, None])
def test_images_stand_side_by_side_with_white_between(channels):
    a, b, c = (noise(4, width, channels, seed=width) for width in (2, 3, 5))
    strip = side_by_side([a, b, c], gap=2)
    assert strip.shape == (4, 14, *a.shape[2:])
    for start, image in ((0, a), (4, b), (9, c)):
        np.testing.assert_array_equal(strip[:, start : start + image.shape[1]], image)
    assert (strip[:, [2, 3, 7, 8]] == 255).all()
    np.testing.assert_array_equal(side_by_side([a, b])[:, 2:], b)
    np.testing.assert_array_equal(side_by_side([a]), a)


@pytest.mark.parametrize(
    ("images", "gap", "reason"),
    [
        ([], 0, "expected one or more, got none"),
        ([noise(4, 4), noise(5, 4)], 0, "expected equal heights and channels"),
        ([noise(4, 4), noise(4, 4, None)], 0, "expected equal heights and channels"),
        ([noise(4, 4).astype(np.float32)], 0, "expected uint8"),
        ([noise(4, 4)], -1, "expected 0 or more, got -1"),
    ],
)
def test_images_that_do_not_fit_are_not_joined(images, gap, reason):
    with pytest.raises(InputError, match=reason):
        side_by_side(images, gap)


def test_the_module_needs_no_tensorflow():
    code = "import sys, deblurgan.pictures.writing; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_named_like_a_picture_is_neither_listed_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert list_images(tmp_path) == []
    with pytest.raises(FileError, match="not a file"):
        read_rgb(tmp_path / "pipe.png")

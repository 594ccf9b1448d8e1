import contextlib
import struct
import sys
import warnings
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.pictures.ahead import ahead
from deblurgan.pictures.reading import Picture, read_picture, read_rgb, read_size
from deblurgan.pictures.writing import encode_picture, not_kept, write_image
from tests.photographs import noise, save, smooth, write_picture
from tests.pictures.files import (
    ICC,
    WRITTEN,
    XMP,
    as_stored,
    deep_noise,
    exif_of,
    grey_with_alpha,
    palette_image,
)


@pytest.mark.parametrize(
    "name", ["plain.png", "with space.png", "한글.png", "line\nbreak.png", "UPPER.PNG", "b.bmp", "t.tif"]
)
def test_colours_are_read_as_stored(tmp_path, name):
    array = noise()
    path = save(tmp_path / name, array)
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
    path = save(
        tmp_path / f"o.{extension}",
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
    path = save(
        tmp_path / "o.jpg", as_stored(upright, orientation), exif=exif_of(orientation), quality=100, subsampling=0
    )
    assert np.abs(read_rgb(path).astype(int) - upright).max() <= 4


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = noise(channels=None)
    picture = read_picture(save(tmp_path / "g.png", grey))
    assert (picture.kind, picture.alpha) == ("L", None)
    for channel in range(3):
        np.testing.assert_array_equal(picture.rgb[:, :, channel], grey)


def test_one_bit_images_are_read_as_black_and_white_grey(tmp_path):
    bits = noise(channels=None) > 127
    picture = read_picture(save(tmp_path / "b.png", Image.fromarray(bits)))
    assert picture.kind == "L"
    np.testing.assert_array_equal(picture.rgb[:, :, 0], np.where(bits, 255, 0))


@pytest.mark.parametrize(("mode", "channels"), [("LA", 2), ("RGBA", 4)])
def test_alpha_is_kept_apart_and_the_colours_under_it_are_as_stored(tmp_path, mode, channels):
    array = noise(channels=channels)
    picture = read_picture(save(tmp_path / "a.png", array if mode == "RGBA" else grey_with_alpha(array)))
    assert picture.kind == mode
    np.testing.assert_array_equal(picture.alpha, array[:, :, -1])
    np.testing.assert_array_equal(picture.rgb, np.broadcast_to(array[:, :, :-1], picture.rgb.shape))


def test_a_palette_is_expanded(tmp_path):
    image, palette = palette_image()
    indices = np.asarray(image)
    picture = read_picture(save(tmp_path / "p.png", image))
    assert (picture.kind, picture.alpha) == ("RGB", None)
    np.testing.assert_array_equal(picture.rgb, palette[indices])

    opacities = bytes([0, 80, 255, 3])
    picture = read_picture(save(tmp_path / "t.png", image, transparency=opacities))
    assert picture.kind == "RGBA"
    np.testing.assert_array_equal(picture.rgb, palette[indices])
    np.testing.assert_array_equal(picture.alpha, np.frombuffer(opacities, np.uint8)[indices])


def test_a_transparent_colour_becomes_alpha(tmp_path):
    array = noise()
    array[2, 3] = array[5, 6] = (1, 2, 3)
    picture = read_picture(save(tmp_path / "k.png", array, transparency=(1, 2, 3)))
    np.testing.assert_array_equal(picture.rgb, array)
    np.testing.assert_array_equal(picture.alpha, np.where((array == (1, 2, 3)).all(axis=2), 0, 255))


def test_the_content_decides_and_not_the_name(tmp_path):
    path = save(tmp_path / "a.jpg", smooth())
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
    path = save(tmp_path / "a.png", noise(10, 10))
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


def test_the_limit_of_pixels_holds_for_a_picture_within_an_icon(tmp_path):
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    inner = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", b""))
    )
    content = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    with pytest.raises(FileError, match=r"a\.ico: not a readable image \(Image size \(400000000 pixels\) exceeds"):
        read_picture("a.ico", content=content)


def test_heic_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(FileError, match=r"pip install 'deblurgan\[heic\]'"):
        read_picture(tmp_path / "a.heic")


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow 11.3 or newer writes AVIF")
def test_avif_that_shares_its_first_brand_with_heic_needs_no_other_reader(tmp_path, monkeypatch):
    path = save(tmp_path / "a.avif", smooth())
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


def test_cmyk_is_converted_to_rgb_and_its_profile_dropped(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for name in ("c.jpg", "c.tif"):
        picture = read_picture(save(tmp_path / name, image, icc_profile=ICC))
        assert np.abs(picture.rgb.astype(int) - (255, 0, 0)).max() <= 4
        assert (picture.kind, picture.metadata.icc_profile) == ("RGB", None)
        assert picture.notices == ("CMYK is converted to RGB, without its colour profile",)
        write_picture(tmp_path / "out.jpg", picture, picture.rgb)
        with Image.open(tmp_path / "out.jpg") as written:
            assert (written.mode, written.info.get("icc_profile")) == ("RGB", None)


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation_is_read_with_a_notice(tmp_path, extension):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    path = save(tmp_path / f"a.{extension}", frames[0], save_all=True, append_images=frames[1:])
    picture = read_picture(path)
    assert np.abs(picture.rgb.astype(int) - (255, 0, 0)).max() <= 4
    assert picture.notices == ("only the first frame of several is used",)


def test_an_ordinary_photograph_has_no_notices(tmp_path):
    assert read_picture(save(tmp_path / "a.jpg", smooth(), exif=exif_of(6))).notices == ()


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


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
def test_float_and_32_bit_pixels_without_their_reader_say_what_to_install(tmp_path, monkeypatch, array):
    path = save(tmp_path / "f.tif", array)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    for read in (read_rgb, read_size):
        with pytest.raises(FileError, match=r"f\.tif: .*\(TIFF pixels of this .*'deblurgan\[tiff\]'"):
            read(path)


def test_what_is_not_an_image_is_named_in_one_line(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is not a picture\n" * 50)
    (tmp_path / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "line\nbreak.png").touch()
    for name, reason in {
        "pointer.jpg": "a Git LFS pointer; `git lfs pull` gets the file itself",
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


def damaged(tmp_path, seed, changes):
    """Forty times in each format, a file of 16x16 pixels with so many bytes changed near its start."""
    random = np.random.default_rng(seed)
    path = tmp_path / "damaged"
    for extension in WRITTEN:
        options = {} if extension in (".bmp", ".gif") else {"exif": exif_of(6)}
        data = save(tmp_path / f"whole{extension}", smooth(16, 16), **options).read_bytes()
        for _ in range(40):
            broken = bytearray(data)
            for position in random.integers(0, min(len(data), 500), changes):
                broken[position] = random.integers(0, 256)
            path.write_bytes(broken)
            yield path


def test_damaged_bytes_never_raise_anything_but_a_package_error(tmp_path):
    outcomes = {"read": 0, "refused": 0}
    for path in damaged(tmp_path, seed=1, changes=3):
        try:
            shape = read_picture(path).rgb.shape
        except DeblurganError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert read_size(path) == shape[:2]
    assert min(outcomes.values()) > 20


def test_a_palette_that_is_missing_is_damage(tmp_path):
    path = save(tmp_path / "a.png", palette_image()[0])
    content = path.read_bytes()
    start = content.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    path.write_bytes(content[:start] + content[end:])
    with pytest.raises(FileError, match=r"a\.png: not a readable image"):
        read_picture(path)


def test_sizes_of_damaged_files_raise_nothing_but_a_package_error(tmp_path):
    random = np.random.default_rng(2)
    for path in damaged(tmp_path, seed=3, changes=5):
        content = path.read_bytes()
        path.write_bytes(content[: random.integers(1, len(content))])
        with contextlib.suppress(DeblurganError):
            assert min(read_size(path)) >= 1


def test_a_large_picture_is_read_without_a_warning_and_one_above_the_limit_refused(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", noise(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_rgb(path).shape == (20, 20, 3)
    assert caught == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 199)
    with pytest.raises(FileError, match=r"large\.png: not a readable image \(20x20 pixels.* limit, 398;"):
        read_rgb(path)


def test_reading_in_threads_leaves_the_warning_filters_as_they_were(tmp_path):
    path = save(tmp_path / "a.tif", noise())
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(read_rgb, [path] * 200))
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    assert list(warnings.filters) == before


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
    path = save(tmp_path / f"o.{extension}", as_stored(noise(24, 40), orientation), exif=exif, **options)
    assert read_rgb(path).shape == (24, 40, 3)
    monkeypatch.setattr(ImageFile.ImageFile, "load", undecodable)
    assert read_size(path) == read_size(str(path)) == (24, 40)


@pytest.mark.parametrize("extension", WRITTEN)
def test_the_size_of_a_plain_file_of_each_format(tmp_path, extension):
    write_image(tmp_path / f"x{extension}", noise(7, 11))
    assert read_size(tmp_path / f"x{extension}") == (7, 11)


def test_the_size_respects_an_orientation_that_only_xmp_states(tmp_path):
    for name, options in (("o.webp", {"xmp": XMP}), ("o.tif", {"tiffinfo": {700: XMP}})):
        path = save(tmp_path / name, noise(3, 5), **options)
        assert read_size(path) == read_rgb(path).shape[:2]


def test_the_size_respects_metadata_behind_the_pixels_of_a_png(tmp_path):
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n1\n{exif_of(8).hex()}\n")
    xmp = PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", XMP.decode())
    for options in ({"exif": exif_of(6)}, {"pnginfo": text}, {"pnginfo": xmp}):
        data = save(tmp_path / "o.png", noise(3, 5), **options).read_bytes()
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
    assert read_size(save(tmp_path / "d.png", noise(3, 5), exif=exif_of(6)[:20])) == (3, 5)


# Raw camera data, and TIFF pixels of other kinds


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("a.dng", {50706: b"\1\4\0\0", 330: 8}),  # DNGVersion, and what lies in another directory
        ("a.tif", {50706: b"\1\4\0\0", 330: 8}),
        ("a.nef", {254: 1, 330: 8}),  # a smaller version
    ],
)
def test_raw_data_in_a_tiff_file_is_not_taken_for_its_preview(tmp_path, monkeypatch, name, fields):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    Image.fromarray(noise()).save(tmp_path / name, format="TIFF", tiffinfo=fields)
    for read in (read_picture, read_size):
        with pytest.raises(FileError, match=rf"{name}: .*\(raw camera data .* pip install 'deblurgan\[raw\]'"):
            read(tmp_path / name)


def test_a_finished_tiff_file_may_say_which_dng_it_is_from(tmp_path):
    image = noise()
    Image.fromarray(image).save(tmp_path / "a.tif", tiffinfo={50706: b"\1\4\0\0"})
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").rgb, image)


@pytest.mark.parametrize(
    "start", [b"II*\0\x10\0\0\0CR\2\0", b"\0\0\0\x18ftypcrx \0", b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0", b"IIU\0"]
)
def test_raw_data_of_other_formats_is_told(monkeypatch, start):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(FileError, match="or develop it into a TIFF or JPEG file first"):
        read_picture("a", content=start.ljust(64, b"\0"))


def test_a_tiff_with_smaller_versions_of_itself_is_an_ordinary_one(tmp_path):
    array = noise()
    path = save(tmp_path / "a.tif", array, tiffinfo={330: 8})
    np.testing.assert_array_equal(read_rgb(path), array)


def test_tiff_pixels_that_cannot_be_read_are_told_to_be_so(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((4, 5, 9), np.uint8), photometric="rgb", planarconfig="contig")
    with pytest.raises(FileError, match="expected grey, RGB or CMYK with 8 or 16 bits, got TIFF pixels of another"):
        read_picture(tmp_path / "f.tif")


def test_one_picture_is_read_ahead_and_none_is_held(tmp_path):
    class Made:
        pass

    made = []

    def items():
        for _ in range(3):
            item = Made()
            made.append(weakref.ref(item))
            yield item
            del item

    with ahead(items()) as waiting:
        for number, item in enumerate(waiting, 1):
            before = made[: number - 1]
            assert [reference() for reference in before] == [None] * len(before)
            assert len(made) <= number + 1
            del item
    assert len(made) == 3


def test_what_goes_wrong_while_reading_ahead_is_raised_where_it_is_asked_for():
    def items():
        yield 1
        raise FileError("no second one")

    with ahead(items()) as waiting:
        assert next(waiting) == 1
        with pytest.raises(FileError, match="no second one"):
            next(waiting)

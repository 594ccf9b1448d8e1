import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.reading import Picture, read_picture, read_rgb, read_size
from deblurgan.pictures.writing import encode_picture, not_kept
from tests.photographs import save, smooth, write_picture
from tests.pictures.files import ICC, XMP, deep_noise, exif_of, png_with_16_bits, written

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_sixteen_bit_grey_is_kept_and_scaled_where_8_bits_are_wanted(tmp_path, extension):
    values = np.array([[0, 128, 129, 257, 300], [32768, 40000, 65535, 65407, 65406]], np.uint16)
    path = save(tmp_path / f"s.{extension}", values)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb[:, :, 1], values)
    assert (picture.rgb.dtype, picture.kind, picture.notices) == (np.uint16, "L", ())
    expected = [[math.floor(int(value) / 257 + 0.5) for value in row] for row in values]
    np.testing.assert_array_equal(read_rgb(path)[:, :, 1], expected)
    assert read_rgb(path).dtype == np.uint8


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


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("more", [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}])
def test_sixteen_bit_grey_tiff_with_alpha_is_read(tmp_path, order, extra, more):
    tifffile = pytest.importorskip("tifffile")
    grey, alpha = np.moveaxis(deep_noise(21, 34, 2), 2, 0)
    stored = np.rint(grey * (alpha / 65535)) if extra == "assocalpha" else grey
    values = np.dstack([stored, alpha]).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="minisblack", byteorder=order, extrasamples=[extra], **more
    )
    picture = read_picture(tmp_path / "a.tif")
    assert (picture.kind, picture.notices) == ("LA", ())
    np.testing.assert_array_equal(picture.alpha, alpha)
    known = alpha > (20000 if extra == "assocalpha" else -1)
    assert np.abs(picture.rgb[:, :, 0].astype(int) - grey)[known].max() <= (2 if extra == "assocalpha" else 0)
    assert read_size(tmp_path / "a.tif") == (21, 34)
    with pytest.raises(UnidentifiedImageError):  # as before
        Image.open(tmp_path / "a.tif")


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


def test_heic_of_10_bits_is_read_and_written_with_10(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    levels = np.arange(0, 1024, 4)
    rgb = np.broadcast_to(levels[None, :, None], (64, 256, 3)).astype("<u2")
    file = pillow_heif.from_bytes("RGB;16", (256, 64), (rgb << 6).tobytes())
    file.save(
        tmp_path / "in.heic", quality=100, color_primaries=9, transfer_characteristics=16, matrix_coefficients=9
    )
    picture, path = written(tmp_path, tmp_path / "in.heic", "out.heic", read_picture(tmp_path / "in.heic").rgb)
    assert (picture.kind, picture.rgb.dtype, picture.notices) == ("RGB", np.uint16, ())
    assert not_kept(picture, "HEIF") == []
    assert not_kept(picture, "JPEG")[0] == "10-bit input is written with 8 bits, as JPEG"
    assert read_size(path) == (64, 256)
    again = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    assert (again.info["bit_depth"], again.info["nclx_profile"]["transfer_characteristics"]) == (10, 16)
    for found in (picture.rgb / (65535 / 1023), np.asarray(again) >> 6):
        assert np.abs(found - levels[:, None]).mean() < 2
    assert len(np.unique(picture.rgb)) > 250  # more than 8 bits would tell apart of these


@pytest.mark.parametrize("kind", ["L", "LA", "RGBA"])
def test_grey_and_alpha_of_16_bits_become_10_in_heic(kind):
    pytest.importorskip("pillow_heif")
    y, x = np.mgrid[:48, :64].astype(np.uint16)
    rgb, alpha = np.repeat((x * 1000)[:, :, None], 3, axis=2), (y * 1300 if kind.endswith("A") else None)
    picture = Picture(rgb, alpha, kind)
    again = read_picture("a.heic", content=encode_picture(picture, rgb, "HEIF"))
    assert np.abs(again.rgb / 64 - rgb / 64).mean() < 4
    assert alpha is None or np.abs(again.alpha / 64 - alpha / 64).mean() < 4
    assert not_kept(picture, "HEIF") == ["16-bit input is written with 10 bits, as HEIF"]


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow 11.3 or newer writes AVIF")
def test_avif_of_10_bits_is_read_with_8_where_nothing_reads_more_and_that_is_told(tmp_path, monkeypatch):
    assert read_picture(save(tmp_path / "a.avif", smooth())).notices == ()
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    told = "10-bit AVIF is read with 8 bits; pip install 'deblurgan[avif]' keeps them"
    assert read_picture(DATA / "pq_10_bits.avif").notices == (told,)


def test_jpeg_2000_of_more_than_8_bits_is_read_with_8_and_that_is_told(tmp_path):
    path = save(tmp_path / "a.j2k", smooth())
    content = bytearray(path.read_bytes())
    assert read_picture(path).notices == ()
    content[42:51:3] = b"\x0b" * 3  # bits, less one, of each channel: after the standard's segment SIZ
    path.write_bytes(content)
    assert read_picture(path).notices == ("12-bit JPEG2000 is read with 8 bits",)

"""Formats that others than Pillow read: JPEG XL, raw camera data, TIFF of other kinds, AVIF and HEIC of more bits.

The files are made by tifffile, imagecodecs, pillow-jxl-plugin and pillow-heif.
"""

import contextlib
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from deblurgan.errors import FileError
from deblurgan.jobs.finding import Input
from deblurgan.jobs.planning import Where, plan
from deblurgan.pictures import jxl
from deblurgan.pictures.reading import read_picture, read_size
from deblurgan.pictures.writing import encode_picture, not_kept
from tests.pictures.files import ICC, XMP, deep_noise, exif_of

imagecodecs = pytest.importorskip("imagecodecs")
tifffile = pytest.importorskip("tifffile")

KEPT_FLOATS = "floating-point pixels are kept with 16 bits"


def steps(*shape):
    """Squares of 8x8 pixels, whose values stay apart when they are compressed."""
    return np.kron(deep_noise(*shape), np.ones((8, 8, 1), np.uint16))


def floats(channels=3):
    return np.random.default_rng(0).random((9, 12, channels)).astype(np.float32)


def tiff(path, values, **options):
    tifffile.imwrite(path, values, **{"photometric": "rgb", "metadata": None, **options})
    return read_picture(path)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"byteorder": ">"}])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_kept_with_16_bits(tmp_path, kind, options):
    values = floats().astype(kind)
    picture = tiff(tmp_path / "a.tif", values, **options)
    assert (picture.kind, picture.format, picture.notices) == ("RGB", "TIFF", (KEPT_FLOATS,))
    np.testing.assert_array_equal(picture.rgb, np.rint(values.astype(np.float64) * 65535))
    assert read_size(tmp_path / "a.tif") == (9, 12)


def test_floats_that_are_no_picture_are_refused_and_what_is_cut_off_is_told(tmp_path):
    values = floats()
    assert "pixels below 0 and above 1 are cut off there" in tiff(tmp_path / "a.tif", values * 1.2).notices
    for wrong, why in ((values * 255, "from 0 to 1, got 0.0"), (np.full_like(values, np.nan), "no numbers")):
        with pytest.raises(FileError, match=why):
            tiff(tmp_path / "b.tif", wrong)
    with pytest.raises(FileError, match="without a sign"):
        tiff(tmp_path / "b.tif", (values * 100).astype(np.int16))


@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize(("dtype", "planes"), [(np.uint16, True), (np.float32, True), (np.float32, False)])
def test_grey_colours_and_alpha_plane_by_plane_or_not(tmp_path, kind, dtype, planes):
    wanted = deep_noise(9, 12, len(kind))
    values = wanted if dtype == np.uint16 else wanted / np.float32(65535)
    picture = tiff(
        tmp_path / "a.tif",
        np.moveaxis(values, 2, 0) if planes and len(kind) > 1 else values[:, :, 0] if kind == "L" else values,
        photometric="rgb" if kind.startswith("RGB") else "minisblack",
        planarconfig="separate" if planes and len(kind) > 1 else None,
        extrasamples=["unassalpha"] if kind.endswith("A") else None,
    )
    assert picture.kind == kind
    np.testing.assert_array_equal(picture.rgb, wanted[:, :, :3] if len(kind) > 2 else wanted[:, :, [0, 0, 0]])
    assert kind[-1] != "A" or (picture.alpha == wanted[:, :, -1]).all()


def test_wide_whole_numbers_and_white_that_is_zero(tmp_path):
    values = floats()
    picture = tiff(tmp_path / "a.tif", (values.astype(np.float64) * (2**32 - 1)).astype(np.uint32))
    assert picture.notices == ("32-bit pixels are kept with 16 bits",)
    assert np.abs(picture.rgb / 65535 - values).max() < 1 / 65535
    picture = tiff(tmp_path / "b.tif", values[:, :, 0], photometric="miniswhite")
    assert np.abs(picture.rgb[:, :, 0] / 65535 - (1 - values[:, :, 0])).max() < 1 / 65535


def test_a_tiff_of_another_kind_keeps_its_metadata_and_is_turned(tmp_path):
    values = floats()
    fields = [
        (ExifTags.Base.Orientation, "H", 1, 6, True),
        (ExifTags.Base.Make, "s", 0, "Maker", True),
        (700, "B", len(XMP), XMP, True),
    ]
    picture = tiff(tmp_path / "a.tif", values, resolution=(300, 300), iccprofile=ICC, extratags=fields)
    np.testing.assert_array_equal(picture.rgb, np.rot90(np.rint(values * np.float64(65535)), -1))
    assert read_size(tmp_path / "a.tif") == (12, 9)
    exif = Image.Exif()
    exif.load(picture.metadata.exif)
    assert exif[ExifTags.Base.Make] == "Maker"
    assert (picture.metadata.icc_profile, picture.metadata.dpi) == (ICC, (300, 300))
    assert picture.metadata.xmp.startswith(b"<x:xmpmeta")


def test_the_limit_of_pixels_holds_for_them(tmp_path):
    tiff(tmp_path / "a.tif", floats())
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(steps(2, 3, 3)))
    for name in ("a.tif", "a.jxl", "a.dng"):
        if name == "a.dng":
            pytest.importorskip("rawpy")
            write_dng(tmp_path / name, deep_noise(24, 32, 3))
        with pytest.raises(FileError, match="pixels are more than the limit, 20"):
            read_picture(tmp_path / name, max_pixels=20)


@pytest.mark.parametrize("deep", [False, True])
def test_lab_becomes_srgb_as_littlecms_has_it(tmp_path, deep):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    rgb = Image.fromarray(np.random.default_rng(0).integers(60, 200, (9, 12, 3), np.uint8))
    as_lab = ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
    wanted = ImageCms.profileToProfile(as_lab, lab, srgb, outputMode="RGB")
    values = np.asarray(as_lab)
    if deep:  # lightness of 65535 for 100, the others by 256
        values = np.dstack([values[:, :, 0] * np.uint16(257), values[:, :, 1:].astype(np.uint16) << np.uint16(8)])
    picture = tiff(tmp_path / "a.tif", values, photometric="cielab", iccprofile=ICC)
    assert picture.notices == ("Lab is converted to sRGB, without its colour profile",)
    assert picture.metadata.icc_profile is None
    difference = np.abs(picture.rgb / 257 - np.asarray(wanted))
    assert difference.mean() < 1  # it rounds and interpolates, most in saturated blue
    assert difference.max() < 10


# JPEG XL


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA"])
def test_jpeg_xl_is_read_with_all_its_bits(tmp_path, bits, kind):
    values = steps(4, 6, len(kind)) >> np.uint16(16 - bits)
    values = values.astype(np.uint8) if bits == 8 else values
    given = values[:, :, 0] if kind == "L" else values
    content = imagecodecs.jpegxl_encode(given, lossless=True, bitspersample=bits)
    picture = read_picture("a.jxl", content=content)
    most = 255 if bits == 8 else 65535
    assert (picture.format, picture.kind, picture.notices, picture.rgb.dtype.itemsize) == (
        "JXL",
        kind,
        (),
        1 + (bits > 8),
    )
    wanted = np.rint(values * (most / (2**bits - 1)))
    np.testing.assert_array_equal(picture.rgb, wanted[:, :, :3] if kind != "L" else wanted[:, :, [0, 0, 0]])
    assert kind != "RGBA" or (picture.alpha == wanted[:, :, 3]).all()
    assert not_kept(picture, "JXL") == []
    assert (f"{bits}-bit input is written with 8 bits, as JPEG" in not_kept(picture, "JPEG")) == (bits > 8)


@pytest.mark.parametrize("deep", [False, True])
def test_jpeg_xl_is_written_with_exif_and_xmp(tmp_path, deep):
    pytest.importorskip("pillow_jxl")
    values = steps(6, 8, 3) if deep else (steps(6, 8, 3) >> 8).astype(np.uint8)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "a.jxl", exif=exif_of(6), xmp=XMP)
    source = read_picture(tmp_path / "a.jxl")
    content = encode_picture(source, values, "JXL")
    again = read_picture("b.jxl", content=content)
    assert again.rgb.dtype == values.dtype
    assert np.abs(again.rgb.astype(float) - values).mean() < np.iinfo(values.dtype).max / 60
    np.testing.assert_array_equal(
        read_picture("b", content=encode_picture(source, values, "JXL", quality=100)).rgb, values
    )
    assert again.metadata.exif == source.metadata.exif
    assert again.metadata.xmp == source.metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert again.metadata.orientation == 1  # the code itself says how it is turned
    assert read_size(tmp_path / "a.jxl") == (48, 64)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (300, 225), (360, 640), (1000, 7), (513, 1026)])
def test_the_head_of_jpeg_xl_says_its_size(size):
    values = np.zeros((*size, 3), np.uint8)
    head = jxl.read_head(io.BytesIO(imagecodecs.jpegxl_encode(values, effort=1)))
    assert (head.height, head.width, head.bits) == (*size, 8)


def test_jpeg_xl_without_its_reader_says_what_to_install(monkeypatch):
    content = imagecodecs.jpegxl_encode(steps(2, 3, 3))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "imagecodecs", None)
        assert (
            "16-bit JXL is read with 8 bits; pip install 'deblurgan[jxl]'"
            in read_picture("a", content=content).notices[0]
        )
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(FileError, match=r"pip install 'deblurgan\[jxl\]'"):
        read_picture("a", content=content)


# AVIF and HEIC


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA"])
def test_avif_is_read_with_all_its_bits_and_written_with_8(bits, kind):
    values = steps(4, 6, len(kind)) >> np.uint16(16 - bits)
    content = imagecodecs.avif_encode(values[:, :, 0] if kind == "L" else values, level=100, bitspersample=bits)
    picture = read_picture("a.avif", content=content)
    assert (picture.kind, picture.notices) == (kind, ())
    assert np.abs(picture.rgb / (65535 / (2**bits - 1)) - values[:, :, :3]).max() < 1
    assert f"{bits}-bit input is written with 8 bits, as AVIF" in not_kept(picture, "AVIF")
    assert not_kept(picture, "TIFF") == []


def test_heic_of_12_bits_is_written_with_12():
    pillow_heif = pytest.importorskip("pillow_heif")
    levels = np.broadcast_to(np.arange(0, 4096, 16)[None, :, None], (64, 256, 3)).astype("<u2")
    source = pillow_heif.from_bytes("RGB;16", (256, 64), (levels << 4).tobytes())
    picture = read_picture("a.heic", content=saved(source, bit_depth=12, quality=100))
    content = encode_picture(picture, picture.rgb, "HEIF")
    again = read_picture("b.heic", content=content)
    assert pillow_heif.open_heif(content, convert_hdr_to_8bit=False).info["bit_depth"] == again.bits == 12
    assert np.abs(again.rgb / 16 - levels).mean() < 4
    assert not_kept(picture, "HEIF") == []


def saved(image, **options):
    content = io.BytesIO()
    image.save(content, **options)
    return content.getvalue()


# Raw camera data


def write_dng(path, linear, **options):
    """A DNG file of a camera that sees linear sRGB, (height, width, 3) uint16, through a Bayer filter."""
    mosaic = linear[:, :, 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    from_xyz = [32405, -15371, -4985, -9693, 18760, 416, 556, -2040, 10572]  # IEC 61966-2-1, by 10000
    fields = [
        (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion
        (33421, "H", 2, (2, 2), True),  # the filter's size and colours
        (33422, "B", 4, (0, 1, 1, 2), True),
        (50714, "H", 1, 0, True),  # black and white
        (50717, "H", 1, 65535, True),
        (50721, "2i", 9, [number for value in from_xyz for number in (value, 10000)], True),
        (50728, "2I", 3, (1,) * 6, True),  # neutral as it was shot
        (50778, "H", 1, 21, True),  # in daylight
        (ExifTags.Base.Make, "s", 0, "Maker", True),
        (ExifTags.Base.Model, "s", 0, "Model", True),
        (ExifTags.Base.Orientation, "H", 1, options.get("orientation", 1), True),
    ]
    tifffile.imwrite(path, mosaic, photometric="cfa", extratags=fields, metadata=None)


@pytest.mark.parametrize("orientation", [1, 6])
def test_raw_data_is_developed_upright_with_16_bits_and_exif(tmp_path, orientation):
    pytest.importorskip("rawpy")
    linear = np.empty((64, 96, 3), np.uint16)
    linear[:, :48], linear[:, 48:] = (30000, 12000, 6000), (5000, 15000, 40000)
    write_dng(tmp_path / "a.dng", linear, orientation=orientation)
    picture = read_picture(tmp_path / "a.dng")
    assert (picture.format, picture.kind, picture.rgb.dtype) == ("RAW", "RGB", np.uint16)
    assert picture.notices[0].startswith("developed by LibRaw")
    assert picture.rgb.shape == ((64, 96, 3) if orientation == 1 else (96, 64, 3))
    upright = picture.rgb if orientation == 1 else np.rot90(picture.rgb)
    encoded = upright[32, [20, 76]] / 65535  # IEC 61966-2-1
    values = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    brightness = values[0, 1] / 12000
    wanted = np.array([[30000, 12000, 6000], [5000, 15000, 40000]]) * brightness
    assert np.abs(values - wanted)[wanted < 0.95].max() < 0.02
    exif = Image.Exif()
    exif.load(picture.metadata.exif)
    assert (exif[ExifTags.Base.Make], exif[ExifTags.Base.Model]) == ("Maker", "Model")
    assert not_kept(picture, "TIFF") == ["RAW is written as TIFF"]


def test_the_result_of_raw_data_is_a_tiff_file():
    (job,) = plan([Input(Path("a.NEF"), Path("a.NEF"))], Where())
    assert job.target.name == "a_deblurred.tif"


def test_a_division_by_zero_in_a_reader_is_damage(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", floats(), photometric="rgb", metadata=None, tile=(16, 16))
    content = (tmp_path / "a.tif").read_bytes()
    length = struct.pack("<HHII", ExifTags.Base.TileLength, 4, 1, 16)
    (tmp_path / "a.tif").write_bytes(content.replace(length, length[:8] + bytes(4)))
    with pytest.raises(FileError, match=r"a\.tif: not a readable image \(.*division by zero"):
        read_picture(tmp_path / "a.tif")


def test_damaged_files_raise_nothing_but_a_package_error(tmp_path):
    pytest.importorskip("rawpy")
    write_dng(tmp_path / "a.dng", deep_noise(24, 32, 3))
    tiff(tmp_path / "a.tif", floats())
    contents = [(tmp_path / name).read_bytes() for name in ("a.dng", "a.tif")]
    contents.append(imagecodecs.jpegxl_encode(steps(2, 3, 3)))
    random = np.random.default_rng(0)
    for content in contents:
        for _ in range(60):
            broken = bytearray(content[: random.integers(1, 2 * len(content))])
            for position in random.integers(0, min(len(broken), 600), 3):
                broken[position] = random.integers(0, 256)
            with contextlib.suppress(FileError):
                read_picture("a", content=bytes(broken), max_pixels=10**6)

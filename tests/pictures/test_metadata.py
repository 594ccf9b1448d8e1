import struct

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from deblurgan.errors import FileError
from deblurgan.pictures.formats import named_format
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.reading import Picture, read_picture, read_rgb, read_size
from deblurgan.pictures.writing import encode_picture, not_kept, write_picture
from tests.photographs import noise, save, smooth
from tests.pictures.files import (
    CHROMATICITY,
    GAMMA,
    ICC,
    XMP,
    as_stored,
    deep_noise,
    exif_of,
    handmade_exif,
    with_chunks,
    written,
)


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_an_orientation_outside_the_standard_is_ignored(tmp_path, orientation):
    array = noise()
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "o.png", array, exif=exif_of(orientation))), array)


def test_an_orientation_that_only_xmp_states_is_applied_and_reset(tmp_path):
    upright = noise(3, 5)
    path = save(tmp_path / "o.webp", as_stored(upright, 6), lossless=True, xmp=XMP)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb, upright)
    assert picture.metadata.xmp == XMP.replace(b'"6"', b'"1"')


def test_exif_in_an_old_png_text_chunk_is_applied(tmp_path):
    upright, exif = noise(3, 5), exif_of(8)
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n")
    path = save(tmp_path / "o.png", as_stored(upright, 8), pnginfo=text)
    np.testing.assert_array_equal(read_rgb(path), upright)


def test_the_metadata_of_a_png_of_16_bits_is_kept(tmp_path):
    rgb = deep_noise(12, 9, 3)
    metadata = Metadata(icc_profile=ICC, xmp=XMP, dpi=(300, 300), exif=exif_of(1))
    write_picture(tmp_path / "c.png", Picture(rgb, metadata=metadata), rgb)
    again = read_picture(tmp_path / "c.png").metadata
    assert again.icc_profile == ICC
    assert again.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert [round(value) for value in again.dpi] == [300, 300]
    assert again.exif


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
def test_metadata_of_heic_and_avif_goes_along_and_orientation_is_right(tmp_path, name):
    if named_format(name) not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    source = save(tmp_path / "in.jpg", smooth(), exif=exif, icc_profile=ICC, quality=100)
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


def test_damaged_exif_is_dropped_with_a_notice_and_the_picture_still_read(tmp_path):
    array = noise()
    whole = exif_of(6)
    for exif in (whole[:6] + b"XX" + whole[8:], whole[:20], whole[:6]):
        picture = read_picture(save(tmp_path / "d.png", array, exif=exif))
        np.testing.assert_array_equal(picture.rgb, array)
        assert picture.metadata.exif is None
        assert picture.notices == ("damaged EXIF is not kept",)


def test_a_picture_is_turned_as_its_exif_says_also_when_that_is_damaged_elsewhere(tmp_path):
    upright = noise(10, 14)
    exif = handmade_exif(b"II", 6, 14, 10)
    link = exif.index(struct.pack("<HHI", 0x8769, 4, 1)) + 8
    exif = exif[:link] + struct.pack("<I", 2**31) + exif[link + 4 :]
    path = save(tmp_path / "d.png", as_stored(upright, 6), exif=exif)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.rgb, upright)
    assert read_size(path) == (10, 14)
    assert picture.notices == ("damaged EXIF is not kept",)
    _, again = written(tmp_path, path, "again.png")
    with Image.open(again) as image:
        assert image.getexif()[ExifTags.Base.Orientation] == 1


def test_exif_whose_last_field_is_cut_off_is_dropped_with_a_notice(tmp_path):
    order = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, ExifTags.Base.ExifImageWidth, 4, 1)
    picture = read_picture(save(tmp_path / "d.png", noise(), exif=order))
    assert (picture.metadata.exif, picture.notices) == (None, ("damaged EXIF is not kept",))


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif"])
def test_metadata_goes_back_with_orientation_reset(tmp_path, extension, target):
    stored = as_stored(smooth(), 6)
    source = save(tmp_path / f"in.{extension}", stored, exif=exif_of(6), icc_profile=ICC, dpi=(300, 300))
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
    source = save(tmp_path / "in.webp", smooth(), lossless=True, xmp=XMP, exif=exif_of(1))
    _, path = written(tmp_path, source, f"out.{target}")
    assert XMP.replace(b'"6"', b'"1"') in path.read_bytes()
    assert read_picture(path).metadata.xmp == XMP.replace(b'"6"', b'"1"')


def test_bmp_keeps_the_resolution(tmp_path):
    _, path = written(tmp_path, save(tmp_path / "in.bmp", smooth(), dpi=(300, 150)), "out.bmp")
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.05)


@pytest.mark.parametrize("extension", ["png", "tif", "webp", "gif"])
def test_no_metadata_is_made_up(tmp_path, extension):
    picture = read_picture(save(tmp_path / f"in.{extension}", smooth()))
    assert picture.metadata == Metadata()


@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_exif_changes_only_in_orientation_size_and_thumbnail(tmp_path, order):
    upright = noise(30, 50)
    source = save(tmp_path / "in.png", as_stored(upright, 8), exif=handmade_exif(order, 8, width=30, height=50))
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
    source = save(tmp_path / "in.webp", smooth(), exif=long.tobytes(), xmp=b"<x>" + b" " * 70000 + b"</x>")
    _, path = written(tmp_path, source, "out.jpg")
    again = read_picture(path)
    assert (again.metadata.exif, again.metadata.xmp) == (None, None)
    lost = ["JPEG holds no EXIF above 64 KB", "JPEG holds no XMP above 64 KB"]
    assert not_kept(read_picture(source), "JPEG") == lost
    assert not_kept(read_picture(source), "PNG") == []
    assert not_kept(read_picture(source), "GIF") == ["GIF holds no EXIF", "GIF holds no XMP"]


@pytest.mark.parametrize("bits", [8, 16])
def test_the_gamma_and_primaries_of_a_png_are_kept_where_they_can_be_and_told_where_not(tmp_path, bits):
    path = save(tmp_path / "a.png", smooth())
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
        path = with_chunks(save(tmp_path / f"{number}.png", smooth()), *chunks)
        assert not_kept(read_picture(path), "JPEG") == []


def test_exif_that_cannot_be_taken_over_is_named(tmp_path):
    picture = Picture(noise(), metadata=Metadata(exif=b"Exif\0\0nonsense"))
    with pytest.raises(FileError, match=r"x\.tif: damaged EXIF cannot be written as TIFF"):
        write_picture(tmp_path / "x.tif", picture, noise())
    assert list(tmp_path.iterdir()) == []

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from deblurgan.errors import FileError
from deblurgan.pictures.formats import named_format
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.reading import Picture, read_picture, read_rgb, read_size
from deblurgan.pictures.writing import encode_picture, not_kept
from tests.photographs import noise, save, smooth, write_picture
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
    assert not_kept(read_picture(source), "JPEG") == ["JPEG holds no EXIF, XMP above 64 KB"]
    assert not_kept(read_picture(source), "PNG") == []
    assert not_kept(read_picture(source), "GIF") == ["GIF holds no EXIF, XMP"]


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
    with pytest.raises(FileError, match=r"^damaged EXIF cannot be written as TIFF"):
        write_picture(tmp_path / "x.tif", picture, noise())
    assert list(tmp_path.iterdir()) == []


# Texts, IPTC, extended XMP


def test_the_texts_of_a_png_go_along_and_are_told_where_they_cannot(tmp_path):
    texts = PngInfo()
    texts.add_text("Author", "nobody")
    texts.add_text("workflow", "{} " * 2000, zip=True)
    texts.add_itxt("Title", "tést", "sv", "Titel")
    source = save(tmp_path / "in.png", smooth(), pnginfo=texts)
    for bits in (8, 16):
        picture, path = written(tmp_path, source, "out.png", deep_noise(48, 64, 3) if bits == 16 else None)
        with Image.open(path) as image:
            assert image.text == {"Author": "nobody", "workflow": "{} " * 2000, "Title": "tést"}
            assert (image.text["Title"].lang, image.text["Title"].tkey) == ("sv", "Titel")
    assert not_kept(picture, "JPEG") == ["JPEG holds no text (Author, workflow, Title)"]


def test_a_comment_stays_one_in_jpeg_and_gif_and_becomes_a_text_in_png(tmp_path):
    for extension, comment in (("jpg", "a cömment"), ("gif", "another")):
        source = save(tmp_path / f"in.{extension}", smooth(), comment=comment.encode())
        picture, path = written(tmp_path, source, f"out.{extension}")
        with Image.open(path) as image:
            assert image.info["comment"] == comment.encode()
        _, path = written(tmp_path, source, "out.png")
        with Image.open(path) as image:
            assert image.text == {"Comment": comment}
        assert not_kept(picture, "WEBP")[-1] == "WEBP holds no text (Comment)"
    long = PngInfo()
    long.add_text("Comment", "x" * 70000)
    picture, path = written(tmp_path, save(tmp_path / "long.png", smooth(), pnginfo=long), "out.jpg")
    assert read_picture(path).metadata.texts == ()
    assert not_kept(picture, "JPEG") == ["JPEG holds no text (Comment) above 64 KB"]
    latin = read_picture(save(tmp_path / "latin.jpg", smooth(), comment="cömment".encode("latin-1")))
    assert latin.metadata.texts == (("Comment", "cömment"),)


IPTC = b"\x1c\x02\x19\0\x05crane\x1c\x02\x78\0\x04capt"


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def test_iptc_goes_along_between_jpeg_and_tiff_and_is_told_elsewhere(tmp_path):
    resources = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
    source = save(tmp_path / "in.jpg", smooth(), extra=segment(0xED, resources))
    for target in ("jpg", "tif"):
        picture, path = written(tmp_path, source, f"out.{target}")
        _, back = written(tmp_path, path, f"back {target}.jpg")
        for again in (path, back):
            with Image.open(again) as image:
                assert IptcImagePlugin.getiptcinfo(image) == {(2, 25): b"crane", (2, 120): b"capt"}
    assert not_kept(picture, "JPEG") == not_kept(picture, "TIFF") == []
    assert not_kept(picture, "PNG") == ["PNG holds no IPTC"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_iptc_that_a_tiff_declares_to_be_numbers_is_read(tmp_path, order):
    tifffile = pytest.importorskip("tifffile")
    padded = IPTC + bytes(-len(IPTC) % 4)
    numbers = struct.unpack(f"{order}{len(padded) // 4}I", padded)
    tags = [(33723, 4, len(numbers), numbers, True)]
    tifffile.imwrite(tmp_path / "a.tif", smooth(), photometric="rgb", byteorder=order, extratags=tags)
    assert read_picture(tmp_path / "a.tif").metadata.iptc == padded


def test_extended_xmp_stays_in_jpeg_and_leaves_no_pointer_elsewhere(tmp_path):
    pointer = b' xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF"'
    main = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description' + pointer + b' a="b"/></x:xmpmeta>'
    start = b"http://ns.adobe.com/xmp/extension/\0" + b"0123456789ABCDEF" * 2 + bytes(8)
    parts = [start + b"A" * 60000, start + b"B" * 9]
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main)
    source = save(tmp_path / "in.jpg", smooth(), extra=xmp + b"".join(segment(0xE1, part) for part in parts))
    picture, path = written(tmp_path, source, "out.jpg")
    content = path.read_bytes()
    assert [content.count(part) for part in (main, *parts)] == [1, 1, 1]
    assert not_kept(picture, "JPEG") == []
    for target in ("png", "tif", "webp"):
        _, path = written(tmp_path, source, f"out.{target}")
        assert read_picture(path).metadata.xmp == main.replace(pointer, b"")
    assert not_kept(picture, "PNG") == ["PNG holds no extended XMP"]
    dangling = read_picture(save(tmp_path / "dangling.jpg", smooth(), extra=xmp))
    assert dangling.metadata.xmp == main.replace(pointer, b"")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ["text", "xmp"])
def test_large_texts_of_a_png_are_kept_where_pillow_alone_refuses_them(tmp_path, late, kind):
    text = "".join(f"{number} " for number in range(300000))
    keyword = "XML:com.adobe.xmp" if kind == "xmp" else "workflow"
    chunk = (b"iTXt", keyword.encode() + b"\0\1\0\0\0" + zlib.compress(text.encode()))
    path = save(tmp_path / "in.png", smooth())
    path = with_chunks(path, chunk, before=b"IEND" if late else b"IDAT")
    picture, again = written(tmp_path, path, "out.png")
    assert (picture.metadata.xmp or b"").decode() + dict(picture.metadata.texts).get("workflow", "") == text
    with Image.open(again) as image:  # nor is Pillow alone refused what is written
        assert image.text[keyword] == text
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20


@pytest.mark.parametrize("late", [False, True])
def test_a_bomb_of_text_is_refused_within_bounded_memory(tmp_path, late):
    bomb = zlib.compressobj(9)
    content = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(300)) + bomb.flush()
    path = save(tmp_path / "in.png", smooth())
    with_chunks(path, (b"zTXt", b"a\0\0" + content), before=b"IEND" if late else b"IDAT")
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=r"(?i)decompressed data too large"):
            read_picture(path)
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()


# What the numbers of ITU-T H.273 say of colours

P3, PQ = b"\x0c\x0d\0\1", b"\x09\x10\0\1"


def nclx(path):
    """Primaries and transfer function of a HEIC or AVIF file, as libheif reads them."""
    found = pytest.importorskip("pillow_heif").open_heif(path).info["nclx_profile"]
    return found["color_primaries"], found["transfer_characteristics"]


@pytest.mark.parametrize("numbers", [P3, PQ])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_numbers_of_colours_in_a_png_stay_there(tmp_path, numbers, bits):
    path = with_chunks(save(tmp_path / "in.png", smooth()), (b"cICP", numbers), (b"cLLI", bytes(8)))
    _, again = written(tmp_path, path, "out.png", deep_noise(48, 64, 3) if bits == 16 else None)
    content = again.read_bytes()
    assert content.index(b"cICP" + numbers) < content.index(b"IDAT")
    assert b"cLLI" + bytes(8) in content
    _, back = written(tmp_path, again, "back.png")
    assert back.read_bytes().count(b"cICP") == 1


@pytest.mark.parametrize("extension", ["avif", "heic"])
@pytest.mark.parametrize("numbers", [P3, PQ])
def test_the_numbers_of_colours_go_along_between_png_avif_and_heic(tmp_path, numbers, extension):
    if named_format(f"a.{extension}") not in Image.SAVE:
        pytest.skip("this Pillow does not write it")
    _, path = written(
        tmp_path, with_chunks(save(tmp_path / "in.png", smooth()), (b"cICP", numbers)), f"a.{extension}"
    )
    assert nclx(path) == tuple(numbers[:2])
    _, again = written(tmp_path, path, f"again.{extension}")
    assert nclx(again) == tuple(numbers[:2])
    picture, back = written(tmp_path, again, "back.png")
    assert b"cICP" + numbers in back.read_bytes()
    assert not_kept(picture, "HEIF") == not_kept(picture, "AVIF") == []


def test_what_the_numbers_of_colours_say_is_told_where_it_is_lost(tmp_path):
    for numbers, told in ((P3, "Display P3"), (PQ, "BT.2020 and PQ")):
        picture = read_picture(with_chunks(save(tmp_path / "in.png", smooth()), (b"cICP", numbers)))
        assert not_kept(picture, "BMP") == [f"BMP holds no sign of {told}: colours will look different"]
    assert not_kept(picture, "JPEG") == ["JPEG holds no sign of BT.2020 and PQ: colours will look different"]
    usual = read_picture(with_chunks(save(tmp_path / "in.png", smooth()), (b"cICP", b"\1\x0d\0\1")))
    assert not_kept(usual, "BMP") == not_kept(usual, "JPEG") == []


# From linear light of these primaries to that of sRGB, as published by W3C (CSS Color 4)
TO_SRGB = {
    P3: [[1.22494, -0.22494, 0], [-0.04206, 1.04206, 0], [-0.01964, -0.07864, 1.09827]],
    b"\x09\x0d\0\1": [[1.66049, -0.58764, -0.07285], [-0.12455, 1.1329, -0.00835], [-0.01815, -0.10058, 1.11873]],
}


@pytest.mark.parametrize("target", ["jpg", "tif", "webp"])
@pytest.mark.parametrize("numbers", TO_SRGB)
def test_a_colour_profile_stands_for_the_numbers_of_colours_where_there_are_none(tmp_path, numbers, target):
    source = with_chunks(save(tmp_path / "in.png", smooth()), (b"cICP", numbers))
    picture, path = written(tmp_path, source, f"out.{target}")
    assert not_kept(picture, {"jpg": "JPEG", "tif": "TIFF", "webp": "WEBP"}[target]) == []
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    rgb = noise(20, 20) // 2 + 60  # within sRGB
    srgb = ImageCms.createProfile("sRGB")
    seen = ImageCms.profileToProfile(Image.fromarray(rgb), profile, srgb, renderingIntent=1)
    coded = rgb / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.transpose(TO_SRGB[numbers])).clip(0, 1)
    expected = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(np.asarray(seen) - expected).max() < 2


# What else may be in the file of a picture


@pytest.mark.parametrize(
    ("sign", "companion"),
    [(' hdrgm:Version="1.0"', "its gain map for HDR"), (' GCamera:MotionPhoto="1"', "the video in it")],
)
def test_what_a_file_holds_besides_its_picture_is_told_and_xmp_speaks_of_it_no_more(tmp_path, sign, companion):
    xmp = f'<rdf:Description a="b"{sign} c="d"/>'
    packet = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode())
    picture, path = written(tmp_path, save(tmp_path / "in.jpg", smooth(), extra=packet), "out.jpg")
    assert picture.notices == (f"{companion} is not kept",)
    again = read_picture(path)
    assert (again.metadata.xmp.decode(), again.notices) == (xmp.replace(sign, ""), ())

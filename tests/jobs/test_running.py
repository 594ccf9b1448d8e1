import io
import os
import resource
import threading
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from deblurgan import files
from deblurgan.errors import InputError
from deblurgan.jobs import running
from deblurgan.jobs.running import Streams
from deblurgan.pictures.reading import Picture, read_picture
from tests.jobs.doing import inverted, restored
from tests.photographs import names, noise, pixels, save, smooth, write_picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def forbidden(image):
    pytest.fail("nothing should have been restored")


@pytest.fixture
def pictures(tmp_path):
    """Folder of three PNG pictures of different sizes: a, b, c."""
    for seed, name in enumerate("abc"):
        save(tmp_path / "in" / f"{name}.png", noise(20 + seed, 30 - seed, seed=seed))
    return tmp_path / "in"


def test_every_picture_is_restored_under_its_own_name_at_its_own_size(pictures, tmp_path):
    report = restored([pictures], tmp_path / "out")
    assert report.written == [tmp_path / "out" / name for name in ("a.png", "b.png", "c.png")]
    assert report.failed == report.notices == []
    assert names(tmp_path / "out") == names(pictures)
    for name in names(pictures):
        np.testing.assert_array_equal(pixels(tmp_path / "out" / name), 255 - pixels(pictures / name))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.png", "PNG"),
        ("x.PNG", "PNG"),
        ("x.jpg", "JPEG"),
        ("x.JPeG", "JPEG"),
        ("x.tif", "TIFF"),
        ("x.bmp", "BMP"),
        ("x.webp", "WEBP"),
    ],
)
def test_the_format_stays(tmp_path, name, kind):
    source = save(tmp_path / "in" / name, smooth())
    restored([source], tmp_path / "out")
    with Image.open(tmp_path / "out" / name) as image:
        assert (image.format, image.size) == (kind, (64, 48))
        difference = np.asarray(image.convert("RGB")).astype(int) - (255 - pixels(source))
    assert np.abs(difference).mean() < 3


def test_a_gif_of_few_colours_keeps_them(tmp_path):
    levels = np.random.default_rng(0).choice(np.array([0, 60, 200], np.uint8), (20, 30))
    source = save(tmp_path / "in" / "x.gif", levels)
    restored([source], tmp_path / "out")
    with Image.open(tmp_path / "out" / "x.gif") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("L")), 255 - levels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_comes_out_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    source = save(tmp_path / "in" / "x.png", noise(), exif=exif)
    seen = []
    restored([source], tmp_path / "out", lambda image: inverted(seen.append(image) or image))
    with Image.open(source) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(seen[0], upright)
    with Image.open(tmp_path / "out" / "x.png") as image:
        assert image.getexif()[ExifTags.Base.Orientation] == 1
        np.testing.assert_array_equal(np.asarray(image), 255 - upright)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
def test_exif_colour_profile_and_resolution_are_kept(tmp_path, name):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.DateTime] = "2018:03:21 12:00:00"
    source = save(tmp_path / "in" / name, smooth(), exif=exif, icc_profile=PROFILE, dpi=(300, 300))
    restored([source], tmp_path / "out")
    with Image.open(tmp_path / "out" / name) as image:
        assert image.getexif()[ExifTags.Base.Make] == "Maker"
        assert image.getexif()[ExifTags.Base.DateTime] == "2018:03:21 12:00:00"
        assert image.info["icc_profile"] == PROFILE
        assert [round(value) for value in image.info["dpi"]] == [300, 300]


def test_a_grey_picture_stays_grey(tmp_path):
    grey = noise(channels=None)
    restored([save(tmp_path / "in" / "x.png", grey)], tmp_path / "out")
    with Image.open(tmp_path / "out" / "x.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), 255 - grey)


@pytest.mark.parametrize("channels", [(1, 3), (1, 1), (3, 1)], ids=str)
def test_what_a_network_makes_of_colours_or_grey_is_written_as_such(tmp_path, channels):
    """A network that colours what it is given: one third, half and all of it."""

    def network(image):
        grey = image.mean(axis=2).astype(np.uint8)
        return np.dstack([grey // 3, grey // 2, grey]) if channels[1] == 3 else np.dstack([grey] * 3)

    network.channels = channels
    save(tmp_path / "in" / "grey.jpg", smooth()[:, :, 0], icc_profile=PROFILE)
    save(tmp_path / "in" / "alpha.png", noise(channels=4))
    report = restored([tmp_path / "in"], tmp_path / "out", network)
    for name, alpha in (("grey.jpg", ""), ("alpha.png", "A")):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.mode == ("RGB" if channels[1] == 3 else "L") + alpha
            if alpha:
                np.testing.assert_array_equal(np.asarray(image)[:, :, -1], noise(channels=4)[:, :, 3])
            else:
                assert ("icc_profile" in image.info) == (channels[1] == 1)
    told = " ".join(report.notices)
    assert ("alpha.png: the network takes grey: the colours are converted" in told) == (channels[0] == 1)
    assert ("grey.jpg: the colour profile is not kept" in told) == (channels == (1, 3))


def test_alpha_is_restored_as_a_grey_picture(tmp_path):
    rgba = noise(channels=4) | 1  # nothing is wholly transparent
    restored([save(tmp_path / "in" / "x.png", rgba)], tmp_path / "out")
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "x.png"), 255 - rgba)


def test_a_palette_picture_becomes_rgb(tmp_path):
    picture = Image.fromarray(noise()).quantize(16)
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "x.png")
    restored([tmp_path / "in"], tmp_path / "out")
    with Image.open(tmp_path / "out" / "x.png") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), 255 - np.asarray(picture.convert("RGB")))


def test_what_is_not_kept_is_noted_with_the_files_name(tmp_path):
    source = save(tmp_path / "in" / "x.png", noise(channels=None).astype(np.uint16) * 257)
    report = restored([source], tmp_path / "out", resize=16)
    assert report.notices == [f"{source}: 16-bit input is squashed with 8 bits"]
    assert report.written
    assert not report.failed


def test_squash_restores_and_writes_a_square(pictures, tmp_path):
    seen = []
    restored([pictures], tmp_path / "out", lambda image: inverted(seen.append(image.shape) or image), resize=16)
    assert seen == [(16, 16, 3)] * 3
    with Image.open(pictures / "a.png") as image:
        squashed = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "a.png"), 255 - squashed)


def test_squash_takes_alpha_along(tmp_path):
    source = save(tmp_path / "in" / "x.png", noise(channels=4))
    restored([source], tmp_path / "out", resize=16)
    assert pixels(tmp_path / "out" / "x.png").shape == (16, 16, 4)


@pytest.mark.parametrize("squash", [None, 16])
def test_beside_input_puts_the_input_left_and_the_result_right(tmp_path, squash):
    source = save(tmp_path / "in" / "x.png", noise(24, 32))
    restored([source], tmp_path / "out", side_by_side=True, resize=squash)
    result = pixels(tmp_path / "out" / "x.png")
    height, width = (squash, squash) if squash else (24, 32)
    assert result.shape == (height, 2 * width, 3)
    if not squash:
        np.testing.assert_array_equal(result[:, :width], noise(24, 32))
    np.testing.assert_array_equal(result[:, width:], 255 - result[:, :width])


def test_beside_input_shows_a_turned_photograph_upright(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    source = save(tmp_path / "in" / "x.png", noise(24, 32), exif=exif)
    restored([source], tmp_path / "out", side_by_side=True)
    with Image.open(tmp_path / "out" / "x.png") as image:
        assert image.size == (2 * 24, 32)
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_a_picture_that_the_network_refuses_is_reported_by_name(pictures, tmp_path):
    def restore(image):
        if image.shape[0] == 21:
            raise InputError("image: expected at least 22 rows")
        return inverted(image)

    report = restored([pictures], tmp_path / "out", restore)
    assert report.failed == [f"{pictures / 'b.png'}: image: expected at least 22 rows"]
    assert names(tmp_path / "out") == ["a.png", "c.png"]


def test_a_picture_that_cannot_be_written_is_reported_and_leaves_nothing(pictures, tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if target.name == "b.png":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    report = restored([pictures], tmp_path / "out")
    assert report.failed == [f"{tmp_path / 'out' / 'b.png'}: cannot be written: No space left on device"]
    assert names(tmp_path / "out") == ["a.png", "c.png"]


def test_a_picture_with_an_extension_of_no_image_format_becomes_png(tmp_path):
    source = save(tmp_path / "in" / "x.bmp", noise())
    source = source.rename(source.with_suffix(".dat"))
    report = restored([source], tmp_path / "out")
    assert report.written == [tmp_path / "out" / "x.dat.png"]
    np.testing.assert_array_equal(pixels(report.written[0]), 255 - noise())
    assert report.failed == report.notices == []


@pytest.mark.parametrize("spelling", ["{0}", "{0}/", "{0}/.", "{0}/../in", "{1}/link"])
def test_the_folder_of_the_input_is_refused_for_output(pictures, tmp_path, spelling):
    (tmp_path / "link").symlink_to(pictures, target_is_directory=True)
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    with pytest.raises(InputError, match="choose another folder"):
        restored([pictures], spelling.format(pictures, tmp_path), forbidden)
    assert {path: path.read_bytes() for path in pictures.iterdir()} == before


def test_the_folder_that_links_in_the_input_lead_to_is_refused(pictures, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to(pictures / "a.png")
    with pytest.raises(InputError, match="choose another folder"):
        restored([tmp_path / "links"], pictures, forbidden)
    (tmp_path / "alias").symlink_to(tmp_path / "links", target_is_directory=True)
    for source in ("links", "alias"):
        with pytest.raises(InputError, match="choose another folder"):
            restored([tmp_path / source], tmp_path / "links", forbidden)
    assert len(restored([tmp_path / "links"], tmp_path / "out").written) == 1


def test_a_folder_inside_that_of_the_input_is_fine(pictures):
    report = restored([pictures], pictures / "out")
    assert len(report.written) == 3


def test_results_of_an_earlier_run_are_replaced_and_other_files_stay(pictures, tmp_path):
    save(tmp_path / "out" / "a.png", noise(5, 5))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    restored([pictures], tmp_path / "out")
    assert pixels(tmp_path / "out" / "a.png").shape == (20, 30, 3)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["two words.png", "line\nbreak.png", "사진.png", "-x.png", "it's 100%.png", "a.b.c.png"]
)
def test_any_name_will_do(tmp_path, name):
    source = save(tmp_path / "in" / name, noise())
    report = restored([tmp_path / "in"], tmp_path / "out")
    assert names(tmp_path / "out") == [name]
    np.testing.assert_array_equal(pixels(report.written[0]), 255 - pixels(source))


def test_an_interruption_leaves_only_whole_files(pictures, tmp_path):
    save(tmp_path / "out" / "b.png", noise(5, 5))

    def restore(image):
        if image.shape[0] == 21:
            raise KeyboardInterrupt
        return inverted(image)

    with pytest.raises(KeyboardInterrupt):
        restored([pictures], tmp_path / "out", restore)
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "a.png"), 255 - pixels(pictures / "a.png"))
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "b.png"), noise(5, 5))


@pytest.mark.parametrize("beside_input", [False, True])
def test_an_interruption_in_the_middle_of_writing_leaves_no_file(pictures, tmp_path, monkeypatch, beside_input):
    written = []

    def interrupted(path, content):
        with path.open("wb") as file:
            file.write(content[:20])
        written.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restored([pictures], tmp_path / "out", side_by_side=beside_input)
    assert written
    assert names(tmp_path / "out") == []


# Any inputs into any output


@pytest.mark.parametrize("extension", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_reach_the_network_and_the_result(tmp_path, extension, channels):
    deep = np.random.default_rng(0).integers(1, 65536, (20, 30, channels), dtype=np.uint16)
    rgb = deep[:, :, :3] if channels > 2 else deep[:, :, [0, 0, 0]]
    alpha = deep[:, :, -1] if channels in (2, 4) else None
    kind = ("RGB" if channels > 2 else "L") + ("" if alpha is None else "A")
    source = tmp_path / "in" / f"x.{extension}"
    source.parent.mkdir()
    write_picture(source, Picture(rgb, alpha, kind), rgb)
    seen = []
    report = restored([source], tmp_path / "out", restore=lambda image: seen.append(image) or inverted(image))
    assert (report.failed, report.notices) == ([], [])
    assert {image.dtype for image in seen} == {np.dtype(np.uint16)}
    again = read_picture(report.written[0])
    np.testing.assert_array_equal(again.rgb, 65535 - rgb)
    if alpha is not None:
        np.testing.assert_array_equal(again.alpha, 65535 - alpha)


def test_side_by_side_keeps_16_bits(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    write_picture(tmp_path / "x.png", Picture(deep), deep)
    report = restored([tmp_path / "x.png"], tmp_path / "out", side_by_side=True)
    np.testing.assert_array_equal(read_picture(report.written[0]).rgb, np.hstack([deep, 65535 - deep]))


def test_a_zip_file_becomes_a_folder_or_a_zip_file(pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in names(pictures):
            archive.write(pictures / name, f"sub/{name}")
        archive.writestr("broken.png", b"no picture")
    folder = restored([tmp_path / "in.zip"], tmp_path / "out")
    zipped = restored([tmp_path / "in.zip"], tmp_path / "out.zip")
    reason = "not a readable image (no picture of a known format that can be read)"
    assert folder.failed == zipped.failed == [f"{tmp_path / 'in.zip' / 'broken.png'}: {reason}"]
    assert folder.written == [tmp_path / "out" / "sub" / name for name in names(pictures)]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == [f"sub/{name}" for name in names(pictures)]
        for name in names(pictures):
            expected = 255 - pixels(pictures / name)
            np.testing.assert_array_equal(pixels(io.BytesIO(archive.read(f"sub/{name}"))), expected)
            np.testing.assert_array_equal(pixels(tmp_path / "out" / "sub" / name), expected)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP"])
def test_standard_input_goes_to_standard_output_in_its_own_format(file_format):
    content, stream = io.BytesIO(), io.BytesIO()
    Image.fromarray(smooth()).save(content, format=file_format)
    report = restored(["-"], "-", streams=Streams(content.getvalue, stream))
    assert report.failed == report.notices == []
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        assert image.format == file_format
        assert np.abs(np.asarray(image).astype(int) - (255 - smooth())).mean() < 3


def test_standard_input_in_another_format(tmp_path):
    content = io.BytesIO()
    Image.fromarray(smooth()).save(content, format="JPEG")
    report = restored(["-"], tmp_path / "out", streams=Streams(content.getvalue), file_format="webp", suffix="_d")
    assert report.written == [tmp_path / "out" / "stdin_d.webp"]
    with Image.open(report.written[0]) as image:
        assert image.format == "WEBP"


@pytest.mark.parametrize(("output", "file_format"), [("-", "png"), ("out", None), ("out.zip", None)])
def test_standard_input_is_written_as_png_where_that_is_asked_for_or_in_the_name(tmp_path, output, file_format):
    content, stream = io.BytesIO(), io.BytesIO()
    Image.fromarray(smooth()).save(content, format="JPEG")
    options = {"streams": Streams(content.getvalue, stream), "file_format": file_format}
    (written,) = restored(["-"], "-" if output == "-" else tmp_path / output, **options).written
    if output == "out":
        stream = io.BytesIO(written.read_bytes())
    elif output == "out.zip":
        with zipfile.ZipFile(tmp_path / output) as archive:
            stream = io.BytesIO(archive.read("stdin.png"))
    with Image.open(stream) as image:
        assert image.format == "PNG"


def test_a_result_that_exists_is_skipped(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.png").write_bytes(b"there")
    report = restored([pictures], tmp_path / "out", skip_existing=True)
    assert report.skipped == [Path("b.png")]
    assert report.written == [tmp_path / "out" / "a.png", tmp_path / "out" / "c.png"]
    assert (tmp_path / "out" / "b.png").read_bytes() == b"there"


def test_pictures_are_replaced_by_their_results_where_that_is_allowed(pictures):
    before = {name: pixels(pictures / name) for name in names(pictures)}
    restored([pictures], pictures, overwrite=True)
    assert names(pictures) == list(before)
    for name, array in before.items():
        np.testing.assert_array_equal(pixels(pictures / name), 255 - array)


def test_before_and_after_are_written_besides(pictures, tmp_path):
    restored([pictures], tmp_path / "out", compare=tmp_path / "both")
    both, array = pixels(tmp_path / "both" / "a.png"), pixels(pictures / "a.png")
    np.testing.assert_array_equal(both[:, :30], array)
    np.testing.assert_array_equal(both[:, -30:], 255 - array)
    restored([pictures], tmp_path / "out", compare=tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") == 6


@pytest.mark.parametrize("place", ["in", "out", "out/../in"])
def test_before_and_after_do_not_go_where_inputs_or_results_are(pictures, tmp_path, place):
    before = {name: (pictures / name).read_bytes() for name in names(pictures)}
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="choose another folder"):
        restored([pictures], tmp_path / "out", compare=tmp_path / place, restore=forbidden)
    assert {name: (pictures / name).read_bytes() for name in names(pictures)} == before


def test_every_kind_of_bad_file_is_reported_in_order_and_the_others_restored(pictures, tmp_path):
    whole = (pictures / "b.png").read_bytes()
    (pictures / "c1 corrupt.png").write_bytes(whole[:60] + bytes(len(whole) - 60))
    (pictures / "c2 truncated.png").write_bytes(whole[: len(whole) // 2])
    (pictures / "c3 empty.png").touch()
    save(pictures / "c4 bomb.bmp", noise(100, 100))
    (pictures / "c5 nowhere.png").symlink_to("missing")
    (pictures / "c6 loop.png").symlink_to("c6 loop.png")
    save(pictures / "c7 jpeg.png", smooth(), format="JPEG")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "out" / "c.png").mkdir(parents=True)  # what no file can replace
    inputs = [tmp_path / "pipe.png", pictures]
    done = []
    report = restored(inputs, tmp_path / "out", max_pixels=5000, progress=done.append)
    expected = [
        "/pipe.png: not a readable image (not a file)",
        "/out/c.png: cannot be written: not a file but a folder, a device or a pipe",
        "/in/c1 corrupt.png: not a readable image (",
        "/in/c2 truncated.png: not a readable image (",
        "/in/c3 empty.png: not a readable image (the file is empty)",
        "/in/c4 bomb.bmp: not a readable image (100x100 pixels are more than the limit, 5000; --max_pixels raises",
        "/in/c5 nowhere.png: not a readable image (No such file or directory)",
        "/in/c6 loop.png: not a readable image (Too many levels of symbolic links)",
    ]
    for line, start in zip(report.failed, expected, strict=True):
        assert line.startswith(f"{tmp_path}{start}")
    assert [path.name for path in report.written] == ["a.png", "b.png", "c7 jpeg.png"]
    assert report.notices == [f"{pictures / 'c7 jpeg.png'}: the name says PNG, the content is JPEG"]
    assert len(done) == 11
    assert done[1:] == sorted(done[1:])


@pytest.mark.parametrize("name", [b"not \xff utf-8.png", b"\xed\xa0\x80.png", "\u202e사진\t.png".encode()])
def test_names_that_cannot_be_decoded_or_shown_will_do(tmp_path, name):
    source = save(tmp_path / "in" / "x.png", noise())
    source = source.rename(tmp_path / "in" / os.fsdecode(name))
    (tmp_path / "in" / f"{os.fsdecode(name)} bad.png").touch()
    for output in (tmp_path / "out", tmp_path / "out.zip"):
        report = restored([tmp_path / "in"], output, compare=tmp_path / "page.html")
        assert len(report.written) == len(report.failed) == 1
        assert all(character.isprintable() for character in report.failed[0])
        report.failed[0].encode()
    np.testing.assert_array_equal(pixels(tmp_path / "out" / os.fsdecode(name)), 255 - noise())


def test_a_full_disk_fails_the_pictures_that_do_not_fit(pictures, tmp_path):
    save(pictures / "b.png", noise(100, 100))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        report = restored([pictures], tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert report.failed == [f"{tmp_path / 'out' / 'b.png'}: cannot be written: File too large"]
    assert names(tmp_path / "out") == ["a.png", "c.png"]


def test_the_next_picture_is_read_and_the_last_written_while_one_is_restored(tmp_path, monkeypatch):
    """Each restoration waits until both have happened; without threads it would wait in vain."""
    numbers = range(5)
    for number in numbers:
        save(tmp_path / "in" / f"{number}.png", noise(20 + number, 30))
    is_read, is_written = ([threading.Event() for _ in numbers] for _ in range(2))
    read, encode = running.read_picture, running.encode_picture

    def noted_read(path, **options):
        picture = read(path, **options)
        is_read[picture.rgb.shape[0] - 20].set()
        return picture

    def noted_encode(picture, rgb, *arguments, **options):
        is_written[rgb.shape[0] - 20].set()
        return encode(picture, rgb, *arguments, **options)

    def restore(image):
        number = image.shape[0] - 20
        assert all(is_read[other].wait(20) for other in numbers[: number + 2])
        assert all(is_written[other].wait(20) for other in numbers[:number])
        return inverted(image)

    monkeypatch.setattr(running, "read_picture", noted_read)
    monkeypatch.setattr(running, "encode_picture", noted_encode)
    report = restored([tmp_path / "in"], tmp_path / "out", restore=restore)
    assert [path.name for path in report.written] == [f"{number}.png" for number in numbers]


def test_no_more_than_three_pictures_are_in_memory(tmp_path, monkeypatch):
    for number in range(8):
        save(tmp_path / "in" / f"{number}.png", noise(seed=number))
    alive, most = set(), []
    read = running.read_picture

    def counted(path, **options):
        picture = read(path, **options)
        weakref.finalize(picture.rgb, alive.discard, path)
        alive.add(path)
        most.append(len(alive))
        return picture

    monkeypatch.setattr(running, "read_picture", counted)
    assert len(restored([tmp_path / "in"], tmp_path / "out").written) == 8
    assert max(most) <= 4  # one read, one restored, one written, one just leaving


class Together:
    """Restores, and notes how many pictures it is given at once."""

    def __init__(self, refused=()):
        self.refused = refused
        self.counts = []

    def __call__(self, image):
        if image[0, 0, 0] in self.refused:
            raise InputError("image: refused")
        self.counts.append(1)
        return inverted(image)

    def batch(self, images):
        if any(image[0, 0, 0] in self.refused for image in images):
            raise InputError("images: refused")
        self.counts.append(len(images))
        return [inverted(image) for image in images]


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """Pictures whose first value is their number, 12 pixels together at most; return what they should become."""
    monkeypatch.setattr(running, "PIXELS_TOGETHER", 12 * 10 * 3)
    kinds = [(10, 12, 3)] * 4 + [(20, 12, 3)] + [(10, 12, 3)] * 2 + [(10, 12, 4)] + [(12, 10, 3)] * 2
    results = {}
    for number, shape in enumerate(kinds):
        image = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        image[0, 0, 0] = number
        image[..., 3:] = 255
        save(tmp_path / "in" / f"{number}.png", image)
        results[f"{number}.png"] = np.concatenate([255 - image[..., :3], image[..., 3:]], axis=2)
    (tmp_path / "in" / "5.png").write_bytes(b"broken")
    del results["5.png"]
    return results


def test_small_pictures_of_one_size_in_a_row_are_restored_together(mixed, tmp_path):
    network = Together()
    report = restored([tmp_path / "in"], tmp_path / "out", restore=network)
    assert network.counts == [3, 1, 1, 1, 1, 2]
    assert [path.name for path in report.written] == list(mixed)
    for name, expected in mixed.items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / name)), expected)
    assert len(report.failed) == 1
    assert "5.png" in report.failed[0]


def test_a_picture_that_is_refused_does_not_stop_those_beside_it(mixed, tmp_path):
    report = restored([tmp_path / "in"], tmp_path / "out", restore=Together(refused=[1, 9]))
    assert [Path(failure.split(":")[0]).name for failure in report.failed] == ["1.png", "5.png", "9.png"]
    assert [path.name for path in report.written] == [name for name in mixed if name not in ("1.png", "9.png")]


def test_beside_the_input_when_restored_together(mixed, tmp_path):
    report = restored([tmp_path / "in"], tmp_path / "out", side_by_side=True, restore=Together())
    for path in report.written:
        both = np.asarray(Image.open(path))
        given, result = np.asarray(Image.open(tmp_path / "in" / path.name))[..., :3], mixed[path.name][..., :3]
        np.testing.assert_array_equal(both[:, : given.shape[1]], given)
        np.testing.assert_array_equal(both[:, -given.shape[1] :], result)


def test_an_error_that_is_no_input_of_the_user_is_not_hidden(pictures, tmp_path):
    def broken(image):
        raise ZeroDivisionError

    before = set(threading.enumerate())  # those of other tests may not have ended yet
    with pytest.raises(ZeroDivisionError):
        restored([pictures], tmp_path / "out", restore=broken)
    assert set(threading.enumerate()) <= before


def test_mutated_pictures_of_each_format_are_refused_or_whole_and_the_others_done(tmp_path):
    cases = pytest.importorskip("tests.faults.pictures")  # of which `make faults` does thousands
    (tmp_path / "samples").mkdir()
    cases.write_samples(tmp_path / "samples")
    outcomes = []
    for number in range(250):
        (tmp_path / f"{number}").mkdir()
        outcomes.append(cases.attempt(number, tmp_path / "samples", tmp_path / f"{number}"))
    assert min(outcomes.count("refused"), outcomes.count("restored")) > 50

import dataclasses
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from deblurgan.errors import FileError, InputError
from deblurgan.pictures.formats import IMAGE_EXTENSIONS
from deblurgan.pictures.reading import Picture, read_picture, read_rgb
from deblurgan.pictures.writing import encode_picture, encode_png, write_image
from tests.photographs import noise, pixels, save, smooth, write_picture
from tests.pictures.files import ICC, WRITTEN, exif_of, grey_with_alpha, palette_image, written


def test_extensions_are_lower_case_and_each_can_be_written_and_read(tmp_path):
    assert all(extension == extension.lower() for extension in IMAGE_EXTENSIONS)
    for extension in WRITTEN:
        write_image(tmp_path / f"x{extension}", smooth())
        assert read_rgb(tmp_path / f"x{extension}").shape == (48, 64, 3)


@pytest.mark.parametrize("file_format", sorted({"JPEG", "WEBP", "AVIF", "HEIF"} & Image.SAVE.keys()))
def test_quality_is_that_which_is_asked_for(file_format):
    picture = Picture(noise(64, 64))
    sizes = [len(encode_picture(picture, picture.rgb, file_format, quality=quality)) for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))
    assert encode_picture(picture, picture.rgb, "PNG", quality=20) == encode_picture(picture, picture.rgb, "PNG")


@pytest.mark.parametrize("extension", ["png", "tif", "webp"])
def test_rgba_goes_back_with_new_colours_and_its_own_alpha(tmp_path, extension):
    array = noise(channels=4)
    _, path = written(tmp_path, save(tmp_path / "in.png", array), f"out.{extension}")
    expected = np.dstack([255 - array[:, :, :3], array[:, :, 3]])
    np.testing.assert_array_equal(pixels(path), expected)


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "gif", "jpg"])
def test_grey_goes_back_as_grey(tmp_path, extension):
    grey = np.repeat(np.repeat(noise(3, 4, None), 16, axis=0), 16, axis=1)
    _, path = written(tmp_path, save(tmp_path / "in.png", grey), f"out.{extension}")
    if extension != "gif":  # where grey is a palette
        with Image.open(path) as image:
            assert image.mode == "L"
    again = read_picture(path)
    assert again.kind == "L"
    assert np.abs(again.rgb[:, :, 1].astype(int) - (255 - grey)).max() <= (3 if extension == "jpg" else 0)


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow 11.3 or newer writes AVIF")
@pytest.mark.parametrize("quality", [None, 80])
def test_grey_avif_stays_grey(tmp_path, quality):
    picture = read_picture(save(tmp_path / "in.avif", smooth()[:, :, 0]))
    assert picture.kind == "L"
    assert read_picture("a", content=encode_picture(picture, picture.rgb, "AVIF", quality=quality)).kind == "L"


def test_grey_is_the_mean_of_the_three_channels(tmp_path):
    source = save(tmp_path / "in.png", np.zeros((1, 3), np.uint8))
    rgb = np.array([[[10, 11, 12], [0, 0, 1], [255, 255, 254]]], np.uint8)
    _, path = written(tmp_path, source, "out.png", rgb)
    np.testing.assert_array_equal(pixels(path), [[11, 0, 255]])


def test_grey_with_alpha_goes_back_as_such(tmp_path):
    array = noise(channels=2)
    source = save(tmp_path / "in.png", grey_with_alpha(array))
    for extension in ("png", "tif"):
        _, path = written(tmp_path, source, f"out.{extension}")
        with Image.open(path) as image:
            assert image.mode == "LA"
        np.testing.assert_array_equal(pixels(path), np.dstack([255 - array[:, :, 0], array[:, :, 1]]))


def test_a_palette_png_goes_back_in_full_colour(tmp_path):
    image, _ = palette_image()
    rgb = noise(seed=5)
    opacities = bytes([0, 80, 255, 3])
    _, path = written(tmp_path, save(tmp_path / "p.png", image), "out.png", rgb)
    np.testing.assert_array_equal(pixels(path), rgb)
    picture, path = written(tmp_path, save(tmp_path / "t.png", image, transparency=opacities), "out.png", rgb)
    np.testing.assert_array_equal(pixels(path), np.dstack([rgb, picture.alpha]))


def test_a_gif_goes_back_with_256_colours_and_its_transparency(tmp_path):
    image, _ = palette_image()
    source = save(tmp_path / "in.gif", image, transparency=2)
    flat = np.full((24, 32, 3), (10, 200, 30), np.uint8)
    for rgb in (smooth(24, 32), flat):
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
    _, path = written(tmp_path, save(tmp_path / "in.png", array), "out.gif")
    np.testing.assert_array_equal(read_picture(path).alpha, np.where(array[:, :, 3] < 128, 0, 255))
    grey = grey_with_alpha(array[:, :, 2:])
    _, path = written(tmp_path, save(tmp_path / "in.png", grey), "out.gif")
    np.testing.assert_array_equal(read_picture(path).alpha, np.where(array[:, :, 3] < 128, 0, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_format_without_alpha_shows_the_picture_on_white(tmp_path, mode):
    array = np.zeros((16, 48, 4), np.uint8)
    array[:, 16:32, 3], array[:, 32:, 3] = 51, 255
    image = Image.fromarray(array).convert(mode)
    for extension, tolerance in (("bmp", 0), ("jpg", 3)):
        _, path = written(tmp_path, save(tmp_path / "in.png", image), f"out.{extension}", array[:, :, :3].copy())
        with Image.open(path) as flat:
            assert flat.mode == mode[:-1]
            grey = np.asarray(flat.convert("L")).astype(int)
        for column, expected in ((8, 255), (24, 204), (40, 0)):
            assert abs(grey[8, column] - expected) <= tolerance


def test_alpha_is_resized_with_the_picture(tmp_path):
    array = np.zeros((10, 10, 4), np.uint8)
    array[:, 5:, 3] = 255
    _, path = written(tmp_path, save(tmp_path / "in.png", array), "out.png", np.zeros((20, 40, 3), np.uint8))
    alpha = pixels(path)[:, :, 3]
    assert alpha.shape == (20, 40)
    assert alpha[:, :14].max() == 0
    assert alpha[:, 26:].min() == 255


def test_a_grey_palette_with_a_profile_for_colours_stays_in_colour(tmp_path):
    image = Image.fromarray(smooth()[:, :, 0]).quantize(8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture, path = written(tmp_path, save(tmp_path / "a.png", image, icc_profile=profile), "out.png")
    with Image.open(path) as again:
        assert (again.mode, again.info["icc_profile"]) == ("RGB", profile)
    assert picture.notices == ("the palette becomes RGB",)
    assert read_picture(save(tmp_path / "b.png", image)).kind == "L"


def jpeg_quantisation(path):
    with Image.open(path) as image:
        tables = [image.quantization[component[3]] for component in image.layer]
        return tables, JpegImagePlugin.get_sampling(image)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 100])
def test_a_jpeg_goes_back_with_its_own_quantisation_and_subsampling(tmp_path, quality, subsampling):
    source = save(tmp_path / "in.jpg", smooth(), quality=quality, subsampling=subsampling)
    _, path = written(tmp_path, source, "out.JPEG")
    assert jpeg_quantisation(path) == jpeg_quantisation(source)


def test_a_grey_jpeg_goes_back_with_its_own_quantisation(tmp_path):
    source = save(tmp_path / "in.jpg", smooth()[:, :, 0].copy(), quality=40)
    _, path = written(tmp_path, source, "out.jpg")
    assert jpeg_quantisation(path) == jpeg_quantisation(source)


def test_a_turned_jpeg_goes_back_with_turned_quantisation_and_no_coarser_subsampling(tmp_path):
    source = save(tmp_path / "in.jpg", smooth(), quality=60, subsampling=1, exif=exif_of(6))
    _, path = written(tmp_path, source, "out.jpg")
    before, after = jpeg_quantisation(source), jpeg_quantisation(path)
    for old, new in zip(before[0], after[0], strict=True):
        assert [new[8 * row + column] for column in range(8) for row in range(8)] == list(old)
    assert before[0] != after[0]
    assert (before[1], after[1]) == (1, 0)


def test_jpeg_with_three_tables_keeps_all_three(tmp_path):
    tables = [[level] * 64 for level in (2, 5, 9)]
    source = save(tmp_path / "in.jpg", smooth(), qtables=tables, subsampling=0)
    _, path = written(tmp_path, source, "out.jpg")
    assert [set(table) for table in jpeg_quantisation(path)[0]] == [{2}, {5}, {9}]


def test_other_sources_become_jpeg_of_quality_95_without_subsampling(tmp_path):
    reference = save(tmp_path / "reference.jpg", smooth(), quality=95, subsampling=0)
    _, path = written(tmp_path, save(tmp_path / "in.png", smooth()), "out.jpg")
    assert jpeg_quantisation(path) == jpeg_quantisation(reference)
    write_image(tmp_path / "image.jpg", smooth())
    assert jpeg_quantisation(tmp_path / "image.jpg") == jpeg_quantisation(reference)


@pytest.mark.parametrize("animated", [False, True])
def test_webp_goes_back_lossless_only_when_it_came_so(tmp_path, animated):
    more = {"save_all": True, "append_images": [Image.fromarray(noise(seed=9))]} if animated else {}
    for lossless in (True, False):
        source = save(tmp_path / "in.webp", noise(), lossless=lossless, icc_profile=ICC, **more)
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
    np.testing.assert_array_equal(pixels(tmp_path / "x.png"), rgb)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Picture(rgb).kind = "L"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
@pytest.mark.parametrize("name", ["x.png", "x.tif", "이름 with space.PNG", "line\nbreak.png"])
def test_arrays_of_one_to_four_channels_are_written_as_they_are(tmp_path, shape, name):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_image(tmp_path / name, array)
    expected = array[:, :, 0] if shape[2:] == (1,) else array
    np.testing.assert_array_equal(pixels(tmp_path / name), expected)


def test_arrays_need_not_be_contiguous(tmp_path):
    array = noise(channels=4)[::-2, ::-3]
    write_image(tmp_path / "x.png", array)
    np.testing.assert_array_equal(pixels(tmp_path / "x.png"), array)


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
        encode_picture(Picture(noise()), array, "PNG")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x", "x.txt", "x.png.bak", ".png"])
def test_unknown_extensions_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"expected one of \.avif .*\.webp, got '"):
        write_image(tmp_path / name, noise())
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
    np.testing.assert_array_equal(pixels(tmp_path / "x.png"), smooth())
    assert os.listdir(tmp_path) == ["x.png"]


def test_writing_into_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileError, match=r"absent/x\.png: cannot be written"):
        write_image(tmp_path / "absent" / "x.png", noise())


def test_the_module_needs_no_tensorflow():
    code = "import sys, deblurgan.pictures.writing; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

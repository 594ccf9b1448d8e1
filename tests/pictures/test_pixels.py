import numpy as np
import pytest
from PIL import Image

from deblurgan.errors import InputError
from deblurgan.pictures.pixels import from_model, luma, resize, side_by_side, to_model
from tests.photographs import noise


def test_all_byte_values_survive_the_way_to_the_model_and_back():
    values = np.arange(256, dtype=np.uint8)
    model = to_model(values)
    assert model.dtype == np.float32
    assert (model[0], model[255]) == (-1, 1)
    np.testing.assert_allclose(model, [value / 127.5 - 1 for value in range(256)], atol=1e-7)
    np.testing.assert_array_equal(from_model(model), values)
    np.testing.assert_array_equal(from_model(model.astype(np.float16)), values)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 3), (2, 4, 5, 3), (0, 3)])
def test_conversion_keeps_any_shape(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert to_model(values).shape == from_model(to_model(values)).shape == shape
    np.testing.assert_array_equal(from_model(to_model(values)), values)


def test_model_values_are_clipped_and_rounded_to_the_nearest():
    values = [-7.0, -1.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.001, 1.0, 1.5, 1e30]
    np.testing.assert_array_equal(from_model(np.array(values)), [0, 0, 0, 1, 128, 255, 255, 255])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_do_not_pass(value):
    with pytest.raises(InputError, match=r"expected values in \[-1, 1\], got NaN or infinity"):
        from_model(np.array([0.0, value], np.float32))


def test_values_of_the_wrong_kind_do_not_pass():
    with pytest.raises(InputError, match=r"expected uint8, got float32"):
        to_model(np.zeros(3, np.float32))
    with pytest.raises(InputError, match=r"expected floating-point values in \[-1, 1\], got uint8"):
        from_model(np.zeros(3, np.uint8))


@pytest.mark.parametrize("shape", [(6, 8, 3), (6, 8)])
def test_resizing_takes_height_then_width(shape):
    image = np.full(shape, 77, np.uint8)
    resized = resize(image, (3, 20))
    assert resized.shape == (3, 20, *shape[2:])
    assert (resized == 77).all()


def test_nearest_resizing_picks_pixels_and_the_default_is_bicubic():
    image = noise(8, 8)
    np.testing.assert_array_equal(resize(image, (4, 4), Image.Resampling.NEAREST), image[1::2, 1::2])
    bicubic = np.asarray(Image.fromarray(image).resize((5, 3), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(image, (3, 5)), bicubic)


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_resizing_to_nothing_is_refused(size):
    with pytest.raises(InputError, match=rf"got {size[0]} x {size[1]}"):
        resize(noise(), size)


@pytest.mark.parametrize("channels", [3, None])
def test_images_stand_side_by_side_with_white_between(channels):
    a, b, c = (noise(4, width, channels, seed=width) for width in (2, 3, 5))
    strip = side_by_side([a, b, c], gap=2)
    assert strip.shape == (4, 14, *a.shape[2:])
    for start, image in ((0, a), (4, b), (9, c)):
        np.testing.assert_array_equal(strip[:, start : start + image.shape[1]], image)
    assert (strip[:, [2, 3, 7, 8]] == 255).all()
    np.testing.assert_array_equal(side_by_side([a, b])[:, 2:], b)
    np.testing.assert_array_equal(side_by_side([a]), a)


@pytest.mark.parametrize(
    ("images", "gap", "reason"),
    [
        ([], 0, "expected one or more, got none"),
        ([noise(4, 4), noise(5, 4)], 0, "expected equal heights and channels"),
        ([noise(4, 4), noise(4, 4, None)], 0, "expected equal heights and channels"),
        ([noise(4, 4).astype(np.float32)], 0, "expected uint8"),
        ([noise(4, 4)], -1, "expected 0 or more, got -1"),
    ],
)
def test_images_that_do_not_fit_are_not_joined(images, gap, reason):
    with pytest.raises(InputError, match=reason):
        side_by_side(images, gap)


def test_grey_is_what_pillow_makes_of_colours():
    colours = noise(50, 70)
    np.testing.assert_array_equal(luma(colours), np.asarray(Image.fromarray(colours).convert("L")))
    equal = np.repeat(np.arange(65536, dtype=np.uint16)[:, None], 3, axis=1)
    np.testing.assert_array_equal(luma(equal), equal[:, 0])

"""Winograd's algorithm, and layers that hand halves of images to each other, against float64 loops and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deblurgan.networks.footprint import run
from deblurgan.networks.layers import ReflectionPadding2D
from deblurgan.restoring import fast_layers, winograd
from deblurgan.restoring.restorer import Restorer
from tests import reference

MANY = fast_layers.MANY
SIZES = [(2, 3), (3, 4), (6, 5), (7, 9)]


def random_images(height, width, channels):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_halves_are_even_and_odd_rows(size):
    images = random_images(*size, 5)
    halves = winograd.split(images)
    np.testing.assert_array_equal(halves.even, images[:, ::2])
    np.testing.assert_array_equal(halves.odd[:, : size[0] // 2], images[:, 1::2])
    np.testing.assert_array_equal(winograd.joined(halves), images)
    np.testing.assert_array_equal(winograd.joined(images), images)


@pytest.mark.parametrize("size", SIZES)
def test_a_row_is_mirrored_at_the_top_and_at_the_bottom(size):
    images = random_images(*size, 5)
    expected = np.pad(images, [(0, 0), (1, 1), (0, 0), (0, 0)], "reflect")
    np.testing.assert_array_equal(winograd.joined(winograd.reflected(winograd.split(images))), expected)


@pytest.mark.parametrize("size", [(3, 3), (4, 5), (7, 6), (8, 4)])
def test_convolutions_are_as_defined(size):
    images = random_images(*size, 4)
    kernel, bias = (
        np.random.default_rng(i).normal(size=shape).astype(np.float32) for i, shape in enumerate([(3, 3, 4, 6), (6,)])
    )
    output = winograd.joined(winograd.convolved(winograd.split(images), winograd.kernels(kernel), bias))
    expected = reference.conv(images, [kernel, bias], 1, "valid")
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.fixture
def blocks(randomised):
    """Two residual blocks, with something between them that takes no halves."""

    def convolved(x):
        return keras.layers.Conv2D(MANY, 3)(ReflectionPadding2D(((1, 1), (1, 1)))(x))

    inputs = x = keras.Input((None, None, MANY))
    for _ in range(2):
        y = keras.layers.Activation("relu")(convolved(x))
        x = keras.layers.Activation("tanh")(keras.layers.Add()([x, convolved(y)]))
    return randomised(keras.Model(inputs, x))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("size", [(2, 3), (5, 6), (8, 7)])
def test_blocks_equal_keras(blocks, size, fixed):
    images = random_images(*size, MANY)
    seen = []

    def called(layer, given):
        seen.append(fast_layers.call(layer, given, fixed))
        return seen[-1]

    output = tf.function(lambda x: winograd.joined(run(blocks, x, called)), autograph=False)(images)
    np.testing.assert_allclose(output, blocks(images), atol=2e-5)
    assert sum(isinstance(x, winograd.Halves) for x in seen) > 4  # they were used


def test_few_channels_and_gpus_get_no_halves(monkeypatch):
    pad = ReflectionPadding2D(((1, 1), (1, 1)))
    few, many = (tf.constant(random_images(4, 4, channels)) for channels in (MANY - 1, MANY))
    assert not isinstance(fast_layers.call(pad, few), winograd.Halves)
    assert isinstance(fast_layers.call(pad, many), winograd.Halves)
    monkeypatch.setattr(fast_layers, "gpu_names", lambda: ["a GPU"])
    assert not isinstance(fast_layers.call(pad, many), winograd.Halves)


def test_weights_of_later_count(randomised):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(MANY, 1)(inputs)
    x = keras.layers.Conv2D(MANY, 3)(ReflectionPadding2D(((1, 1), (1, 1)))(x))
    model = randomised(keras.Model(inputs, keras.layers.Conv2D(3, 1)(x)), 0)
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    restorer = Restorer(model)
    before = restorer(image)
    randomised(model, 1)
    np.testing.assert_array_equal(restorer(image), Restorer(model)(image))
    assert (restorer(image) != before).any()

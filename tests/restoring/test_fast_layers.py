import keras
import numpy as np
import pytest
import tensorflow as tf

from deblurgan.networks.layers import ReflectionPadding2D
from deblurgan.networks.tutorial import generator_model
from deblurgan.restoring import fast_layers
from deblurgan.restoring.restorer import Restorer
from tests import reference


def random_images(height, width, channels):
    return np.random.default_rng(0).normal(size=(2, height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("padding", [((3, 3), (3, 3)), ((1, 2), (0, 4)), ((0, 0), (5, 0))])
@pytest.mark.parametrize("size", [(6, 7), (9, 12)])
def test_edges_are_mirrored_as_defined(padding, size):
    images = random_images(*size, 5)
    padded = fast_layers.call(ReflectionPadding2D(padding), images).numpy()
    np.testing.assert_array_equal(padded, reference.reflection_padding(images, *padding[0], *padding[1]))


@pytest.mark.parametrize("filters", [1, 3, 6])
@pytest.mark.parametrize(
    ("kernel", "strides", "padding"), [(7, 1, "valid"), (5, 1, "valid"), (3, 2, "same"), (7, 1, "same")]
)
@pytest.mark.parametrize("size", [(8, 8), (13, 10), (9, 15)])
def test_convolutions_are_as_defined(filters, kernel, strides, padding, size, randomised):
    """Those of 5 or more to 4 or fewer channels are computed by squares of 4x4, which fit into some of the sizes."""
    images = random_images(*size, 4)
    layer = keras.layers.Conv2D(filters, kernel, strides, padding)
    inputs = keras.Input((None, None, 4))
    randomised(keras.Model(inputs, layer(inputs)))
    output = tf.function(lambda x: fast_layers.call(layer, x))(images)
    expected = reference.conv(images, [np.asarray(weight) for weight in layer.weights], strides, padding)
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(3, 3, use_bias=False),
        keras.layers.Conv2D(4, 3, groups=2),
        keras.layers.Conv2D(3, 3, dilation_rate=2),
        keras.layers.Conv2D(3, 7, activation="relu"),
        keras.layers.Conv2DTranspose(3, 3, strides=2),
        keras.layers.Activation("tanh"),
    ],
    ids=lambda layer: layer.name,
)
def test_all_else_is_left_to_the_layer(layer):
    images = random_images(9, 10, 4)
    expected = np.asarray(layer(images))
    np.testing.assert_allclose(fast_layers.call(layer, images), expected, atol=1e-6)


@pytest.mark.parametrize("ngf", [4, 16])  # the blocks have four times as many channels: with 64 by Winograd
def test_a_restorer_computes_with_the_weights_of_now(ngf, randomised):
    models = [randomised(generator_model((None, None, 3), ngf=ngf, n_blocks=1), seed) for seed in (0, 1)]
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    first, second = (Restorer(model)(image) for model in models)
    restorer = Restorer(models[0])
    np.testing.assert_array_equal(restorer(image), first)
    models[0].set_weights(models[1].get_weights())
    np.testing.assert_array_equal(restorer(image), second)
    assert (first != second).any()

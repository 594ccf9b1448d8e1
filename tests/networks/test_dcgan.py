"""The DCGAN's networks, against the layers that the tutorial's lists mean, written out with Keras' own."""

import keras
import numpy as np
import pytest
from keras import layers

from deblurgan.errors import InputError
from deblurgan.networks.dcgan import dcgan_discriminator, dcgan_generator

LISTS = {"conv_filters": [3, 4, 2], "conv_kernel_size": [3, 5, 2], "conv_strides": [1, 1, 2]}
GENERATOR = {**LISTS, "initial_dense_layer_size": [2, 3, 4], "upsample": [2, 2, 1], "batch_norm_momentum": 0.7}
DISCRIMINATOR = {**LISTS, "image_shape": (8, 6, 2), "conv_strides": [2, 1, 2]}


def plain_generator(activation, dropout):
    """The tutorial's `_build_generator` for GENERATOR, unrolled."""
    model = keras.Sequential([layers.Input((6,)), layers.Dense(24), layers.BatchNormalization(momentum=0.7)])
    for layer in (
        *(activation(), layers.Reshape((2, 3, 4)), *dropout()),
        *(layers.UpSampling2D(), layers.Conv2D(3, 3, padding="same")),
        *(layers.BatchNormalization(momentum=0.7), activation()),
        *(layers.UpSampling2D(), layers.Conv2D(4, 5, padding="same")),
        *(layers.BatchNormalization(momentum=0.7), activation()),
        *(layers.Conv2DTranspose(2, 2, strides=2, padding="same"), layers.Activation("tanh")),
    ):
        model.add(layer)
    return model


def plain_discriminator(activation, dropout, momentum):
    """The tutorial's `_build_discriminator` for DISCRIMINATOR, unrolled."""
    model = keras.Sequential([layers.Input((8, 6, 2))])
    for i, (filters, size, stride) in enumerate([(3, 3, 2), (4, 5, 1), (2, 2, 2)]):
        model.add(layers.Conv2D(filters, size, stride, padding="same"))
        if momentum and i > 0:
            model.add(layers.BatchNormalization(momentum=momentum))
        for layer in (activation(), *dropout()):
            model.add(layer)
    model.add(layers.Flatten())
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


def activation_layer(name):
    return (lambda: layers.LeakyReLU(0.2)) if name == "leaky_relu" else (lambda: layers.Activation(name))


def dropout_layers(rate):
    return lambda: [layers.Dropout(rate)] if rate else []


def assert_same(model, plain, x):
    """The same layers with weights, which give the same, also in training; there without dropout, which is drawn."""
    assert [w.shape for w in model.weights] == [w.shape for w in plain.weights]
    values = [np.random.default_rng(i).uniform(0.1, 1, w.shape) for i, w in enumerate(model.weights)]
    for training in (False, True):
        model.set_weights(values)
        plain.set_weights(values)
        np.testing.assert_allclose(model(x, training=training), plain(x, training=training), rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(model.weights, plain.weights, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def rates(model):
    return [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_the_generator_is_what_the_lists_say(activation):
    model = dcgan_generator(6, **GENERATOR, activation=activation)
    assert_same(model, plain_generator(activation_layer(activation), dropout_layers(None)), np.eye(6)[:4])
    assert model.output_shape == (None, 16, 24, 2)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("momentum", [None, 0.6])
def test_the_discriminator_is_what_the_lists_say(activation, momentum):
    options = {**DISCRIMINATOR, "activation": activation, "batch_norm_momentum": momentum, "dropout_rate": None}
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 6, 2))
    plain = plain_discriminator(activation_layer(activation), dropout_layers(None), momentum)
    assert_same(dcgan_discriminator(**options), plain, images)


def test_dropout_follows_the_reshaping_once_and_every_layer_of_the_discriminator():
    generator = dcgan_generator(6, **GENERATOR, dropout_rate=0.3)
    names = [layer.name for layer in generator.layers]
    assert rates(generator) == [0.3]
    assert names.index("generator_dropout") == names.index("generator_reshape") + 1
    assert rates(dcgan_discriminator(**DISCRIMINATOR)) == [0.4] * 3
    assert rates(dcgan_discriminator(**DISCRIMINATOR, dropout_rate=None)) == []


def test_the_defaults_are_the_tutorials_with_its_names_and_counts():
    generator, discriminator = dcgan_generator(), dcgan_discriminator()
    assert (generator.count_params(), discriminator.count_params()) == (844_161, 720_833)
    assert generator.output_shape[1:] == discriminator.input_shape[1:] == (28, 28, 1)
    for model, role in ((generator, "generator"), (discriminator, "discriminator")):
        names = [layer.name for layer in model.layers]
        assert names[0] == f"{role}_input"
        assert [name for name in names if "_conv_" in name] == [f"{role}_conv_{i}" for i in range(4)]


def test_weights_start_normal_with_deviation_002():
    for model in (dcgan_generator(), dcgan_discriminator()):
        kernels = [w for w in model.weights if w.path.endswith("kernel")]
        assert len(kernels) == 5
        for kernel in kernels:
            assert np.mean(kernel) == pytest.approx(0, abs=2e-3)
            assert np.std(kernel) == pytest.approx(0.02, rel=0.1)


def test_without_sigmoid_the_value_is_the_logit():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 6, 2))
    probability, logit = (dcgan_discriminator(**DISCRIMINATOR, sigmoid=sigmoid) for sigmoid in (True, False))
    logit.set_weights(probability.get_weights())
    np.testing.assert_allclose(probability(images), 1 / (1 + np.exp(-np.asarray(logit(images)))), rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("conv_kernel_size", [3, 3], r"expected 3 values, one for each of conv_filters, received \[3, 3\]"),
        ("conv_strides", [1, 1, 1, 1], "expected 3 values, one for each of conv_filters, received"),
        ("conv_strides", [1, 2, 2], r"expected 1 where upsample is 2 \(layer 1\), received 2"),
        ("conv_strides", [1, 1, 0], "expected an int of at least 1, received 0"),
        ("conv_filters", [], r"expected a list with a number for each layer, received \[\]"),
        ("conv_filters", [3, 4, 2.5], "expected an int of at least 1, received 2.5"),
        ("upsample", [2, 2], "expected 3 values"),
        ("upsample", [2, 3, 1], "expected 1, 2, received 3"),
        ("initial_dense_layer_size", (4, 4), r"expected 3 values, height, width and channels, received \(4, 4\)"),
        ("z_dim", 0, "expected an int of at least 1, received 0"),
        ("batch_norm_momentum", 1.5, "expected a rate from 0 to below 1, received 1.5"),
        ("dropout_rate", "0.4", "expected a rate from 0 to below 1, received '0.4'"),
        ("activation", "reluu", "expected a name that Keras knows, received 'reluu'"),
    ],
)
def test_what_makes_no_generator_is_an_error_that_names_the_option(option, value, message):
    with pytest.raises(InputError, match=rf"^{option}: {message}"):
        dcgan_generator(**{"z_dim": 6, **GENERATOR, option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("image_shape", (8, None, 2), "the dense layer needs a known height and width"),
        ("conv_strides", [1], "expected 3 values"),
        ("activation", 7, "expected a name that Keras knows"),
    ],
)
def test_what_makes_no_discriminator_is_an_error_that_names_the_option(option, value, message):
    with pytest.raises(InputError, match=rf"^{option}: {message}"):
        dcgan_discriminator(**{**DISCRIMINATOR, option: value})

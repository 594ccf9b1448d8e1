"""The wiring of TensorFlow's tutorial of pix2pix, against a network of Keras' own layers."""

import keras
import numpy as np
import pytest

from deblurgan.networks.patchgan import patchgan_discriminator
from deblurgan.networks.unet import unet_generator
from tests import pix2pix_reference

FLOAT32 = 1e-5


def noise(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def same(ours, reference, ours_in, reference_in, **options):
    pix2pix_reference.same_weights(ours, reference)
    got, expected = (np.asarray(model(x, **options)) for model, x in ((ours, ours_in), (reference, reference_in)))
    assert expected.std() > 0.02
    np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_networks_have_as_many_parameters_as_the_tutorials():
    with keras.StatelessScope(initialize_variables=False):
        generator = unet_generator(wiring="tensorflow")
        critic = patchgan_discriminator((256, 256, 6), norm="batch", wiring="tensorflow")
        without = unet_generator(wiring="tensorflow", bottleneck_norm=False)
    assert (generator.count_params(), trainable(generator)) == (54_425_859, 54_414_979)
    assert critic.count_params() == 2_770_433
    assert generator.count_params() - without.count_params() == 4 * 512
    assert critic.output_shape == (None, 30, 30, 1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("downs", [5, 8])
def test_the_generator_computes_what_the_tutorials_does(downs, training):
    side, filters = 2**downs, 4 if downs == 8 else 8
    ours = unet_generator(ngf=filters, num_downs=downs, dropout=0, wiring="tensorflow")
    reference = pix2pix_reference.generator(keras, side, filters, downs, dropout=0)
    images = noise(2, side, side, 3)
    same(ours, reference, images, images, training=training)
    for one, other in zip(ours.weights, reference.weights, strict=True):  # what training noted
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-6)


def test_dropout_is_where_the_tutorial_has_it():
    ours = [layer.name for layer in unet_generator(ngf=4, wiring="tensorflow").layers if "dropout" in layer.name]
    assert ours == ["up8_dropout", "up7_dropout", "up6_dropout"]


@pytest.mark.parametrize("training", [False, True])
def test_the_critic_computes_what_the_tutorials_does(training):
    ours = patchgan_discriminator((None, None, 6), ndf=8, norm="batch", wiring="tensorflow")
    reference = pix2pix_reference.discriminator(keras, 64, 8)
    one, other = noise(2, 64, 64, 3), noise(2, 64, 64, 3)[::-1]
    same(ours, reference, np.concatenate([one, other], axis=-1), [one, other], training=training)


def test_statistics_of_the_picture_are_those_of_a_batch_of_one():
    noted, own = (
        unet_generator(ngf=4, num_downs=5, dropout=0, wiring="tensorflow", test_statistics=each)
        for each in (False, True)
    )
    pix2pix_reference.same_weights(noted, own)
    images = noise(2, 64, 96, 3)
    together = np.asarray(own(images))
    for image, got in zip(images, together, strict=True):
        expected = np.asarray(noted(image[None], training=True))[0]
        np.testing.assert_allclose(got, expected, atol=FLOAT32)
    assert np.abs(np.asarray(noted(images)) - together).max() > 0.01


def test_a_batch_of_one_says_nothing_at_a_bottleneck_of_one_pixel():
    def deepest(**options):
        model = unet_generator(ngf=4, num_downs=5, dropout=0, wiring="tensorflow", **options)
        pix2pix_reference.same_weights(model, None)
        layer = model.get_layer("down5_relu")
        inner = keras.Model(model.input, layer.output)
        return [np.asarray(inner(noise(2, 32, 32, 3)[i : i + 1], training=True)) for i in range(2)]

    one, other = deepest()
    np.testing.assert_array_equal(one, other)
    one, other = deepest(bottleneck_norm=False)
    assert np.abs(one - other).max() > 1e-3

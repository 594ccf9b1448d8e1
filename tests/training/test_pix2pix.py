"""One step of the recipe pix2pix, against the tutorial's written with Keras' own layers and plain tapes."""

import keras
import numpy as np
import tensorflow as tf

from deblurgan.training.recipe import make, read_fields
from deblurgan.training.steps import build_step
from tests import pix2pix_reference
from tests.training.runs import PIX2PIX

SIDE = 64


def built():
    """The recipe's step and the tutorial's networks, small, with the same random weights; dropout is left out."""
    changes = [*PIX2PIX, ("network_options.dropout", 0), ("image_size", SIDE), ("steps", 3)]
    step = build_step(make(read_fields("pix2pix"), changes), 3, "float32")
    generator = pix2pix_reference.generator(keras, SIDE, 4, 5, dropout=0)
    critic = pix2pix_reference.discriminator(keras, SIDE, 4)
    pix2pix_reference.same_weights(step.generator, generator, seed=1)
    pix2pix_reference.same_weights(step.critic, critic, seed=2)
    return step, generator, critic


def train_step(generator, critic, optimizers, source, target):
    """Both losses from one pass, both gradients, then both updates."""
    crossentropy = keras.losses.BinaryCrossentropy(from_logits=True)
    with tf.GradientTape() as of_generator, tf.GradientTape() as of_critic:
        made = generator(source, training=True)
        real = critic([source, target], training=True)
        fake = critic([source, made], training=True)
        deceived = crossentropy(tf.ones_like(fake), fake)
        distance = tf.reduce_mean(tf.abs(target - made))
        total = deceived + 100 * distance
        told = crossentropy(tf.ones_like(real), real) + crossentropy(tf.zeros_like(fake), fake)
    slopes = of_generator.gradient(total, generator.trainable_variables)
    critic_slopes = of_critic.gradient(told, critic.trainable_variables)
    optimizers[0].apply_gradients(zip(slopes, generator.trainable_variables, strict=True))
    optimizers[1].apply_gradients(zip(critic_slopes, critic.trainable_variables, strict=True))
    return {"loss": total, "adversarial": deceived, "l1": distance, "d_loss": told}


def test_steps_are_those_of_the_tutorial():
    step, generator, critic = built()
    optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
    random = np.random.default_rng(0)
    for _ in range(3):
        source, target = map(tf.constant, random.uniform(-1, 1, (2, 1, SIDE, SIDE, 3)).astype(np.float32))
        expected = train_step(generator, critic, optimizers, source, target)
        got = step.step((source, target))
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], float(value), rtol=1e-5)
    for ours, reference in ((step.generator, generator), (step.critic, critic)):
        for one, other in zip(ours.weights, reference.weights, strict=True):
            # Adam takes steps of 2e-4 whatever the size of a gradient: one that is 0 but for rounding moves anywhere.
            error = np.abs(np.asarray(one) - np.asarray(other))
            assert np.quantile(error, 0.98) < 2e-6, one.path
            assert error.max() < 6.1e-4, one.path

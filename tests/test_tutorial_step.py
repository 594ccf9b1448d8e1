"""The training step, against the same mathematics written out in float64 with plain Keras layers and TensorFlow."""

from importlib import resources

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf
from keras import layers, ops

from deblurgan.model import discriminator_model, generator_model
from deblurgan.training.tutorial import LOSSES, TutorialGAN

SIDE = 32
LEARNING_RATE = 1e-4


def batches(count, size=2, seed=0):
    """(blurred, sharp) batches of noise in [-1, 1]."""
    images = np.random.default_rng(seed).uniform(-1, 1, (count, 2, size, SIDE, SIDE, 3))
    return images.astype(np.float32)


@pytest.fixture
def build(randomised):
    """A function that builds tiny networks with realistic random weights, and the step that trains them."""

    def build(policy="float32", dropout=0, **options):
        generator = generator_model((SIDE, SIDE, 3), ngf=4, n_blocks=1, dropout=dropout, dtype=policy)
        discriminator = discriminator_model((SIDE, SIDE, 3), ndf=4, dtype=policy)
        randomised(generator, seed=1)
        randomised(discriminator, seed=2)
        return TutorialGAN(generator, discriminator, **options)

    return build


# The restatement


def float64_generator():
    def conv(x, filters, side, strides=1, padding="valid"):
        return layers.Conv2D(filters, side, strides, padding, dtype="float64")(x)

    def norm(x):
        return layers.BatchNormalization(dtype="float64")(x)

    def reflect(x, width):
        return ops.pad(x, [(0, 0), (width, width), (width, width), (0, 0)], mode="reflect")

    inputs = keras.Input((SIDE, SIDE, 3), dtype="float64")
    x = ops.relu(norm(conv(reflect(inputs, 3), 4, 7)))
    x = ops.relu(norm(conv(x, 8, 3, 2, "same")))
    x = ops.relu(norm(conv(x, 16, 3, 2, "same")))
    y = ops.relu(norm(conv(reflect(x, 1), 16, 3)))
    x = x + norm(conv(reflect(y, 1), 16, 3))
    for filters in (8, 4):
        x = ops.relu(norm(layers.Conv2DTranspose(filters, 3, 2, "same", dtype="float64")(x)))
    x = ops.tanh(conv(reflect(x, 3), 3, 7))
    return keras.Model(inputs, (x + inputs) * 0.5)


def float64_discriminator():
    def conv(x, filters, strides):
        return layers.Conv2D(filters, 4, strides, "same", dtype="float64")(x)

    def leaky(x):
        return ops.leaky_relu(x, 0.2)

    inputs = keras.Input((SIDE, SIDE, 3), dtype="float64")
    x = leaky(conv(inputs, 4, 2))
    for filters, strides in ((4, 2), (8, 2), (16, 2), (32, 1)):
        x = leaky(layers.BatchNormalization(dtype="float64")(conv(x, filters, strides)))
    x = ops.reshape(conv(x, 1, 1), (-1, (SIDE // 16) ** 2))
    x = layers.Dense(1024, "tanh", dtype="float64")(x)
    return keras.Model(inputs, layers.Dense(1, "sigmoid", dtype="float64")(x))


def vgg_features(images):
    with np.load(resources.files("deblurgan") / "assets" / "vgg16_block1_to_block3.npz") as weights:
        for block, depth in ((1, 2), (2, 2), (3, 3)):
            for name in (f"block{block}_conv{i + 1}" for i in range(depth)):
                kernel, bias = (weights[f"{name}/{part}"].astype(np.float64) for part in ("kernel", "bias"))
                images = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + bias)
            if block < 3:
                images = tf.nn.max_pool2d(images, 2, 2, "VALID")
    return images


class Adam:
    """Kingma and Ba, arXiv 1412.6980, in the order of operations of section 2's last paragraph."""

    def __init__(self, variables):
        self.variables = variables
        self.t = 0
        self.m = [np.zeros(v.shape) for v in variables]
        self.v = [np.zeros(v.shape) for v in variables]

    def step(self, gradients):
        self.t += 1
        alpha = LEARNING_RATE * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for i, (variable, gradient) in enumerate(zip(self.variables, gradients, strict=True)):
            self.m[i] = 0.9 * self.m[i] + 0.1 * gradient.numpy()
            self.v[i] = 0.999 * self.v[i] + 0.001 * gradient.numpy() ** 2
            variable.assign_sub(alpha * self.m[i] / (np.sqrt(self.v[i]) + 1e-8))


def restated_epoch(generator, discriminator, epoch, critic_updates):
    """Train for some batches; return the losses of each."""
    critic_variables, generator_variables = discriminator.trainable_weights, generator.trainable_weights
    critic_adam, generator_adam = Adam(critic_variables), Adam(generator_variables)
    rows = []
    for blurred, sharp in epoch.astype(np.float64):
        generated = generator(blurred, training=False)
        for _ in range(critic_updates):
            critic_losses = []
            for images, label in ((sharp, 1.0), (generated, -1.0)):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(label * discriminator(images, training=True))
                critic_adam.step(tape.gradient(loss, critic_variables))
                critic_losses.append(loss)
        with tf.GradientTape() as tape:
            restored = generator(blurred, training=True)
            perceptual = tf.reduce_mean((vgg_features(sharp) - vgg_features(restored)) ** 2)
            wasserstein = tf.reduce_mean(discriminator(restored, training=False))
            loss = 100 * perceptual + wasserstein
        generator_adam.step(tape.gradient(loss, generator_variables))
        real, fake = critic_losses
        rows.append([float(value) for value in ((real + fake) / 2, real, fake, loss, perceptual, wasserstein)])
    return rows

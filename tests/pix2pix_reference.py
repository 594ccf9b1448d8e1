"""pix2pix as TensorFlow's tutorial has it, of Keras' own layers: what the tests compare this package with.

Each function takes the `keras` whose layers it is made of: Keras 3, or `tf_keras`, which is Keras 2.
"""

import numpy as np


def _block(keras, conv, *, normalised=True, dropout=0.0, activation):
    layers = [conv]
    layers += [keras.layers.BatchNormalization()] if normalised else []
    layers += [keras.layers.Dropout(dropout)] if dropout else []
    return keras.Sequential([*layers, activation])


def _conv(keras, filters, *, transposed=False, **options):
    start = keras.initializers.RandomNormal(0.0, 0.02)
    layer = keras.layers.Conv2DTranspose if transposed else keras.layers.Conv2D
    return layer(filters, 4, **{"kernel_initializer": start, "use_bias": False, **options})


def _down(keras, filters, normalised=True):
    conv = _conv(keras, filters, strides=2, padding="same")
    return _block(keras, conv, normalised=normalised, activation=keras.layers.LeakyReLU())


def _up(keras, filters, dropout):
    conv = _conv(keras, filters, transposed=True, strides=2, padding="same")
    return _block(keras, conv, dropout=dropout, activation=keras.layers.ReLU())


def generator(keras, side=256, filters=64, downs=8, dropout=0.5):
    """The U-Net."""
    widths = [filters * min(2**level, 8) for level in range(downs)]
    image = x = keras.layers.Input((side, side, 3))
    skips = []
    for level, width in enumerate(widths):
        x = _down(keras, width, normalised=level > 0)(x)
        skips.append(x)
    for number, width in enumerate(reversed(widths[:-1])):
        x = _up(keras, width, dropout if number < 3 else 0)(x)
        x = keras.layers.Concatenate()([x, skips[-2 - number]])
    last = _conv(keras, 3, transposed=True, strides=2, padding="same", use_bias=True, activation="tanh")
    return keras.Model(image, last(x))


def discriminator(keras, side=256, filters=64):
    """The critic of input and target, or of input and result."""
    pair = [keras.layers.Input((side, side, 3), name=name) for name in ("input_image", "target_image")]
    x = keras.layers.Concatenate()(pair)
    for number in range(3):
        x = _down(keras, filters * 2**number, normalised=number > 0)(x)
    x = _conv(keras, 8 * filters)(keras.layers.ZeroPadding2D()(x))
    x = keras.layers.LeakyReLU()(keras.layers.BatchNormalization()(x))
    return keras.Model(pair, _conv(keras, 1, use_bias=True)(keras.layers.ZeroPadding2D()(x)))


def same_weights(ours, reference, seed=0):
    """Give both networks the same random weights; the layers of both go from input to output."""
    random = np.random.default_rng(seed)
    weights = []
    for weight in ours.weights:
        is_variance = "variance" in weight.name
        value = random.uniform(0.5, 1.5, weight.shape) if is_variance else random.normal(0, 0.1, weight.shape)
        weights.append(value + ("gamma" in weight.name))
    ours.set_weights(weights)
    if reference is not None:
        reference.set_weights(ours.get_weights())

"""Small GANs, WGANs and WGAN-GPs for tests, and the same networks as Keras 2 built and saved them."""

import numpy as np

from deblurgan.gan import GAN, WGAN, WGANGP

SHAPE = (8, 8, 1)
GENERATOR = {
    "generator_initial_dense_layer_size": (2, 2, 4),
    "generator_upsample": [2, 1],
    "generator_conv_filters": [6, 1],
    "generator_conv_kernel_size": [3, 5],
    "generator_conv_strides": [1, 2],
    "generator_batch_norm_momentum": 0.9,
    "generator_activation": "leaky_relu",
    "generator_dropout_rate": None,
    "generator_learning_rate": 0.001,
    "optimiser": "adam",
    "z_dim": 5,
}
JUDGE = {
    "conv_filters": [4, 6],
    "conv_kernel_size": [3, 3],
    "conv_strides": [2, 1],
    "batch_norm_momentum": None,
    "activation": "tanh",
    "dropout_rate": None,
    "learning_rate": 0.002,
}
KINDS = {"gan": GAN, "wgan": WGAN, "wgan-gp": WGANGP}


def small(kind="gan", **others):
    """One of the three; `others` are arguments, of the judge without prefix."""
    prefix = "discriminator" if kind == "gan" else "critic"
    judge = {f"{prefix}_{name}": others.pop(name, value) for name, value in JUDGE.items()}
    penalty = {"grad_weight": 10} if kind == "wgan-gp" else {}
    return KINDS[kind](**{"input_dim": SHAPE, **judge, **GENERATOR, **penalty, "seed": 0, **others})


def pictures(count=24):
    return np.random.default_rng(1).uniform(-1, 1, (count, *SHAPE)).astype("float32")


def of_keras2(judge="discriminator"):
    """The same networks with random weights, alone and combined, as the book's code makes them in tf_keras."""
    from tf_keras import Input, Model, layers

    x = start = Input((5,), name="generator_input")
    x = layers.BatchNormalization(momentum=0.9)(layers.Dense(16)(x))
    x = layers.Reshape((2, 2, 4))(layers.LeakyReLU(0.2)(x))
    x = layers.Conv2D(6, 3, padding="same", name="generator_conv_0")(layers.UpSampling2D()(x))
    x = layers.LeakyReLU(0.2)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2DTranspose(1, 5, strides=2, padding="same", name="generator_conv_1")(x)
    generator = Model(start, layers.Activation("tanh")(x))
    x = start = Input(SHAPE, name=f"{judge}_input")
    for i, (filters, stride) in enumerate([(4, 2), (6, 1)]):
        x = layers.Conv2D(filters, 3, strides=stride, padding="same", name=f"{judge}_conv_{i}")(x)
        x = layers.Activation("tanh")(x)
    head = layers.Dense(1, activation="sigmoid" if judge == "discriminator" else None)
    other = Model(start, head(layers.Flatten()(x)))
    noise = Input((5,), name="model_input")
    random = np.random.default_rng(2)
    for model in (generator, other):
        model.set_weights([random.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])
    return generator, other, Model(noise, other(generator(noise)))

"""The generator and the discriminator of a DCGAN, whose layers lists tell: noise to pictures, and their judge."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError
from deblurgan.networks.layers import BatchNormalization
from deblurgan.networks.network import Network
from deblurgan.networks.parts import Shape, check_choice, check_counts, check_rate, checked_shape, conv

SLOPE = 0.2  # of "leaky_relu"


def dcgan_generator(
    z_dim: int = 100,
    *,
    initial_dense_layer_size: Sequence[int] = (7, 7, 64),
    upsample: Sequence[int] = (2, 2, 1, 1),
    conv_filters: Sequence[int] = (128, 64, 64, 1),
    conv_kernel_size: Sequence[int] = (5, 5, 5, 5),
    conv_strides: Sequence[int] = (1, 1, 1, 1),
    batch_norm_momentum: float | None = 0.9,
    activation: str = "relu",
    dropout_rate: float | None = None,
    dtype: Any = None,
    name: str = "DCGANGenerator",
) -> keras.Model:
    """Build a generator that makes pictures of noise: a dense layer, reshaped, then convolutions that enlarge it.

    844,161 parameters with the defaults, which make 28x28 grey pictures.

    Args:
        z_dim: numbers of noise for each picture.
        initial_dense_layer_size: (height, width, channels) of what the dense layer's values become.
        upsample: for each layer 2 (UpSampling2D, then Conv2D, whose stride must be 1) or 1 (Conv2DTranspose, which
            enlarges by its stride).
        conv_filters: of each layer; the last are the picture's channels.
        conv_kernel_size: side of each layer's kernels.
        conv_strides: of each layer.
        batch_norm_momentum: of a batch normalisation after the dense layer and all convolutions but the last; None
            leaves them out.
        activation: after the same layers: "leaky_relu" (slope 0.2) or another of Keras' names. The last has tanh.
        dropout_rate: after the reshaping, once; active in training only; None leaves it out.
        dtype: dtype policy of the layers; Keras' global one when None. The tanh always computes in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, z_dim), normal with deviation 1, to float32 (batch, height, width, channels) in
        [-1, 1].

    Raises:
        InputError: a list with another number of values than `conv_filters`, or a value that makes no network.

    Source: D. Foster, Generative Deep Learning (2019), chapter 4, after DCGAN, arXiv 1511.06434.
    """
    check_counts(z_dim=z_dim)
    initial = _checked_list("initial_dense_layer_size", initial_dense_layer_size, 3, "height, width and channels")
    filters, sizes, strides = _checked_convolutions(conv_filters, conv_kernel_size, conv_strides)
    upsample = _checked_list("upsample", upsample, len(filters))
    for i, factor in enumerate(upsample):
        check_choice("upsample", factor, (1, 2))
        if factor == 2 and strides[i] != 1:
            raise InputError(f"conv_strides: expected 1 where upsample is 2 (layer {i}), received {strides[i]}")
    _check_rest(batch_norm_momentum, activation, dropout_rate)

    def norm_activation(x: Any, suffix: str) -> Any:
        if batch_norm_momentum:
            x = BatchNormalization(momentum=batch_norm_momentum, name=f"generator_norm_{suffix}", dtype=dtype)(x)
        return _activation(activation, name=f"generator_activation_{suffix}", dtype=dtype)(x)

    noise = Input(shape=(z_dim,), name="generator_input")
    start = keras.initializers.RandomNormal(0, 0.02)
    x = layers.Dense(math.prod(initial), kernel_initializer=start, name="generator_dense", dtype=dtype)(noise)
    x = norm_activation(x, "dense")
    x = layers.Reshape(initial, name="generator_reshape", dtype=dtype)(x)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="generator_dropout", dtype=dtype)(x)
    for i, factor in enumerate(upsample):
        if factor == 2:
            x = layers.UpSampling2D(name=f"generator_upsample_{i}", dtype=dtype)(x)
        options = {"strides": strides[i], "padding": "same", "name": f"generator_conv_{i}", "dtype": dtype}
        x = conv(x, filters[i], sizes[i], transposed=factor == 1, **options)
        if i < len(filters) - 1:
            x = norm_activation(x, str(i))
    picture = layers.Activation("tanh", name="generator_tanh", dtype="float32")(x)
    return keras.Model(noise, picture, name=name)


def dcgan_discriminator(
    image_shape: Shape = (28, 28, 1),
    *,
    conv_filters: Sequence[int] = (64, 64, 128, 128),
    conv_kernel_size: Sequence[int] = (5, 5, 5, 5),
    conv_strides: Sequence[int] = (2, 2, 2, 1),
    batch_norm_momentum: float | None = None,
    activation: str = "relu",
    dropout_rate: float | None = 0.4,
    sigmoid: bool = True,
    dtype: Any = None,
    name: str = "DCGANDiscriminator",
) -> keras.Model:
    """Build the discriminator: convolutions, then a dense layer of one value, which sees the whole picture.

    720,833 parameters with the defaults.

    Args:
        image_shape: (height, width, channels), all known: the dense layer depends on them.
        conv_filters: of each layer.
        conv_kernel_size: side of each layer's kernels.
        conv_strides: of each layer.
        batch_norm_momentum: of a batch normalisation after all convolutions but the first; None leaves them out.
        activation: after each convolution: "leaky_relu" (slope 0.2) or another of Keras' names.
        dropout_rate: after each activation, active in training only; None leaves the layers out.
        sigmoid: whether the value is a probability, instead of a logit or a Wasserstein critic's value.
        dtype: dtype policy of the layers; Keras' global one when None. The dense layer always computes in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 (batch, 1), in (0, 1) with
        `sigmoid`.

    Raises:
        InputError: as `dcgan_generator`; or an `image_shape` with an unknown size.

    Source: as `dcgan_generator`.
    """
    shape = checked_shape(image_shape)
    if None in shape:
        raise InputError(f"image_shape: the dense layer needs a known height and width, received {tuple(shape)}")
    filters, sizes, strides = _checked_convolutions(conv_filters, conv_kernel_size, conv_strides)
    _check_rest(batch_norm_momentum, activation, dropout_rate)

    image = Input(shape=shape, name="discriminator_input")
    x = image
    for i, (count, size, stride) in enumerate(zip(filters, sizes, strides, strict=True)):
        x = conv(x, count, size, strides=stride, padding="same", name=f"discriminator_conv_{i}", dtype=dtype)
        if batch_norm_momentum and i > 0:
            x = BatchNormalization(momentum=batch_norm_momentum, name=f"discriminator_norm_{i}", dtype=dtype)(x)
        x = _activation(activation, name=f"discriminator_activation_{i}", dtype=dtype)(x)
        if dropout_rate:
            x = layers.Dropout(dropout_rate, name=f"discriminator_dropout_{i}", dtype=dtype)(x)
    x = layers.Flatten(name="discriminator_flatten", dtype="float32")(x)
    decision = layers.Dense(
        1,
        activation="sigmoid" if sigmoid else None,
        kernel_initializer=keras.initializers.RandomNormal(0, 0.02),
        name="discriminator_decision",
        dtype="float32",
    )(x)
    return keras.Model(image, decision, name=name)


def _checked_list(option: str, values: Sequence[int], count: int, reason: str = "") -> tuple[int, ...]:
    """Return `count` positive ints, or raise InputError; `reason` says why so many."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        reason = reason or "one for each of conv_filters"
        raise InputError(f"{option}: expected {count} values, {reason}, received {values!r}")
    for value in values:
        check_counts(**{option: value})
    return tuple(values)


def _checked_convolutions(
    filters: Sequence[int], sizes: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    if not isinstance(filters, (list, tuple)) or not filters:
        raise InputError(f"conv_filters: expected a list with a number for each layer, received {filters!r}")
    count = len(filters)
    return (
        _checked_list("conv_filters", filters, count),
        _checked_list("conv_kernel_size", sizes, count),
        _checked_list("conv_strides", strides, count),
    )


def _check_rest(batch_norm_momentum: float | None, activation: str, dropout_rate: float | None) -> None:
    if batch_norm_momentum is not None:
        check_rate("batch_norm_momentum", batch_norm_momentum)
    if dropout_rate is not None:
        check_rate("dropout_rate", dropout_rate)
    try:
        keras.activations.get(activation)
    except ValueError as error:
        raise InputError(f"activation: expected a name that Keras knows, received {activation!r}") from error


def _activation(activation: str, **options: Any) -> Any:
    leaky = activation == "leaky_relu"
    return layers.LeakyReLU(SLOPE, **options) if leaky else layers.Activation(activation, **options)


SAMPLER = Network(
    name="dcgan",
    role="sampler",
    kind="DCGAN generator",
    builder=dcgan_generator,
    switches=("dropout_rate",),
)
CRITIC = Network(
    name="dcgan",
    role="critic",
    kind="DCGAN discriminator",
    builder=dcgan_discriminator,
    switches=("dropout_rate", "sigmoid"),
)

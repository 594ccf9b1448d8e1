"""The tutorial's networks: the 9-block ResNet generator, the critic with its dense head, and the two combined."""

from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError
from deblurgan.networks.layers import BatchNormalization, InstanceNormalization, ReflectionPadding2D, res_block
from deblurgan.networks.network import Network
from deblurgan.networks.parts import NORMS, Shape, check_choice, check_counts, check_rate, checked_shape

ngf = 64
ndf = 64
input_nc = 3
output_nc = 3
n_blocks_gen = 9
image_shape = (256, 256, 3)
input_shape_generator = (256, 256, input_nc)
input_shape_discriminator = (256, 256, output_nc)

SIZE_MULTIPLE = 4  # the generator halves an image twice
UPSAMPLINGS = ("transpose", "resize")


def generator_model(
    image_shape: Shape = input_shape_generator,
    *,
    ngf: int = ngf,
    n_blocks: int = n_blocks_gen,
    dropout: float = 0.5,
    upsampling: str = "transpose",
    dtype: Any = None,
    name: str = "Generator",
) -> keras.Model:
    """Build the tutorial's generator: blurred image in, restored image out.

    Two stride-2 convolutions, `n_blocks` ResNet blocks, two upsampling stages; the output is (tanh + input) / 2.
    11,399,171 parameters with the defaults, whatever the upsampling.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. Heights and widths are
            multiples of 4, and at least 8 so that the innermost reflection has something to mirror.
        ngf: filters of the first convolution.
        n_blocks: ResNet blocks in the middle.
        dropout: rate inside the blocks, active in training only; 0 leaves the layers out.
        upsampling: "transpose" (the tutorial's text of March 2018: Conv2DTranspose) or "resize" (its repository
            since June 2018: UpSampling2D, then Conv2D). Weight files fit one of the two.
        dtype: dtype policy of the layers, e.g. "mixed_bfloat16"; Keras' global one when None. The last three layers
            always compute in float32, since bfloat16 cannot tell neighbouring 8-bit values apart.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 of the same shape and range.

    Raises:
        InputError: an `image_shape`, `upsampling` or other hyper-parameter that makes no network.

    Source: R. Meudec's Keras DeblurGAN tutorial (2018), after DeblurGAN, arXiv 1711.07064, figure 3.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.model import generator_model
        >>> generator = generator_model((None, None, 3), ngf=4, n_blocks=1)
        >>> generator(np.zeros((1, 16, 24, 3))).shape
        TensorShape([1, 16, 24, 3])
    """
    height, width, channels = checked_shape(image_shape, SIZE_MULTIPLE, 2 * SIZE_MULTIPLE)
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    check_counts(ngf=ngf, n_blocks=n_blocks)
    check_rate("dropout", dropout)

    def bn_relu(x: Any, prefix: str) -> Any:
        x = BatchNormalization(name=f"{prefix}_bn", dtype=dtype)(x)
        return layers.Activation("relu", name=f"{prefix}_relu", dtype=dtype)(x)

    inputs = Input(shape=(height, width, channels), name="blurred")
    x = ReflectionPadding2D(3, name="in_pad", dtype=dtype)(inputs)
    x = layers.Conv2D(ngf, 7, name="in_conv", dtype=dtype)(x)
    x = bn_relu(x, "in")
    for i, filters in enumerate((2 * ngf, 4 * ngf), 1):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", name=f"down{i}_conv", dtype=dtype)(x)
        x = bn_relu(x, f"down{i}")
    for i in range(1, n_blocks + 1):
        x = res_block(x, 4 * ngf, use_dropout=dropout, name=f"block{i}", dtype=dtype)
    for i, filters in enumerate((2 * ngf, ngf), 1):
        if upsampling == "transpose":
            x = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"up{i}_conv", dtype=dtype)(x)
        else:
            x = layers.UpSampling2D(name=f"up{i}_resize", dtype=dtype)(x)
            x = layers.Conv2D(filters, 3, padding="same", name=f"up{i}_conv", dtype=dtype)(x)
        x = bn_relu(x, f"up{i}")
    x = ReflectionPadding2D(3, name="out_pad", dtype=dtype)(x)
    x = layers.Conv2D(channels, 7, name="out_conv", dtype=dtype)(x)
    x = layers.Activation("tanh", name="out_tanh", dtype="float32")(x)
    x = layers.Add(name="out_add", dtype="float32")([x, inputs])
    outputs = layers.Rescaling(0.5, name="out_half", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def discriminator_model(
    image_shape: Shape = input_shape_discriminator,
    *,
    ndf: int = ndf,
    n_layers: int = 3,
    norm: str = "batch",
    legacy_batchnorm: bool = False,
    sigmoid: bool = True,
    dtype: Any = None,
    name: str = "Discriminator",
) -> keras.Model:
    """Build the tutorial's critic: an image in, one value out.

    4x4 convolutions with LeakyReLU 0.2, then Dense 1024 (tanh) and Dense 1 (sigmoid), which see the whole image.
    3,098,370 parameters with the defaults.

    Args:
        image_shape: (height, width, channels), all known: the dense head depends on them.
        ndf: filters of the first convolution.
        n_layers: stride-2 convolutions after the first one.
        norm: "batch" (the tutorial's), "instance" (each image's own statistics, no weights) or "none". A gradient
            penalty wants one of the latter two, since it looks at each image alone.
        legacy_batchnorm: whether it normalises with the batch's statistics while it is frozen in the combined step,
            as in Keras 2.1; see `layers.BatchNormalization`. Needs norm "batch".
        sigmoid: whether the value is a probability, as the tutorial has it, instead of a logit, which WGAN-GP and the
            other losses of `adversarial` take. Weights fit both.
        dtype: dtype policy of the layers; Keras' global one when None. The head always computes in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 (batch, 1), in (0, 1) with
        `sigmoid`.

    Raises:
        InputError: an `image_shape` with an unknown size, or another argument that makes no network.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.model import discriminator_model
        >>> discriminator = discriminator_model((32, 32, 3), ndf=4)
        >>> discriminator(np.zeros((2, 32, 32, 3))).shape
        TensorShape([2, 1])
    """
    height, width, channels = checked_shape(image_shape)
    if height is None or width is None:
        raise InputError(
            "image_shape: the discriminator's dense head needs a known height and width, "
            f"received {tuple(image_shape)}"
        )
    check_counts(ndf=ndf, n_layers=n_layers)
    check_choice("norm", norm, NORMS)
    if legacy_batchnorm and norm != "batch":
        raise InputError(f"legacy_batchnorm: expected norm='batch' with it, received {norm!r}")

    def conv(x: Any, filters: int, strides: int, prefix: str) -> Any:
        return layers.Conv2D(filters, 4, strides, padding="same", name=f"{prefix}_conv", dtype=dtype)(x)

    def normalise(x: Any, prefix: str) -> Any:
        if norm == "batch":
            return BatchNormalization(legacy=legacy_batchnorm, name=f"{prefix}_bn", dtype=dtype)(x)
        return InstanceNormalization(name=f"{prefix}_norm", dtype=dtype)(x) if norm == "instance" else x

    inputs = Input(shape=(height, width, channels), name="image")
    x = conv(inputs, ndf, 2, "in")
    x = layers.LeakyReLU(0.2, name="in_relu", dtype=dtype)(x)
    for n in range(n_layers + 1):
        prefix = f"layer{n + 1}"
        x = conv(x, ndf * min(2**n, 8), 2 if n < n_layers else 1, prefix)
        x = normalise(x, prefix)
        x = layers.LeakyReLU(0.2, name=f"{prefix}_relu", dtype=dtype)(x)
    x = conv(x, 1, 1, "out")
    x = layers.Flatten(name="flatten", dtype="float32")(x)
    x = layers.Dense(1024, activation="tanh", name="dense", dtype="float32")(x)
    outputs = layers.Dense(1, activation="sigmoid" if sigmoid else None, name="decision", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def generator_containing_discriminator(generator: keras.Model, discriminator: keras.Model) -> keras.Model:
    """Combine the two into one model: blurred image -> the critic's value of the restored image.

    Examples:
        >>> from deblurgan.model import discriminator_model, generator_containing_discriminator, generator_model
        >>> generator = generator_model((32, 32, 3), ngf=4, n_blocks=1)
        >>> generator_containing_discriminator(generator, discriminator_model((32, 32, 3), ndf=4)).output_shape
        (None, 1)
    """
    inputs = Input(shape=generator.input_shape[1:])
    return keras.Model(inputs, discriminator(generator(inputs)))


def generator_containing_discriminator_multiple_outputs(
    generator: keras.Model, discriminator: keras.Model
) -> keras.Model:
    """Combine the two into `d_on_g`: blurred image -> [restored image, the critic's value of it].

    To train the generator alone with it, set `discriminator.trainable = False` before the combined model's first
    `train_on_batch` and around every later one: Keras 3 looks at the flag when it traces the step, not in `compile`.

    Examples:
        >>> from deblurgan import model
        >>> generator = model.generator_model((32, 32, 3), ngf=4, n_blocks=1)
        >>> discriminator = model.discriminator_model((32, 32, 3), ndf=4)
        >>> d_on_g = model.generator_containing_discriminator_multiple_outputs(generator, discriminator)
        >>> d_on_g.output_shape
        [(None, 32, 32, 3), (None, 1)]
    """
    inputs = Input(shape=generator.input_shape[1:])
    generated = generator(inputs)
    return keras.Model(inputs, [generated, discriminator(generated)])


GENERATOR = Network(
    name="tutorial",
    role="generator",
    kind="tutorial generator",
    builder=generator_model,
    multiple=lambda options: SIZE_MULTIPLE,
    switches=("image_shape", "dropout"),
    convolutional=True,
    in_order=True,
)
CRITIC = Network(
    name="tutorial",
    role="critic",
    kind="tutorial discriminator",
    builder=discriminator_model,
    switches=("legacy_batchnorm", "sigmoid"),
    in_order=True,
)

"""The U-Net generator of pix2pix, as its PyTorch code and as TensorFlow's tutorial wire it."""

from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError, WeightsError
from deblurgan.networks import torch_weights
from deblurgan.networks.layers import Dropout
from deblurgan.networks.network import Found, Network, Tensors
from deblurgan.networks.parts import (
    SLOPES,
    WIRINGS,
    Shape,
    check_choice,
    check_counts,
    check_generator_options,
    checked_shape,
    conv,
    has_bias,
    image_output,
    normalise,
)
from deblurgan.networks.torch_weights import kernel_shape, norm_of, pair

KIND = "pix2pix U-Net generator"
LEAST_DOWNS = 5


def unet_generator(
    image_shape: Shape = (None, None, 3),
    *,
    ngf: int = 64,
    num_downs: int = 8,
    norm: str = "batch",
    dropout: float = 0.5,
    test_dropout: bool = False,
    test_statistics: bool = False,
    residual: bool = False,
    output_channels: int | None = None,
    wiring: str = "pytorch",
    skip_first: bool | None = None,
    bottleneck_norm: bool | None = None,
    dtype: Any = None,
    name: str = "UNetGenerator",
) -> keras.Model:
    """Build pix2pix's U-Net: `num_downs` stride-2 convolutions, as many transposed ones, and a skip at each size.

    54,413,955 trainable parameters with the defaults (`unet_256` in PyTorch's code), 41,828,995 with `num_downs=7`
    (`unet_128`). With `wiring="tensorflow"` 54,414,979, and 10,880 statistics.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. Heights and widths are
            multiples of 2**num_downs: 256 with the default.
        ngf: filters of the first convolution; they double from level to level, up to 8 times as many.
        num_downs: levels, at least 5. An image is halved as many times, so that 2**num_downs is also the least side:
            crops of 128 pixels need 7 levels, crops of 64 need 6, crops of 32 need 5. Crops of that size are a single
            pixel at the innermost level, where the network sees all of the crop.
        norm: "batch", "instance" (each image's own statistics, no weights) or "none". The convolutions that may
            have a normalisation after them have a bias with "instance" only.
        dropout: rate after the transposed convolutions of the levels from 5 to the last but one, or with the wiring
            "tensorflow" of the innermost three, active in training only; 0 leaves the layers out.
        test_dropout: whether dropout stays on when restoring, as in both codes: the result then differs from call to
            call.
        test_statistics: whether a batch normalisation uses each picture's own statistics when restoring, as both
            codes do, whose networks stay in training mode, with a batch of one; else those noted in training.
        residual: whether the network learns what to add: clip(tanh + input, -1, 1), else tanh.
        output_channels: channels of the output; the input's when None.
        wiring: "pytorch": LeakyReLU 0.2 down, and before each transposed convolution a ReLU over what comes from
            below and the skip. "tensorflow", the tutorial's: LeakyReLU 0.3 after each convolution down, ReLU after
            each transposed one, so that skips keep what is negative, and Keras' constants in batch normalisations.
        skip_first: whether the skip's channels come before those from below where the two are concatenated
            (pix2pix since September 2017), or after them (until then, in DeblurGAN's copy, and in the tutorial). By
            default as in the wiring. Weights fit both; they make sense with the one that they were trained with.
        bottleneck_norm: whether there is a normalisation at the innermost level. By default there is with the wiring
            "tensorflow". Where that level is a single pixel, in training with batches of one, it gives its `beta`
            whatever comes in: nothing of the picture gets through.
        dtype: dtype policy of the layers; Keras' global one when None. The last layers always compute in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 (batch, height, width,
        output_channels) in [-1, 1].

    Raises:
        InputError: an `image_shape` or other argument that makes no network.

    Source: pix2pix, arXiv 1611.07004, appendix 6.1.1, its PyTorch code, and TensorFlow's tutorial.
    """
    check_counts(LEAST_DOWNS, num_downs=num_downs)
    check_counts(ngf=ngf)
    height, width, channels = checked_shape(image_shape, 2**num_downs, reason=f", 2 to the num_downs={num_downs},")
    output_channels = channels if output_channels is None else output_channels
    check_generator_options(norm, dropout, residual, channels, output_channels)
    check_choice("wiring", wiring, WIRINGS)
    torchs = wiring == "pytorch"
    skip_first = torchs if skip_first is None else skip_first
    bottleneck_norm = not torchs if bottleneck_norm is None else bottleneck_norm
    if test_statistics and norm != "batch":
        raise InputError(f"test_statistics: expected batch normalisations, received norm={norm!r}")
    norm_options: dict[str, Any] = {"wiring": wiring, "dtype": dtype}
    if test_statistics:
        norm_options["batch_statistics"] = "image"
    dropouts = range(LEAST_DOWNS, num_downs) if torchs else range(num_downs - 2, num_downs + 1)
    bias = has_bias(norm)
    filters = [ngf * min(2**level, 8) for level in range(num_downs)]

    inputs = Input(shape=(height, width, channels), name="blurred")
    x = inputs
    skips = []
    for level in range(1, num_downs + 1):
        prefix = f"down{level}"
        if torchs and level > 1:
            x = layers.LeakyReLU(SLOPES[wiring], name=f"{prefix}_relu", dtype=dtype)(x)
        x = conv(
            x, filters[level - 1], 4, strides=2, padding="same", use_bias=bias, name=f"{prefix}_conv", dtype=dtype
        )
        if 1 < level < num_downs or (level == num_downs and bottleneck_norm):
            x = normalise(x, norm, name=f"{prefix}_norm", **norm_options)
        if not torchs:
            x = layers.LeakyReLU(SLOPES[wiring], name=f"{prefix}_relu", dtype=dtype)(x)
        skips.append(x)
    skips.pop()
    for level in range(num_downs, 1, -1):
        prefix = f"up{level}"
        if torchs:
            x = layers.Activation("relu", name=f"{prefix}_relu", dtype=dtype)(x)
        x = conv(
            x,
            filters[level - 2],
            4,
            transposed=True,
            strides=2,
            padding="same",
            use_bias=bias,
            name=f"{prefix}_conv",
            dtype=dtype,
        )
        x = normalise(x, norm, name=f"{prefix}_norm", **norm_options)
        if dropout and level in dropouts:
            x = Dropout(dropout, always=test_dropout, name=f"{prefix}_dropout", dtype=dtype)(x)
        if not torchs:
            x = layers.Activation("relu", name=f"{prefix}_relu", dtype=dtype)(x)
        skip = skips.pop()
        x = layers.Concatenate(name=f"{prefix}_skip", dtype=dtype)([skip, x] if skip_first else [x, skip])
    if torchs:
        x = layers.Activation("relu", name="out_relu", dtype=dtype)(x)
    x = conv(x, output_channels, 4, transposed=True, strides=2, padding="same", name="out_conv", dtype=dtype)
    return keras.Model(inputs, image_output(x, inputs, residual), name=name)


def recognise(tensors: Tensors) -> Found | None:
    """Tell a U-Net of PyTorch's, whose levels are nested in each other.

    The tensors leave `residual` open, and `skip_first`, which is False for DeblurGAN's and, before September 2017,
    for pix2pix's.
    """
    if "model.model.0.weight" not in tensors:
        return None
    levels = ["model", "model.model.1"]
    while f"{levels[-1]}.model.3.model.1.weight" in tensors:
        levels.append(f"{levels[-1]}.model.3")
    if len(levels) < LEAST_DOWNS:
        raise WeightsError(f"expected a {KIND} of at least {LEAST_DOWNS} levels, found {len(levels)}")
    ngf, channels, _, _ = kernel_shape(tensors, "model.model.0.weight", 4)
    _, output_channels, _, _ = kernel_shape(tensors, "model.model.3.weight", 4)

    layers = {"down1_conv": "model.model.0", "out_conv": "model.model.3"}
    for level, prefix in enumerate(levels[1:], 2):
        up = 3 if level == len(levels) else 5  # the innermost level has none inside it, and no normalisation before
        layers |= pair(f"down{level}", f"{prefix}.model", 1) | pair(f"up{level}", f"{prefix}.model", up)
    options = {
        "ngf": ngf,
        "num_downs": len(levels),
        "norm": norm_of(tensors, layers["down2_conv"], layers["down2_norm"]),
        "output_channels": output_channels,
    }
    assumed = {
        "image_shape": (None, None, channels),
        "residual": False,
        "dropout": 0.5,
        "test_dropout": False,
        "test_statistics": False,
        "skip_first": True,
    }
    return torch_weights.found(KIND, unet_generator, tensors, layers, options, assumed)


GENERATOR = Network(
    name="unet",
    role="generator",
    kind=KIND,
    builder=unet_generator,
    multiple=lambda options: 2 ** options["num_downs"],
    switches=("image_shape", "dropout", "test_dropout", "test_statistics"),
    recognise=recognise,
)

"""The generator of the DeblurGAN paper as its PyTorch code has it, which is also CycleGAN's ResNet generator."""

from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError
from deblurgan.networks import torch_weights
from deblurgan.networks.layers import STATISTICS, Dropout, ReflectionPadding2D
from deblurgan.networks.network import Found, Network, Tensors
from deblurgan.networks.parts import (
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

SIZE_MULTIPLE = 4  # the generator halves an image twice
BLOCKS = ("whole", "first", "second")


def paper_generator(
    image_shape: Shape = (None, None, 3),
    *,
    ngf: int = 64,
    n_blocks: int = 9,
    norm: str = "instance",
    dropout: float = 0.5,
    test_dropout: bool = False,
    statistics: str = "image",
    residual: bool = True,
    block: str = "whole",
    output_channels: int | None = None,
    up_kernel: int = 3,
    dtype: Any = None,
    name: str = "PaperGenerator",
) -> keras.Model:
    """Build the paper's generator: blurred image in, restored image out.

    Two stride-2 convolutions, `n_blocks` ResNet blocks, two transposed convolutions. It differs from the tutorial's
    in the normalisation, in the output, and in how the stride-2 convolutions align: they see one pixel more on each
    side, where TensorFlow's "same" sees one more below and to the right. 11,378,179 parameters with the defaults.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. Heights and widths are
            multiples of 4, and at least 8 so that the innermost reflection has something to mirror.
        ngf: filters of the first convolution.
        n_blocks: ResNet blocks in the middle.
        norm: "instance" (each image's own statistics, no weights), "batch", or "none". The convolutions that a
            normalisation follows have a bias with "instance" only.
        dropout: rate inside the blocks, active in training only; 0 leaves the layers out.
        test_dropout: whether dropout stays on when restoring, as in the paper's code, which never leaves training
            mode: the result then differs from call to call.
        statistics: those that an instance normalisation uses outside training: "image", each picture's own, as the
            paper's code does for the same reason; or "noted", means over the training images, two more tensors for
            each normalisation. With noted ones a part of a picture is restored as in the whole picture, away from
            its edges. See `layers.InstanceNormalization`.
        residual: whether the network learns what to add: clip(tanh + input, -1, 1) (DeblurGAN), else tanh (CycleGAN).
        block: what each block adds to its input. "whole": pad, convolve, normalise, ReLU, dropout, then pad,
            convolve, normalise. "first" and "second": one half of that alone. DeblurGAN's code since March 2019
            keeps the first half where dropout is on, else the second, because its conditional expression takes in
            more than it should.
        output_channels: channels of the restored image; the input's when None.
        up_kernel: side of the transposed convolutions' kernels, 3 or 4 (DeblurGAN's code of May 2018).
        dtype: dtype policy of the layers; Keras' global one when None. The last layers always compute in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 (batch, height, width,
        output_channels) in [-1, 1].

    Raises:
        InputError: an `image_shape` or other argument that makes no network.

    Source: DeblurGAN, arXiv 1711.07064, section 3.2 and figure 3, and its PyTorch code; CycleGAN, arXiv 1703.10593,
    appendix 7.2.
    """
    height, width, channels = checked_shape(image_shape, SIZE_MULTIPLE, 2 * SIZE_MULTIPLE)
    output_channels = channels if output_channels is None else output_channels
    check_generator_options(norm, dropout, residual, channels, output_channels)
    check_counts(ngf=ngf, n_blocks=n_blocks)
    check_choice("block", block, BLOCKS)
    check_choice("up_kernel", up_kernel, (3, 4))
    check_choice("statistics", statistics, STATISTICS)
    if statistics == "noted" and norm != "instance":
        raise InputError(f"statistics: 'noted' are those of an instance normalisation, received norm={norm!r}")
    bias = has_bias(norm)

    def norm_relu(x: Any, prefix: str) -> Any:
        x = normalise(x, norm, statistics=statistics, name=f"{prefix}_norm", dtype=dtype)
        return layers.Activation("relu", name=f"{prefix}_relu", dtype=dtype)(x)

    def pad_conv(x: Any, prefix: str, part: int) -> Any:
        x = ReflectionPadding2D(1, name=f"{prefix}_pad{part}", dtype=dtype)(x)
        return conv(x, 4 * ngf, 3, use_bias=bias, name=f"{prefix}_conv{part}", dtype=dtype)

    def res_block(x: Any, prefix: str) -> Any:
        shortcut = x
        if block in ("whole", "first"):
            x = pad_conv(x, prefix, 1)
            x = normalise(x, norm, statistics=statistics, name=f"{prefix}_norm1", dtype=dtype)
            x = layers.Activation("relu", name=f"{prefix}_relu", dtype=dtype)(x)
            if dropout:
                x = Dropout(dropout, always=test_dropout, name=f"{prefix}_dropout", dtype=dtype)(x)
        if block in ("whole", "second"):
            x = pad_conv(x, prefix, 2)
            x = normalise(x, norm, statistics=statistics, name=f"{prefix}_norm2", dtype=dtype)
        return layers.Add(name=f"{prefix}_add", dtype=dtype)([shortcut, x])

    inputs = Input(shape=(height, width, channels), name="blurred")
    x = ReflectionPadding2D(3, name="in_pad", dtype=dtype)(inputs)
    x = conv(x, ngf, 7, use_bias=bias, name="in_conv", dtype=dtype)
    x = norm_relu(x, "in")
    for i, filters in enumerate((2 * ngf, 4 * ngf), 1):
        x = layers.ZeroPadding2D(1, name=f"down{i}_pad", dtype=dtype)(x)
        x = conv(x, filters, 3, strides=2, use_bias=bias, name=f"down{i}_conv", dtype=dtype)
        x = norm_relu(x, f"down{i}")
    for i in range(1, n_blocks + 1):
        x = res_block(x, f"block{i}")
    for i, filters in enumerate((2 * ngf, ngf), 1):
        x = conv(x, filters, up_kernel, transposed=True, strides=2, use_bias=bias, name=f"up{i}_conv", dtype=dtype)
        crop = (1, up_kernel - 3)  # of the 2n + up_kernel - 2 rows, PyTorch's padding of 1 leaves 2n
        x = layers.Cropping2D((crop, crop), name=f"up{i}_crop", dtype=dtype)(x)
        x = norm_relu(x, f"up{i}")
    x = ReflectionPadding2D(3, name="out_pad", dtype=dtype)(x)
    # A residual starts small, as the code's does not: there tanh begins saturated, and takes long to find out of it.
    start = 0.002 if residual else 0.02
    x = conv(x, output_channels, 7, deviation=start, name="out_conv", dtype=dtype)
    return keras.Model(inputs, image_output(x, inputs, residual), name=name)


def recognise(tensors: Tensors) -> Found | None:
    """Tell a ResNet generator of PyTorch's, whose modules are numbered in one sequence.

    The same tensors fit several networks that compute different things; among those the choice is:

    - `residual`: True, DeblurGAN's, where the indices show dropout between a block's two convolutions and the
      normalisation is "instance", or where a block has one convolution. DeblurGAN trains that with its defaults and
      its README's command. False otherwise, as in CycleGAN (no dropout) and pix2pix ("batch").
    - `block`, where that has one convolution: "first", which is what DeblurGAN's code since March 2019 makes unless
      dropout is turned off ("second").
    - `dropout`: 0.5; 0 where the indices show none. `test_dropout`: False.
    - `statistics`, where instance normalisations noted some: "image", with which its authors restore.
    """
    if "model.10.conv_block.1.weight" not in tensors:
        return None
    n_blocks = 1
    while f"model.{10 + n_blocks}.conv_block.1.weight" in tensors:
        n_blocks += 1
    end = 10 + n_blocks
    ngf, channels, _, _ = kernel_shape(tensors, "model.1.weight", 7)
    _, _, up_kernel, _ = kernel_shape(tensors, f"model.{end}.weight", 3, 4)
    output_channels, _, _, _ = kernel_shape(tensors, f"model.{end + 7}.weight", 7)
    norm = norm_of(tensors, "model.1", "model.2")
    # Pad, conv, norm, ReLU, dropout or not, pad, conv, norm; or only what comes before or after the second pad.
    second = next((index for index in (5, 6) if f"model.10.conv_block.{index}.weight" in tensors), None)
    residual = second is None or (second == 6 and norm == "instance")

    layers = {**pair("in", "model", 1), **pair("down1", "model", 4), **pair("down2", "model", 7)}
    for i in range(n_blocks):
        prefix = f"model.{10 + i}.conv_block"
        layers |= pair(f"block{i + 1}", prefix, 1, "1") | pair(f"block{i + 1}", prefix, second or 1, "2")
    layers |= pair("up1", "model", end) | pair("up2", "model", end + 3) | {"out_conv": f"model.{end + 7}"}
    options = {
        "ngf": ngf,
        "n_blocks": n_blocks,
        "norm": norm,
        "output_channels": output_channels,
        "up_kernel": up_kernel,
    }
    assumed = {
        "image_shape": (None, None, channels),
        "residual": residual and channels == output_channels,
        "dropout": 0.0 if second == 5 else 0.5,
        "test_dropout": False,
    }
    if norm == "instance" and "model.2.running_mean" in tensors:
        assumed["statistics"] = "image"
    if second is None:
        assumed["block"] = "first"
    kind = "DeblurGAN generator" if residual else "CycleGAN ResNet generator"
    builder = _with_half_blocks if second is None else paper_generator
    return torch_weights.found(kind, builder, tensors, layers, options, assumed)


def _with_half_blocks(**options: Any) -> keras.Model:
    """Build a generator with one convolution in each block."""
    if options["block"] == "whole":
        raise InputError("block: expected 'first' or 'second' for weights with one convolution in each block")
    return paper_generator(**options)


GENERATOR = Network(
    name="paper",
    role="generator",
    kind="DeblurGAN generator",
    family="DeblurGAN or CycleGAN ResNet generator",
    builder=paper_generator,
    multiple=lambda options: SIZE_MULTIPLE,
    switches=("image_shape", "dropout", "test_dropout", "statistics"),
    recognise=recognise,
)

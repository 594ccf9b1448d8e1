"""The patch discriminator of pix2pix, CycleGAN and DeblurGAN."""

from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError
from deblurgan.networks import torch_weights
from deblurgan.networks.network import Found, Network, Tensors
from deblurgan.networks.parts import (
    NORMS,
    Shape,
    check_choice,
    check_counts,
    checked_shape,
    conv,
    has_bias,
    normalise,
)
from deblurgan.networks.torch_weights import kernel_shape, norm_of, pair

KIND = "PatchGAN discriminator"


def patchgan_discriminator(
    image_shape: Shape = (None, None, 3),
    *,
    ndf: int = 64,
    n_layers: int = 3,
    norm: str = "instance",
    padding: int = 1,
    sigmoid: bool = False,
    dtype: Any = None,
    name: str = "PatchGANDiscriminator",
) -> keras.Model:
    """Build the fully convolutional discriminator that judges patches: an image in, one value for each patch out.

    4x4 convolutions with LeakyReLU 0.2: `n_layers` of stride 2, two of stride 1. With 3 layers each value sees 70x70
    pixels. 2,764,737 parameters with the defaults.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. A conditional discriminator
            takes the pair in one: (height, width, 6), the input's channels before those of the image to judge.
        ndf: filters of the first convolution; they double from layer to layer, up to 8 times as many.
        n_layers: stride-2 convolutions.
        norm: "instance" (each image's own statistics, no weights), "batch" or "none", after all but the first and
            the last convolution. Those have a bias; the others with "instance" only.
        padding: zeros around the input of each convolution: 1 (pix2pix and CycleGAN: 30x30 values for 256x256
            pixels) or 2 (DeblurGAN: 35x35). Weights fit both.
        sigmoid: whether the values are probabilities instead of logits.
        dtype: dtype policy of the layers; Keras' global one when None. The sigmoid always computes in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 (batch, rows, columns, 1).

    Raises:
        InputError: an `image_shape` or other argument that makes no network.

    Source: pix2pix, arXiv 1611.07004, appendix 6.1.2, and its PyTorch code; DeblurGAN, arXiv 1711.07064, section 3.2.
    """
    shape = checked_shape(image_shape)
    check_counts(ndf=ndf, n_layers=n_layers)
    check_choice("norm", norm, NORMS)
    check_choice("padding", padding, (1, 2))
    strides = [2] * n_layers + [1, 1]
    for side in shape[:2]:
        if side is not None and _output_side(side, strides, padding) < 1:
            raise InputError(f"image_shape: too small for a value to come out, received {tuple(image_shape)}")

    def pad_conv(x: Any, filters: int, prefix: str, *, strides: int, use_bias: bool = True) -> Any:
        x = layers.ZeroPadding2D(padding, name=f"{prefix}_pad", dtype=dtype)(x)
        return conv(x, filters, 4, strides=strides, use_bias=use_bias, name=f"{prefix}_conv", dtype=dtype)

    inputs = Input(shape=shape, name="image")
    x = pad_conv(inputs, ndf, "in", strides=2)
    x = layers.LeakyReLU(0.2, name="in_relu", dtype=dtype)(x)
    for n, stride in enumerate(strides[1:-1], 1):
        prefix = f"layer{n}"
        x = pad_conv(x, ndf * min(2**n, 8), prefix, strides=stride, use_bias=has_bias(norm))
        x = normalise(x, norm, name=f"{prefix}_norm", dtype=dtype)
        x = layers.LeakyReLU(0.2, name=f"{prefix}_relu", dtype=dtype)(x)
    x = pad_conv(x, 1, "out", strides=1)
    outputs = layers.Activation("sigmoid" if sigmoid else "linear", name="decision", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def _output_side(side: int, strides: list[int], padding: int) -> int:
    """Length of a side after 4x4 convolutions with these strides; below 1 when it vanishes."""
    for stride in strides:
        side = (side + 2 * padding - 4) // stride + 1
    return side


def recognise(tensors: Tensors) -> Found | None:
    """Tell a patch discriminator of PyTorch's, whose modules are numbered in one sequence.

    The tensors leave open `sigmoid`, and `padding`, which is taken for DeblurGAN's 2 where an instance normalisation
    noted statistics.
    """
    if "model.0.weight" not in tensors or tensors["model.0.weight"].shape[2:] != (4, 4):
        return None
    n_layers = 1
    while f"model.{3 * n_layers + 5}.weight" in tensors:
        n_layers += 1
    ndf, channels, _, _ = kernel_shape(tensors, "model.0.weight", 4)
    norm = norm_of(tensors, "model.2", "model.3")
    noted = norm == "instance" and "model.3.running_mean" in tensors

    layers = {"in_conv": "model.0", "out_conv": f"model.{3 * n_layers + 2}"}
    for n in range(1, n_layers + 1):
        layers |= pair(f"layer{n}", "model", 3 * n - 1)
    options = {"ndf": ndf, "n_layers": n_layers, "norm": norm}
    assumed = {"image_shape": (None, None, channels), "padding": 2 if noted else 1, "sigmoid": False}
    return torch_weights.found(KIND, patchgan_discriminator, tensors, layers, options, assumed)


CRITIC = Network(
    name="patchgan",
    role="critic",
    kind=KIND,
    builder=patchgan_discriminator,
    switches=("image_shape", "padding", "sigmoid"),
    recognise=recognise,
)

"""The patch discriminator of pix2pix, CycleGAN and DeblurGAN."""

from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError
from deblurgan.networks import torch_weights
from deblurgan.networks.network import Found, Network, Tensors
from deblurgan.networks.parts import (
    NORMS,
    SLOPES,
    WIRINGS,
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
    wiring: str = "pytorch",
    sigmoid: bool = False,
    dtype: Any = None,
    name: str = "PatchGANDiscriminator",
) -> keras.Model:
    """Build the fully convolutional discriminator that judges patches: an image in, one value for each patch out.

    4x4 convolutions with LeakyReLU 0.2: `n_layers` of stride 2, two of stride 1. Each value sees 16x16 pixels with 1
    layer, 34 with 2, 70 with 3, 142 with 4, 286 with 5; with 0 it is the PixelGAN, three 1x1 convolutions, and sees
    one. 2,764,737 parameters with the defaults.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. A conditional discriminator
            takes the pair in one: (height, width, 6), the input's channels before those of the image to judge.
        ndf: filters of the first convolution; they double from layer to layer, up to 8 times as many.
        n_layers: stride-2 convolutions; 0 for the PixelGAN.
        norm: "instance" (each image's own statistics, no weights), "batch" or "none", after all but the first and
            the last convolution. Those have a bias; the others with "instance" only, as all of the PixelGAN but the
            first.
        padding: zeros around the input of each convolution: 1 (pix2pix and CycleGAN: 30x30 values for 256x256
            pixels) or 2 (DeblurGAN: 35x35). Weights fit both. The PixelGAN has none.
        wiring: "pytorch", or "tensorflow" as in TensorFlow's tutorial of pix2pix: LeakyReLU 0.3, no bias in the first
            convolution, and batch normalisations with Keras' constants. That one has norm "batch": 2,770,433
            parameters with 6 channels.
        sigmoid: whether the values are probabilities instead of logits.
        dtype: dtype policy of the layers; Keras' global one when None. The sigmoid always computes in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 (batch, rows, columns, 1).

    Raises:
        InputError: an `image_shape` or other argument that makes no network.

    Source: pix2pix, arXiv 1611.07004, appendix 6.1.2, its PyTorch code, and TensorFlow's tutorial; DeblurGAN, arXiv
    1711.07064, section 3.2.
    """
    shape = checked_shape(image_shape)
    check_counts(ndf=ndf)
    check_counts(0, n_layers=n_layers)
    check_choice("norm", norm, NORMS)
    check_choice("padding", padding, (1, 2))
    check_choice("wiring", wiring, WIRINGS)
    strides, kernel, slope = [2] * n_layers + [1, 1], 4, SLOPES[wiring]
    if not n_layers:
        strides, kernel, padding = [1, 1, 1], 1, 0
    for side in shape[:2]:
        if side is not None and _output_side(side, strides, kernel, padding) < 1:
            raise InputError(f"image_shape: too small for a value to come out, received {tuple(image_shape)}")

    def pad_conv(x: Any, filters: int, prefix: str, *, strides: int, use_bias: bool) -> Any:
        if padding:
            x = layers.ZeroPadding2D(padding, name=f"{prefix}_pad", dtype=dtype)(x)
        return conv(x, filters, kernel, strides=strides, use_bias=use_bias, name=f"{prefix}_conv", dtype=dtype)

    inputs = Input(shape=shape, name="image")
    x = pad_conv(inputs, ndf, "in", strides=strides[0], use_bias=wiring == "pytorch")
    x = layers.LeakyReLU(slope, name="in_relu", dtype=dtype)(x)
    for n, stride in enumerate(strides[1:-1], 1):
        prefix = f"layer{n}"
        x = pad_conv(x, ndf * min(2**n, 8), prefix, strides=stride, use_bias=has_bias(norm))
        x = normalise(x, norm, wiring=wiring, name=f"{prefix}_norm", dtype=dtype)
        x = layers.LeakyReLU(slope, name=f"{prefix}_relu", dtype=dtype)(x)
    x = pad_conv(x, 1, "out", strides=1, use_bias=bool(n_layers) or has_bias(norm))
    outputs = layers.Activation("sigmoid" if sigmoid else "linear", name="decision", dtype="float32")(x)
    return keras.Model(inputs, outputs, name=name)


def _output_side(side: int, strides: list[int], kernel: int, padding: int) -> int:
    """Length of a side after convolutions with these strides; below 1 when it vanishes."""
    for stride in strides:
        side = (side + 2 * padding - kernel) // stride + 1
    return side


def recognise(tensors: Tensors) -> Found | None:
    """Tell a patch discriminator of PyTorch's, whose modules are numbered in one sequence, or its PixelGAN.

    The tensors leave open `sigmoid`, and `padding`, which is taken for DeblurGAN's 2 where an instance normalisation
    noted statistics.
    """
    if "net.0.weight" in tensors and "net.5.weight" in tensors:
        ndf, channels, _, _ = kernel_shape(tensors, "net.0.weight", 1)
        layers = {"in_conv": "net.0", "out_conv": "net.5", **pair("layer1", "net", 2)}
        options = {"ndf": ndf, "n_layers": 0, "norm": norm_of(tensors, "net.2", "net.3")}
        assumed = {"image_shape": (None, None, channels), "padding": 1, "sigmoid": False}
        return torch_weights.found(KIND, patchgan_discriminator, tensors, layers, options, assumed)
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

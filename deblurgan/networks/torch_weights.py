"""Weights of the PyTorch peers: tell from a state dict which network it belongs to, build that, and load it.

Known are the generators and discriminators of DeblurGAN, CycleGAN and pix2pix, and NAFNet. A state dict maps names
such as `model.10.conv_block.1.weight` to arrays. It does not tell everything about a network: see `identify`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deblurgan import networks
from deblurgan.errors import InputError, WeightsError
from deblurgan.networks.layers import InstanceNormalization
from deblurgan.networks.nafnet import PAPER_WINDOW
from deblurgan.networks.nafnet_layers import NAFBlock
from deblurgan.networks.unet import LEAST_DOWNS

Tensors = Mapping[str, np.ndarray]

KINDS = (
    "DeblurGAN generator",
    "CycleGAN ResNet generator",
    "pix2pix U-Net generator",
    "PatchGAN discriminator",
    "NAFNet generator",
)

_CONV = {"kernel": "weight", "bias": "bias"}
_SCALE = {"scale": "weight", "bias": "bias"}
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_NAF_BLOCK = {
    **{f"norm{n}_{ours}": f"norm{n}.{theirs}" for n in (1, 2) for ours, theirs in _SCALE.items()},
    **{f"conv{n}_{ours}": f"conv{n}.{theirs}" for n in range(1, 6) for ours, theirs in _CONV.items()},
    **{f"sca_{ours}": f"sca.1.{theirs}" for ours, theirs in _CONV.items()},
    "beta": "beta",
    "gamma": "gamma",
}
_DEPTHWISE = ".conv2.weight"
_FACTORS = (".beta", ".gamma")
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Architecture:
    """Which network a state dict belongs to.

    Attributes:
        kind: one of `KINDS`.
        builder: name of the function in `deblurgan.networks` that builds the network.
        options: the builder's keywords that the tensors tell.
        assumed: the builder's keywords that they leave open, with the values that `identify` chooses.
        layers: for each Keras layer that may have weights, what the names of its tensors begin with.
        shuffled: the layers whose outputs a pixel shuffle takes.
    """

    kind: str
    builder: str
    options: dict[str, Any]
    assumed: dict[str, Any]
    layers: dict[str, str]
    shuffled: tuple[str, ...] = ()


def identify(tensors: Tensors) -> Architecture:
    """Tell which network the state dict `tensors` belongs to.

    The tensors tell widths, depths, channels, normalisation and kernels. The same tensors fit several networks that
    compute different things; among those the choice is:

    - `residual`, ResNet: True where the indices show dropout between a block's two convolutions and the
      normalisation is "instance", or where a block has one convolution. DeblurGAN trains that with its defaults and
      its README's command. False otherwise, as in CycleGAN (no dropout) and pix2pix ("batch"); False for U-Nets.
    - `block`, ResNet with one convolution in each block: "first", which is what DeblurGAN's code since March 2019
      makes unless dropout is turned off ("second").
    - `dropout`: 0.5; 0 for a ResNet whose indices show none. `test_dropout`, ResNet: False.
    - `statistics`, ResNet whose instance normalisations noted some: "image", with which its authors restore.
    - `skip_first`, U-Net: True. DeblurGAN's and, before September 2017, pix2pix's are False.
    - `padding`, discriminator: 2 (DeblurGAN's) for an instance normalisation with statistics noted, else 1.
    - `sigmoid`, discriminator: False.
    - `local_window`, NAFNet: 384, with which its authors restore full-size pictures of GOPRO.

    Raises:
        WeightsError: the tensors belong to none of the networks in `KINDS`.
    """
    tensors = _cleaned(tensors)
    if "model.10.conv_block.1.weight" in tensors:
        return _resnet(tensors)
    if "model.model.0.weight" in tensors:
        return _unet(tensors)
    if "model.0.weight" in tensors and tensors["model.0.weight"].shape[2:] == (4, 4):
        return _patchgan(tensors)
    if "intro.weight" in tensors and "ending.weight" in tensors:
        return _nafnet(tensors)
    found = [f"{name} {_dimensions(tensor.shape)}" for name, tensor in tensors.items()]
    raise WeightsError(
        f"expected the tensors of a {', a '.join(KINDS)}, found {', '.join(found[:5]) or 'none'}"
        + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    )


def build(tensors: Tensors, **overrides: Any) -> keras.Model:
    """Return the network that the state dict `tensors` belongs to, with these weights.

    Args:
        tensors: the state dict. All names may start with `module.`, as `DataParallel` makes them. What an instance
            normalisation noted of the training images is left out unless `statistics` is "noted": the networks
            normalise with the statistics of the image at hand, as DeblurGAN and CycleGAN do when they restore.
        overrides: `dtype`, `name`, and other values for what `Architecture.assumed` holds, e.g. `residual=False`, or
            `image_shape=(256, 256, 3)` where the default is for images of any size.

    Raises:
        WeightsError: the tensors belong to no known network, or one is missing, left over or of another shape than
            the network's; the message names the first.
        InputError: an override of something else, or one whose value makes no network.
    """
    tensors = _cleaned(tensors)
    architecture = identify(tensors)
    kind = architecture.kind
    allowed = [*architecture.assumed, "dtype", "name"]
    for option in overrides:
        if option not in allowed:
            raise InputError(f"{option}: expected one of {', '.join(allowed)} for the weights of a {kind}")
    if overrides.get("block") == "whole":
        raise InputError("block: expected 'first' or 'second' for weights with one convolution in each block")
    builder = getattr(networks, architecture.builder)
    model = builder(**architecture.options, **{**architecture.assumed, **overrides})

    unused = set(tensors)
    for layer in model.layers:
        names = _CONV
        if isinstance(layer, (keras.layers.BatchNormalization, InstanceNormalization)):
            names = _NORM
        elif isinstance(layer, NAFBlock):
            names = _NAF_BLOCK
        for variable in layer.weights:
            name = f"{architecture.layers[layer.name]}.{names[variable.name]}"
            value = _fitting(name, tensors, tuple(variable.shape), kind)
            variable.assign(_shuffled(value) if layer.name in architecture.shuffled else value)
            unused.remove(name)
    for name in tensors:
        noted = architecture.options.get("norm") == "instance" and name.endswith(_STATISTICS)
        if name in unused and not noted:
            raise WeightsError(f"{name}: left over; a {kind} with the other tensors' layout has none of that name")
    return model


def _cleaned(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return `tensors` without the prefix `module.`, and without counts of batches, which nothing uses."""
    wrapped = all(name.startswith("module.") for name in tensors)
    return {
        name.removeprefix("module.") if wrapped else name: tensor
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def _fitting(name: str, tensors: Tensors, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Return the tensor `name` with its axes in Keras' order, or raise WeightsError unless that gives `shape`.

    (out, in, rows, columns) becomes (rows, columns, in, out); with in and out swapped, as a transposed convolution
    has them in both, the order of axes is the same. Of NAFNet's, a 1x1 convolution becomes (in, out), a depthwise one
    (rows, columns, channels, 1), and a factor for each channel (channels,).
    """
    axes: tuple[int, ...] = tuple(range(len(shape)))
    expected = shape
    if len(shape) == 4:
        axes = (2, 3, 0, 1) if name.endswith(_DEPTHWISE) else (2, 3, 1, 0)
        expected = tuple(shape[axes.index(axis)] for axis in range(4))
    elif len(shape) == 2:
        axes, expected = (1, 0), (*shape[::-1], 1, 1)
    elif name.endswith(_FACTORS):
        expected = (1, *shape, 1, 1)
    if name not in tensors:
        raise WeightsError(f"{name}: expected {_dimensions(expected)} for a {kind}, found no such tensor")
    if tensors[name].shape != expected:
        found = _dimensions(tensors[name].shape)
        raise WeightsError(f"{name}: expected {_dimensions(expected)} for a {kind}, found {found}")
    return tensors[name].reshape(expected[: len(shape)] if len(shape) > 1 else shape).transpose(axes)


def _shuffled(kernel: np.ndarray) -> np.ndarray:
    """Put the outputs of a 1x1 convolution before a pixel shuffle in the order of `DepthToSpace`.

    PyTorch's is (channel, row, column), of squares of 2x2; TensorFlow's and ours (row, column, channel).
    """
    channels = kernel.shape[-1] // 4
    return kernel.reshape(*kernel.shape[:-1], channels, 4).swapaxes(-2, -1).reshape(kernel.shape)


def _resnet(tensors: Tensors) -> Architecture:
    """Tell the layout of a ResNet generator, whose modules are numbered in one sequence."""
    n_blocks = 1
    while f"model.{10 + n_blocks}.conv_block.1.weight" in tensors:
        n_blocks += 1
    end = 10 + n_blocks
    ngf, channels, _, _ = _kernel_shape(tensors, "model.1.weight", 7)
    _, _, up_kernel, _ = _kernel_shape(tensors, f"model.{end}.weight", 3, 4)
    output_channels, _, _, _ = _kernel_shape(tensors, f"model.{end + 7}.weight", 7)
    norm = _norm(tensors, "model.1", "model.2")
    # Pad, conv, norm, ReLU, dropout or not, pad, conv, norm; or only what comes before or after the second pad.
    second = next((index for index in (5, 6) if f"model.10.conv_block.{index}.weight" in tensors), None)
    residual = second is None or (second == 6 and norm == "instance")

    layers = {**_pair("in", "model", 1), **_pair("down1", "model", 4), **_pair("down2", "model", 7)}
    for i in range(n_blocks):
        prefix = f"model.{10 + i}.conv_block"
        layers |= _pair(f"block{i + 1}", prefix, 1, "1") | _pair(f"block{i + 1}", prefix, second or 1, "2")
    layers |= _pair("up1", "model", end) | _pair("up2", "model", end + 3) | {"out_conv": f"model.{end + 7}"}
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
    return Architecture(KINDS[0] if residual else KINDS[1], "paper_generator", options, assumed, layers)


def _unet(tensors: Tensors) -> Architecture:
    """Tell the layout of a U-Net, whose levels are nested in each other."""
    levels = ["model", "model.model.1"]
    while f"{levels[-1]}.model.3.model.1.weight" in tensors:
        levels.append(f"{levels[-1]}.model.3")
    if len(levels) < LEAST_DOWNS:
        raise WeightsError(f"expected a {KINDS[2]} of at least {LEAST_DOWNS} levels, found {len(levels)}")
    ngf, channels, _, _ = _kernel_shape(tensors, "model.model.0.weight", 4)
    _, output_channels, _, _ = _kernel_shape(tensors, "model.model.3.weight", 4)

    layers = {"down1_conv": "model.model.0", "out_conv": "model.model.3"}
    for level, prefix in enumerate(levels[1:], 2):
        up = 3 if level == len(levels) else 5  # the innermost level has none inside it, and no normalisation before
        layers |= _pair(f"down{level}", f"{prefix}.model", 1) | _pair(f"up{level}", f"{prefix}.model", up)
    return Architecture(
        KINDS[2],
        "unet_generator",
        {
            "ngf": ngf,
            "num_downs": len(levels),
            "norm": _norm(tensors, layers["down2_conv"], layers["down2_norm"]),
            "output_channels": output_channels,
        },
        {"image_shape": (None, None, channels), "residual": False, "dropout": 0.5, "skip_first": True},
        layers,
    )


def _patchgan(tensors: Tensors) -> Architecture:
    """Tell the layout of a patch discriminator, whose modules are numbered in one sequence."""
    n_layers = 1
    while f"model.{3 * n_layers + 5}.weight" in tensors:
        n_layers += 1
    ndf, channels, _, _ = _kernel_shape(tensors, "model.0.weight", 4)
    norm = _norm(tensors, "model.2", "model.3")
    noted = norm == "instance" and "model.3.running_mean" in tensors

    layers = {"in_conv": "model.0", "out_conv": f"model.{3 * n_layers + 2}"}
    for n in range(1, n_layers + 1):
        layers |= _pair(f"layer{n}", "model", 3 * n - 1)
    return Architecture(
        KINDS[3],
        "patchgan_discriminator",
        {"ndf": ndf, "n_layers": n_layers, "norm": norm},
        {"image_shape": (None, None, channels), "padding": 2 if noted else 1, "sigmoid": False},
        layers,
    )


def _nafnet(tensors: Tensors) -> Architecture:
    """Tell the layout of a NAFNet, whose stages and blocks are numbered."""

    def count(prefix: str) -> int:
        """How many numbered modules there are in `prefix`."""
        n = 0
        while any(name.startswith(f"{prefix}.{n}.") for name in tensors):
            n += 1
        return n

    levels = count("downs")
    width, channels, _, _ = _kernel_shape(tensors, "intro.weight", 3)
    encoders = tuple(count(f"encoders.{level}") for level in range(levels))
    decoders = tuple(count(f"decoders.{level}") for level in range(levels))
    middle = count("middle_blks")
    layers = {"in_conv": "intro", "out_conv": "ending"}
    shuffled = []
    for i in range(levels):
        level = levels - i  # of the decoder's stage i, which comes from below
        layers |= {f"down{i + 1}_conv": f"downs.{i}", f"up{level}_conv": f"ups.{i}.0"}
        layers |= {f"encoder{i + 1}_block{n + 1}": f"encoders.{i}.{n}" for n in range(encoders[i])}
        layers |= {f"decoder{level}_block{n + 1}": f"decoders.{i}.{n}" for n in range(decoders[i])}
        shuffled.append(f"up{level}_conv")
    layers |= {f"middle_block{n + 1}": f"middle_blks.{n}" for n in range(middle)}
    if not levels:
        raise WeightsError(f"expected a {KINDS[4]} of at least one level, found no downs.0")
    return Architecture(
        KINDS[4],
        "nafnet",
        {"width": width, "encoder_blocks": encoders, "middle_blocks": middle, "decoder_blocks": decoders},
        {"image_shape": (None, None, channels), "dropout": 0.0, "local_window": PAPER_WINDOW},
        layers,
        tuple(shuffled),
    )


def _pair(layer: str, prefix: str, index: int, part: str = "") -> dict[str, str]:
    """Where the tensors are of a convolution and the normalisation after it."""
    return {f"{layer}_conv{part}": f"{prefix}.{index}", f"{layer}_norm{part}": f"{prefix}.{index + 1}"}


def _norm(tensors: Tensors, conv: str, norm: str) -> str:
    """Tell the normalisation from the tensors of a convolution and of what comes after it."""
    if f"{norm}.weight" in tensors:
        return "batch"
    return "instance" if f"{conv}.bias" in tensors else "none"


def _kernel_shape(tensors: Tensors, name: str, *sides: int) -> tuple[int, ...]:
    """Return the shape of the tensor `name`, or raise WeightsError unless it is a kernel with one of the `sides`."""
    shape = tensors[name].shape if name in tensors else None
    if shape is None or len(shape) != 4 or 0 in shape or shape[2] != shape[3] or shape[2] not in sides:
        expected = " or ".join(f"{side}x{side}" for side in sides)
        found = "no such tensor" if shape is None else _dimensions(shape)
        raise WeightsError(f"{name}: expected a kernel of {expected}, found {found}")
    return shape


def _dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single value"

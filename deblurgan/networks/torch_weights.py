"""Weights by PyTorch's names: what a state dict tells, where a network's tensors are in it, and how they lie.

Each network says in its own file which tensors are its own; here is what they share. A state dict maps names such as
`model.10.conv_block.1.weight` to arrays.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np

from deblurgan.errors import WeightsError
from deblurgan.networks.layers import InstanceNormalization
from deblurgan.networks.network import Found, Tensors, dimensions

CONV = {"kernel": "weight", "bias": "bias"}
SCALE = {"scale": "weight", "bias": "bias"}
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
STATISTICS = ("running_mean", "running_var")


def cleaned(tensors: Tensors) -> dict[str, np.ndarray]:
    """Return a state dict without counts of batches, which nothing uses, and without the prefix `module.`.

    `DataParallel` puts that before all names.
    """
    wrapped = all(name.startswith("module.") for name in tensors)
    return {
        name.removeprefix("module.") if wrapped else name: tensor
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def pair(layer: str, prefix: str, index: int, part: str = "") -> dict[str, str]:
    """Return where the tensors are of a convolution and the normalisation after it."""
    return {f"{layer}_conv{part}": f"{prefix}.{index}", f"{layer}_norm{part}": f"{prefix}.{index + 1}"}


def norm_of(tensors: Tensors, conv: str, norm: str) -> str:
    """Tell the normalisation from the tensors of a convolution and of what comes after it."""
    if f"{norm}.weight" in tensors:
        return "batch"
    return "instance" if f"{conv}.bias" in tensors else "none"


def kernel_shape(tensors: Tensors, name: str, *sides: int) -> tuple[int, ...]:
    """Return the shape of the tensor `name`, or raise WeightsError unless it is a kernel with one of the `sides`."""
    shape = tensors[name].shape if name in tensors else None
    if shape is None or len(shape) != 4 or 0 in shape or shape[2] != shape[3] or shape[2] not in sides:
        expected = " or ".join(f"{side}x{side}" for side in sides)
        found = "no such tensor" if shape is None else dimensions(shape)
        raise WeightsError(f"{name}: expected a kernel of {expected}, found {found}")
    return shape


def found(
    kind: str,
    builder: Callable[..., keras.Model],
    tensors: Tensors,
    layers: Mapping[str, str],
    options: dict[str, Any],
    assumed: dict[str, Any],
    *,
    names: Mapping[type, Mapping[str, str]] | None = None,
    layouts: Mapping[str, str] | None = None,
    shuffled: Collection[str] = (),
) -> Found:
    """Return the network that a state dict makes.

    Args:
        kind: what it is, in words.
        builder: builds it.
        tensors: the state dict.
        layers: for each Keras layer that may have weights, what the names of its tensors begin with.
        options: see `Found`.
        assumed: see `Found`.
        names: for layers of other classes than convolutions and normalisations, how their tensors' names end, by the
            names of our weights.
        layouts: for our weights that lie otherwise in PyTorch: "depthwise" or "factor"; see `_fitting`.
        shuffled: the layers whose outputs a pixel shuffle takes.
    """

    def build(**overrides: Any) -> keras.Model:
        model = builder(**options, **{**assumed, **overrides})
        unused = set(tensors)
        for layer in model.layers:
            is_norm = isinstance(layer, (keras.layers.BatchNormalization, InstanceNormalization))
            endings = (names or {}).get(type(layer), NORM if is_norm else CONV)
            for variable in layer.weights:
                name = f"{layers[layer.name]}.{endings[variable.name]}"
                layout = (layouts or {}).get(variable.name, "")
                value = _fitting(name, tensors, tuple(variable.shape), kind, layout)
                variable.assign(_shuffled(value) if layer.name in shuffled else value)
                unused.remove(name)
        for name in tensors:
            # The networks normalise with the statistics of the image at hand, as those do that noted some.
            noted = options.get("norm") == "instance" and name.endswith(STATISTICS)
            if name in unused and not noted:
                raise WeightsError(
                    f"{name}: left over; a {kind} with the other tensors' layout has none of that name"
                )
        return model

    return Found(kind, options, assumed, build)


def _fitting(name: str, tensors: Tensors, shape: tuple[int, ...], kind: str, layout: str) -> np.ndarray:
    """Return the tensor `name` with its axes in Keras' order, or raise WeightsError unless that gives `shape`.

    (out, in, rows, columns) becomes (rows, columns, in, out); with in and out swapped, as a transposed convolution
    has them in both, the order of axes is the same. A 1x1 convolution becomes (in, out) where that is the shape, a
    "depthwise" one (rows, columns, channels, 1), and a "factor" for each channel (channels,).
    """
    axes: tuple[int, ...] = tuple(range(len(shape)))
    expected = shape
    if len(shape) == 4:
        axes = (2, 3, 0, 1) if layout == "depthwise" else (2, 3, 1, 0)
        expected = tuple(shape[axes.index(axis)] for axis in range(4))
    elif len(shape) == 2:
        axes, expected = (1, 0), (*shape[::-1], 1, 1)
    elif layout == "factor":
        expected = (1, *shape, 1, 1)
    if name not in tensors:
        raise WeightsError(f"{name}: expected {dimensions(expected)} for a {kind}, found no such tensor")
    if tensors[name].shape != expected:
        found = dimensions(tensors[name].shape)
        raise WeightsError(f"{name}: expected {dimensions(expected)} for a {kind}, found {found}")
    return tensors[name].reshape(expected[: len(shape)] if len(shape) > 1 else shape).transpose(axes)


def _shuffled(kernel: np.ndarray) -> np.ndarray:
    """Put the outputs of a 1x1 convolution before a pixel shuffle in the order of `DepthToSpace`.

    PyTorch's is (channel, row, column), of squares of 2x2; TensorFlow's and ours (row, column, channel).
    """
    channels = kernel.shape[-1] // 4
    return kernel.reshape(*kernel.shape[:-1], channels, 4).swapaxes(-2, -1).reshape(kernel.shape)

"""Weight files of the configurable GAN's programs: `weights.h5` of both networks, `generator.h5`, `ckpt-N`.

Which network a layer belongs to, the names of the convolutions tell, which the book's code chose itself; the other
layers follow in their order, whatever Keras called them. TensorFlow's checkpoints have numbers alone; there the
dense layers tell, with which a generator begins and a discriminator ends.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deblurgan.errors import WeightsError
from deblurgan.files import shown
from deblurgan.weights import checkpoint, hdf5
from deblurgan.weights.hdf5 import NORM_TENSORS, LayerWeights, check_shapes

_CONVOLUTION = re.compile(r"(generator|discriminator|critic)_conv_\d+")
KINDS = {
    ("generator",): "configurable GAN's generator",
    ("judge",): "configurable GAN's discriminator",
    ("generator", "judge"): "configurable GAN's generator and discriminator",
}


def from_checkpoint(variables: Mapping[str, np.ndarray]) -> list[LayerWeights]:
    """Return the layers of a checkpoint that Keras wrote of one network or both, in order and named; or none.

    Args:
        variables: as of `checkpoint.read`.
    """
    networks: dict[str, list[tuple[np.ndarray, ...]]] = {}
    for path, tensors in checkpoint.by_layer(variables).items():
        names = NORM_TENSORS if "gamma" in tensors else ("kernel", "bias")
        known = tuple(tensors[name] for name in names if name in tensors)
        if not known:  # another kind of layer
            return []
        networks.setdefault(path.rpartition("/")[0], []).append(known)
    found = []
    for network in sorted(networks.values(), key=lambda layers: layers[0][0].ndim):  # the generator's dense first
        dense = [i for i, tensors in enumerate(network) if tensors[0].ndim == 2]
        if dense not in ([0], [len(network) - 1]) or len(network) == 1:
            return []
        owner = "generator" if dense == [0] else "discriminator"
        found += [LayerWeights(f"{owner}_conv_{i}" if x[0].ndim == 4 else owner, x) for i, x in enumerate(network)]
    return found


def split(layers: Sequence[LayerWeights]) -> dict[str, list[LayerWeights]]:
    """Return the layers of "generator" and "judge", whichever there are; nothing for another network's."""
    owners = [match[1] if (match := _CONVOLUTION.fullmatch(layer.name)) else None for layer in layers]
    of_judge = [i for i, owner in enumerate(owners) if owner in ("discriminator", "critic")]
    if "generator" not in owners:
        return {"judge": list(layers)} if of_judge else {}
    first = of_judge[0] if of_judge else len(layers)
    parts = {"generator": list(layers[:first]), "judge": list(layers[first:])}
    return {role: part for role, part in parts.items() if part}


def told(parts: dict[str, list[LayerWeights]]) -> dict[str, Any]:
    """Return what the tensors tell of the constructor's arguments; strides and upsampling are not among it."""
    found: dict[str, Any] = {}
    for role, layers in parts.items():
        kernels = {layer.name: layer.kernel_shape for layer in layers if not layer.is_norm}
        convolutions = [shape for name, shape in kernels.items() if _CONVOLUTION.fullmatch(name)]
        sizes = [shape[0] for shape in convolutions]
        if role == "generator":
            dense = next(iter(kernels.values()))
            found |= {"z_dim": dense[0], "initial_values": dense[1], "generator_conv_kernel_size": sizes}
        else:
            filters = [shape[-1] for shape in convolutions]
            channels = convolutions[0][2]
            found |= {"channels": channels, "conv_filters": filters, "conv_kernel_size": sizes}
    return found


def assign(path: str | os.PathLike[str], *, generator: keras.Model, judge: keras.Model) -> None:
    """Give the networks the weights in a file, of both or of one.

    Raises:
        FileError: it is missing, unreadable or damaged.
        WeightsError: it holds other networks; or a layer is missing, left over or of another shape. Nothing has been
            changed then.
    """
    if os.path.isfile(f"{path}.index"):
        parts = split(from_checkpoint(checkpoint.read(path)[1]))
    else:
        parts = split(hdf5.read(Path(path)).layers)
    if not parts:
        raise WeightsError(f"{shown(path)}: expected the weights of a configurable GAN, found another network's")
    models = {"generator": generator, "judge": judge}
    planned = [pair for role, layers in parts.items() for pair in _matched(models[role], layers, shown(path))]
    for layer, tensors in planned:
        layer.set_weights(tensors)


def _matched(model: keras.Model, found: list[LayerWeights], source: str) -> list[tuple[Any, list[Any]]]:
    """Return each layer with its tensors: by name where all are called so, else by order."""
    layers = [layer for layer in model.layers if layer.weights]
    named = {entry.name: entry for entry in found}
    if named.keys() == {layer.name for layer in layers}:
        found = [named[layer.name] for layer in layers]
    if len(found) != len(layers):
        raise WeightsError(
            f"{source}: expected {len(layers)} layers with weights for the {model.name}, found {len(found)}"
        )
    for layer, entry in zip(layers, found, strict=True):
        check_shapes(layer.name, [tuple(weight.shape) for weight in layer.weights], entry, source)
    return [(layer, list(entry.tensors)) for layer, entry in zip(layers, found, strict=True)]

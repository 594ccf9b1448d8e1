"""Weight files that say which network they belong to: Keras' `.weights.h5` with one attribute more.

The attribute `deblurgan` of the HDF5 file is JSON: `{"network": "nafnet", "role": "generator", "options": {...}}`,
with names and options as in `zoo`. Keras loads such a file as any other.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from deblurgan.errors import FileError, InputError, WeightsError, prefixed
from deblurgan.files import atomic_path, shown
from deblurgan.networks import zoo
from deblurgan.networks.layers import InstanceNormalization
from deblurgan.untrusted import MAX_SMALL, bounded_weights, from_json
from deblurgan.weights.hdf5 import ATTRIBUTE, Content, LayerWeights, check_shapes, in_memory


@dataclass(frozen=True)
class LabelledWeights:
    """The weights of a network of the zoo, and how it was built.

    Attributes:
        path: the file.
        role: "generator", "critic" or "sampler".
        name: the network's name in the zoo.
        options: the options that it was built with, as far as the file tells; checked.
        layers: the tensors of each layer, by its name.
    """

    path: Path
    role: str
    name: str
    options: dict[str, Any]
    layers: dict[str, LayerWeights] = field(repr=False)

    @property
    def network(self) -> zoo.Network:
        """The network's entry in the zoo."""
        return zoo.find(self.role, self.name)

    @property
    def switches(self) -> dict[str, Any]:
        """The options that may be chosen anew, with the file's values or the defaults; images of any size."""
        values = {**self.network.defaults, **self.options}
        if "image_shape" in values:
            values["image_shape"] = (None, None, *values["image_shape"][2:])
        return {option: values[option] for option in self.network.switches}

    @property
    def tensors(self) -> list[tuple[str, np.ndarray]]:
        """Name and array of each tensor."""
        return [(f"{name}/{i}", x) for name, layer in self.layers.items() for i, x in enumerate(layer.tensors)]

    def build(self, *, dtype: Any = None, **overrides: Any) -> keras.Model:
        """Return the network with these weights; `overrides` are other values for `switches`.

        Raises:
            WeightsError: a tensor does not fit, or the file's own options make no network; it is named.
            InputError: the overrides make no network.
        """
        options = {**self.options, **self.switches, **overrides}
        if overrides.get("statistics") == "noted" != self.options.get("statistics"):
            raise InputError(
                f"statistics: expected 'image', since {shown(self.path)} has no noted ones, received 'noted'"
            )
        held = [tensor.nbytes for _, tensor in self.tensors]
        try:
            with (
                prefixed(shown(self.path), FileError),
                bounded_weights(2 * len(held) + 100, 2 * sum(held) + MAX_SMALL),
            ):
                model = zoo.build(self.role, self.name, options, dtype=dtype)
        except InputError as error:
            if overrides:
                raise
            raise WeightsError(f"{shown(self.path)}: {error}") from error
        self.assign(model)
        return model

    def assign(self, model: keras.Model) -> None:
        """Put the weights into `model`, a network built from these options but for the switches.

        Raises:
            WeightsError: a layer is missing, left over, or of another shape; nothing has been changed then.
        """
        layers = {layer.name: layer for layer in model.layers}
        spare = [name for name in layers if name not in self.layers and re.fullmatch(self.network.spare, name)]
        for name, layer in layers.items():
            if layer.weights and name not in spare:
                if name not in self.layers:
                    raise WeightsError(f"{shown(self.path)}: layer {name} is missing")
                shapes = [tuple(variable.shape) for variable in layer.weights]
                check_shapes(name, shapes, self.layers[name], shown(self.path))
        for name in self.layers:
            # An instance normalisation may do without what was noted for it.
            if name not in layers and self.network.nested:
                continue
            if name not in layers or not (layers[name].weights or isinstance(layers[name], InstanceNormalization)):
                raise WeightsError(
                    f"{shown(self.path)}: layer {name} is left over: {self.name} has none of that name"
                )
        for name, entry in self.layers.items():
            if name in layers and layers[name].weights:
                layers[name].set_weights(list(entry.tensors))
        for name in spare:
            layers[name].set_weights([np.zeros(weight.shape) for weight in layers[name].weights])


def save_network(
    model: keras.Model,
    path: str | os.PathLike[str],
    name: str,
    options: Mapping[str, Any],
    *,
    role: str | None = None,
) -> None:
    """Write the weights of `model` to `path`, which ends in `.weights.h5`, and what network it is.

    The file appears whole or not at all. A compiled model's optimizer is left out.

    The model is as `zoo.build(role, name, options)` makes it, but options that only matter for restoring, such as
    `local_window`, may have other values: they are the defaults of whoever restores with the file. The role is
    "generator", "critic" or "sampler"; the first of them in which the zoo has such a name when None.

    Raises:
        InputError: `path` ends otherwise, or the zoo has no such network or options.
        FileError: it cannot be written.
    """
    role = role or next((role for role, networks in zoo.ROLES.items() if name in networks), "generator")
    about = {"network": name, "role": role, "options": zoo.checked_options(role, name, options)}
    if not str(path).endswith(".weights.h5"):
        raise InputError(f"{shown(path)}: expected a name that ends in .weights.h5")
    content = in_memory(model)
    with h5py.File(content, "a") as file:
        file.attrs[ATTRIBUTE] = json.dumps(about)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def of(path: Path, content: Content) -> LabelledWeights | None:
    """Return what network a file says that it belongs to, with the weights; None where it says nothing.

    Raises:
        WeightsError: what it says is not of a network that is known here.
    """
    if content.about is None:
        return None
    layers = {entry.name: entry for entry in content.layers}
    try:
        about = from_json(content.about)
        role, name, options = about["role"], about["network"], about["options"]
        return LabelledWeights(path, role, name, zoo.checked_options(role, name, options), layers)
    except InputError as error:
        raise WeightsError(f"{shown(path)}: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{shown(path)}: expected JSON with network, role and options in the attribute {ATTRIBUTE}, "
            f"received {str(content.about)[:60]!r}"
        ) from error

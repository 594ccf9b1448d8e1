"""HDF5 files of Keras: the layers in one, in the order of the network; and writing one.

Reads HDF5 with h5py alone, so nothing in a file is ever executed: Keras 3 `.weights.h5`, the weights inside a
`.keras` archive, and the HDF5 of Keras 1 and 2 (`save_weights`, or `model.save` with its `model_weights` group).
"""

import io
import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import keras
import numpy as np

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.files import atomic_path, shown
from deblurgan.untrusted import check_members, check_own, opened, read_member

NORM_TENSORS = ("gamma", "beta", "moving_mean", "moving_variance")
ATTRIBUTE = "deblurgan"  # of a file that says which network it belongs to; see `labelled`


@dataclass(frozen=True)
class LayerWeights:
    """The tensors of one layer as a file names it.

    A convolution or dense layer has (kernel,) or (kernel, bias); a normalisation (gamma, beta, moving mean, moving
    variance).
    """

    name: str
    tensors: tuple[np.ndarray, ...]

    @property
    def is_norm(self) -> bool:
        """Whether this is a normalisation."""
        return len(self.tensors) == len(NORM_TENSORS)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of the first tensor."""
        return self.tensors[0].shape


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write the weights of `model` to `path`, which ends in `.weights.h5`; the file appears whole or not at all.

    A compiled model's optimizer is left out.

    Raises:
        InputError: `path` ends otherwise.
        FileError: it cannot be written.
    """
    if not str(path).endswith(".weights.h5"):
        raise InputError(f"{path}: expected a name that ends in .weights.h5")
    with atomic_path(path) as temporary:
        temporary.write_bytes(in_memory(model).getbuffer())


def filled(fill: Callable[[h5py.File], None]) -> bytes:
    """Return a file that `fill` fills, in memory: HDF5 itself does not survive a disk that fills up meanwhile."""
    name = secrets.token_hex(6)  # HDF5 takes two in memory that are open at once under one name for one
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        fill(file)
        file.flush()
        return bytes(file.id.get_file_image())


class _Memory(io.BytesIO):
    """A file in memory that Keras takes for one with this name."""

    def __str__(self) -> str:
        return "memory.weights.h5"


def in_memory(model: keras.Model) -> io.BytesIO:
    """Return the file that `save_weights` writes, for the reason of `filled`."""
    file = _Memory()
    uncompiled = keras.Model(model.inputs, model.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras' own, of NumPy 2; errors with `python -W error`
        uncompiled.save_weights(file)
    return file


def save_keras2(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Write the weights of `model` as `save_weights` of Keras 2.1.3 did, so that old code can load them.

    The file appears whole or not at all. Layers keep this package's names: old code matches them by their order.
    """
    write_keras2(path, model.layers)


def write_keras2(path: str | os.PathLike[str], layers: Sequence[Any]) -> None:
    """Write the layers' weights in their order, those of a model inside with the trainable ones first."""
    content = filled(lambda file: _add_keras2(file, layers))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _add_keras2(file: h5py.File, layers: Sequence[Any]) -> None:
    file.attrs["keras_version"] = b"2.1.3"  # that of the layout
    file.attrs["backend"] = b"tensorflow"
    file.attrs["layer_names"] = np.array([layer.name for layer in layers], "S")
    for layer in layers:
        variables = layer.trainable_weights + layer.non_trainable_weights
        weights = {f"{variable.path}:0": np.asarray(variable) for variable in variables}
        group = file.create_group(layer.name)
        group.attrs["weight_names"] = np.array(list(weights), "S")
        for name, value in weights.items():
            group[name] = value


def check_shapes(layer: str, expected: list[tuple[int, ...]], entry: LayerWeights, source: str) -> None:
    """Raise WeightsError unless the tensors of `entry` have the shapes of the network's `layer`."""
    found = [tensor.shape for tensor in entry.tensors]
    if expected != found:
        raise WeightsError(
            f"{source}: layer {entry.name} does not fit {layer}: expected shapes "
            f"{_shapes(expected)}, found {_shapes(found)}"
        )


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return " + ".join("x".join(map(str, shape)) for shape in shapes)


@dataclass(frozen=True)
class Content:
    """What is in an HDF5 file of Keras.

    Attributes:
        kind: which of Keras' formats it has.
        about: what the file says of its network, as it stands in `ATTRIBUTE`; None where that is not there.
        layers: those that have tensors, in the network's order.
    """

    kind: str
    about: Any
    layers: list[LayerWeights]


def read(path: str | os.PathLike[str]) -> Content:
    """Read an HDF5 file, or the one inside a `.keras` archive. Its lock, where others hold it, is not waited for.

    Raises:
        FileError: it is missing, unreadable or damaged.
    """
    with opened(path, "a weight file (HDF5 or .keras)") as file:
        kind = "Keras 3 archive" if zipfile.is_zipfile(file) else None
        stored: Any = io.BytesIO(_member(file, "model.weights.h5")) if kind else path
        with h5py.File(stored, "r", locking=False) as content:
            check_own(content)
            if "state" in content.attrs:  # see training.checkpoint
                run = Path(path).parent.parent if Path(path).parent.name == "checkpoints" else Path(path).parent
                best = shown(run / "generator_best.weights.h5")
                raise FileError(f"expected a weight file, found a training run's checkpoint; take {best}")
            root = content.get("model_weights", content)
            if "layer_names" in root.attrs:
                whole = "weights" if root is content else "whole model"
                found, layers = f"HDF5 of Keras 1 or 2, {whole}", _read_keras2(root)
            else:
                found, layers = "Keras 3 weights", _read_keras3(root.get("layers", {}))
            return Content(kind or found, content.attrs.get(ATTRIBUTE), list(layers))


def archived(path: str | os.PathLike[str], name: str) -> bytes:
    """Return a part of a `.keras` archive: `config.json`, `metadata.json` or `model.weights.h5`, which is checked.

    Raises:
        FileError: it is missing or damaged, or claims to be larger than it can be.
    """
    with opened(path, "a .keras archive") as file:
        content = _member(file, name)
        if name.endswith(".h5"):
            with h5py.File(io.BytesIO(content), "r") as weights:
                check_own(weights)
        return content


def _member(file: IO[bytes], name: str) -> bytes:
    with zipfile.ZipFile(file) as archive:
        if name not in archive.namelist():
            raise FileError(f"expected a weight file, found an archive without {name}")
        info = archive.getinfo(name)
        check_members([info], file)
        return read_member(archive, info, name)


def _read_keras2(root: h5py.Group) -> Iterator[LayerWeights]:
    """Yield the layers, those of models inside too, as Keras 1 and 2 store them: ordered, each tensor with a name."""
    for outer in map(_text, root.attrs["layer_names"]):
        group = root[outer]
        layers: dict[str, dict[str, np.ndarray]] = {}
        for name in map(_text, group.attrs["weight_names"]):
            inner, _, tensor = name.rpartition("/")
            layers.setdefault(inner, {})[re.sub(r"(_\d+)?(:0)?$", "", tensor)] = group[name][()]
        for inner, tensors in layers.items():
            layer = outer if len(layers) == 1 else inner.split("/")[-1]
            if "gamma" in tensors:
                yield LayerWeights(layer, tuple(tensors[name] for name in NORM_TENSORS))
            else:
                yield LayerWeights(layer, tuple(tensors.values()))


def _read_keras3(layers: h5py.Group) -> Iterator[LayerWeights]:
    """Yield the layers as Keras 3 stores them: numbered within each class (`conv2d`, `conv2d_1`, ...).

    The order across classes is not in the file. A generator's transposed convolutions come before its last
    convolution.
    """
    classes: dict[str, list[tuple[int, LayerWeights]]] = {}
    for name in list(layers):  # `layers.items()` would hold h5py's lock if the loop ended early
        group = layers[name]
        stored = group.get("vars", {})
        tensors = tuple(stored[key][()] for key in sorted(stored, key=int))
        match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
        if tensors and match:
            title = _text(group["vars"].attrs.get("name", name))
            classes.setdefault(match[1], []).append((int(match[2] or 0), LayerWeights(title, tensors)))
    ordered = {
        key: [entry for _, entry in sorted(entries, key=lambda item: item[0])] for key, entries in classes.items()
    }
    transposed = ordered.pop("conv2d_transpose", [])
    convs = ordered.pop("conv2d", [])
    yield from convs[:-1]
    yield from transposed
    yield from convs[-1:]
    for entries in ordered.values():
        yield from entries


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

"""TensorFlow checkpoints, `NAME.index` and `NAME.data-...`: the variables by their names; no graph is loaded.

A name is the way to a tensor through the objects that were saved. Keras 2 writes a network's weights under names such
as `generator/layer_with_weights-1/kernel`; Keras 3 often those of its optimizer, which has them too, and tells in the
graph of objects which is which: `generator/_operations/2/kernel` is what such a one is called here.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deblurgan.errors import FileError
from deblurgan.files import reason, shown, without_wildcards
from deblurgan.untrusted import counts

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # how the names of variables end
OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
TENSORS = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
_OF_KERAS_3 = re.compile(rf"\d+|_operations|_functional|_kernel|{'|'.join(TENSORS)}")  # what leads to weights there
_OF_LAYER = re.compile(rf"(.+)/({'|'.join(TENSORS)}){re.escape(VALUE)}")


def read(
    prefix: str | os.PathLike[str], kind: str = "TensorFlow checkpoint", path: str | os.PathLike[str] | None = None
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the names of all that a checkpoint, named without `.index`, holds; and its variables, less optimizers'.

    Messages call it `kind` and, where given, `path`.

    Raises:
        FileError: it is missing, unreadable or damaged.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    try:
        _check_index(Path(f"{os.fspath(prefix)}.index").read_bytes())
        with without_wildcards(Path(prefix)) as plain:
            reader = tf.train.load_checkpoint(str(plain))
            names = list(reader.get_variable_to_shape_map())
            wanted = {name: name for name in names if name.endswith(VALUE) and "optimizer" not in name.lower()}
            if OBJECTS in names:
                wanted |= _of_keras_3(TrackableObjectGraph.FromString(reader.get_tensor(OBJECTS)).nodes)
            return names, {name: np.asarray(reader.get_tensor(key)) for name, key in wanted.items()}
    except (tf.errors.OpError, DecodeError, OSError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise FileError(f"{shown(path or prefix)}: not a readable {kind}: {reason(error)}") from error


def _check_index(table: bytes) -> None:
    """Raise ValueError, TypeError, IndexError or DecodeError for an index on which TensorFlow ends the process.

    It is a table of LevelDB, not compressed: a footer leads to a block that leads to blocks of names and values.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

    def number(at: int) -> tuple[int, int]:
        value, shift = 0, 0
        while True:
            value, shift, at = value | (table[at] & 0x7F) << shift, shift + 7, at + 1
            if table[at - 1] < 0x80:
                return value, at

    def numbers(at: int, count: int) -> tuple[list[int], int]:
        found = []
        for _ in range(count):
            value, at = number(at)
            found.append(value)
        return found, at

    def block(at: int, size: int) -> Iterator[tuple[int, int, bool]]:
        """Yield where each value begins and ends, and whether it has a name."""
        end = at + size - 4 * (1 + int.from_bytes(table[at + size - 4 : at + size], "little"))
        while at < end:
            (shared, own, length), at = numbers(at, 3)
            yield at + own, at + own + length, shared + own > 0
            at += own + length

    (_, _, *index), _ = numbers(len(table) - 48, 4)
    for start, _, _ in block(*index):
        for begin, end, named in block(*numbers(start, 2)[0]):
            if named:
                entry = BundleEntryProto.FromString(table[begin:end])
                dtype, shape = tf.as_dtype(entry.dtype), entry.shape  # TypeError for one that there is not
                if dtype in (tf.resource, tf.variant) or shape.unknown_rank:
                    raise ValueError("expected numbers or text, found something else")
                if math.prod(counts(side.size for side in shape.dim)) >= 2**63:
                    raise ValueError("expected shapes, found something else")


def by_layer(variables: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the tensors of each layer by their names in it; layers by their way through the objects, in order."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, value in variables.items():
        if match := _OF_LAYER.fullmatch(name):
            found.setdefault(match[1], {})[match[2]] = value
    return {path: found[path] for path in sorted(found, key=_numbered)}


def _numbered(path: str) -> list[tuple[str, int]]:
    return [(name, int(number or 0)) for name, number in re.findall(r"([^/\d]+|/)(\d*)", path)]


def _of_keras_3(nodes: Any) -> dict[str, str]:
    """Return where the weights of networks of Keras 3 are kept, by their way through the objects."""
    seen: set[int] = set()

    def weights(number: int, way: str) -> Iterator[tuple[str, str]]:
        if number in seen:
            return
        seen.add(number)
        for attribute in nodes[number].attributes:
            yield re.sub(r"/_kernel$", "/kernel", way) + VALUE, attribute.checkpoint_key
        for child in nodes[number].children:
            if _OF_KERAS_3.fullmatch(child.local_name):
                yield from weights(child.node_id, f"{way}/{child.local_name}")

    return {
        name: key
        for network in (nodes[0].children if nodes else ())
        if "optimizer" not in network.local_name.lower()
        for name, key in weights(network.node_id, network.local_name)
        if "/_operations/" in name
    }

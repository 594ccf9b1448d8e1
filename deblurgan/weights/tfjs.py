"""MAXIM as a TensorFlow.js graph model, read without TensorFlow and without running anything of it.

`model.json` holds the graph, and a manifest that says where in the shards beside it each constant lies. A converter
gives the constants names of its own, but the nodes that use them still tell the module of the network that they
belong to: the constant that `.../stage_0_input_conv_0/Conv2D` convolves with is `stage_0_input_conv_0/kernel`.
"""

import base64
import gzip
import json
import math
import os
import posixpath
import re
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from deblurgan.errors import FileError, WeightsError, prefixed
from deblurgan.untrusted import MAX_HEADER, MAX_SMALL, counts, most_unpacked, opened, quoted, size_of

MODEL = "model.json"

_KIND = "a TensorFlow.js graph model"
_GZIP = b"\x1f\x8b"
_DTYPES: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int32": np.dtype("<i4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("u1"),
    "complex64": np.dtype("<c8"),
}
_QUANTIZED = ("uint8", "uint16")
_PIECE = 2**20  # bytes read at once
_MAX_MEMBERS = 100_000  # of an archive; npm's packages have far fewer

# A module path: from the first component that is one of the network's own modules to the last that is a layer.
_MODULE = re.compile(r"stage_\d+_\w+|UpSampleRatio_\d+")
_CONV = re.compile(r"Conv_\d+|conv[12]|input_proj|stage_\d+_(?:in|out)put_conv_\d+")
_TRANSPOSED = re.compile(r"ConvTranspose_\d+")
_DENSE = re.compile(r"Dense_\d+|(?:in|out)_project(?:_[xy])?")
_NORM = re.compile(r"LayerNorm(?:_\w+)?|intermediate_layernorm")
_LAYERS = (_CONV, _TRANSPOSED, _DENSE, _NORM)

_PRODUCTS = {  # of matrices, and the attribute that says whether the second is transposed
    "MatMul": "transpose_b",
    "_FusedMatMul": "transpose_b",
    "BatchMatMul": "adj_y",
    "BatchMatMulV2": "adj_y",
}
_PASSED = ("Identity", "Cast", "Reshape", "Transpose")  # what is followed from a constant to the node that uses it
_MOST_PASSED = 20


def is_graph_model(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` can be given to `read_graph_model`: a folder with `model.json`, or JSON, or gzip.

    Raises:
        FileError: unreadable.
    """
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, MODEL))
    with opened(path, _KIND) as file:
        start = file.read(64)
    return start.startswith(_GZIP) or (start.lstrip()[:1] == b"{" and b"\0" not in start)


def read_graph_model(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the weights of MAXIM in a TensorFlow.js graph model by the authors' module paths.

    Args:
        path: a folder with `model.json` and its shards, that `model.json`, or a `.tgz` that holds them anywhere.

    Returns:
        Read-only arrays in Keras' layout: convolutions (height, width, in, out), transposed convolutions (height,
        width, out, in), dense layers (in, out), biases and normalisations of one dimension. float32, as they stand in
        the file, or as TensorFlow.js makes them of quantised ones.

    Raises:
        FileError: missing, unreadable or damaged; more is claimed than the files hold; a name leads out of the
            folder.
        WeightsError: no graph model, one that has none of MAXIM's layers, or one in which a layer's weight is used in
            a way that is not known here or was folded with others.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MODEL
    with opened(path, _KIND) as file:
        if file.read(2) == _GZIP:
            file.seek(0)
            return _read_archive(file)
        if size_of(file) > MAX_HEADER:
            raise FileError(f"expected a {MODEL} of at most {MAX_HEADER} bytes, found {size_of(file)}")
        file.seek(0)
        return _weights(json.loads(file.read()), lambda names: _beside(path, names))


@dataclass(frozen=True)
class _Constant:
    """A constant of a graph: its manifest entry, checked, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    quantization: Mapping[str, Any]
    raw: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The constant as TensorFlow.js makes it: quantised numbers are multiplied and shifted in float64."""
        kind = self.quantization.get("dtype", self.dtype)
        numbers = self.raw.view(_DTYPES[kind]).reshape(self.shape)
        if kind in _QUANTIZED and self.quantization:
            scale, least = (float(self.quantization[key]) for key in ("scale", "min"))
            with np.errstate(all="ignore"):  # what is not finite is reported by whoever takes the weights
                numbers = numbers * scale + least
                return (np.rint(numbers) if self.dtype == "int32" else numbers).astype(_DTYPES[self.dtype])
        return numbers.astype(np.float32) if kind == "float16" else numbers


Shards = Callable[[list[str]], np.ndarray]


def _weights(model: Any, shards: Shards) -> dict[str, np.ndarray]:
    """Return the weights by module path; `shards` returns the bytes of files beside `model.json`, joined."""
    topology = model.get("modelTopology") if isinstance(model, dict) else None
    if not isinstance(topology, dict) or not isinstance(nodes := topology.get("node"), list):
        raise WeightsError(f"expected {_KIND}, found JSON without modelTopology.node")
    graph = _Graph(nodes, _constants(model["weightsManifest"], shards))
    found: dict[str, np.ndarray] = {}
    held = sum(constant.raw.nbytes for constant in graph.constants.values())
    size = 0
    for path, array in graph.weights():
        if path in found:
            raise WeightsError(f"expected one constant for {_named(path)}, found two")
        size += array.nbytes
        if size > max(MAX_SMALL, 8 * held):
            raise FileError("made to exhaust the memory: its constants are used unreasonably often")
        array.flags.writeable = False
        found[path] = array
    if not found:
        raise WeightsError(f"expected a graph of MAXIM, found {len(nodes)} nodes and none of its layers among them")
    return found


def _constants(manifest: Any, shards: Shards) -> dict[str, _Constant]:
    """Return all constants of a manifest by name; no values are made of them yet."""
    found: dict[str, _Constant] = {}
    used: set[str] = set()
    for group in manifest:
        for path in group["paths"]:
            _check_inside(path, "shard")
        paths = [posixpath.normpath(path) for path in group["paths"]]
        if len({*used, *paths}) < len(used) + len(paths):
            raise FileError("damaged: a shard is named twice")
        used |= {*paths}
        data = shards(paths)
        end = 0
        for entry in group["weights"]:
            name, dtype, shape = entry["name"], entry["dtype"], counts(entry["shape"])
            quantization = entry.get("quantization") or {}
            stored = quantization.get("dtype", dtype)
            if not (dtype == "string" or dtype in _DTYPES) or (
                quantization and stored not in (*_QUANTIZED, "float16")
            ):
                raise WeightsError(f"constant {_named(name)}: its dtype {quoted(stored)} is not read")
            if not isinstance(name, str) or name in found:
                raise FileError(f"damaged: expected a new name of a constant, found {quoted(name)}")
            begin, count = end, math.prod(shape)
            if dtype == "string":  # each with its length before it; none is a weight
                for _ in range(count):
                    if end > len(data):
                        break
                    end += 4 + int.from_bytes(data[end : end + 4].tobytes(), "little")
            else:
                end += count * _DTYPES[stored].itemsize
            if end > len(data):
                raise FileError(
                    f"truncated or damaged: constant {_named(name)} reaches beyond the {len(data)} bytes held"
                )
            if dtype != "string":
                found[name] = _Constant(dtype, shape, quantization, data[begin:end])
        if end < len(data):
            raise FileError(f"damaged: the constants take {end} bytes, but the shards hold {len(data)}")
    return found


class _Graph:
    """The nodes of a graph, and who uses whom."""

    def __init__(self, nodes: list[Any], constants: dict[str, _Constant]) -> None:
        self.constants = constants
        self.ops: dict[str, str] = {}
        self.inputs: dict[str, list[str]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self.users: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for node in nodes:
            name, op, inputs = node["name"], node["op"], node.get("input", [])
            if not (isinstance(name, str) and isinstance(op, str)) or name in self.ops:
                raise FileError(f"damaged: expected a new name of a node, found {quoted(name)}")
            self.ops[name], self.attributes[name] = op, node.get("attr", {})
            self.inputs[name] = [re.sub(r":\d+$", "", each) for each in inputs]
            for index, each in enumerate(self.inputs[name]):
                self.users[each].append((name, index))

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and values of each constant that a layer of the network uses as its weight."""
        for name, constant in self.constants.items():
            if constant.dtype not in ("float32", "float16") or not constant.shape:
                continue  # single numbers are an epsilon, a slope
            for user, index, passed in self._uses(name):
                layer = _module_path(user) or _module_path(name)
                if layer is None or (_NORM.fullmatch(layer.split("/")[-1]) and constant.raw.size == 1):
                    continue
                with prefixed(f"constant {_named(name)}", WeightsError):
                    if "ConstantFolding/" in name:
                        raise WeightsError(f"folded with others, so that {_named(layer)} cannot be told")
                    weight = self._weight(layer, user, index, self._passed(constant, passed))
                yield weight

    def _weight(self, layer: str, user: str, index: int, array: np.ndarray) -> tuple[str, np.ndarray]:
        """Return name and values of the weight of a layer that a node takes at a place."""
        kind = layer.split("/")[-1]
        parameter, turned = self._role(kind, user, index)
        if not parameter:
            op = quoted(self.ops[user])
            raise WeightsError(f"expected the weight of a layer, found that {_named(user)}, {op}, uses it")
        rank = 1 if parameter != "kernel" else 2 if _DENSE.fullmatch(kind) else 4
        if rank == 1 and sum(n > 1 for n in array.shape) <= 1:
            array = array.reshape(-1)
        if array.ndim != rank:
            raise WeightsError(f"expected {rank} dimensions for {_named(layer)}, found the shape {array.shape}")
        return f"{layer}/{parameter}", np.ascontiguousarray(array.T) if turned else array.view()

    def _uses(self, name: str) -> Iterator[tuple[str, int, list[str]]]:
        """Yield each node that computes with a constant, at which place, and what the constant passes before that."""
        reached: list[tuple[str, list[str]]] = [(name, [])]
        while reached:
            source, passed = reached.pop()
            for user, index in self.users[source]:
                if self.ops[user] in _PASSED and index == 0 and len(passed) < _MOST_PASSED:
                    reached.append((user, [*passed, user]))
                else:
                    yield user, index, passed

    def _passed(self, constant: _Constant, passed: list[str]) -> np.ndarray:
        """Return the values of a constant behind the nodes that it passes."""
        array = constant.values
        for node in passed:
            if self.ops[node] in ("Reshape", "Transpose"):
                operand = self.constants.get(self.inputs[node][1])
                if operand is None or operand.dtype != "int32":
                    raise WeightsError(f"expected a constant shape or order of {_named(node)}, found none")
                numbers = [int(n) for n in operand.values.ravel()]
                array = array.reshape(numbers) if self.ops[node] == "Reshape" else array.transpose(numbers)
        return array

    def _role(self, kind: str, user: str, index: int) -> tuple[str, bool]:
        """Return what a constant is to a layer, or nothing, and whether it is a kernel (out, in)."""
        op, attributes = self.ops[user], self.attributes[user]
        if _NORM.fullmatch(kind):
            return {"Mul": "scale", "Add": "bias", "AddV2": "bias"}.get(op, ""), False
        if op in ("Add", "AddV2") or (op == "BiasAdd" and index == 1):
            return "bias", False
        if op in ("_FusedConv2D", "_FusedMatMul") and index == 2:
            first = attributes["fused_ops"]["list"]["s"][0]
            return "bias" if _text(first) == "BiasAdd" else "", False
        if _DENSE.fullmatch(kind):
            if op == "Einsum":
                return self._einsum(user, index)
            if index == 1 and (flag := _PRODUCTS.get(op)):
                return "kernel", bool(attributes.get(flag, {}).get("b", False))
            return "", False
        expected = ("Conv2DBackpropInput",) if _TRANSPOSED.fullmatch(kind) else ("Conv2D", "_FusedConv2D")
        return ("kernel" if op in expected and index == 1 else ""), False

    def _einsum(self, user: str, index: int) -> tuple[str, bool]:
        """Tell the same of one factor of an Einsum, e.g. the second of "abcd,de->abce"."""
        factors, _, result = _text(self.attributes[user]["equation"]["s"]).partition("->")
        terms = factors.split(",")
        if len(terms) != 2 or len(terms[index]) != 2:
            return "", False
        first, second = ((letter in terms[1 - index], letter in result) for letter in terms[index])
        return ("kernel" if {first, second} == {(True, False), (False, True)} else ""), first == (False, True)


def _text(encoded: Any) -> str:
    """Return a string as attributes of a graph hold it."""
    return base64.b64decode(encoded, validate=True).decode("ascii")


def _named(name: object) -> str:
    """Return the name of a constant, node or layer as it can stand in a message; they are long."""
    return quoted(name, 250)


def _module_path(name: str) -> str | None:
    """Return the path of the layer that a node belongs to, if it belongs to one of the network's layers."""
    parts = name.split("/")
    start = next((i for i, part in enumerate(parts) if _MODULE.fullmatch(part)), len(parts))
    ends = [i for i in range(start, len(parts)) if any(layer.fullmatch(parts[i]) for layer in _LAYERS)]
    return "/".join(parts[start : ends[-1] + 1]) if ends else None


def _check_inside(name: Any, kind: str) -> None:
    """Raise FileError for a name that leads out of the folder that it is relative to, or is none."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise FileError(f"damaged: expected the name of a {kind}, found {quoted(name)}")
    if re.match(r"/|[A-Za-z]:", name) or "\\" in name or ".." in name.split("/"):
        raise FileError(f"refused the {kind} {quoted(name)}: it leads out of the folder")


def _beside(path: Path, names: list[str]) -> np.ndarray:
    """Return the bytes of the files called `names` beside the file `path`, joined."""
    for name in names:
        if not os.path.isfile(path.parent / name):
            raise FileError(f"expected the shard {quoted(name)} beside it, found none")
    data = np.empty(sum(os.path.getsize(path.parent / name) for name in names), np.uint8)
    end = 0
    for name in names:
        with (path.parent / name).open("rb") as file:
            end = _read_into(file, data, end, os.path.getsize(path.parent / name), name)
    return data


def _read_into(file: Any, data: np.ndarray, begin: int, size: int, name: str) -> int:
    """Read `size` bytes of a file into an array from index `begin` on; return the index behind them."""
    end = begin + size
    while begin < end:
        piece = file.read(min(_PIECE, end - begin))
        if not piece:
            raise FileError(f"truncated: expected {size} bytes of the shard {quoted(name)}")
        data[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
        begin += len(piece)
    return end


class _BoundedGzip(gzip.GzipFile):
    """A gzip file that is not read beyond what a sound one of its size can hold."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="rb")
        self.limit = most_unpacked(size_of(file))

    def check(self, end: int) -> None:
        """Raise FileError for a place that is too far from the beginning."""
        if end > self.limit:
            raise FileError("damaged, or made to exhaust the memory: its parts would be larger than they can be")

    def read(self, size: int | None = -1) -> bytes:
        """Read as any file does."""
        if size is None or size < 0:
            size = self.limit + 1
        self.check(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place as any file does."""
        if whence == os.SEEK_SET:
            self.check(offset)
        return super().seek(offset, whence)


def _read_archive(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Read a model in a `.tgz`: once through for `model.json` and the places of the others, then the shards."""
    stream = _BoundedGzip(file)
    members: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for number, member in enumerate(archive):
            _check_inside(member.name, "member")
            if number >= _MAX_MEMBERS or member.size < 0:
                raise FileError(f"damaged, or an archive of more than {_MAX_MEMBERS} members")
            if member.isreg() and not member.issparse():
                members[posixpath.normpath(member.name)] = member
    while stream.tell() < stream.limit and stream.read(min(_PIECE, stream.limit - stream.tell())):
        pass  # to the end, where the checksum is
    models = [name for name in members if posixpath.basename(name) == MODEL]
    if len(models) != 1:
        listed = f": {', '.join(map(quoted, models[:5]))}" if models else ""
        raise FileError(f"expected an archive with one {MODEL}, found {len(models)}{listed}")
    folder = posixpath.dirname(models[0])

    def member_bytes(names: list[str]) -> np.ndarray:
        places = [posixpath.normpath(posixpath.join(folder, name)) for name in names]
        for name, place in zip(names, places, strict=True):
            if place not in members:
                raise FileError(f"expected the shard {quoted(name)} in the archive, found none")
        sizes = [members[place].size for place in places]
        begins = np.cumsum([0, *sizes])
        stream.check(int(begins[-1]))
        data = np.empty(begins[-1], np.uint8)
        in_order = sorted(range(len(places)), key=lambda i: members[places[i]].offset_data)  # gzip reads forward only
        for i in in_order:
            stream.seek(members[places[i]].offset_data)
            _read_into(stream, data, int(begins[i]), sizes[i], names[i])
        return data

    if members[models[0]].size > MAX_HEADER:
        raise FileError(f"expected a {MODEL} of at most {MAX_HEADER} bytes, found {members[models[0]].size}")
    stream.seek(members[models[0]].offset_data)
    return _weights(json.loads(stream.read(members[models[0]].size)), member_bytes)

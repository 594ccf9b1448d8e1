"""PyTorch weight files and safetensors, read with NumPy alone: nothing that stands in a file is executed.

A PyTorch file is raw numbers beside a pickle that says which tensor lies where. A pickle is a small program, and
Python's own unpickler imports and calls whatever the program names. `_Unpickler` runs the same program over plain
data: it imports nothing, calls only the few functions of this module that stand in its table, and sets no attribute.
"""

import io
import json
import math
import mmap
import os
import pickletools
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from deblurgan.errors import FileError, WeightsError, prefixed
from deblurgan.untrusted import MAX_HEADER, MAX_SMALL, check_members, counts, opened, quoted, read_member, size_of

# Of several state dicts in one checkpoint, the first of these is taken.
PREFERRED = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "net_g", "netG", "G")

_DTYPES = (  # as PyTorch's storages, safetensors and NumPy call them
    ("Double", "F64", "float64"),
    ("Float", "F32", "float32"),
    ("Half", "F16", "float16"),
    ("BFloat16", "BF16", "bfloat16"),
    ("Long", "I64", "int64"),
    ("Int", "I32", "int32"),
    ("Short", "I16", "int16"),
    ("Char", "I8", "int8"),
    ("Byte", "U8", "uint8"),
    ("Bool", "BOOL", "bool"),
)
_STORAGE_DTYPES = {f"torch.{name}Storage": dtype for name, _, dtype in _DTYPES}
_SAFETENSORS_DTYPES = {name: dtype for _, name, dtype in _DTYPES}
_ITEM_SIZES = {name: 2 if name == "bfloat16" else np.dtype(name).itemsize for name in _SAFETENSORS_DTYPES.values()}

_KIND = "a weight file"
_MAX_OPCODES = 2_000_000  # of one pickle; a tensor takes about 40

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_PROTO = b"\x80"  # begins a pickle
_TORCH_PROTOCOL = 1001


def is_torch(path: str | os.PathLike[str]) -> bool:
    """Whether a file is of PyTorch's format before 1.6, which begins with a pickle of a certain number."""
    with opened(path, _KIND) as file:
        start = file.read(32)
    return start.startswith(_PROTO) and _TORCH_MAGIC.to_bytes(10, "little") in start


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON text, and that."""
    with opened(path, _KIND) as file:
        length, start = int.from_bytes(file.read(8), "little"), file.read(1)
        return start == b"{" and length <= size_of(file) - 8


def read_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch weight file by name, in the file's order, without PyTorch.

    Reads what `torch.save` has written since PyTorch 0.1.10, in either format and from any device: a state dict, or
    a checkpoint that holds one (`state_dict` says which is taken). Tensors elsewhere in the file are not read.

    Returns:
        Arrays of the tensors' shapes and dtypes, bfloat16 as float32. They are read-only views: tensors that share
        memory in the file (tied weights, slices) share it here, and strides are those of the file.

    Raises:
        FileError: missing, unreadable, damaged or not a PyTorch weight file.
        WeightsError: a PyTorch file that holds something else than plain data and tensors (a whole pickled model,
            TorchScript), that is older than PyTorch 0.1.10, or in which no state dict is found.
    """
    with opened(path, "a PyTorch weight file") as file:
        return _read_zip(file) if file.read(4) == b"PK\x03\x04" else _read_before_zip(file)


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file by name, in the header's order.

    Metadata is ignored. A `module.` that begins all names is taken off, as `state_dict` does.

    Returns:
        Arrays of the tensors' shapes and dtypes, bfloat16 as float32; read-only.

    Raises:
        FileError: missing, unreadable, damaged or not a safetensors file.
        WeightsError: no tensors, or a dtype other than F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL.
    """
    with opened(path, "a safetensors file") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if header_size > min(MAX_HEADER, size_of(file) - 8):
            raise FileError("truncated, or not a safetensors file: its header would be larger than it can be")
        header = json.loads(file.read(header_size))
        header.pop("__metadata__", None)
        start, length = 8 + header_size, 0
        for begin, end in sorted(counts(entry["data_offsets"]) for entry in header.values()):
            if begin != length:
                raise FileError("damaged: tensors overlap or leave gaps")
            length = end
        if start + length != size_of(file):
            raise FileError(f"truncated or damaged: expected {start + length} bytes, found {size_of(file)}")
        return _named({name: _safetensor(name, entry, file, start) for name, entry in header.items()})


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in a file that tensors are views of: `numel` of those called `key`, from index `first` on."""

    key: str
    dtype: str
    first: int
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a PyTorch file whose numbers are not read yet; offset and stride count numbers, not bytes."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """Return the tensor as a read-only view of all the numbers called `storage.key`.

        Raises:
            FileError: they are too few.
        """
        numbers = numbers[self.storage.first :][: self.storage.numel]
        count = math.prod(self.size)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if len(numbers) < self.storage.numel or (count and last >= len(numbers)):
            raise FileError(f"it reaches beyond its storage of {len(numbers)} numbers")
        if count > max(len(numbers), MAX_SMALL):
            raise FileError(f"it repeats its storage of {len(numbers)} numbers unreasonably often")
        if not count:
            return np.empty(self.size, numbers.dtype)
        steps = [step * numbers.itemsize if n > 1 else 0 for n, step in zip(self.size, self.stride, strict=True)]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, steps, writeable=False)


def state_dict(contents: object) -> dict[str, StoredTensor]:
    """Return the tensors by name that are a network's weights among the contents of a PyTorch file.

    A mapping of names to nothing but tensors is taken as it is. In any other, mappings that hold tensors by name are
    looked for one level down (`{"params": ...}`): the only one is taken, or of several the first in `PREFERRED`.
    Without any, the mapping's own tensors are. Whatever else there is (epochs, the optimizer's state) is left out.
    A `module.` that begins all names (PyTorch's DataParallel puts it there) is taken off.

    Raises:
        WeightsError: there are no tensors by name, or several mappings of which none has a usual name.
    """
    tensors = _tensors(contents)
    if isinstance(contents, dict) and len(tensors) < len(contents):
        nested = {name: found for name, value in contents.items() if (found := _tensors(value))}
        if len(nested) == 1:
            tensors = next(iter(nested.values()))
        elif nested:
            chosen = next((name for name in PREFERRED if name in nested), None)
            if chosen is None:
                listed = ", ".join(map(quoted, list(nested)[:9]))
                raise WeightsError(f"expected one state dict, found {len(nested)}: {listed}")
            tensors = nested[chosen]
    return _named(tensors)


def _tensors(value: object) -> dict[str, StoredTensor]:
    return {name: t for name, t in value.items() if isinstance(t, StoredTensor)} if isinstance(value, dict) else {}


def _named(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors without the `module.` that begins all names; refuse none."""
    if not tensors:
        raise WeightsError("expected tensors by name (a state dict), found none")
    while all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _numbers(raw: bytes, dtype: str, byteorder: str = "<") -> np.ndarray:
    """Return the numbers of a storage; NumPy has no bfloat16, which is the upper half of a float32."""
    if dtype == "bool":
        return np.frombuffer(raw, np.uint8) != 0
    stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)
    numbers = np.frombuffer(raw, byteorder + stored.str[1:], len(raw) // stored.itemsize)
    if dtype == "bfloat16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(stored, copy=False)


def _safetensor(name: str, entry: dict[str, Any], file: IO[bytes], start: int) -> np.ndarray:
    """Return the tensor that `entry` of a safetensors header describes; the data begin at `start`."""
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise WeightsError(f"tensor {quoted(name)}: its dtype {quoted(entry['dtype'])} is not read")
    dtype = _SAFETENSORS_DTYPES[entry["dtype"]]
    shape, (begin, end) = counts(entry["shape"]), counts(entry["data_offsets"])
    if end - begin != math.prod(shape) * _ITEM_SIZES[dtype]:
        raise FileError(f"damaged: tensor {quoted(name)} has {end - begin} bytes, which its shape does not fit")
    file.seek(start + begin)
    array = _numbers(file.read(end - begin), dtype).reshape(shape)
    array.flags.writeable = False
    return array


def _read_zip(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Read the format of PyTorch since 1.6: an archive of `data.pkl`, and a member for each storage."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {info.filename for info in members}
        folders = [name.removesuffix("data.pkl") for name in names if f"/{name}".endswith("/data.pkl")]
        if len(folders) != 1:
            raise FileError(f"expected a PyTorch weight file, found an archive with {len(folders)} data.pkl")
        folder = folders[0]
        if f"{folder}constants.pkl" in names:
            raise WeightsError("expected a state dict, found a TorchScript model; save its state_dict() instead")
        check_members(members, file)

        def member(name: str) -> bytes:
            return read_member(archive, archive.getinfo(folder + name), quoted(name))

        byteorder = member("byteorder") if f"{folder}byteorder" in names else b"little"
        if byteorder not in (b"little", b"big"):
            raise FileError("damaged: expected a byte order of little or big")
        tensors = state_dict(_Unpickler(io.BytesIO(member("data.pkl"))).load())
        return _views(tensors, lambda key: member(f"data/{key}"), ">" if byteorder == b"big" else "<")


def _read_before_zip(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Read the format of PyTorch before 1.6: five pickles, then each storage as a count and its numbers."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[257:262] == b"ustar":
            raise WeightsError("a PyTorch file from before 0.1.10, which is not read; save it anew with a later one")
        unpickler = _Unpickler(data)
        if unpickler.load() != _TORCH_MAGIC:
            raise FileError("expected a PyTorch weight file, found something else")
        if unpickler.load() != _TORCH_PROTOCOL:
            raise FileError("expected protocol 1001 of PyTorch's files, found another")
        unpickler.load()  # the machine that wrote it; the numbers are little-endian from any
        contents = unpickler.load()
        keys = unpickler.load()
        if not all(type(key) is str for key in keys):
            raise ValueError("expected the names of storages, found something else")
        places = {}
        end = data.tell()
        for key in keys:
            begin = end + 8
            count = int.from_bytes(data[end:begin], "little")
            end = begin + count * _ITEM_SIZES[unpickler.dtypes[key]]
            places[key] = slice(begin, end)
        if end > len(data):
            raise FileError(f"truncated or damaged: expected {end} bytes, found {len(data)}")
        return _views(state_dict(contents), lambda key: data[places[key]])


def _views(
    tensors: dict[str, StoredTensor], read: Callable[[str], bytes], byteorder: str = "<"
) -> dict[str, np.ndarray]:
    """Return the tensors' arrays; `read` returns the bytes of a storage, and is called once for each."""
    storages: dict[str, np.ndarray] = {}
    arrays = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        if key not in storages:
            storages[key] = _numbers(read(key), tensor.storage.dtype, byteorder)
        with prefixed(f"damaged: tensor {quoted(name)}", FileError):
            arrays[name] = tensor.view(storages[key])
    return arrays


class _Unread:
    """Stands for a value that is not interpreted; whatever a pickle does with it has no effect."""

    def __call__(self, *_: object) -> "_Unread":
        return self

    def extend(self, _: object) -> None:
        """Stay as it is."""

    def update(self, _: object) -> None:
        """Stay as it is."""


_UNREAD = _Unread()


def _mapping(items: Iterable[Any] = ()) -> dict[str, Any]:
    """Stand in for OrderedDict; Python 2 gives it its items as pairs."""
    return {key: value for key, value in items if type(key) is str}


def _tensor(
    storage: _Storage, offset: int, size: Iterable[int], stride: Iterable[int], grad: bool = False, *extras: object
) -> StoredTensor:
    """Stand in for PyTorch's function of four arguments, and the later one of six or seven."""
    (offset,), size, stride = counts([offset]), counts(size), counts(stride)
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise ValueError("expected a tensor, found something else")
    if any(extras):  # hooks, which are always empty; and whether the numbers are meant conjugate or negative
        raise WeightsError("a tensor that is a conjugate or negative view, which is not read")
    return StoredTensor(storage, offset, size, stride)


def _parameter(data: StoredTensor, *_: object) -> StoredTensor:
    """Stand in for PyTorch's functions that make a trainable tensor of another tensor."""
    return data


# All that a pickle can name. What a training checkpoint holds besides tensors may be named, but is not interpreted.
_GLOBALS: dict[str, Any] = {
    **_STORAGE_DTYPES,
    **dict.fromkeys(
        (
            *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("dict", "set")),
            "_codecs.encode",
            "collections.Counter",
            "collections.defaultdict",
            "numpy.dtype",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "torch.Size",
            "torch.device",
            *(f"torch.{dtype}" for dtype in _ITEM_SIZES),
        ),
        _UNREAD,
    ),
    "collections.OrderedDict": _mapping,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "EMPTY_SET": _UNREAD}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
# How many values an opcode takes off the stack, where it does; those of _TAKE_TO_MARK take all since the last MARK.
_TAKE = {
    **dict.fromkeys(("APPEND", "BINPERSID", "BUILD", "POP", "STOP", "TUPLE1"), 1),
    **dict.fromkeys(("REDUCE", "SETITEM", "STACK_GLOBAL", "TUPLE2"), 2),
    "TUPLE3": 3,
}
_TAKE_TO_MARK = {"ADDITEMS", "APPENDS", "DICT", "FROZENSET", "LIST", "POP_MARK", "SETITEMS", "TUPLE"}


class _Unpickler:
    """Runs the pickles of `file` over plain data: dicts with names as keys, lists, tuples, numbers, `StoredTensor`.

    What it makes can refer to itself, or be a tuple of two references to a tuple of two references and so on, that
    unfolds to 2**100 values. So it must not be printed, compared, hashed or walked through; and Python prints what
    cannot be called.

    Attributes:
        dtypes: the dtype of each storage named so far, by its key.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.dtypes: dict[str, str] = {}

    def load(self) -> Any:
        """Return what the next pickle describes, and leave the file behind it."""
        stack: list[Any] = []
        marked: list[list[Any]] = []
        memo: dict[int, Any] = {}
        taken: list[Any] = []
        steps: Iterator[tuple[pickletools.OpcodeInfo, Any, Any]] = pickletools.genops(self.file)
        for step, (opcode, arg, _) in enumerate(steps):
            if step > _MAX_OPCODES:
                raise FileError(f"a pickle of more than {_MAX_OPCODES} steps, which no weight file needs")
            name = opcode.name
            if name in _TAKE:
                taken = [stack.pop() for _ in range(_TAKE[name])][::-1]
            elif name in _TAKE_TO_MARK:
                taken, stack = stack, marked.pop()
            match name:
                case "PROTO" | "FRAME" | "POP" | "POP_MARK" | "BUILD":  # BUILD: the _metadata of a state dict
                    pass
                case "STOP":
                    return taken[0]
                case "MARK":
                    marked.append(stack)
                    stack = []
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[arg] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    stack.append(memo[arg])
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_DICT":
                    stack.append({})
                case "LIST":
                    stack.append(taken)
                case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(tuple(taken))
                case "DICT":
                    stack.append(_mapping(zip(taken[::2], taken[1::2], strict=True)))
                case "FROZENSET":
                    stack.append(_UNREAD)
                case "APPEND" | "APPENDS" | "ADDITEMS":
                    stack[-1].extend(taken)
                case "SETITEM" | "SETITEMS":
                    stack[-1].update(_mapping(zip(taken[::2], taken[1::2], strict=True)))
                case "GLOBAL":
                    stack.append(_global(arg.replace(" ", ".")))
                case "STACK_GLOBAL":
                    stack.append(_global(".".join(taken)))
                case "REDUCE":
                    function, arguments = taken
                    if not callable(function) or type(arguments) is not tuple:
                        raise TypeError("expected a call, found something else")
                    stack.append(function(*arguments))
                case "BINPERSID":
                    stack.append(self._storage(taken[0]))
                case _ if name in _CONSTANTS:
                    stack.append(_CONSTANTS[name])
                case _ if name in _LITERALS:
                    stack.append(arg)
                case "INST":
                    raise _refusal(arg.replace(" ", "."))
                case _:
                    raise ValueError(f"the pickle opcode {name} is not run")
        raise EOFError("a pickle without an end")

    def _storage(self, saved: object) -> _Storage:
        """Return the storage that a pickle names; before PyTorch 1.6 it can be part of another."""
        match saved:
            case ("storage", str(dtype), str(key), _, int(numel)):
                first = 0
            case ("storage", str(dtype), str(key), _, int(numel), None):
                first = 0
            case ("storage", str(dtype), str(key), _, int(), (_, int(first), int(numel))):
                pass
            case _:
                raise ValueError("expected a storage, found something else")
        first, numel = counts((first, numel))
        if dtype not in _ITEM_SIZES or self.dtypes.setdefault(key, dtype) != dtype:
            raise ValueError(f"storage {quoted(key)} has no dtype, or two")
        return _Storage(key, dtype, first, numel)


def _global(name: str) -> Any:
    if name not in _GLOBALS:
        raise _refusal(name)
    return _GLOBALS[name]


def _refusal(name: str) -> WeightsError:
    return WeightsError(
        f"refused {quoted(name)}: only plain tensors are read, and nothing was executed; "
        "if this is a whole model, save its state_dict() instead"
    )

"""What the readers of files from elsewhere share: bounds on what a file can make of itself, damage as one line."""

import contextlib
import io
import json
import math
import os
import re
import shutil
import struct
import tarfile
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from deblurgan.errors import DeblurganError, FileError
from deblurgan.files import reason, shown, stand_in

# Sound files stay far below.
MAX_HEADER = 100_000_000  # bytes of a safetensors header, as its specification says, and of other JSON
MAX_INFLATION = 20  # times the size of an archive that it may unpack to, or else up to
MAX_SMALL = 2**26  # bytes
MAX_GROUPS = 100  # of HDF5, in one another
MAX_DIMENSIONS = 32  # NumPy's own limit before 2.0
_PIECE = 4096  # bytes of an archive that are unpacked at once, to 100 MB at most

# Where the classes are from that a model's JSON may name, and which of Keras' layers hold code or read files.
_CLASSES_FROM = re.compile(
    r"keras(\.(layers|initializers|regularizers|constraints|src\.models\.\w+))?|deblurgan\.networks\.\w+"
)
_RUN_CODE = frozenset({"function", "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
_READ_FILES = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})

_building = threading.RLock()  # Keras' class of layers belongs to the whole process

DAMAGE = (  # what the standard library, NumPy and h5py raise for damaged files, and what unexpected contents lead to
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    SystemError,  # of h5py, for names that are no text
    SyntaxError,  # this and the next: of the header of NumPy's arrays
    tokenize.TokenError,
    DeprecationWarning,  # of an invalid escape in a string, where warnings are errors
)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], kind: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, `kind` in words; errors inside the block become those of this package and name it."""
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{shown(path)}: expected {kind}, found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        with path.open("rb") as file:
            if not size_of(file):
                raise FileError(f"expected {kind}, found an empty file")
            if other := stand_in(file.read(256)):
                raise FileError(f"expected {kind}, found {other}")
            file.seek(0)
            yield file
    except DeblurganError as error:
        raise type(error)(f"{shown(path)}: {error}") from error
    except (OSError, *DAMAGE) as error:
        if isinstance(error, OSError) and error.errno:
            raise FileError(f"{shown(path)}: cannot be read: {reason(error)}") from error
        detail = f"{type(error).__name__}: {shown(reason(error)[:100])}"
        raise FileError(f"{shown(path)}: damaged, or not {kind} ({detail})") from error


def size_of(file: IO[bytes]) -> int:
    """Return how many bytes an open file has."""
    return os.fstat(file.fileno()).st_size


def most_unpacked(size: int) -> int:
    """Return how many bytes an archive of `size` bytes may unpack to."""
    return max(MAX_SMALL, MAX_INFLATION * size)


def check_members(members: Sequence[zipfile.ZipInfo], file: IO[bytes]) -> None:
    """Raise FileError for members of the archive `file` that claim to be larger than they can be."""
    packed = sum(info.compress_size for info in members)
    unpacked = sum(info.file_size for info in members)
    if packed > size_of(file) or unpacked > most_unpacked(size_of(file)):
        raise FileError("damaged, or made to exhaust the memory: its parts would be larger than they can be")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    """Return the content of a member, `name` in a message; raise FileError for a compression that has no bounds."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(f"damaged: {name} is compressed by an unknown method")
    return unpacked(archive, info)


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the content of a member, and no more than it claims; `archive.read` unpacks up to 2 GB more.

    Raises:
        FileError: it is compressed by bzip2, of which a few bytes become gigabytes at once.
    """
    if info.compress_type == zipfile.ZIP_BZIP2:
        raise FileError("expected deflate or LZMA, found bzip2")
    content = io.BytesIO()
    with archive.open(info) as file:
        shutil.copyfileobj(file, content, _PIECE)
    return content.getvalue()


def from_json(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def quoted(text: object, most: int = 80) -> str:
    """Return a name from a file as it can stand in a message, cut to `most` characters."""
    return ascii(text)[:most] if isinstance(text, str) else f"a {type(text).__name__}"


def counts(values: Iterable[Any]) -> tuple[int, ...]:
    """Return a shape, strides or positions from a file, checked to be what they can be.

    Raises:
        ValueError: they are not.
    """
    found = tuple(values)
    if len(found) > MAX_DIMENSIONS or not all(type(count) is int and 0 <= count < 2**63 for count in found):
        raise ValueError("expected sizes or positions, found something else")
    return found


def check_own(content: Any) -> None:
    """Raise FileError where an open HDF5 file has values that are not in it.

    Those from other files may be of any that its reader can read; those that are only claimed fill the memory.
    """
    import h5py

    links: list[tuple[str, Any]] = []

    def note(name: str, link: Any) -> str | None:
        links.append((name, link))
        return name if name.count("/") > MAX_GROUPS else None  # which ends the visit

    if content.visititems_links(note):
        raise FileError(f"damaged, or made to take for ever: more than {MAX_GROUPS} groups in one another")
    claimed = 0
    for name, link in links:
        item = content[name] if isinstance(link, h5py.HardLink) else None
        from_elsewhere = isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
        if isinstance(link, h5py.ExternalLink) or from_elsewhere:
            raise FileError(f"expected values in the file itself, found that {shown(name)} takes them from another")
        if not isinstance(item, h5py.Dataset):
            continue
        if item.chunks and len(item.chunks) != item.ndim:  # HDF5 divides by 0 there
            raise FileError(f"damaged: {shown(name)} has {item.ndim} dimensions, and chunks of {len(item.chunks)}")
        claimed += int(item.nbytes)
    if claimed > most_unpacked(content.id.get_filesize()):
        raise FileError("damaged, or made to exhaust the memory: its parts would be larger than they can be")


def check_classes(config: Any) -> None:
    """Raise FileError where the JSON of a Keras model names what is no plain layer of Keras' or of this package.

    Keras' safe mode refuses such, too; versions before 3.13.2 can be led around it.
    """
    found = [config]
    while found:
        value = found.pop()
        if isinstance(value, list):
            found += value
        elif isinstance(value, dict):
            found += value.values()
            name, module = value.get("class_name", "__keras_tensor__"), value.get("module")
            is_class = isinstance(name, str) and name.isidentifier()  # with points it could be of another module
            is_plain = is_class and name not in _RUN_CODE | _READ_FILES and _CLASSES_FROM.fullmatch(str(module))
            if name != "__keras_tensor__" and not is_plain:
                raise FileError(f"expected Keras' plain layers, found {quoted(name)} of {quoted(module)}")


@contextlib.contextmanager
def bounded_weights(count: int, size: int) -> Iterator[None]:
    """Raise FileError where this thread builds layers in the block with more weights than `count`, or `size` bytes.

    A few letters of a file's options make a network of any size.
    """
    import keras

    here = threading.get_ident()

    def counted(layer: Any, shape: Any = None, *arguments: Any, **options: Any) -> Any:
        nonlocal count, size
        if threading.get_ident() == here:
            count, size = count - 1, size - 4 * math.prod(shape or ())
            if min(count, size) < 0:
                raise FileError("damaged, or made to exhaust the memory: its network is larger than its weights")
        return add_weight(layer, shape, *arguments, **options)

    with _building:
        add_weight = keras.layers.Layer.add_weight
        keras.layers.Layer.add_weight = counted
        try:
            yield
        finally:
            keras.layers.Layer.add_weight = add_weight

"""MAXIM's weights as its authors publish them: a `.npz` of Flax parameters, read with NumPy alone.

The authors' checkpoint is a whole training state. Its arrays called `opt/target/...` are the network's weights, the
rest (the step, the optimizer's moments) is not read. Archives of the network's weights alone, with plain names and in
Keras' layout, are read as well.
"""

import os
import re
import zipfile

import numpy as np

from deblurgan.errors import FileError, WeightsError
from deblurgan.untrusted import check_members, counts, opened, quoted, read_member

TARGET = "opt/target/"  # what the names of the network's weights begin with in the authors' checkpoints

_KIND = "a .npz archive of MAXIM's weights"
_ENDING = ".npy"
_LONG = 150  # characters of an array's name in a message
_NAME = re.compile(r"stage_\d+_|UpSampleRatio_\d+/")
_TRANSPOSED = re.compile(r"(?:.*/)?ConvTranspose_\d+/kernel")
_MAGIC = b"\x93NUMPY"
_FLOAT = re.compile(r"[<>=]f[248]")


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a zip archive that holds arrays of NumPy's, by the names in it.

    Raises:
        FileError: missing, unreadable, or a damaged archive.
    """
    with opened(path, _KIND) as file:
        return zipfile.is_zipfile(file) and bool(_arrays(zipfile.ZipFile(file)))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return MAXIM's weights by the authors' module paths, in the file's order.

    Read are the arrays called `opt/target/<module path>`, as Flax lays them out, or where there are none those called
    by the module path alone, in Keras' layout.

    Returns:
        Read-only arrays in Keras' layout: convolutions (height, width, in, out), transposed convolutions (height,
        width, out, in), dense layers (in, out). Dtypes are the file's: float16, float32 or float64.

    Raises:
        FileError: missing, unreadable, damaged, or no `.npz` archive.
        WeightsError: an archive of other arrays, or a weight that is no array of floating-point numbers. Pickled
            objects are not read.
    """
    with opened(path, _KIND) as file:
        if not zipfile.is_zipfile(file):
            raise FileError(f"damaged, or not {_KIND}")
        with zipfile.ZipFile(file) as archive:
            arrays = _arrays(archive)
            wanted = {name: info for name, info in arrays.items() if name.startswith(TARGET)}
            if not wanted:
                wanted = {name: info for name, info in arrays.items() if not name.startswith("opt/")}
            if not any(_NAME.match(name.removeprefix(TARGET)) for name in wanted):
                found = ", ".join(map(quoted, list(arrays)[:5])) or "none"
                more = f" and {len(arrays) - 5} more" if len(arrays) > 5 else ""
                raise WeightsError(f"expected arrays called {TARGET}stage_0_... or stage_0_..., found {found}{more}")
            check_members(list(wanted.values()), file)
            return {name.removeprefix(TARGET): _array(name, archive, info) for name, info in wanted.items()}


def keras_layout(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel of Flax's ConvTranspose as that of Keras' Conv2DTranspose.

    Flax convolves the input, spread out with zeros, with the kernel (height, width, in, out) as it is. Keras takes
    the gradient of a convolution, which is the same with the kernel turned by half a turn, (height, width, out, in).
    """
    return np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))


def _arrays(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays in an archive by name."""
    members = [info for info in archive.infolist() if info.filename.endswith(_ENDING)]
    arrays = {info.filename.removesuffix(_ENDING): info for info in members}
    if len(arrays) < len(members):
        raise FileError("damaged: two arrays have the same name")
    return arrays


def _array(name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array; `name` is the one in the file."""
    content = read_member(archive, info, quoted(name, _LONG))
    if content[:6] != _MAGIC or content[6:7] not in (b"\1", b"\2", b"\3"):
        raise FileError(f"damaged: {quoted(name, _LONG)} is no array of NumPy's")
    start = 10 if content[6] == 1 else 12
    end = start + int.from_bytes(content[8:start], "little")
    dtype, fortran, shape = _described(name, content[start:end])
    if len(content) - end != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise FileError(
            f"damaged: {quoted(name, _LONG)} has {len(content) - end} bytes, which its shape does not fit"
        )
    array = np.frombuffer(content, dtype, offset=end).reshape(shape, order="F" if fortran else "C")
    array = array.astype(dtype.newbyteorder("="), copy=False)
    if name.startswith(TARGET) and _TRANSPOSED.fullmatch(name):
        if array.ndim != 4:
            raise WeightsError(f"{quoted(name, _LONG)}: expected four dimensions, found {array.ndim}")
        array = keras_layout(array)
    array.flags.writeable = False
    return array


def _described(name: str, header: bytes) -> tuple[np.dtype, bool, tuple[int, ...]]:
    """Return dtype, Fortran's order or not, and shape from the header of an array: a dict, written as in Python."""
    text = header.decode("latin1")
    descr, order, shape = (
        re.search(rf"'{key}':\s*{value}", text)
        for key, value in (("descr", "('[^']*'|.)"), ("fortran_order", "(True|False)"), ("shape", r"\(([\d,\s]*)\)"))
    )
    if descr is None or order is None or shape is None:
        raise FileError(f"damaged: the header of {quoted(name, _LONG)} is no description of an array")
    if not _FLOAT.fullmatch(kind := descr[1].strip("'")):
        raise WeightsError(f"{quoted(name, _LONG)}: expected float16, float32 or float64, found {quoted(kind)}")
    return np.dtype(kind), order[1] == "True", counts(int(n) for n in shape[1].replace(",", " ").split())

"""Pictures of any number of channels, for training: NumPy's files, `.npy`, with uint8 (height, width[, channels])."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError
from deblurgan.files import reason, shown
from deblurgan.pictures.formats import is_an_image_file
from deblurgan.pictures.pixels import as_rgb
from deblurgan.pictures.reading import read_rgb, read_size
from deblurgan.untrusted import DAMAGE

SUFFIX = ".npy"


def is_picture(path: Path) -> bool:
    """Whether the name is that of an image file or of one of NumPy's."""
    return is_an_image_file(path) or path.suffix == SUFFIX


def read_channels(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture as uint8 (height, width, channels): RGB as `read_rgb` does, of a `.npy` file what it holds.

    Grey becomes three equal channels there, too.

    Raises:
        FileError: as `read_rgb`; or a `.npy` file that is damaged, or holds something else.
    """
    return np.array(_opened(path)) if Path(path).suffix == SUFFIX else read_rgb(path)


def read_sides(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Read the height and width that `read_channels` would give, from the header alone; raises as that."""
    return _opened(path).shape[:2] if Path(path).suffix == SUFFIX else read_size(path)


def _opened(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The array in a file, which stays there until it is used."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(os.fspath(path), mode="r")  # which unpickles nothing
    except (OSError, *DAMAGE) as error:
        why = "of objects" if "Python objects" in str(error) else reason(error).partition(". ")[0]
        raise FileError(f"{shown(path)}: not a readable array ({why})") from error
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        found = f"{array.dtype} {array.shape}"
        raise FileError(f"{shown(path)}: expected uint8 (height, width, channels), found {found}")
    return as_rgb(array[:, :, np.newaxis] if array.ndim == 2 else array)

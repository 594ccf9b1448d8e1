"""Everything a training run needs to go on, in one HDF5 file that appears whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deblurgan.errors import FileError, WeightsError
from deblurgan.files import atomic_path, ensure_folder, reason, shown
from deblurgan.untrusted import check_own
from deblurgan.weights.any_file import HDF5_MAGIC
from deblurgan.weights.hdf5 import filled

Values = dict[str, list[np.ndarray]]
KEPT = ".kept.h5"  # how the names of those end that stay
_BLOCK = 512  # bytes before what HDF5 reads: the least that it looks behind


def save(path: Path, parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the variables of `parts` (models, optimizers; dropout's seeds are among them) and `state`, as JSON.

    Before the HDF5 comes a block with its digest, by which `read` notices damage; HDF5's own readers skip it.
    """

    def fill(file: h5py.File) -> None:
        file.attrs["state"] = json.dumps(state)
        for name, part in parts.items():
            group = file.create_group(name)
            for number, variable in enumerate(part.variables):
                group.create_dataset(f"{number:04d}", data=np.asarray(variable.numpy()))

    image = filled(fill)
    with atomic_path(path) as temporary, temporary.open("wb") as written:
        written.write(_block(hashlib.sha256(image)))
        written.write(image)


def read(path: Path) -> tuple[Values, dict[str, Any]]:
    """Return the values of each part's variables, and the state.

    Raises:
        FileError: the file is missing or damaged.
    """
    try:
        _check(path)
        with h5py.File(path, "r", locking=False) as file:  # not every file system has locks
            check_own(file)
            # Not `file.items()`: that holds h5py's lock until its last item, which a damaged file keeps it from.
            values = {name: [file[name][key][()] for key in sorted(file[name])] for name in list(file)}
            return values, json.loads(file.attrs["state"])
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:  # h5py's, if damaged
        raise FileError(f"{shown(path)}: expected a checkpoint of a training run: {reason(error)}") from error


def _check(path: Path) -> None:
    """Raise ValueError where a single byte is not what was written, before HDF5 could trip over it."""
    with path.open("rb") as file:
        block = file.read(_BLOCK)
        if block.startswith(HDF5_MAGIC):  # of earlier versions, without a digest
            return
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
        if block != _block(digest):
            raise ValueError("its contents are not what was written")


def _block(digest: Any) -> bytes:
    text = f"Checkpoint of deblurgan: HDF5 behind these {_BLOCK} bytes, SHA-256 {digest.hexdigest()}\n"
    return text.encode().ljust(_BLOCK, b"\0")


def assign(path: Path, values: Values, parts: Mapping[str, Any]) -> None:
    """Put the values that were read from `path` into the variables of `parts`, built as they were.

    Raises:
        WeightsError: the file's variables are not those of `parts`.
    """
    for name, part in parts.items():
        shapes = [value.shape for value in values.get(name, [])]
        if shapes != [tuple(variable.shape) for variable in part.variables]:
            raise WeightsError(f"{path}: the variables of {name} are not those of this run's recipe")
        for variable, value in zip(part.variables, values[name], strict=True):
            variable.assign(value)


class Checkpoints:
    """The latest few checkpoints of a run, named by their step, and those that are kept besides.

    Args:
        folder: where they are; made when the first is written.
        keep: how many of the latest.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def paths(self) -> list[Path]:
        """Return the files, oldest first."""
        return sorted(self.folder.glob("step_*.h5"))

    def save(self, step: int, parts: Mapping[str, Any], state: Mapping[str, Any], *, kept: bool = False) -> None:
        """Write the one of `step`, which stays if `kept`, then remove the oldest others where there are too many."""
        save(ensure_folder(self.folder) / f"step_{step:09d}{KEPT if kept else '.h5'}", parts, state)
        for path in [path for path in self.paths() if not path.name.endswith(KEPT)][: -self.keep]:
            path.unlink(missing_ok=True)

    def latest(self, notice: Callable[[str], None]) -> tuple[Path, Values, dict[str, Any]] | None:
        """Return the newest that is whole, with its contents, or None where there is none at all.

        Each damaged one is told to `notice` and renamed, so that it does not stand in the way of those to come.

        Raises:
            FileError: all are damaged.
        """
        damaged: list[Path] = []
        for path in reversed(self.paths()):
            try:
                found = path, *read(path)
            except FileError as error:
                notice(f"DAMAGED, the checkpoint before it is used: {error}")
                damaged.append(path)
                continue
            for other in damaged:
                other.rename(other.with_suffix(".damaged"))
            return found
        if damaged:
            raise FileError(f"{self.folder}: expected a checkpoint, found {len(damaged)} that are all damaged")
        return None

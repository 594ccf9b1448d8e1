"""Everything a training run needs to go on, in one HDF5 file that appears whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deblurgan.errors import FileError, WeightsError
from deblurgan.files import atomic_path, ensure_folder, reason

Values = dict[str, list[np.ndarray]]
KEPT = ".kept.h5"  # how the names of those end that stay


def save(path: Path, parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the variables of `parts` (models, optimizers; dropout's seeds are among them) and `state`, as JSON.

    A digest of both is written too, by which `read` notices damage.
    """
    values = {name: [np.asarray(variable.numpy()) for variable in part.variables] for name, part in parts.items()}
    text = json.dumps(state)
    with (
        atomic_path(path) as temporary,
        # In memory first: h5py does not survive a disk that fills up while it writes.
        h5py.File(temporary, "w", driver="core", backing_store=False) as file,
    ):
        file.attrs["state"] = text
        file.attrs["sha256"] = _digest(values, text)
        for name, arrays in values.items():
            group = file.create_group(name)
            for number, array in enumerate(arrays):
                group.create_dataset(f"{number:04d}", data=array)
        file.flush()
        temporary.write_bytes(file.id.get_file_image())


def read(path: Path) -> tuple[Values, dict[str, Any]]:
    """Return the values of each part's variables, and the state.

    Raises:
        FileError: the file is missing or damaged.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:  # not every file system has locks
            # Not `file.items()`: that holds h5py's lock until its last item, which a damaged file keeps it from.
            values = {name: [file[name][key][()] for key in sorted(file[name])] for name in list(file)}
            text, digest = file.attrs["state"], file.attrs.get("sha256")
        if digest is not None and digest != _digest(values, text):  # files of version 0.1.0 have none
            raise ValueError("its contents are not what was written")
        return values, json.loads(text)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:  # h5py's, if damaged
        raise FileError(f"{path}: expected a checkpoint of a training run: {reason(error)}") from error


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


def _digest(values: Values, state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name in sorted(values):
        for number, array in enumerate(values[name]):
            digest.update(f"{name}/{number} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

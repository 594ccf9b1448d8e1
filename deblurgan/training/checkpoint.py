"""Everything a training run needs to go on, in one HDF5 file that appears whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deblurgan.errors import FileError, WeightsError
from deblurgan.files import atomic_path, reason

NAME = "checkpoint.h5"


def save(path: Path, parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the variables of `parts` (models, optimizers; dropout's seeds are among them) and `state`, as JSON."""
    with (
        atomic_path(path) as temporary,
        # In memory first: h5py does not survive a disk that fills up while it writes.
        h5py.File(temporary, "w", driver="core", backing_store=False) as file,
    ):
        file.attrs["state"] = json.dumps(state)
        for name, part in parts.items():
            group = file.create_group(name)
            for number, variable in enumerate(part.variables):
                group.create_dataset(f"{number:04d}", data=np.asarray(variable.numpy()))
        file.flush()
        temporary.write_bytes(file.id.get_file_image())


def load(path: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Put the variables back into `parts`, built as they were, and return the state.

    Raises:
        FileError: the file is missing or damaged.
        WeightsError: its variables are not those of `parts`.
    """
    try:
        with h5py.File(path, "r") as file:
            for name, part in parts.items():
                values = [file[name][key][()] for key in sorted(file[name])]
                if [value.shape for value in values] != [tuple(v.shape) for v in part.variables]:
                    raise WeightsError(f"{path}: the variables of {name} are not those of this run's settings")
                for variable, value in zip(part.variables, values, strict=True):
                    variable.assign(value)
            return json.loads(file.attrs["state"])
    except WeightsError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # what h5py raises for damaged files
        raise FileError(f"{path}: expected a checkpoint of a training run: {reason(error)}") from error

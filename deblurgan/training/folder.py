"""The folder of a training run: what is where, and whose it is."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, held, reason, shown
from deblurgan.training.recipe import OLD_NAME, RECIPE_NAME, Recipe, read_run
from deblurgan.untrusted import from_json


@dataclass(frozen=True)
class RunFolder:
    """A training run's own folder.

    Attributes:
        path: where it is. It need not be there yet.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the latest checkpoints. Whoever makes it has the run for itself."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """The folder of pictures."""
        return self.path / "samples"

    @property
    def about(self) -> Path:
        """What the run was made from, and all its epochs."""
        return self.path / "run.json"

    def weights(self, label: str, network: str = "generator") -> Path:
        """Return the weight file of a network: "best", "last", or of an epoch."""
        return self.path / f"{network}_{label}.weights.h5"

    def linked(self) -> list[str]:
        """Return the names of folders in it that are links: what is written there goes elsewhere."""
        return sorted(path.name for path in self.path.glob("*") if path.is_symlink() and path.is_dir())

    def started(self, *, resume: bool) -> Recipe | None:
        """Return the recipe of the run that is there, if one is.

        Raises:
            InputError: a run is there, and not to be resumed.
            FileError: its recipe is damaged, or it is of an earlier version.
        """
        is_there = any(os.path.exists(self.path / name) for name in (RECIPE_NAME, OLD_NAME))
        if not resume and (is_there or self.checkpoints.exists()):
            raise self._taken()
        return read_run(self.path) if is_there else None

    def recorded(self) -> dict[str, Any]:
        """Return what `about` says, as far as it is there."""
        try:
            recorded = from_json(self.about.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return recorded if isinstance(recorded, dict) else {}

    @contextlib.contextmanager
    def claimed(self, *, resume: bool) -> Iterator[None]:
        """Make the folder where it is missing, and keep other processes from training in it within the block.

        Where the file system has no locks, only two that start are kept apart, not two that resume.

        Raises:
            InputError: another process was faster.
            FileError: the folder cannot be made or written to.
        """
        ensure_folder(self.path)
        try:
            self.checkpoints.mkdir()
        except FileExistsError as error:
            if not resume:
                raise self._taken() from error
        except OSError as error:
            raise FileError(f"{shown(self.checkpoints)}: the folder cannot be created: {reason(error)}") from error
        with held(self.checkpoints, InputError(f"{shown(self.path)}: another process trains in this folder now")):
            for folder in (self.path, self.checkpoints, self.samples):
                for path in folder.glob(".*.tmp*"):  # what a killed process had not finished writing
                    path.unlink(missing_ok=True)
            yield

    def _taken(self) -> InputError:
        return InputError(f"{shown(self.path)}: holds a run already; resume it, or choose another name")

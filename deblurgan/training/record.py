"""The record of a run: its history, and the files that show it."""

import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan import __version__
from deblurgan.files import atomic_path, ensure_folder
from deblurgan.pictures.writing import write_image
from deblurgan.training import curves
from deblurgan.training.folder import RunFolder
from deblurgan.training.logs import TensorBoard, write_csv


class Record:
    """A run's history, a row for each epoch, and the files of its folder that hold it.

    Args:
        folder: the run's.
        about: what `run.json` says of the run.
        log_dir: where TensorBoard's events go.
        watched: the loss or score by which epochs are compared where no pairs are validated.
        tags: what TensorBoard calls losses and scores, by their names.
        panels: what TensorBoard calls the pictures.

    Attributes:
        history: the rows. The one of epoch 0 tells of the network before training.
    """

    def __init__(
        self,
        folder: RunFolder,
        about: dict[str, Any],
        log_dir: Path,
        watched: str,
        *,
        tags: Mapping[str, str] | None = None,
        panels: str = "blurred, restored, sharp",
    ) -> None:
        self.folder = folder
        self.about = about
        self.watched = watched
        self.tags = tags or {}
        self.panels = panels
        self.counts_epoch_0 = about["recipe"]["init_weights"] is not None
        self.history: list[dict[str, Any]] = []
        self._board = TensorBoard(log_dir)
        self._logged: set[str] = set()

    def log(self, step: int, losses: Mapping[str, float]) -> None:
        """Add the losses of a step to TensorBoard's curves, which then have no point for the mean of an epoch."""
        self._logged.update(losses)
        self._board.write(step, {self.tags.get(name, name): value for name, value in losses.items()}, {})

    def add(self, row: dict[str, Any], grid: NDArray[np.uint8]) -> None:
        """Add the row of an epoch with its pictures, and write all files that show it."""
        self.history.append(row)
        names = list(dict.fromkeys(name for known in self.history for name in known))
        write_csv(self.folder.path / "log.csv", [{name: known.get(name) for name in names} for known in self.history])
        self.show(f"epoch_{row['epoch']:03d}", grid)
        scalars = {
            self.tags.get(name, name): value
            for name, value in row.items()
            if name not in ("epoch", "step", *self._logged) and value is not None
        }
        self._board.write(row["step"], scalars, {self.panels: grid})
        if curves.can_plot() and len(self.history) > 1:
            curves.plot(self.folder.path / "curves.png", self.history, self.about["validation"]["blurred"])
        with atomic_path(self.folder.about) as temporary:
            text = json.dumps({**self.about, "epochs": self.history}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")

    def show(self, name: str, picture: NDArray[np.uint8]) -> None:
        """Write a picture among the samples."""
        write_image(ensure_folder(self.folder.samples) / f"{name}.png", picture)

    @property
    def best(self) -> dict[str, Any]:
        """The row with the highest validation PSNR, or where no pairs are, the lowest `watched`.

        Epoch 0 counts where the weights were trained already, and while there is no other.
        """
        rows = self.history if self.counts_epoch_0 else self.history[1:] or self.history
        validated = [row for row in rows if row.get("val_psnr") is not None]
        if validated:
            return max(validated, key=lambda row: row["val_psnr"])
        return min(rows, key=lambda row: row.get(self.watched, math.inf))


def versions() -> Mapping[str, str]:
    """Return the versions of what a run's result depends on."""
    import tensorflow as tf

    return {
        "deblurgan": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }

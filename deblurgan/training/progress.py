"""What a training run tells while it works, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCORES = ("val_psnr", "val_ssim")
BOOKKEEPING = ("epoch", "step", "seconds", "images_per_second")
"""What the row of an epoch holds besides losses, scores and the learning rate."""


class Progress:
    """Listens to a training run; subclass it and override what is of interest."""

    def started(self, run: Path, device: str, pairs: int, validation: int | None) -> None:
        """Training begins: the run's folder, the device and precision, numbers of pictures.

        `validation` is None where there is nothing to validate on: pictures from noise.
        """

    def notice(self, line: str) -> None:
        """One line that the user should see."""

    def epoch_started(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """Epoch `epoch` of `epochs` begins, with `done` of its `steps` batches behind it."""

    def step_done(self, losses: Mapping[str, float]) -> None:
        """A batch is done; `losses` are its own."""

    def validating(self, done: int, total: int) -> None:
        """`done` of `total` validation pairs are restored."""

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        """An epoch is done and saved; `row` is its line in the CSV."""


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        run: its folder.
        weights: the generator's weight file to use: the best.
        history: a row for each finished epoch, and one for the time before the first; as in the CSV.
        bad: by name, why pairs were left out; those to validate on are named `validation/<name>`.
        interrupted: whether Ctrl-C ended it early.
    """

    run: Path
    weights: Path
    history: list[dict[str, Any]]
    bad: dict[str, str]
    interrupted: bool

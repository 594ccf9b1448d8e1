"""What a training run tells while it works, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Progress:
    """Listens to a training run, the tutorial's or a recipe's; subclass it and override what is of interest."""

    def started(self, run: Path, device: str, pairs: int, validation: int) -> None:
        """Training begins: the run's folder, the device and precision, numbers of pairs."""

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
        weights: the generator's weight file to use: the best if an epoch was finished, else the last.
        history: a row per finished epoch, as in the CSV.
        bad: by name, why pairs were left out; those to validate on are named `validation/<name>`.
        interrupted: whether Ctrl-C ended it early.
    """

    run: Path
    weights: Path
    history: list[dict[str, Any]]
    bad: dict[str, str]
    interrupted: bool

"""What is kept of a run: scores and pictures of each epoch, its weights, and checkpoints to go on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from deblurgan.files import copy_file
from deblurgan.training.checkpoint import Checkpoints
from deblurgan.training.recipe import Recipe
from deblurgan.training.record import Record
from deblurgan.training.samples import SampleValidation
from deblurgan.training.snapshot import Snapshot
from deblurgan.training.steps import Step
from deblurgan.training.team import Team
from deblurgan.training.validation import Validation
from deblurgan.weights.labelled import save_network


class Keeping(Protocol):
    """What the loop knows of it.

    Attributes:
        history: a row for each epoch.
    """

    history: list[dict[str, Any]]

    @property
    def last_good(self) -> str:
        """Which checkpoint a run whose losses run away can go back to, in words."""

    def scores(self) -> dict[str, float]:
        """Score the generator as it is now."""

    def log(self, step: int, losses: Mapping[str, float]) -> None:
        """Keep the losses of a step."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch, whose weights were scored last, to the history; keep these."""

    def part_of_epoch(self) -> None:
        """Keep the weights of a run that stops between two epochs."""

    def checkpoint(self, parts: Mapping[str, Any], state: Mapping[str, Any], *, kept: bool = False) -> None:
        """Write a checkpoint, which stays if `kept`."""


@dataclass
class Keeper:
    """Writes all that a run leaves; see `Keeping`.

    Attributes:
        recipe: how often weight files and kept checkpoints are due.
        step: what trains.
        snapshot: the generator as it is validated and saved.
        validation: scores it.
        record: keeps what an epoch gave.
        checkpoints: keep all that it takes to go on.
        team: is told the scores.
    """

    recipe: Recipe
    step: Step
    snapshot: Snapshot
    validation: Validation | SampleValidation
    record: Record
    checkpoints: Checkpoints
    team: Team

    @property
    def history(self) -> list[dict[str, Any]]:
        """See `Keeping`."""
        return self.record.history

    @history.setter
    def history(self, rows: list[dict[str, Any]]) -> None:
        self.record.history = rows

    @property
    def last_good(self) -> str:
        """See `Keeping`."""
        return f"the last good checkpoint is {self.checkpoints.paths()[-1]}"

    def scores(self) -> dict[str, float]:
        """See `Keeping`."""
        return self.team.of_first(self._scored)

    def log(self, step: int, losses: Mapping[str, float]) -> None:
        """See `Keeping`."""
        self.record.log(step, losses)

    def epoch(self, row: dict[str, Any]) -> None:
        """See `Keeping`."""
        folder = self.record.folder
        self.snapshot.save(folder.weights("last"))
        self.record.add(row, self.validation.grid)
        if self.record.best is row:
            copy_file(folder.weights("last"), folder.weights("best"))
        if self.recipe.save_every and row["epoch"] and row["epoch"] % self.recipe.save_every == 0:
            label = f"{row['epoch']:03d}"
            copy_file(folder.weights("last"), folder.weights(label))
            for name, network in self.step.networks().items():
                if network is not self.step.generator and self.recipe.critic is not None:
                    options = {**self.recipe.critic_options, "image_shape": network.input_shape[1:]}
                    save_network(network, folder.weights(label, name), self.recipe.critic, options, role="critic")

    def part_of_epoch(self) -> None:
        """See `Keeping`."""
        self.snapshot.take()
        self.snapshot.save(self.record.folder.weights("last"))

    def checkpoint(self, parts: Mapping[str, Any], state: Mapping[str, Any], *, kept: bool = False) -> None:
        """See `Keeping`."""
        self.checkpoints.save(state["step"], parts, {**state, "history": self.history}, kept=kept)

    def _scored(self) -> dict[str, float]:
        self.snapshot.take()
        return self.validation.score()


class KeptElsewhere:
    """Leaves scoring and writing to the first host: it has the history alone; see `Keeping`."""

    last_good = "the first host says which checkpoint is the last good one"

    def __init__(self, team: Team) -> None:
        self.team = team
        self.history: list[dict[str, Any]] = []

    def scores(self) -> dict[str, float]:
        """See `Keeping`."""
        return self.team.of_first(dict)

    def log(self, step: int, losses: Mapping[str, float]) -> None:
        """See `Keeping`."""

    def epoch(self, row: dict[str, Any]) -> None:
        """See `Keeping`."""
        self.history.append(row)

    def part_of_epoch(self) -> None:
        """See `Keeping`."""

    def checkpoint(self, parts: Mapping[str, Any], state: Mapping[str, Any], *, kept: bool = False) -> None:
        """See `Keeping`."""

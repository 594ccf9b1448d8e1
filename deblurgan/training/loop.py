"""The training loop: one for every step, whatever it trains."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deblurgan.errors import DeblurganError
from deblurgan.training import checkpoint
from deblurgan.training.average import WeightAverage
from deblurgan.training.epoch_losses import EpochLosses
from deblurgan.training.keeping import Keeping
from deblurgan.training.progress import Progress
from deblurgan.training.recipe import Recipe
from deblurgan.training.steps import Step

# What Keras' callbacks remember between epochs, beside what their constructors set.
CALLBACK_STATE = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


@dataclass
class Loop:
    """A run in progress.

    Attributes:
        recipe: how often validation, checkpoints and weight files are due.
        step: what trains.
        batches: from the first step and a number of steps to their batches, which are handed to the step as they are.
        steps: of the whole run.
        per_epoch: steps between two validations.
        losses: those of the present epoch.
        average: averages the weights after each step, if it is wanted.
        keeper: scores the generator, and writes what is to stay.
        callbacks: Keras callbacks. The logs of an epoch hold the means of its losses and the scores.
        progress: is told what happens.
        done: steps that are behind.
        callbacks_state: what the callbacks remembered when an epoch ended.
    """

    recipe: Recipe
    step: Step
    batches: Callable[[int, int], Iterator[Any]]
    steps: int
    per_epoch: int
    losses: EpochLosses
    average: WeightAverage | None
    keeper: Keeping
    callbacks: Sequence[keras.callbacks.Callback]
    progress: Progress
    done: int = 0
    callbacks_state: list[dict[str, Any]] = field(default_factory=list)

    def run(self, interrupted: Callable[[], bool]) -> bool:
        """Train to the last step or until a callback stops it, and return True; return False once `interrupted`."""
        model = self.step.model
        model.stop_training = False
        epochs = -(-self.steps // self.per_epoch)
        if not self.keeper.history:
            row = {"epoch": 0, "step": 0, "seconds": 0.0, "images_per_second": None}
            self._end_epoch({**row, **self.keeper.scores()})
        callbacks = keras.callbacks.CallbackList(self.callbacks, model=model, epochs=epochs, verbose=0)
        callbacks.on_train_begin()
        for callback, state in zip(self.callbacks, self.callbacks_state, strict=False):
            vars(callback).update(state)  # they have just forgotten it
        batches = self.batches(self.done, self.steps - self.done)

        while self.done < self.steps and not model.stop_training and not interrupted():
            epoch, before = divmod(self.done, self.per_epoch)
            first = epoch * self.per_epoch
            end = min(first + self.per_epoch, self.steps)
            if not before:
                self.losses.sums = {}
            self.progress.epoch_started(epoch + 1, epochs, end - first, before)
            callbacks.on_epoch_begin(epoch)
            begun = time.perf_counter()

            while self.done < end:
                callbacks.on_train_batch_begin(self.done - first)
                losses = self.step.step(next(batches))
                self._take(losses)
                callbacks.on_train_batch_end(self.done - first, losses)
                self.done += 1
                if self.recipe.log_every and self.done % self.recipe.log_every == 0:
                    self.keeper.log(self.done, losses)
                if self.done == end:
                    break
                if interrupted() or model.stop_training:
                    self.keeper.part_of_epoch()
                    self.save()
                    break
                if self.done % self.recipe.checkpoint_every == 0:
                    self.save()
            if self.done < end:
                break

            seconds = time.perf_counter() - begun
            logs = self.losses.means() | self.keeper.scores()
            callbacks.on_epoch_end(epoch, logs)
            row = {
                "epoch": epoch + 1,
                "step": self.done,
                "seconds": round(seconds, 3),
                "images_per_second": round((end - first - before) * self.recipe.batch_size / seconds, 2),
                **{name: float(value) for name, value in logs.items()},
                "learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
            }
            self.callbacks_state = [_state_of(callback) for callback in self.callbacks]
            self._end_epoch(row)
            self.progress.epoch_done(row)
        callbacks.on_train_end()
        return self.done == self.steps or model.stop_training

    def restore(self, path: Path, values: checkpoint.Values, state: Mapping[str, Any]) -> None:
        """Go back to the checkpoint that was read from `path`."""
        checkpoint.assign(path, values, self.parts())
        self.go_on(state)

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Take over all that a checkpoint has beside the values of variables."""
        self.done, self.losses.sums = state["step"], state["losses"]
        self.keeper.history, self.callbacks_state = state["history"], state["callbacks"]

    def save(self, *, kept: bool = False) -> None:
        """Write a checkpoint of this moment, which stays if `kept`."""
        state = {
            "step": self.done,
            "stopped": self.step.model.stop_training,
            "losses": self.losses.sums,
            "callbacks": self.callbacks_state,
        }
        self.keeper.checkpoint(self.parts(), state, kept=kept)

    def variables(self) -> list[keras.Variable]:
        """Return those of all parts."""
        return [variable for part in self.parts().values() for variable in part.variables]

    def parts(self) -> dict[str, Any]:
        """Everything that training changes, the average of the weights included."""
        return {**self.step.parts(), **({"average": self.average} if self.average is not None else {})}

    def _take(self, losses: Mapping[str, float]) -> None:
        """Take in what a step gave."""
        if self.average is not None:
            self.average.update()
        try:
            self.losses.add(losses)
        except DeblurganError as error:
            raise DeblurganError(
                f"{error}; {self.keeper.last_good}; try a lower learning_rate, a clip_norm or float32 precision"
            ) from error
        self.progress.step_done(losses)

    def _end_epoch(self, row: dict[str, Any]) -> None:
        """Keep an epoch that was scored, and write a checkpoint."""
        self.keeper.epoch(row)
        every, epoch = self.recipe.keep_every, row["epoch"]
        self.save(kept=bool(every and epoch) and (epoch % every == 0 or self.done == self.steps))


def _state_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    state = {name: value for name, value in vars(callback).items() if name in CALLBACK_STATE}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in state.items()}

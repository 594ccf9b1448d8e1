"""What happens around the steps of `fit`: averaging, validating, watching the losses, recording, checkpoints."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan import devices
from deblurgan.data.pairs import Pair
from deblurgan.errors import DeblurganError, FileError
from deblurgan.files import atomic_path, copy_file, ensure_folder
from deblurgan.networks import zoo
from deblurgan.pictures.writing import write_image
from deblurgan.restoring.restorer import Restorer
from deblurgan.scoring import metrics
from deblurgan.training import checkpoint, curves
from deblurgan.training.logs import TensorBoard, picture_grid, write_csv
from deblurgan.training.progress import Progress

GRID_ROWS = 4
RUN_NAME = "run.json"

# What Keras' callbacks remember between epochs, beside what their constructors set.
CALLBACK_STATE = ("wait", "best", "best_epoch", "stopped_epoch", "cooldown_counter")


class Stopped(Exception):  # noqa: N818  (it is no error)
    """Leaves `fit` in the middle of an epoch, after a checkpoint, because the user asked for it."""


class WeightAverage(keras.callbacks.Callback):
    """Keeps an exponential moving average of a model's trainable weights; `variables` hold it.

    Args:
        model: the model, built.
        decay: what the average keeps of itself in each step. In the first steps it keeps less,
            (1 + steps) / (10 + steps), so that the random weights of the start are soon forgotten.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        import tensorflow as tf

        super().__init__()
        self.decay = decay
        self.steps = keras.Variable(0, dtype="int64", trainable=False, name="steps")
        weights = model.trainable_variables
        self.average = [keras.Variable(np.asarray(w.numpy()), trainable=False, name="average") for w in weights]

        def update() -> None:
            steps = tf.cast(self.steps.assign_add(1), tf.float32)
            keep = tf.minimum(decay, (1.0 + steps) / (10.0 + steps))
            for average, weight in zip(self.average, weights, strict=True):
                average.assign(average * keep + weight * (1.0 - keep))

        self._update = tf.function(update, autograph=False)

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a checkpoint needs."""
        return [self.steps, *self.average]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take in the weights after a step."""
        self._update()


class EpochMeans(keras.callbacks.Callback):
    """Puts the means of an epoch's losses into its logs, also when the epoch was interrupted and resumed.

    Keras' own start again with every `fit`, and are wrong under a `tf.distribute` strategy before Keras 3.10.

    `state` is what a checkpoint needs; set it before an epoch begins to go on with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, Any] = {}  # for each loss, its sum and the number of steps in it
        self._resumed = False

    def resume(self, state: dict[str, Any]) -> None:
        """Go on with an epoch whose first steps are behind it."""
        self.state = state
        self._resumed = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the last epoch."""
        if not self._resumed:
            self.state = {}
        self._resumed = False

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take in the losses of a step."""
        for name, value in (logs or {}).items():
            if math.isfinite(value):  # the gradients' norm is not in a step that loss scaling skips
                total, steps = self.state.get(name, (0.0, 0))
                self.state[name] = (total + float(value), steps + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replace what Keras says."""
        if logs is not None:
            for name in [name for name, value in logs.items() if not math.isfinite(value)]:
                del logs[name]
            logs.update({name: total / steps for name, (total, steps) in self.state.items()})


class Once(keras.callbacks.Callback):
    """Passes everything on to other callbacks, but tells them only once that training begins, in however many `fit`s.

    Args:
        callbacks: the others. `finish` tells them that training has ended.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        super().__init__()
        self.callbacks = callbacks
        self._begun = False

    def set_params(self, params: Any) -> None:
        """Pass on."""
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        """Pass on."""
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        """Pass on the first time."""
        if not self._begun:
            self._begun = True
            for callback in self.callbacks:
                callback.on_train_begin(logs)

    def finish(self) -> None:
        """Tell that training has ended."""
        if self._begun:
            for callback in self.callbacks:
                callback.on_train_end()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Pass on."""
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class LossGuard(keras.callbacks.Callback):
    """Stops a run whose losses are no longer finite, or beyond a limit.

    Args:
        limit: the largest absolute value that is let pass.
        scaled: whether losses are scaled, so that a step whose gradients overflow is skipped and does no harm.
        last_good: returns the checkpoint to go back to, to be named.
    """

    def __init__(self, limit: float, scaled: bool, last_good: Callable[[], Path | None]) -> None:
        super().__init__()
        self.limit = limit
        self.scaled = scaled
        self.last_good = last_good

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Raise DeblurganError for a broken loss."""
        for name, value in (logs or {}).items():
            if math.isfinite(value) and (abs(value) <= self.limit or name == "gradient_norm"):
                continue
            if name == "gradient_norm" and self.scaled:
                continue
            what = f"larger than {self.limit:g} (loss_limit)" if math.isfinite(value) else "no longer finite"
            good = self.last_good()
            raise DeblurganError(
                f"{name} is {value:g}, {what}; "
                + (f"the last good checkpoint is {good}; " if good else "")
                + "try a lower learning_rate, a clip_norm or float32 precision"
            )


class Validation(keras.callbacks.Callback):
    """Restores the validation pictures at full size after each epoch; adds `val_psnr` and `val_ssim` to the logs.

    Args:
        pairs: what to validate on; without any, no scores are added.
        samples: what to restore and show instead where there are none; read like pairs.
        network, options: of the generator, by its name in `zoo`, without what only training needs.
        precision: "float32", "bfloat16" or "float16", to restore in.
        source: the generator in training.
        average: the averaged weights, which then are the ones validated, or None.
        progress: is told how far it is.

    `generator` has the weights that were validated last; `grid` the blurred, restored and sharp pictures of a few.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        samples: Sequence[Any],
        network: str,
        options: Mapping[str, Any],
        precision: str,
        source: keras.Model,
        average: WeightAverage | None,
        progress: Progress,
    ) -> None:
        super().__init__()
        self.pairs = pairs
        self.samples = samples
        self.generator = zoo.build_generator(network, options, dtype=devices.policy(precision))
        self.restorer = Restorer(self.generator)
        self.source = source
        self.average = average
        self.progress = progress
        self.bad: dict[str, str] = {}
        self.grid: NDArray[np.uint8] = np.full((4, 4, 3), 255, np.uint8)

    def blurred_scores(self) -> dict[str, float]:
        """Return the scores of the blurred pictures themselves, and forget the pairs that cannot be read."""
        scores = [(metrics.psnr(sharp, blurred), metrics.ssim(sharp, blurred)) for blurred, sharp in self._pictures()]
        return _means(scores)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate, and add the scores to the logs."""
        scores = self.score()
        if logs is not None:
            logs.update(scores)

    def score(self) -> dict[str, float]:
        """Restore the pictures with the present weights and return the mean scores, if there are pairs."""
        self.take_weights()
        scores: list[tuple[float, float]] = []
        rows: list[list[NDArray[np.uint8]]] = []
        for number, (blurred, sharp) in enumerate(self._pictures(), 1):
            restored = self.restorer(blurred)
            if self.pairs:
                scores.append((metrics.psnr(sharp, restored), metrics.ssim(sharp, restored)))
            if len(rows) < GRID_ROWS:
                rows.append([blurred, restored, sharp])
            self.progress.validating(number, len(self.pairs or self.samples))
        if rows:
            self.grid = picture_grid(rows)
        return _means(scores)

    def take_weights(self) -> None:
        """Take over the present weights of the generator in training, or their average."""
        averages: dict[int, Any] = {}
        if self.average is not None:
            trained = zip(self.source.trainable_variables, self.average.average, strict=True)
            averages = {id(variable): average for variable, average in trained}
        layers = {layer.name: layer for layer in self.source.layers}  # some of which only training has
        for layer in self.generator.layers:
            for variable, trained_one in zip(layer.weights, layers[layer.name].weights, strict=True):
                variable.assign(np.asarray(averages.get(id(trained_one), trained_one).numpy()))

    def _pictures(self) -> Any:
        for pair in self.pairs or self.samples:
            try:
                yield pair.read()
            except FileError as error:
                self.bad[pair.name] = str(error)


class Recorder(keras.callbacks.Callback):
    """Keeps the history of a run, its files, and its checkpoints; comes last, so that it sees what the others did.

    Args:
        run: the run's folder.
        validation: comes before it in the list of callbacks.
        others: callbacks whose state belongs into a checkpoint.
        parts: everything with variables that training changes, by name.
        means: of the present epoch.
        save_weights: writes the validated generator's weights to a file.
        checkpoints: where checkpoints go.
        checkpoint_every: steps between two.
        about: what `run.json` says of the run.
        blurred: scores of the blurred validation pictures.
        log_dir: where TensorBoard's events go.
        steps_per_epoch, steps: of an epoch, and in all.
        interrupted: whether the user wants to stop.
        progress: is told what happens.
    """

    def __init__(
        self,
        run: Path,
        *,
        validation: Validation,
        others: Sequence[keras.callbacks.Callback],
        parts: Mapping[str, Any],
        means: EpochMeans,
        save_weights: Callable[[Path], None],
        checkpoints: checkpoint.Checkpoints,
        checkpoint_every: int,
        about: dict[str, Any],
        blurred: Mapping[str, float],
        log_dir: Path,
        steps_per_epoch: int,
        steps: int,
        interrupted: Callable[[], bool],
        progress: Progress,
    ) -> None:
        super().__init__()
        self.run = run
        self.validation = validation
        self.others = others
        self.parts = parts
        self.means = means
        self.save_weights = save_weights
        self.checkpoints = checkpoints
        self.checkpoint_every = checkpoint_every
        self.about = about
        self.blurred = blurred
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps
        self.interrupted = interrupted
        self.progress = progress
        self.board = TensorBoard(log_dir)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.others_state: list[dict[str, Any]] | None = None

    def start(self) -> None:
        """Record what the network does before any training: epoch 0."""
        self._record({"epoch": 0, "step": 0, "seconds": 0.0, "images_per_second": None, **self.validation.score()})
        self.save()

    def restore(self, path: Path, values: checkpoint.Values, state: Mapping[str, Any]) -> None:
        """Go back to the checkpoint that was read from `path`."""
        checkpoint.assign(path, values, self.parts)
        self.step, self.history, self.others_state = state["step"], state["history"], state["callbacks"]
        if self.step % self.steps_per_epoch:
            self.means.resume(state["means"])

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        state = {
            "step": self.step,
            "stopped": bool(self.model is not None and self.model.stop_training),
            "means": self.means.state,
            "history": self.history,
            "callbacks": self.others_state,
        }
        self.checkpoints.save(self.step, self.parts, state)

    def on_train_begin(self, logs: Any = None) -> None:
        """Give the other callbacks back what they knew; they have just forgotten it."""
        for callback, state in zip(self.others, self.others_state or [], strict=False):
            vars(callback).update(state)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Tell that an epoch begins, and how much of it is done."""
        done = self.step % self.steps_per_epoch
        epochs = -(-self.steps // self.steps_per_epoch)
        length = min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)
        self.progress.epoch_started(epoch + 1, epochs, length, done)
        self._began, self._done_before = time.perf_counter(), done

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the step; write a checkpoint where one is due, and stop where the user wants to."""
        self.step += 1
        self.progress.step_done(logs or {})
        ends_epoch = self.step % self.steps_per_epoch == 0 or self.step == self.steps
        if self.interrupted() and not ends_epoch:
            self.validation.take_weights()
            self.save_weights(self._weights("last"))
            self.save()
            raise Stopped
        if self.step % self.checkpoint_every == 0 and not ends_epoch:
            self.save()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Record the epoch and write a checkpoint."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self._began
        steps = self.step - epoch * self.steps_per_epoch - self._done_before
        rate = steps * self.about["recipe"]["batch_size"] / seconds
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        timing = {"seconds": round(seconds, 3), "images_per_second": round(rate, 2)}
        self.others_state = [_state_of(callback) for callback in self.others]
        self._record({"epoch": epoch + 1, "step": self.step, **timing, **logs})
        self.save()
        self.progress.epoch_done(self.history[-1])
        if self.interrupted() and self.step < self.steps:
            raise Stopped

    def _record(self, row: dict[str, Any]) -> None:
        """Add a row to the history, and write all files that show it."""
        self.history.append(row)
        self.save_weights(self._weights("last"))
        if best_row(self.history) is row:
            copy_file(self._weights("last"), self._weights("best"))
        keys = list(dict.fromkeys(key for known in self.history for key in known))
        write_csv(self.run / "log.csv", [{key: known.get(key) for key in keys} for known in self.history])
        grid = self.validation.grid
        write_image(ensure_folder(self.run / "samples") / f"epoch_{row['epoch']:04d}.png", grid)
        scalars = {name: value for name, value in row.items() if name not in ("epoch", "step") and value is not None}
        self.board.write(row["step"], scalars, {"blurred, restored, sharp": grid})
        if curves.can_plot() and len(self.history) > 1:
            curves.plot(self.run / "curves.png", self.history, self.blurred)
        self.about["epochs"] = self.history
        with atomic_path(self.run / RUN_NAME) as temporary:
            temporary.write_text(json.dumps(self.about, indent=1) + "\n", encoding="utf-8")

    def _weights(self, label: str) -> Path:
        return self.run / f"generator_{label}.weights.h5"


def best_row(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the row with the highest validation PSNR, or where nothing is validated, the lowest loss."""
    validated = [row for row in history if row.get("val_psnr") is not None]
    if validated:
        return max(validated, key=lambda row: row["val_psnr"])
    return min(history, key=lambda row: row.get("loss", math.inf))


def _means(scores: Sequence[tuple[float, float]]) -> dict[str, float]:
    if not scores:
        return {}
    psnr, ssim = np.mean(scores, axis=0)
    return {"val_psnr": float(psnr), "val_ssim": float(ssim)}


def _state_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    state = {name: value for name, value in vars(callback).items() if name in CALLBACK_STATE}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in state.items()}

"""A training run: many epochs of the tutorial's step, with all that should be left of them on disk."""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan import devices
from deblurgan.data.pairs import Pair, PairStream, readable_pairs
from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.files import copy_file, ensure_folder
from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.pictures.writing import write_image
from deblurgan.restoring.restorer import Restorer
from deblurgan.scoring import metrics
from deblurgan.training import checkpoint
from deblurgan.training.interrupt import graceful_interrupt
from deblurgan.training.logs import TensorBoard, picture_grid, write_csv
from deblurgan.training.progress import Progress, Result
from deblurgan.training.settings import Settings, check_resumable, write_settings
from deblurgan.training.tutorial import LOSSES, TutorialGAN
from deblurgan.weights.hdf5 import save_weights

GRID_ROWS = 4


def train(
    settings: Settings,
    run: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Train the tutorial's networks and leave everything in the folder `run`.

    It gets, after each epoch: `generator_<epoch>.weights.h5` and `discriminator_<epoch>.weights.h5`, copies named
    `generator_best` (highest validation PSNR, or lowest generator loss without validation) and `generator_last`,
    `log.csv`, TensorBoard events in `logs`, `samples/epoch_<n>.png` (blurred, restored, sharp), and `checkpoint.h5`.

    Ctrl-C finishes the batch in hand, saves the last weights and a checkpoint, and returns; a second one raises
    KeyboardInterrupt at once. Resuming goes on with the very next batch: optimizer state, dropout seeds and the order
    of the data are as if there had been no interruption.

    Raises:
        InputError, FileError: settings or files that cannot be used; see `data.pairs` for those about pairs.
        DeblurganError: the losses are no longer finite (the message names the last good weights), or memory ran out.
    """
    import tensorflow as tf

    progress = progress or Progress()
    run = Path(run)
    if resume:
        check_resumable(settings, run)
    elif (run / checkpoint.NAME).exists():
        raise InputError(f"{run}: holds a run already; resume it, or choose another name")
    pairs, bad = _training_pairs(settings)
    validation, bad_validation = _validation_pairs(settings)
    for message in (*bad.values(), *bad_validation.values()):
        progress.notice(f"left out: {message}")
    stream = PairStream(pairs, settings.batch_size, settings.image_size, settings.preprocess, settings.seed, bad=bad)
    ensure_folder(run)
    gan = _build(settings)
    session = _Session(settings, run, gan, stream, validation, bad_validation, progress)
    if resume:
        session.restore()
    write_settings(settings, run)
    with graceful_interrupt(progress.notice) as interrupted:
        progress.started(run, devices.describe(settings.precision), len(pairs), len(validation))
        try:
            return session.run_epochs(interrupted)
        except tf.errors.ResourceExhaustedError as error:
            raise DeblurganError(
                f"out of memory: lower batch_size ({settings.batch_size}) or image_size ({settings.image_size})"
            ) from error


def _training_pairs(settings: Settings) -> tuple[list[Pair], dict[str, str]]:
    least = settings.image_size if settings.preprocess == "crop" else 1
    return readable_pairs(settings.input_dir, settings.n_images, settings.seed, least)


def _validation_pairs(settings: Settings) -> tuple[list[Pair], dict[str, str]]:
    if settings.val_dir is None or settings.n_val == 0:
        return [], {}
    return readable_pairs(settings.val_dir, settings.n_val, settings.seed, metrics.MIN_SIDE)


def _build(settings: Settings) -> TutorialGAN:
    """Build the networks with weights drawn from the settings' seed."""
    keras.utils.set_random_seed(settings.seed)
    shape = (settings.image_size, settings.image_size, 3)
    policy = devices.policy(settings.precision)
    return TutorialGAN(
        generator_model(shape, upsampling=settings.upsampling, dtype=policy),
        discriminator_model(shape, legacy_batchnorm=settings.legacy_batchnorm, dtype=policy),
        critic_updates=settings.critic_updates,
        learning_rate=settings.learning_rate,
        compute_dtype=devices.resolve_precision(settings.precision),
    )


class _Session:
    """The state of a run between its batches."""

    def __init__(
        self,
        settings: Settings,
        run: Path,
        gan: TutorialGAN,
        stream: PairStream,
        validation: list[Pair],
        bad_validation: dict[str, str],
        progress: Progress,
    ) -> None:
        self.settings = settings
        self.run = run
        self.gan = gan
        self.stream = stream
        self.validation = validation
        self.bad_validation = bad_validation
        self.progress = progress
        self.restorer = Restorer(gan.generator)
        self.board = TensorBoard(Path(settings.log_dir) if settings.log_dir else run / "logs")
        self.epoch = 1
        self.losses: list[dict[str, float]] = []  # of the present epoch's batches
        self.history: list[dict[str, Any]] = []

    def restore(self) -> None:
        """Go back to where the checkpoint was written."""
        state = checkpoint.load(self.run / checkpoint.NAME, self.gan.parts())
        self.epoch, self.losses, self.history = state["epoch"], state["losses"], state["history"]
        if self.epoch > self.settings.epoch_num:
            raise InputError(
                f"epoch_num: expected more than the {len(self.history)} epochs that {self.run} already has, "
                f"received {self.settings.epoch_num}"
            )

    def save_checkpoint(self) -> None:
        """Write all that `restore` needs."""
        state = {"epoch": self.epoch, "losses": self.losses, "history": self.history}
        checkpoint.save(self.run / checkpoint.NAME, self.gan.parts(), state)

    def run_epochs(self, interrupted: Callable[[], bool]) -> Result:
        """Train until the last epoch is done or `interrupted` says so."""
        while True:
            timing = self._train_epoch(interrupted)
            if interrupted():
                save_weights(self.gan.generator, self._weights("generator", "last"))
                self.save_checkpoint()
            else:
                self._finish_epoch(timing)
            finished = self.epoch > self.settings.epoch_num
            if finished or interrupted():
                return self._result(interrupted=not finished)

    def _train_epoch(self, interrupted: Callable[[], bool]) -> dict[str, float]:
        """Train on what is left of the present epoch; return how long that took and the train steps' share."""
        done = len(self.losses)
        self.progress.epoch_started(self.epoch, self.settings.epoch_num, self.stream.steps, done)
        begin, stepping = time.perf_counter(), 0.0
        for blurred, sharp in self.stream.epoch(self.epoch).skip(done):
            before = time.perf_counter()
            losses = self.gan.step(blurred, sharp)
            stepping += time.perf_counter() - before
            self._require_finite(losses)
            self.losses.append(losses)
            self.progress.step_done(losses)
            if interrupted():
                break
        if not self.losses:
            raise InputError(
                f"{self.settings.input_dir}: too few of its pictures can be read for one batch of "
                f"{self.settings.batch_size}: {next(iter(self.stream.bad.values()))}"
            )
        elapsed = time.perf_counter() - begin
        return {"seconds": round(elapsed, 3), "step_share": round(stepping / elapsed, 4)}

    def _require_finite(self, losses: Mapping[str, float]) -> None:
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken:
            good = self._weights("generator", "last")
            raise DeblurganError(
                f"epoch {self.epoch}: {broken[0]} is no longer finite; "
                + (f"the last good weights are in {good}; " if good.exists() else "")
                + "try a lower learning_rate or float32 precision"
            )

    def _finish_epoch(self, timing: Mapping[str, float]) -> None:
        """Validate, log and save."""
        means = {name: float(np.mean([losses[name] for losses in self.losses])) for name in LOSSES}
        scores, grid = self._validate()
        row: dict[str, Any] = {"epoch": self.epoch, **means, **scores, **timing}
        self.history.append(row)

        save_weights(self.gan.generator, self._weights("generator", "last"))
        if self.epoch % self.settings.save_every == 0:
            copy_file(self._weights("generator", "last"), self._weights("generator", f"{self.epoch:03d}"))
            save_weights(self.gan.discriminator, self._weights("discriminator", f"{self.epoch:03d}"))
        if _best_epoch(self.history) == self.epoch:
            copy_file(self._weights("generator", "last"), self._weights("generator", "best"))
        write_csv(self.run / "log.csv", self.history)
        write_image(ensure_folder(self.run / "samples") / f"epoch_{self.epoch:03d}.png", grid)
        scalars = {name: value for name, value in row.items() if name != "epoch" and value is not None}
        self.board.write(self.epoch, scalars, {"blurred, restored, sharp": grid})

        self.epoch += 1
        self.losses = []
        self.save_checkpoint()
        self.progress.epoch_done(row)

    def _validate(self) -> tuple[dict[str, float | None], NDArray[np.uint8]]:
        """Return the mean scores over the validation pairs, and pictures of the first few.

        Without validation pairs there are no scores, and the pictures are of training pairs.
        """
        scores: list[tuple[float, float]] = []
        rows: list[list[NDArray[np.uint8]]] = []
        pairs = self.validation or self.stream.pairs[:GRID_ROWS]
        for number, pair in enumerate(pairs, 1):
            try:
                blurred, sharp = pair.read()
            except FileError as error:
                bad = self.bad_validation if self.validation else self.stream.bad
                bad[pair.name] = str(error)
                continue
            restored = self.restorer(blurred)
            if self.validation:
                scores.append((metrics.psnr(sharp, restored), metrics.ssim(sharp, restored)))
            if len(rows) < GRID_ROWS:
                rows.append([blurred, restored, sharp])
            self.progress.validating(number, len(pairs))
        grid = picture_grid(rows) if rows else np.full((4, 4, 3), 255, np.uint8)
        if not scores:
            return {"val_psnr": None, "val_ssim": None}, grid
        psnr, ssim = np.mean(scores, axis=0)
        return {"val_psnr": float(psnr), "val_ssim": float(ssim)}, grid

    def _weights(self, network: str, label: str) -> Path:
        return self.run / f"{network}_{label}.weights.h5"

    def _result(self, interrupted: bool) -> Result:
        best = self._weights("generator", "best")
        weights = best if best.exists() else self._weights("generator", "last")
        bad = self.stream.bad | {f"validation/{name}": why for name, why in self.bad_validation.items()}
        return Result(self.run, weights, self.history, bad, interrupted)


def _best_epoch(history: list[dict[str, Any]]) -> int:
    """The epoch with the highest validation PSNR, or where no epoch was validated, the lowest generator loss."""
    validated = [row for row in history if row["val_psnr"] is not None]
    if validated:
        return max(validated, key=lambda row: row["val_psnr"])["epoch"]
    return min(history, key=lambda row: row["g_loss"])["epoch"]

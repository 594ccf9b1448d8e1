"""A training run from a recipe: everything that the loop needs, put together."""

import dataclasses
import os
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from deblurgan import devices
from deblurgan.data.arrays import ArrayStream
from deblurgan.data.crops import CropStream, digest
from deblurgan.errors import DeblurganError, InputError, WeightsError
from deblurgan.files import shown
from deblurgan.restoring.restorer import Restorer
from deblurgan.training import recipe as recipes
from deblurgan.training.average import WeightAverage
from deblurgan.training.checkpoint import Checkpoints
from deblurgan.training.epoch_losses import EpochLosses
from deblurgan.training.folder import RunFolder
from deblurgan.training.initial import take_weights, with_network_of
from deblurgan.training.interrupt import graceful_interrupt
from deblurgan.training.judging import Judge
from deblurgan.training.logs import picture_grid
from deblurgan.training.loop import Loop
from deblurgan.training.pictures import Sample, training_stream, validation_pairs
from deblurgan.training.progress import Progress, Result
from deblurgan.training.recipe import Recipe
from deblurgan.training.record import Record, versions
from deblurgan.training.samples import SampleValidation
from deblurgan.training.snapshot import Snapshot
from deblurgan.training.steps import build_step
from deblurgan.training.teacher import open_teacher
from deblurgan.training.validation import GRID_ROWS, Validation
from deblurgan.weights.generators import generator_file


def train(
    recipe: Recipe,
    run: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Result:
    """Train as `recipe` says and leave everything in the folder `run`.

    It gets `recipe.json` (all fields, a recipe itself) and `run.json` (versions, device, data, timing, all epochs);
    after each epoch `generator_last` and, when it is the best so far, `generator_best.weights.h5`, with `save_every`
    also those of the epoch by its number; `log.csv`, `curves.png` (where matplotlib is installed),
    `samples/epoch_<n>.png` (blurred, restored, sharp, or the recipe's `panels`; or samples from noise),
    `samples/training_pairs.png` (what comes out of cropping and mirroring) and TensorBoard's events in `logs`; and
    `checkpoints`, the latest few.

    Killed at any moment and resumed, a run ends with the weights, bit for bit, of one that was not, on the same CPU.
    Ctrl-C writes a checkpoint after the step in hand; a second one raises KeyboardInterrupt at once.

    Args:
        recipe: what to do. Its `sources`, or its `dataset`, name the pictures.
        run: the run's own folder.
        resume: whether to go on from its latest whole checkpoint; from the start where there is none.
        progress: is told what happens.
        callbacks: Keras callbacks. The logs of an epoch hold the validation's `val_psnr` and `val_ssim`, or of
            pictures from noise `val_distance` and `val_diversity`.

    Raises:
        InputError, FileError, WeightsError: recipe or files that cannot be used.
        DeblurganError: the losses are no longer finite, or too large (the message names the last good checkpoint),
            or memory ran out (it names what to lower).

    Examples:
        >>> from deblurgan.training.recipe import make
        >>> from deblurgan.training.trainer import train
        >>> fields = {"network": "nafnet", "sources": [{"folder": "images/train"}], "image_size": 32, "batch_size": 1}
        >>> tiny = {"width": 2, "encoder_blocks": [1], "decoder_blocks": [1]}
        >>> result = train(make(fields, [("network_options", tiny), ("steps", 2)]), "run")
    """
    progress = progress or Progress()
    folder = RunFolder(Path(run))
    started = folder.started(resume=resume)
    if started is not None:
        if recipe.init_weights is not None:  # which the networks are from
            own = ("network", "network_options", "input_channels", "output_channels")
            recipe = dataclasses.replace(recipe, **{name: getattr(started, name) for name in own})
        recipes.check_resumable(recipe, started, run)
    checkpoints = Checkpoints(folder.checkpoints, recipe.keep_checkpoints)
    saved = checkpoints.latest(progress.notice) if resume else None
    if resume and saved is None:
        progress.notice(f"{run}: no checkpoint yet; the run starts from the beginning")
    initial = generator_file(recipe.init_weights) if recipe.init_weights is not None and saved is None else None
    if initial is not None and started is None:
        recipe = with_network_of(initial, recipe, progress)

    stream = training_stream(recipe)
    pairs, bad_pairs = validation_pairs(recipe)
    for message in (*stream.bad.values(), *bad_pairs.values()):
        progress.notice(f"left out: {message}")
    per_epoch = recipe.steps_per_epoch or max(1, stream.pictures // recipe.batch_size)
    steps = _steps(recipe, per_epoch, saved[2]["step"] if saved is not None else 0, run)
    all_callbacks = [*_plateau_callbacks(recipe), *callbacks]

    strategy = devices.strategy(recipe.devices)
    _require_divisible(recipe, strategy.num_replicas_in_sync)
    precision = devices.training_precision(recipe.precision, recipe.bfloat16_on_cpu)
    with strategy.scope():
        teacher = open_teacher(recipe, precision)
        step = build_step(recipe, steps, precision, teacher)
        if initial is not None:
            take_weights(step.generator, recipe, initial)
        average = WeightAverage(step.generator, recipe.ema) if recipe.ema else None
    snapshot = Snapshot(recipe, precision, step.generator, average)
    validation: Validation | SampleValidation
    if isinstance(stream, ArrayStream):
        if stream.notice:
            progress.notice(stream.notice)
        validation = SampleValidation(snapshot.generator, stream.images, recipe.seed)
    else:
        judge = Judge(recipe, step.networks()["discriminator"]) if "critic" in recipe.panels else None
        samples = [Sample(stream, index) for index in range(GRID_ROWS)]
        validation = Validation(pairs, samples, Restorer(snapshot.generator), progress, recipe.panels, judge)
    validation.bad.update(bad_pairs)

    device = devices.describe(precision)
    if strategy.num_replicas_in_sync > 1:
        device += f", {strategy.num_replicas_in_sync} replicas"
    about = {
        "recipe": dataclasses.asdict(recipe),
        "versions": versions(),
        "device": device,
        "data": stream.summary(),
        "validation": {
            "folder": recipe.val_dir,
            "pictures": len(pairs),
            "files": digest([pair.name for pair in pairs]),
            "blurred": validation.of_blurred(),
        },
        "steps": steps,
        "steps_per_epoch": per_epoch,
        "parameters": {name: network.count_params() for name, network in step.networks().items()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if teacher is not None:
        about["teacher"] = {"network": teacher.network, "sha256": teacher.digest}
    if saved is not None:
        _compare(folder.recorded(), about, recipe, folder, progress)

    with folder.claimed(resume=resume), graceful_interrupt(progress.notice) as interrupted:
        recipes.write(recipe, folder.path)
        log_dir = Path(recipe.log_dir) if recipe.log_dir else folder.path / "logs"
        record = Record(folder, about, log_dir, step.watched, tags=recipe.tags, panels=validation.shows)
        loop = Loop(
            recipe=recipe,
            step=step,
            batches=lambda first, count: iter(strategy.experimental_distribute_dataset(stream.batches(first, count))),
            steps=steps,
            per_epoch=per_epoch,
            losses=EpochLosses(recipe.loss_limit, scaled=precision == "float16"),
            average=average,
            snapshot=snapshot,
            validation=validation,
            record=record,
            checkpoints=checkpoints,
            callbacks=all_callbacks,
            progress=progress,
        )
        progress.started(folder.path, device, stream.pictures, None if recipe.dataset is not None else len(pairs))
        with _in_one_line(recipe, stream):
            if saved is not None:
                loop.restore(*saved)
            elif isinstance(validation, Validation):
                record.show("training_pairs", picture_grid([sample.read() for sample in validation.samples]))
            stopped = saved is not None and saved[2]["stopped"]
            finished = stopped or loop.run(interrupted)
    bad = stream.bad | {f"validation/{name}": why for name, why in validation.bad.items()}
    best, last = folder.weights("best"), folder.weights("last")
    return Result(folder.path, best if best.exists() else last, loop.record.history, bad, interrupted=not finished)


@contextmanager
def _in_one_line(recipe: Recipe, stream: CropStream | ArrayStream) -> Iterator[None]:
    """Turn what TensorFlow raises in a run into errors of one line, and let a warning of Keras' own pass."""
    import tensorflow as tf

    try:
        with warnings.catch_warnings():  # errors with `python -W error`; NumPy 2 warns of how Keras reads variables
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            yield
    except tf.errors.ResourceExhaustedError as error:
        raise DeblurganError(
            f"out of memory: raise accumulate ({recipe.accumulate}), or lower batch_size ({recipe.batch_size}) "
            f"or image_size ({recipe.image_size}); in a validation, take smaller pictures"
        ) from error
    except DeblurganError as error:
        # The frames of the loop hold an iterator, whose threads would keep the process from ending.
        traceback.clear_frames(error.__traceback__)
        raise
    except tf.errors.OpError:
        if stream.failure is not None:
            raise stream.failure from None
        raise


def _steps(recipe: Recipe, per_epoch: int, done: int, run: str | os.PathLike[str]) -> int:
    """Return the number of steps in all, not fewer than are done."""
    if recipe.steps is None and recipe.epochs is None:
        raise InputError("steps: expected steps or epochs, received neither")
    steps = recipe.steps or (recipe.epochs or 0) * per_epoch
    if steps < done:
        name = "steps" if recipe.steps else "epochs"
        raise InputError(f"{name}: expected at least the {done} steps that {run} already has, received {steps}")
    return steps


def _require_divisible(recipe: Recipe, replicas: int) -> None:
    if recipe.batch_size % (replicas * recipe.accumulate):
        raise InputError(
            f"batch_size: expected a multiple of devices x accumulate ({replicas} x {recipe.accumulate}), "
            f"received {recipe.batch_size}"
        )


def _plateau_callbacks(recipe: Recipe) -> list[keras.callbacks.Callback]:
    """Return Keras' callbacks for the recipe's fields of their names."""
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.reduce_lr:
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                "val_psnr", factor=recipe.reduce_lr_factor, patience=recipe.reduce_lr, mode="max"
            )
        )
    if recipe.early_stopping:
        callbacks.append(keras.callbacks.EarlyStopping("val_psnr", patience=recipe.early_stopping, mode="max"))
    if callbacks and (recipe.val_dir is None or recipe.n_val == 0):
        raise InputError("early_stopping, reduce_lr: expected validation pairs (val_dir), which they look at")
    return callbacks


def _compare(
    before: Mapping[str, Any], about: dict[str, Any], recipe: Recipe, folder: RunFolder, progress: Progress
) -> None:
    """Compare what a run that goes on is made from with what it was made from before; keep when it started.

    Raises:
        WeightsError: it has learnt from another teacher.
    """
    about["started"] = before.get("started", about["started"])
    teacher = about.get("teacher")
    if teacher is not None and before.get("teacher", teacher)["sha256"] != teacher["sha256"]:
        raise WeightsError(
            f"teacher {recipe.teacher}: expected the weights that {folder.path} was started with, found others"
        )
    data = list(zip(before.get("data", []), about["data"], strict=False))
    if before.get("validation", {}).get("folder") == recipe.val_dir:
        data.append((before["validation"], about["validation"]))
    for then, now in data:
        if then["files"] != now["files"]:
            progress.notice(
                f"CHANGED: {shown(now['folder'])} has other pictures than when the run stopped: then "
                f"{then['pictures']}, now {now['pictures']}; the run goes on with these, not as it would have"
            )

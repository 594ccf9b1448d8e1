"""A training run from a recipe: everything that the loop needs, put together."""

import dataclasses
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from deblurgan.training.hosts import ALONE, WAIT, Hosts, meet
from deblurgan.training.initial import take_weights, with_network_of
from deblurgan.training.interrupt import graceful_interrupt
from deblurgan.training.judging import Judge
from deblurgan.training.keeping import Keeper, KeptElsewhere
from deblurgan.training.logs import picture_grid
from deblurgan.training.loop import Loop
from deblurgan.training.pictures import Sample, training_stream, validation_pairs
from deblurgan.training.progress import Progress, Result
from deblurgan.training.recipe import Recipe
from deblurgan.training.record import Record, versions
from deblurgan.training.samples import SampleValidation
from deblurgan.training.snapshot import Snapshot
from deblurgan.training.steps import Step, build_step
from deblurgan.training.teacher import Teacher, open_teacher
from deblurgan.training.team import Team, naming_lost
from deblurgan.training.validation import GRID_ROWS, Validation
from deblurgan.weights.any_file import WeightFile
from deblurgan.weights.generators import generator_file


def train(
    recipe: Recipe,
    run: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    hosts: Hosts = ALONE,
    wait_for_hosts: float = WAIT,
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
        hosts: those that train together, e.g. `hosts.from_environment()`. What the first one is given counts, and it
            alone scores and writes; the others `follow`.
        wait_for_hosts: seconds until they have to be there.

    Raises:
        InputError, FileError, WeightsError: recipe or files that cannot be used, or hosts that do not come.
        DeblurganError: the losses are no longer finite, or too large (the message names the last good checkpoint),
            or memory ran out (it names what to lower), or another host is gone.

    Examples:
        >>> from deblurgan.training.recipe import make
        >>> from deblurgan.training.trainer import train
        >>> fields = {"network": "nafnet", "sources": [{"folder": "images/train"}], "image_size": 32, "batch_size": 1}
        >>> tiny = {"width": 2, "encoder_blocks": [1], "decoder_blocks": [1]}
        >>> result = train(make(fields, [("network_options", tiny), ("steps", 2)]), "run")
    """
    if not hosts.is_first:
        return follow(hosts, progress=progress, callbacks=callbacks, wait_for_hosts=wait_for_hosts)
    with naming_lost(hosts):
        return _train(recipe, RunFolder(Path(run)), resume, progress or Progress(), callbacks, hosts, wait_for_hosts)


def _train(
    recipe: Recipe,
    folder: RunFolder,
    resume: bool,
    progress: Progress,
    callbacks: Sequence[keras.callbacks.Callback],
    hosts: Hosts,
    wait_for_hosts: float,
) -> Result:
    """Train as `train` says."""
    started = folder.started(resume=resume)
    if started is not None:
        if recipe.init_weights is not None:  # which the networks are from
            own = ("network", "network_options", "input_channels", "output_channels")
            recipe = dataclasses.replace(recipe, **{name: getattr(started, name) for name in own})
        recipes.check_resumable(recipe, started, folder.path)
    if links := folder.linked():
        progress.notice(f"{folder.path}: folders in it are links, and written to where they lead: {', '.join(links)}")
    checkpoints = Checkpoints(folder.checkpoints, recipe.keep_checkpoints)
    saved = checkpoints.latest(progress.notice) if resume else None
    if resume and saved is None:
        progress.notice(f"{folder.path}: no checkpoint yet; the run starts from the beginning")
    initial = generator_file(recipe.init_weights) if recipe.init_weights is not None and saved is None else None
    if initial is not None and started is None:
        recipe = with_network_of(initial, recipe, progress)

    if hosts.count > 1:
        _require_shareable(recipe, hosts)
        progress.notice(f"{hosts.name(0)} waits for {hosts.count - 1} more")
    meet(hosts, _shared(), (recipe.devices, devices.local_devices(recipe.devices)), wait_for_hosts)
    team = Team(hosts, recipe.devices)

    stream = training_stream(recipe)
    pairs, bad_pairs = validation_pairs(recipe)
    for message in (*stream.bad.values(), *bad_pairs.values()):
        progress.notice(f"left out: {message}")
    per_epoch = recipe.steps_per_epoch or max(1, stream.pictures // recipe.batch_size)
    steps = _steps(recipe, per_epoch, saved[2]["step"] if saved is not None else 0, folder.path)
    all_callbacks = [*_plateau_callbacks(recipe), *callbacks]
    precision = devices.training_precision(recipe.precision, recipe.bfloat16_on_cpu)
    team.of_first(
        lambda: {
            "recipe": dataclasses.asdict(recipe),
            "steps": steps,
            "per_epoch": per_epoch,
            "precision": precision,
            "data": stream.summary(),
            "state": None if saved is None else saved[2],
        }
    )
    replicas = team.strategy.num_replicas_in_sync
    _require_divisible(recipe, replicas, "devices")
    with _in_one_line(recipe, stream):
        teacher, step, average = _networks(recipe, steps, precision, team, initial)
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
    if hosts.count > 1:
        device += f", {hosts.count} hosts"
    if replicas > 1:
        device += f", {replicas} replicas"
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
            batches=lambda first, count: team.batches(stream, first, count),
            steps=steps,
            per_epoch=per_epoch,
            losses=EpochLosses(recipe.loss_limit, scaled=precision == "float16"),
            average=average,
            keeper=Keeper(recipe, step, snapshot, validation, record, checkpoints, team),
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
            finished = _run(loop, team, interrupted, stopped=stopped)
    bad = stream.bad | {f"validation/{name}": why for name, why in validation.bad.items()}
    best, last = folder.weights("best"), folder.weights("last")
    return Result(folder.path, best if best.exists() else last, loop.keeper.history, bad, interrupted=not finished)


def follow(
    hosts: Hosts,
    *,
    progress: Progress | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    wait_for_hosts: float = WAIT,
) -> Result:
    """Train with the first of `hosts`, which says how, scores and writes; see `train`, also for what is raised.

    The result has the history and why pictures were left out here; there are no files.
    """
    with naming_lost(hosts):
        return _follow(hosts, progress or Progress(), callbacks, wait_for_hosts)


def _follow(
    hosts: Hosts, progress: Progress, callbacks: Sequence[keras.callbacks.Callback], wait_for_hosts: float
) -> Result:
    """Train as `follow` says."""
    progress.notice(f"{hosts.name(hosts.index)} trains with {hosts.name(0)}, which says how, scores and writes")
    kind, found = meet(hosts, _shared(), None, wait_for_hosts)
    _require_same("devices", found, devices.local_devices(kind))
    team = Team(hosts, kind)
    told = team.of_first(dict)
    recipe, precision, state = recipes.make(told["recipe"]), told["precision"], told["state"]
    stream = training_stream(recipe)
    for message in stream.bad.values():
        progress.notice(f"left out: {message}")
    for theirs, ours in zip(told["data"], stream.summary(), strict=True):
        _require_same(f"{shown(ours['folder'])}: names of its pictures", theirs["files"], ours["files"])
    with graceful_interrupt(progress.notice) as interrupted, _in_one_line(recipe, stream):
        _, step, average = _networks(recipe, told["steps"], precision, team)
        keeper = KeptElsewhere(team)
        loop = Loop(
            recipe=recipe,
            step=step,
            batches=lambda first, count: team.batches(stream, first, count),
            steps=told["steps"],
            per_epoch=told["per_epoch"],
            losses=EpochLosses(recipe.loss_limit, scaled=precision == "float16"),
            average=average,
            keeper=keeper,
            callbacks=[*_plateau_callbacks(recipe), *callbacks],
            progress=progress,
        )
        if state is not None:
            loop.go_on(state)
        finished = _run(loop, team, interrupted, stopped=state is not None and state["stopped"])
    return Result(Path(), Path(), keeper.history, dict(stream.bad), interrupted=not finished)


def _run(loop: Loop, team: Team, interrupted: Callable[[], bool], *, stopped: bool) -> bool:
    """Run a loop, unless a callback stopped it before, from where it is on the first host; see `Loop.run`."""
    team.take_of_first(loop.variables())
    finished = stopped or loop.run(lambda: team.any(interrupted()))
    team.any(False)  # all end together
    return finished


def _shared() -> dict[str, str]:
    """Return the versions that all hosts have to have."""
    return {name: version for name, version in versions().items() if name in ("deblurgan", "keras", "tensorflow")}


def _networks(
    recipe: Recipe, steps: int, precision: str, team: Team, initial: WeightFile | None = None
) -> tuple[Teacher | None, Step, WeightAverage | None]:
    """Return what trains, with the teacher and the average of weights that the recipe has."""
    if team.hosts.count > 1:
        recipe = dataclasses.replace(recipe, jit="never")
    with team.strategy.scope():
        teacher = open_teacher(recipe, precision)
        step = build_step(recipe, steps, precision, teacher)
        if initial is not None:
            take_weights(step.generator, recipe, initial)
        average = WeightAverage(step.generator, recipe.ema) if recipe.ema else None
    if teacher is not None:
        _require_same(f"teacher {recipe.teacher}", team.of_first(lambda: teacher.digest), teacher.digest)
    return teacher, step, average


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


def _require_shareable(recipe: Recipe, hosts: Hosts) -> None:
    """Raise InputError unless a recipe can be trained by several hosts."""
    if recipe.step == recipes.TUTORIAL:
        raise InputError(f"hosts: expected one alone with the tutorial's step, received {hosts.count}")
    if recipe.jit == "always":
        raise InputError(f"jit: expected never or gpu with {hosts.count} hosts, received always")
    count = int(devices.local_devices(recipe.devices).split()[0])
    _require_divisible(recipe, hosts.count * count, "hosts x their devices")


def _require_divisible(recipe: Recipe, replicas: int, which: str) -> None:
    if recipe.batch_size % (replicas * recipe.accumulate):
        raise InputError(
            f"batch_size: expected a multiple of {which} x accumulate ({replicas} x {recipe.accumulate}), "
            f"received {recipe.batch_size}"
        )


def _require_same(what: str, first: Any, here: Any) -> None:
    if first != here:
        raise InputError(f"{what}: expected what the first host has, {first}, found {here}")


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

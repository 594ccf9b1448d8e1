"""A training run from a recipe: `fit` with everything around it that a run should leave behind."""

import dataclasses
import json
import os
import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan import __version__, devices
from deblurgan.data.crops import CropStream
from deblurgan.data.pairs import Pair, check_pairs, choose_pairs
from deblurgan.data.sources import PairSource, open_source
from deblurgan.errors import DeblurganError, InputError, WeightsError, nearest
from deblurgan.files import ensure_folder, shown
from deblurgan.networks import zoo
from deblurgan.pictures.pixels import from_model
from deblurgan.scoring import metrics
from deblurgan.training import recipe as recipes
from deblurgan.training.adversarial import ADVERSARIAL, AdversarialLoss
from deblurgan.training.callbacks import (
    GRID_ROWS,
    RUN_NAME,
    EpochMeans,
    LossGuard,
    Once,
    Recorder,
    Stopped,
    Validation,
    WeightAverage,
)
from deblurgan.training.checkpoint import Checkpoints
from deblurgan.training.interrupt import graceful_interrupt
from deblurgan.training.losses import WeightedSum
from deblurgan.training.optimizers import build_optimizer
from deblurgan.training.progress import Progress, Result
from deblurgan.training.recipe import Recipe
from deblurgan.training.restoration import Restoration
from deblurgan.training.settings import SETTINGS_NAME
from deblurgan.training.teacher import Teacher, open_teacher
from deblurgan.weights import any_file
from deblurgan.weights.any_file import WeightFile
from deblurgan.weights.named_file import save_network

CHECKPOINTS = "checkpoints"


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
    after each epoch `generator_last` and, when it is the best so far, `generator_best.weights.h5`, `log.csv`,
    `curves.png` (where matplotlib is installed), `samples/epoch_<n>.png` (blurred, restored, sharp) and TensorBoard's
    events in `logs`; and `checkpoints`, the latest few.

    Killed at any moment and resumed, a run ends with the weights, bit for bit, of one that was not, on the same CPU.
    Ctrl-C writes a checkpoint after the step in hand; a second one raises KeyboardInterrupt at once.

    Args:
        recipe: what to do. Its `sources` name the pictures.
        run: the run's own folder.
        resume: whether to go on from its latest whole checkpoint; from the start where there is none.
        progress: is told what happens.
        callbacks: more callbacks for `fit`. The logs of an epoch hold the validation's `val_psnr` and `val_ssim`.

    Raises:
        InputError, FileError, WeightsError: recipe or files that cannot be used.
        DeblurganError: the losses are no longer finite, or too large (the message names the last good checkpoint),
            or memory ran out (it names what to lower).
    """
    import tensorflow as tf

    progress = progress or Progress()
    run = Path(run)
    checkpoints = Checkpoints(run / CHECKPOINTS, recipe.keep_checkpoints)
    is_there = (run / recipes.RECIPE_NAME).exists()
    if ((is_there or checkpoints.paths()) and not resume) or (run / SETTINGS_NAME).exists():
        raise InputError(f"{run}: holds a run already; resume it, or choose another name")
    started = recipes.read_run(run) if is_there else None
    content = any_file.read(recipe.init_weights) if recipe.init_weights is not None and started is None else None
    recipe = _with_network_of_weights(recipe, content, started, progress)
    if started is not None:
        recipes.check_resumable(recipe, started, run)
    recorded_patience = started.early_stopping if started is not None else None
    saved = checkpoints.latest(progress.notice) if resume else None
    if resume and saved is None:
        progress.notice(f"{run}: no checkpoint yet; the run starts from the beginning")

    stream = _stream(recipe)
    validation, bad_validation = _validation(recipe)
    for message in (*stream.bad.values(), *bad_validation.values()):
        progress.notice(f"left out: {message}")
    steps_per_epoch = recipe.steps_per_epoch or max(1, stream.pictures // recipe.batch_size)
    steps = _steps(recipe, steps_per_epoch)
    if saved is not None and saved[2]["step"] > steps:
        raise InputError(f"steps: expected at least the {saved[2]['step']} that {run} already has, received {steps}")
    strategy = devices.strategy(recipe.devices)
    _require_divisible(recipe, strategy.num_replicas_in_sync)
    precision = devices.training_precision(recipe.precision, recipe.bfloat16_on_cpu)
    recorded = _recorded(run) if saved is not None else {}
    with strategy.scope():
        teacher = open_teacher(recipe, precision)
        if teacher is not None:
            _require_same(teacher, recipe, recorded, run)
        model = build_model(recipe, steps, precision, teacher)
        if recipe.init_weights is not None and saved is None:
            _take_weights(model.generator, recipe, content or any_file.read(recipe.init_weights))
        average = WeightAverage(model.generator, recipe.ema) if recipe.ema else None
    options = zoo.for_restoring(recipe.network, recipe.network_options)
    validating = Validation(
        validation,
        [_Sample(f"crop {index}", stream, index) for index in range(GRID_ROWS)],
        recipe.network,
        options,
        precision,
        model.generator,
        average,
        progress,
    )
    validating.bad.update(bad_validation)
    blurred = validating.blurred_scores() if validation else {}
    parts: dict[str, Any] = {"model": model, "optimizer": model.optimizer}
    parts |= {"critic_optimizer": model.critic_optimizer} if model.critic is not None else {}
    parts |= {"average": average} if average is not None else {}
    means = EpochMeans()
    others = [*_plateau_callbacks(recipe), *callbacks]
    device = f"{devices.describe(precision)}" + (
        f", {strategy.num_replicas_in_sync} replicas" if strategy.num_replicas_in_sync > 1 else ""
    )
    networks = {"generator": model.generator} | ({"critic": model.critic} if model.critic is not None else {})
    about = {
        "recipe": dataclasses.asdict(recipe),
        "versions": _versions(),
        "device": device,
        "seed": recipe.seed,
        "data": stream.summary(),
        "validation": {"folder": recipe.val_dir, "pairs": len(validation), "blurred": blurred},
        "steps": steps,
        "steps_per_epoch": steps_per_epoch,
        "parameters": {name: network.count_params() for name, network in networks.items()},
        "started": recorded.get("started") or time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if teacher is not None:
        about["teacher"] = {"network": teacher.network, "sha256": teacher.digest}
    ensure_folder(run)
    _remove_temporaries(run)
    recipes.write(recipe, run)
    with graceful_interrupt(progress.notice) as interrupted:
        recorder = Recorder(
            run,
            validation=validating,
            others=others,
            parts=parts,
            means=means,
            save_weights=lambda path: save_network(validating.generator, path, recipe.network, options),
            checkpoints=checkpoints,
            checkpoint_every=recipe.checkpoint_every,
            about=about,
            blurred=blurred,
            log_dir=Path(recipe.log_dir) if recipe.log_dir else run / "logs",
            steps_per_epoch=steps_per_epoch,
            steps=steps,
            interrupted=interrupted,
            progress=progress,
        )
        progress.started(run, device, stream.pictures, len(validation))
        guard = LossGuard(
            recipe.loss_limit, precision == "float16", lambda: next(reversed(checkpoints.paths()), None)
        )
        once = Once(others)
        ordered = [*([average] if average is not None else []), means, guard, validating, once, recorder]
        try:
            if saved is None:
                recorder.start()
            else:
                recorder.restore(*saved)
            stopped = saved is not None and saved[2]["stopped"] and recipe.early_stopping == recorded_patience
            finished = stopped or _fit(model, stream, recorder, ordered)
            once.finish()
        except Stopped:
            finished = False
        except tf.errors.ResourceExhaustedError as error:
            raise DeblurganError(
                f"out of memory: raise accumulate ({recipe.accumulate}), or lower batch_size ({recipe.batch_size}) "
                f"or image_size ({recipe.image_size}); in a validation, take smaller pictures"
            ) from error
        except DeblurganError as error:
            # The frames of `fit` hold an iterator, whose threads would keep the process from ending.
            traceback.clear_frames(error.__traceback__)
            raise
        except tf.errors.OpError:
            if stream.failure is not None:
                raise stream.failure from None
            raise
    bad = stream.bad | {f"validation/{name}": why for name, why in validating.bad.items()}
    best, last = (run / f"generator_{label}.weights.h5" for label in ("best", "last"))
    return Result(run, best if best.exists() else last, recorder.history, bad, interrupted=not finished)


def _recorded(run: Path) -> dict[str, Any]:
    """What the record of a run that goes on says, as far as it is there."""
    try:
        recorded = json.loads((run / RUN_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _require_same(teacher: Teacher, recipe: Recipe, recorded: dict[str, Any], run: Path) -> None:
    """Raise WeightsError where the run that goes on has learnt from other weights than the teacher's."""
    if recorded.get("teacher", {"sha256": teacher.digest}).get("sha256") != teacher.digest:
        raise WeightsError(
            f"teacher {recipe.teacher}: expected the weights that {run} was started with, found others"
        )


def _fit(model: Restoration, stream: CropStream, recorder: Recorder, callbacks: list[Any]) -> bool:
    """Train until the last step, or until a callback stops it."""
    per_epoch, steps = recorder.steps_per_epoch, recorder.steps
    batches = stream.batches(lambda: (recorder.step, steps - recorder.step))
    while recorder.step < steps:
        epoch, done = divmod(recorder.step, per_epoch)
        whole_epochs = (steps - recorder.step) // per_epoch
        if done or not whole_epochs:  # the rest of an interrupted epoch, or a last one that is shorter
            epochs, length = 1, min(per_epoch - done, steps - recorder.step)
        else:
            epochs, length = whole_epochs, per_epoch
        model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + epochs,
            steps_per_epoch=length,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
        if model.stop_training:
            break
    return True


def _stream(recipe: Recipe) -> CropStream:
    if not recipe.sources:
        raise InputError("sources: expected at least one source of training pictures, received none")
    sources = [open_source(spec) for spec in recipe.sources]
    for source in sources:
        if recipe.teacher is None and not source.has_sharp:
            raise InputError(
                f"teacher: expected one for {source.kind}={shown(source.folder)}, "
                "where nothing is sharp, received none"
            )
    return CropStream(
        sources,
        crop_size=recipe.image_size,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        downscale=recipe.downscale,
        augment=recipe.augment,
        candidates=recipe.candidates,
        crops_per_picture=recipe.crops_per_picture,
        cache_mb=recipe.cache_mb,
        workers=recipe.workers,
    )


def _validation(recipe: Recipe) -> tuple[list[Pair], dict[str, str]]:
    if recipe.val_dir is None or recipe.n_val == 0:
        return [], {}
    source = open_source({"folder": recipe.val_dir})
    assert isinstance(source, PairSource)  # no other kind is guessed
    pairs, bad = check_pairs(choose_pairs(source.pairs, recipe.n_val, recipe.seed), metrics.MIN_SIDE)
    if not pairs:
        raise InputError(f"val_dir {recipe.val_dir}: none of its pictures can be read: {next(iter(bad.values()))}")
    return pairs, bad


@dataclass(frozen=True)
class _Sample:
    """A training crop to look at where there are no validation pairs; read like a `Pair`. No sharp one is grey."""

    name: str
    stream: CropStream
    index: int

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        blurred, sharp = self.stream.crop(self.index)
        return from_model(blurred), from_model(np.nan_to_num(sharp))


def _steps(recipe: Recipe, steps_per_epoch: int) -> int:
    if recipe.steps is None and recipe.epochs is None:
        raise InputError("steps: expected steps or epochs, received neither")
    return recipe.steps or (recipe.epochs or 0) * steps_per_epoch


def _require_divisible(recipe: Recipe, replicas: int) -> None:
    if recipe.batch_size % (replicas * recipe.accumulate):
        raise InputError(
            f"batch_size: expected a multiple of devices x accumulate ({replicas} x {recipe.accumulate}), "
            f"received {recipe.batch_size}"
        )


def build_model(recipe: Recipe, steps: int, precision: str, teacher: Teacher | None = None) -> Restoration:
    """Build networks, losses and optimizers for a run of `steps` steps, with weights drawn from the recipe's seed.

    Args:
        recipe: what to build.
        steps: the length that schedules are made for.
        precision: "float32", "bfloat16" or "float16".
        teacher: the recipe's, from `open_teacher`.

    Raises:
        InputError, FileError, WeightsError: a name or option that does not exist, or VGG weights that do not fit.
    """
    keras.utils.set_random_seed(recipe.seed)
    policy = devices.policy(precision)
    multiple = zoo.size_multiple(recipe.network, recipe.network_options)
    if recipe.image_size % multiple:
        raise InputError(
            f"image_size: expected a multiple of {multiple} for this network, received {recipe.image_size}"
        )
    generator = zoo.build_generator(recipe.network, recipe.network_options, dtype=policy)
    critic = None
    if recipe.critic is not None:
        shape = (recipe.image_size, recipe.image_size, 6 if recipe.conditional else 3)
        critic = zoo.build_critic(recipe.critic, {**recipe.critic_options, "image_shape": shape}, dtype=policy)
    perceptual: dict[str, Any] = {
        "network": recipe.perceptual_network,
        "weights": recipe.vgg_weights,
        "imagenet_preprocessing": recipe.imagenet_preprocessing,
        "compute_dtype": precision,
    }
    model = Restoration(
        generator,
        WeightedSum(recipe.losses, **(perceptual if "perceptual" in recipe.losses else {})),
        reductions=zoo.reductions(recipe.network, recipe.network_options),
        sharp_weight=recipe.sharp_weight,
        teacher=None if teacher is None else teacher.restore,
        teacher_weight=recipe.teacher_weight,
        critic=critic,
        adversarial=_adversarial(recipe),
        adversarial_weight=recipe.adversarial_weight,
        penalty_weight=recipe.gradient_penalty,
        critic_updates=recipe.critic_updates,
        conditional=recipe.conditional,
        accumulate=recipe.accumulate,
        clip_norm=recipe.clip_norm,
        seed=recipe.seed,
    )
    jit = recipe.jit == "always" or (recipe.jit == "gpu" and bool(devices.gpu_names()))
    model.compile(
        build_optimizer(recipe, steps, precision),
        build_optimizer(recipe, steps, precision, critic=True) if critic is not None else None,
        jit_compile=jit,
    )
    return model


def _adversarial(recipe: Recipe) -> AdversarialLoss | None:
    """Return the recipe's adversarial loss, if it has one."""
    if recipe.adversarial is None:
        return None
    if recipe.adversarial not in ADVERSARIAL:
        near = nearest(recipe.adversarial, ADVERSARIAL)
        raise InputError(f"adversarial: expected {', '.join(ADVERSARIAL)}, received {recipe.adversarial}{near}")
    loss = ADVERSARIAL[recipe.adversarial]
    if loss.penalty and not recipe.gradient_penalty:
        raise InputError(f"gradient_penalty: expected a weight such as 10 with {recipe.adversarial}, received 0")
    return loss


def _with_network_of_weights(
    recipe: Recipe, content: WeightFile | None, started: Recipe | None, progress: Progress
) -> Recipe:
    """Return the recipe with the network and options of its `init_weights`, where that file says what it is.

    What the file leaves open (`WeightFile.left_open`), such as the number of stages, is as the recipe says.
    """
    if recipe.init_weights is None:
        return recipe
    if content is None:
        assert started is not None
        network, options = started.network, started.network_options
    elif content.named is None:
        return recipe
    else:
        network, options = content.named.name, {**content.named.options, **_open_options(recipe, content)}
        progress.notice(f"network: {network}, as in {recipe.init_weights}, with its options")
    return dataclasses.replace(recipe, network=network, network_options=options)


def _open_options(recipe: Recipe, content: WeightFile) -> dict[str, Any]:
    """Return those of the recipe's options that the weight file leaves open."""
    if content.named is None or content.named.name != recipe.network:
        return {}
    return {option: value for option, value in recipe.network_options.items() if option in content.left_open}


def _take_weights(generator: keras.Model, recipe: Recipe, content: WeightFile) -> None:
    """Start `generator` from the weights in the recipe's `init_weights`, which are those of the same network."""
    weights = content.build(**_open_options(recipe, content)).get_weights()
    shapes, found = [tuple(weight.shape) for weight in generator.weights], [weight.shape for weight in weights]
    if shapes != found:
        raise WeightsError(
            f"init_weights {recipe.init_weights}: expected weights of {len(shapes)} tensors that fit this recipe's "
            f"network, found {len(found)} of a {content.network}"
        )
    generator.set_weights(weights)


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


def _versions() -> dict[str, str]:
    import tensorflow as tf

    return {
        "deblurgan": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _remove_temporaries(run: Path) -> None:
    """Remove what a killed process had not finished writing."""
    for folder in (run, run / CHECKPOINTS, run / "samples"):
        for path in folder.glob(".*.tmp*"):
            path.unlink(missing_ok=True)

"""Recipes: how a network is trained, as data; see the files of `deblurgan/recipes`, and `recipe.json` of a run."""

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

from deblurgan.devices import PRECISIONS
from deblurgan.errors import FileError, InputError, nearest
from deblurgan.files import atomic_path, reason, shown

RECIPE_NAME = "recipe.json"
TUTORIAL = "tutorial"

OPTIMIZERS = ("adam", "adamw", "muon")
SCHEDULES = ("constant", "linear", "cosine")
JIT = ("gpu", "always", "never")
DEVICES = ("one", "all")

_LEAST = {  # the smallest value of each field that is a number with a bound
    "critic_updates": 1,
    "warmup_steps": 0,
    "accumulate": 1,
    "epochs": 1,
    "steps": 1,
    "steps_per_epoch": 1,
    "batch_size": 1,
    "image_size": 8,
    "downscale": 1,
    "candidates": 1,
    "crops_per_picture": 1,
    "cache_mb": 1,
    "workers": 1,
    "checkpoint_every": 1,
    "keep_checkpoints": 1,
    "early_stopping": 0,
    "reduce_lr": 0,
    "adversarial_weight": 0,
    "sharp_weight": 0,
    "teacher_weight": 0,
    "gradient_penalty": 0,
    "weight_decay": 0,
    "final_learning_rate": 0,
    "seed": 0,
}
_RATES = ("ema", "constant_part", "beta_1", "beta_2")  # from 0 to 1
_POSITIVE = ("learning_rate", "critic_learning_rate", "clip_norm", "reduce_lr_factor", "loss_limit")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Every field has a default, so that a file says only what is its own.

    Attributes:
        description: one line for `deblurgan recipes`.
        network: name of the generator in `zoo`.
        network_options: keywords of its builder.
        init_weights: weight file to start the generator from; random weights when None.
        critic: name of the critic in `zoo`; training without an adversary when None.
        critic_options: keywords of its builder.
        conditional: whether the critic sees the blurred picture beside the one to judge.
        losses: weight of each content loss, by its name in `losses.LOSSES`. They compare the restored picture with
            the sharp one, and with what `teacher` makes of the blurred one.
        sharp_weight: weight of the content losses against the sharp picture.
        teacher: weight file, run or known name of a trained generator to learn from; none when None. Where a source
            has no sharp pictures, the teacher's take their place.
        teacher_options: what the teacher's file leaves open, as for `deblur --assume`: {"stages": 1}.
        teacher_weight: weight of the content losses against the teacher's picture.
        perceptual_network: "vgg16" (block3_conv3, ships with the package) or "vgg19" (conv3_3, the paper's).
        imagenet_preprocessing: whether VGG gets what it was trained on instead of [-1, 1].
        vgg_weights: file with VGG19's weights; Keras downloads them when None.
        adversarial: name of the adversarial loss in `adversarial.ADVERSARIAL`.
        adversarial_weight: its weight in the generator's loss.
        gradient_penalty: weight of the gradient penalty in the critic's loss; 0 for none.
        critic_updates: critic updates per generator update, all on the same batch.
        optimizer: "adam", "adamw" or "muon", of both networks.
        learning_rate: at the start.
        critic_learning_rate: the critic's; that of the generator when None.
        beta_1, beta_2: of the optimizer's moments.
        weight_decay: decoupled weight decay, of "adamw" and "muon".
        schedule: "constant", "linear" (constant, then linear to `final_learning_rate`) or "cosine".
        final_learning_rate: where "linear" and "cosine" end.
        constant_part: how much of the run comes before the linear decay, from 0 to 1.
        warmup_steps: steps in which the rate first rises linearly from 0.
        clip_norm: largest global norm of a network's gradients; no clipping when None.
        ema: decay per step of the averaged weights, which are then validated and saved; 0 for none.
        accumulate: parts that a batch is computed in one after the other, so that it needs less memory.
        epochs: epochs in all; one of `epochs` and `steps` is given.
        steps: steps in all; one step is one generator update on one batch.
        steps_per_epoch: steps between two validations; pictures / `batch_size` when None.
        sources: where training pictures come from; see `sources.open_source`.
        batch_size: crops in a batch, over all devices.
        image_size: side of the square crops in pixels.
        downscale: what the pictures are first reduced by; 2 is the paper's.
        augment: whether crops are flipped and turned by quarters at random.
        candidates: the most textured of so many random crops is taken; 1 takes the first.
        crops_per_picture: crops cut from a picture once it is in memory.
        cache_mb: megabytes of decoded pictures to keep.
        workers: threads that prepare crops.
        val_dir: folder with A (blurred) and B (sharp), or of GOPRO scenes, to validate on; none when None.
        n_val: pairs of it to use, drawn with `seed`; -1 for all.
        checkpoint_every: steps between two checkpoints; there is always one after an epoch.
        keep_checkpoints: how many of the latest to keep.
        early_stopping: epochs without a better validation PSNR after which the run ends; 0 for never.
        reduce_lr: epochs without a better validation PSNR after which the generator's learning rate is reduced; 0 for
            never.
        reduce_lr_factor: what it is then multiplied by.
        loss_limit: a loss whose absolute value is larger stops the run.
        precision: "auto", "float32", "bfloat16" or "float16"; see `devices.training_precision`.
        bfloat16_on_cpu: whether "auto" is bfloat16 on a CPU that has it: where that is faster for this network.
        jit: whether steps are compiled with XLA: on a "gpu", "always" or "never".
        devices: "one", or "all" for every GPU of this machine.
        seed: of initial weights, dropout, order, crops and synthetic blur.
        log_dir: where TensorBoard's events go; `logs` in the run's folder when None.
    """

    description: str = ""
    network: str = "nafnet"
    network_options: dict[str, Any] = field(default_factory=dict)
    init_weights: str | None = None
    critic: str | None = None
    critic_options: dict[str, Any] = field(default_factory=dict)
    conditional: bool = False
    losses: dict[str, float] = field(default_factory=lambda: {"l1": 1.0})
    sharp_weight: float = 1.0
    teacher: str | None = None
    teacher_options: dict[str, Any] = field(default_factory=dict)
    teacher_weight: float = 1.0
    perceptual_network: str = "vgg16"
    imagenet_preprocessing: bool = False
    vgg_weights: str | None = None
    adversarial: str | None = None
    adversarial_weight: float = 1.0
    gradient_penalty: float = 0.0
    critic_updates: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    critic_learning_rate: float | None = None
    beta_1: float = 0.9
    beta_2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "constant"
    final_learning_rate: float = 0.0
    constant_part: float = 0.5
    warmup_steps: int = 0
    clip_norm: float | None = None
    ema: float = 0.0
    accumulate: int = 1
    epochs: int | None = None
    steps: int | None = None
    steps_per_epoch: int | None = None
    sources: list[dict[str, Any]] = field(default_factory=list)
    batch_size: int = 8
    image_size: int = 256
    downscale: int = 1
    augment: bool = True
    candidates: int = 1
    crops_per_picture: int = 8
    cache_mb: int = 1024
    workers: int = 2
    val_dir: str | None = None
    n_val: int = 8
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    early_stopping: int = 0
    reduce_lr: int = 0
    reduce_lr_factor: float = 0.5
    loss_limit: float = 1e6
    precision: str = "auto"
    bfloat16_on_cpu: bool = True
    jit: str = "gpu"
    devices: str = "one"
    seed: int = 0
    log_dir: str | None = None

    FREE = frozenset(
        {
            "epochs",
            "steps",
            "val_dir",
            "n_val",
            "checkpoint_every",
            "keep_checkpoints",
            "cache_mb",
            "workers",
            "log_dir",
        }
    )
    """The fields that may change when a run resumes. Its length may only with a "constant" schedule."""

    def __post_init__(self) -> None:
        """Check what neither networks, losses nor data check themselves.

        Raises:
            InputError: naming the field, what was expected and what came.
        """
        for name, annotation in _annotations().items():
            _check_type(name, getattr(self, name), annotation)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise InputError(f"{name}: expected at least {least}, received {value}")
        for name in _RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: expected 0 to 1, received {getattr(self, name)}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name}: expected a positive number, received {value}")
        choices = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "jit": JIT,
            "devices": DEVICES,
            "precision": PRECISIONS,
        }
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                hint = nearest(value, known)
                raise InputError(f"{name}: expected one of {', '.join(known)}, received {value!r}{hint}")
        for name in ("ema", "beta_1", "beta_2"):
            if getattr(self, name) == 1:
                raise InputError(f"{name}: expected less than 1, which would never move, received 1")
        if (self.critic is None) != (self.adversarial is None):
            raise InputError(
                "critic, adversarial: expected both or neither, "
                f"received {self.critic or 'no critic'} and {self.adversarial or 'no adversarial loss'}"
            )
        if self.teacher is None and (self.teacher_options or not self.sharp_weight):
            name = "teacher_options" if self.teacher_options else "sharp_weight"
            expected = "none" if self.teacher_options else "a positive number"
            raise InputError(f"{name}: expected {expected} without a teacher, received {getattr(self, name)}")
        if not self.sharp_weight and not self.teacher_weight:
            raise InputError("sharp_weight, teacher_weight: expected a positive number for one at least, received 0")
        if self.epochs is not None and self.steps is not None:
            raise InputError(f"steps: expected epochs or steps, received both ({self.epochs} and {self.steps})")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"accumulate: expected a divisor of batch_size ({self.batch_size}), received {self.accumulate}"
            )
        if self.reduce_lr and (self.schedule != "constant" or self.warmup_steps):
            raise InputError("reduce_lr: expected a constant schedule without warmup, which could be reduced")


def names() -> list[str]:
    """Return the names of the recipes in the package."""
    return sorted(file.name.removesuffix(".json") for file in _folder().iterdir() if file.name.endswith(".json"))


def read_fields(name: str) -> dict[str, Any]:
    """Return the fields that the recipe called `name`, or the file `name`, sets.

    Raises:
        InputError: there is no such recipe; the nearest name is suggested.
        FileError: the file is not readable, or no JSON object.
    """
    is_file = name.endswith(".json") or os.sep in name
    if not is_file and name not in names():
        raise InputError(
            f"recipe: expected {', '.join(names())} or a .json file, received {name}{nearest(name, names())}"
        )
    try:
        text = Path(name).read_text("utf-8") if is_file else (_folder() / f"{name}.json").read_text("utf-8")
        fields = json.loads(text)
    except (OSError, ValueError) as error:
        raise FileError(f"{shown(name)}: expected a recipe: {reason(error)}") from error
    if not isinstance(fields, dict):
        raise FileError(f"{shown(name)}: expected a recipe, a JSON object, found another value")
    return fields


def make(fields: Mapping[str, Any], changes: Iterable[tuple[str, Any]] = ()) -> Recipe:
    """Return the recipe with these fields, the changes made to it in turn.

    Args:
        fields: name and value of each field that differs from its default.
        changes: a field's name, or a dotted one such as "losses.l1" for an entry of a field, and its value. None
            removes an entry. A field that was given as text, as on a command line, is read as JSON where it is that.

    Raises:
        InputError: an unknown field (the nearest name is suggested), or a value that does not fit.
    """
    values: dict[str, Any] = {**fields}
    for name in values:
        _require_field(name)
    for name, value in changes:
        head, _, entry = name.partition(".")
        _require_field(head)
        if not entry:
            values[head] = value
            if value is not None and head in ("epochs", "steps"):
                values["steps" if head == "epochs" else "epochs"] = None
            continue
        if get_origin(_annotations()[head]) is not dict:
            raise InputError(f"{name}: expected a field of the recipe; {head} has no entries")
        entries = {**values.get(head, getattr(Recipe(), head)), entry: value}
        values[head] = {key: kept for key, kept in entries.items() if kept is not None}
    return Recipe(**{name: _as_declared(name, value) for name, value in values.items()})


def parse_change(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE of a command line; the value is JSON (numbers, true, null, lists) or else a word.

    Raises:
        InputError: there is no name or no equals sign.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InputError(f"set: expected FIELD=VALUE, received {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def write(recipe: Recipe, run: Path) -> None:
    """Write all fields into the folder `run`, as a recipe that trains the same again."""
    with atomic_path(run / RECIPE_NAME) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(recipe), indent=1) + "\n", encoding="utf-8")


def read_run(run: str | os.PathLike[str]) -> Recipe:
    """Return the recipe that the run in folder `run` was started with.

    Raises:
        FileError: there is no run, or its recipe is damaged.
    """
    path = Path(run) / RECIPE_NAME
    if not path.is_file():
        raise FileError(f"{shown(path.parent)}: expected the folder of a training run, found no {RECIPE_NAME}")
    try:
        return make(read_fields(str(path)))
    except InputError as error:
        raise FileError(f"{shown(path)}: expected the recipe of a training run: {error}") from error


def check_resumable(recipe: Recipe, started: Recipe, run: str | os.PathLike[str]) -> None:
    """Check that the run in folder `run`, which was started with `started`, can go on with `recipe`.

    Raises:
        InputError: a field differs that is not in `FREE`.
    """
    for name in _annotations():
        before, now = getattr(started, name), getattr(recipe, name)
        length = name in ("epochs", "steps") and recipe.schedule != "constant"
        if now != before and (name not in Recipe.FREE or length):
            why = f"; its {recipe.schedule} schedule depends on it" if length else ""
            raise InputError(
                f"{name}: expected {before!r}, which the run {run} was started with, received {now!r}{why}"
            )


def _folder() -> Any:
    return resources.files("deblurgan") / "recipes"


def _annotations() -> dict[str, Any]:
    hints = typing.get_type_hints(Recipe)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(Recipe)}


def _require_field(name: str) -> None:
    if name not in _annotations():
        raise InputError(f"{name}: expected a field of the recipe{nearest(name, _annotations())}")


def _as_declared(name: str, value: Any) -> Any:
    """Return whole numbers as floats where the field is one."""
    kinds = _kinds(_annotations()[name])
    if float in kinds and int not in kinds and type(value) is int:
        return float(value)
    if name == "losses" and isinstance(value, dict):
        return {key: float(weight) if type(weight) is int else weight for key, weight in value.items()}
    return value


def _kinds(annotation: Any) -> tuple[type, ...]:
    """The plain types that an annotation such as `dict[str, Any]` or `int | None` allows."""
    if isinstance(annotation, types.UnionType):
        return tuple(kind for part in get_args(annotation) for kind in _kinds(part))
    return (get_origin(annotation) or annotation,)


def _check_type(name: str, value: Any, annotation: Any) -> None:
    kinds = _kinds(annotation)
    if type(value) not in kinds:
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise InputError(f"{name}: expected {expected}, received {value!r}")
    if name == "losses" and any(type(weight) is not float for weight in value.values()):
        raise InputError(f"losses: expected a number for each name, received {value!r}")
    if name == "sources" and any(type(source) is not dict for source in value):
        raise InputError(
            f"sources: expected objects such as {{'kind': 'pairs', 'folder': '...'}}, received {value!r}"
        )

"""Recipes: how a network is trained, as data; see the files of `deblurgan/recipes`, and `recipe.json` of a run."""

import dataclasses
import functools
import json
import math
import os
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_origin

from deblurgan.data.options import AUGMENT, PREPROCESS, checked
from deblurgan.devices import PRECISIONS
from deblurgan.errors import FileError, InputError, nearest
from deblurgan.files import atomic_path, reason, shown
from deblurgan.untrusted import from_json

RECIPE_NAME = "recipe.json"
OLD_NAME = "settings.json"  # of the tutorial's runs before they had a recipe
TUTORIAL = "tutorial"
GENERATION = "generation"

CHOICES: dict[str, tuple[Any, ...]] = {
    "step": ("restoration", TUTORIAL, GENERATION),
    "optimizer": ("adam", "adamw", "muon", "rmsprop"),
    "schedule": ("constant", "linear", "cosine"),
    "preprocess": PREPROCESS,
    "augment": tuple(AUGMENT),
    "precision": PRECISIONS,
    "jit": ("gpu", "always", "never"),
    "devices": ("one", "all"),
}
PANELS = ("blurred", "restored", "sharp", "critic")
ALIASES = {  # what the tutorial calls fields
    "epoch_num": "epochs",
    "upsampling": "network_options.upsampling",
    "legacy_batchnorm": "critic_options.legacy_batchnorm",
}
_PATHS = ("init_weights", "teacher", "vgg_weights", "dataset", "val_dir", "log_dir")  # and the folders of sources
_LEAST = {  # numbers, by their smallest value
    0: (
        *("warmup_steps", "save_every", "early_stopping", "reduce_lr", "weight_decay", "final_learning_rate", "seed"),
        *("keep_every", "log_every", "adversarial_weight", "sharp_weight", "teacher_weight", "gradient_penalty"),
        *("constant_part", "ema", "beta_1", "beta_2"),
    ),
    1: (
        *("critic_updates", "accumulate", "epochs", "steps", "steps_per_epoch", "batch_size", "downscale"),
        *(
            "input_channels",
            "output_channels",
            "candidates",
            "crops_per_picture",
            "cache_mb",
            "workers",
            "checkpoint_every",
            "keep_checkpoints",
        ),
    ),
    8: ("image_size", "resize"),
    11: ("val_resize",),
}
_MOST = {"constant_part": 1, "ema": 1, "beta_1": 1, "beta_2": 1, "seed": 2**32 - 1}
_POSITIVE = (
    *("learning_rate", "epsilon", "critic_learning_rate", "clip_norm", "clip_weights", "reduce_lr_factor"),
    "loss_limit",
)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Every field has a default, so that a file says only what is its own.

    Attributes:
        description: one line for `deblurgan recipes`.
        step: what one step is: "restoration", see `restoration.Restoration`; "tutorial", see
            `tutorial.TutorialGAN`, which has fewer choices; or "generation", of pictures from noise, see
            `generation.Generation`.
        network: name of the generator in `zoo`; with "generation", of the sampler.
        network_options: keywords of its builder.
        input_channels: how many it is given: 3 for RGB, 1 for the grey of the pictures; or as many as `.npy` files
            have, see `pictures.npy`.
        output_channels: how many it makes, and is compared with.
        init_weights: weight file to start the generator from; random weights when None.
        critic: name of the critic in `zoo`; training without an adversary when None.
        critic_options: keywords of its builder.
        conditional: whether the critic sees the blurred picture beside the one to judge.
        losses: weight of each content loss, by its name in `losses.LOSSES`. They compare the restored picture with
            the sharp one, and with what `teacher` makes of the blurred one. Without any the critic alone counts.
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
        critic_updates: critic updates per generator update, all on the same batch; with "generation", each on one of
            its own.
        simultaneous: whether critic and generator are updated at once, both gradients from one pass, instead of the
            generator after the critic; with one critic update.
        clip_weights: largest absolute value of the critic's trainable weights, to which they are cut after each of
            its updates, as WGAN has it; not cut when None.
        optimizer: "adam", "adamw", "muon" or "rmsprop", of both networks.
        learning_rate: at the start.
        critic_learning_rate: the critic's; that of the generator when None.
        beta_1, beta_2: of the optimizer's moments.
        epsilon: what all but "muon" add to the root of the second moment.
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
        sources: where training pictures come from; see `data.opening.open_source`.
        dataset: what "generation" learns to make, instead of sources; see `data.arrays.open_set`.
        n_images: pictures of each source to use, drawn with `seed`; -1 for all.
        batch_size: crops in a batch, over all devices.
        image_size: side of the square crops in pixels.
        preprocess: "crop" cuts squares out of the pictures, "resize" squashes whole pictures, as the tutorial did.
        downscale: what the pictures are first reduced by; 2 is the paper's.
        resize: side of the squares that whole pictures are made first, by the nearest pixels, as pix2pix does before
            it cuts crops out of them; as they are when None.
        augment: whether crops are mirrored and turned by quarters at random ("all", or true) or not ("none", or
            false); "mirror": left to right alone.
        candidates: the most textured of so many random crops is taken; 1 takes the first.
        crops_per_picture: crops cut from a picture once it is in memory.
        cache_mb: megabytes of decoded pictures to keep.
        workers: threads that prepare crops.
        val_dir: folder with A (blurred) and B (sharp), or of GOPRO scenes, to validate on, or a source of another
            kind that has pairs, written as for `train --source`; none when None.
        val_resize: side of the squares that these pictures are made, as `resize` does; as they are when None.
        n_val: pairs of it to use, drawn with `seed`; -1 for all.
        checkpoint_every: steps between two checkpoints; there is always one after an epoch.
        keep_checkpoints: how many of the latest to keep.
        keep_every: epochs between two checkpoints that are kept besides, as is then the last one; 0 for none.
        save_every: epochs between two weight files of each network with the epoch in their names; 0 for none.
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
        log_every: steps between two points of TensorBoard's curves of losses; 0 for one an epoch, the mean of its
            steps.
        tags: what TensorBoard calls a loss or score, by its name here; its name here unless given.
        panels: what each row of the sample pictures shows, of `PANELS` and in this order, and its title; "" for none.
            "critic" is the critic's answer to the restored picture, from -20 in blue to 20 in red.

    Examples:
        >>> from deblurgan.training.recipe import Recipe
        >>> Recipe(network="unet", losses={"l1": 100}, steps=10).optimizer
        'adam'
    """

    description: str = ""
    step: str = "restoration"
    network: str = "nafnet"
    network_options: dict[str, Any] = field(default_factory=dict)
    input_channels: int = 3
    output_channels: int = 3
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
    simultaneous: bool = False
    clip_weights: float | None = None
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    critic_learning_rate: float | None = None
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
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
    dataset: str | None = None
    n_images: int = -1
    batch_size: int = 8
    image_size: int = 256
    preprocess: str = "crop"
    downscale: int = 1
    resize: int | None = None
    augment: bool | str = True
    candidates: int = 1
    crops_per_picture: int = 8
    cache_mb: int = 1024
    workers: int = 2
    val_dir: str | None = None
    val_resize: int | None = None
    n_val: int = 8
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    keep_every: int = 0
    save_every: int = 0
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
    log_every: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    panels: dict[str, str] = field(default_factory=lambda: {"blurred": "", "restored": "", "sharp": ""})

    FREE = frozenset(
        {
            "description",
            "epochs",
            "steps",
            "val_dir",
            "val_resize",
            "n_val",
            "checkpoint_every",
            "keep_checkpoints",
            "keep_every",
            "save_every",
            "cache_mb",
            "workers",
            "log_dir",
            "log_every",
            "tags",
            "panels",
        }
    )
    """The fields that may change when a run resumes. Its length may only with a "constant" schedule."""

    def __post_init__(self) -> None:
        """Check what neither networks, losses nor data check themselves.

        Raises:
            InputError: naming the field, what was expected and what came.
        """
        for name, wanted in types().items():
            object.__setattr__(self, name, checked(name, getattr(self, name), wanted))
        for least, fields in _LEAST.items():
            for name in fields:
                value, most = getattr(self, name), _MOST.get(name, math.inf)
                if value is not None and not least <= value <= most:
                    expected = f"{least} to {most}" if name in _MOST else f"at least {least}"
                    raise InputError(f"{name}: expected {expected}, received {value}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name}: expected a positive number, received {value}")
        for name in ("ema", "beta_1", "beta_2"):
            if getattr(self, name) == 1:
                raise InputError(f"{name}: expected less than 1, which would never move, received 1")
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                hint = nearest(str(value), map(str, known))
                raise InputError(f"{name}: expected one of {', '.join(map(str, known))}, received {value!r}{hint}")
        if (self.critic is None) != (self.adversarial is None):
            raise InputError(
                "critic, adversarial: expected both or neither, "
                f"received {self.critic or 'no critic'} and {self.adversarial or 'no adversarial loss'}"
            )
        if self.critic is None and (self.step == GENERATION or self.clip_weights):
            name = "step" if self.step == GENERATION else "clip_weights"
            raise InputError(f"{name}: {getattr(self, name)} expects a critic, received none")
        if self.critic is None and self.critic_options:
            raise InputError(f"critic_options: expected none without a critic, received {self.critic_options}")
        if (self.dataset is None) == (self.step == GENERATION):
            raise InputError(
                f"dataset: expected one with the step {GENERATION}, and with no other, received "
                f"{self.dataset or 'none'} with {self.step}"
            )
        if not self.losses and (self.critic is None or self.teacher is not None):
            without = "without a critic" if self.critic is None else "with a teacher"
            raise InputError(f"losses: expected at least one {without}, received none")
        if self.simultaneous and (self.critic is None or self.critic_updates != 1):
            raise InputError(
                "simultaneous: expected a critic with critic_updates=1, "
                f"received {self.critic or 'none'} with {self.critic_updates}"
            )
        if self.teacher is None and (self.teacher_options or not self.sharp_weight):
            name = "teacher_options" if self.teacher_options else "sharp_weight"
            expected = "none" if self.teacher_options else "a positive number"
            raise InputError(f"{name}: expected {expected} without a teacher, received {getattr(self, name)}")
        if not self.sharp_weight and not self.teacher_weight:
            raise InputError("sharp_weight, teacher_weight: expected a positive number for one at least, received 0")
        sees_rgb = "teacher" if self.teacher is not None else "perceptual" if "perceptual" in self.losses else None
        if sees_rgb and (self.output_channels != 3 or (self.teacher is not None and self.input_channels != 3)):
            raise InputError(f"input_channels, output_channels: expected 3 with {sees_rgb}, received {self.channels}")
        for name in self.panels:
            if name not in PANELS or (name == "critic" and self.critic is None):
                known = PANELS if self.critic is not None else PANELS[:-1]
                hint = nearest(name, known)
                raise InputError(f"panels: expected some of {', '.join(known)}, received {name}{hint}")
        if not self.panels:
            raise InputError(f"panels: expected some of {', '.join(PANELS)}, received none")
        if self.epochs is not None and self.steps is not None:
            raise InputError(f"steps: expected epochs or steps, received both ({self.epochs} and {self.steps})")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"accumulate: expected a divisor of batch_size ({self.batch_size}), received {self.accumulate}"
            )
        if self.reduce_lr and (self.schedule != "constant" or self.warmup_steps):
            raise InputError("reduce_lr: expected a constant schedule without warmup, which could be reduced")

    @property
    def channels(self) -> tuple[int, int]:
        """How many the generator takes and gives."""
        return self.input_channels, self.output_channels

    @property
    def generator_options(self) -> dict[str, Any]:
        """The `network_options`, and what tells the builder of channels that are not its defaults."""
        options = dict(self.network_options)
        if self.input_channels != 3:
            options["image_shape"] = (None, None, self.input_channels)
        if self.output_channels != self.input_channels:
            options["output_channels"] = self.output_channels
        return options

    @property
    def role(self) -> str:
        """The role of the generator in the zoo: a "sampler" is from noise."""
        return "sampler" if self.step == GENERATION else "generator"


def names() -> list[str]:
    """Return the names of the recipes in the package."""
    return sorted(file.name.removesuffix(".json") for file in _folder().iterdir() if file.name.endswith(".json"))


def read_fields(name: str) -> dict[str, Any]:
    """Return the fields that the recipe called `name`, or the file `name`, sets.

    Raises:
        InputError: there is no such recipe; the nearest name is suggested.
        FileError: the file is not readable, or no JSON object.

    Examples:
        >>> from deblurgan.training.recipe import read_fields
        >>> read_fields("nafnet")["losses"]
        {'psnr': 1.0}
    """
    is_file = name.endswith(".json") or os.sep in name
    if not is_file and name not in names():
        raise InputError(
            f"recipe: expected {', '.join(names())} or a .json file, received {name}{nearest(name, names())}"
        )
    try:
        text = Path(name).read_text("utf-8") if is_file else (_folder() / f"{name}.json").read_text("utf-8")
        fields = from_json(text)
    except (OSError, ValueError) as error:
        raise FileError(f"{shown(name)}: expected a recipe: {reason(error)}") from error
    if not isinstance(fields, dict):
        raise FileError(f"{shown(name)}: expected a recipe, a JSON object, found another value")
    return fields


def make(fields: Mapping[str, Any], changes: Iterable[tuple[str, Any]] = ()) -> Recipe:
    """Return the recipe with these fields, the changes made to it in turn.

    Args:
        fields: name and value of each field that differs from its default.
        changes: a field's name (or one of `ALIASES`), or a dotted one such as "losses.l1" for an entry of a field,
            and its value. None removes an entry.

    Raises:
        InputError: an unknown field (the nearest name is suggested), or a value that does not fit.

    Examples:
        >>> from deblurgan.training.recipe import make, read_fields
        >>> recipe = make(read_fields("nafnet"), [("steps", 1000), ("network_options.width", 16)])
        >>> recipe.steps, recipe.network_options["width"]
        (1000, 16)
    """
    values: dict[str, Any] = {**fields}
    for name in values:
        _require_field(name)
    for name, value in changes:
        head, _, entry = ALIASES.get(name, name).partition(".")
        _require_field(head)
        if entry:
            if get_origin(types()[head]) is not dict:
                raise InputError(f"{name}: expected a field of the recipe; {head} has no entries")
            entries = {**values.get(head, getattr(Recipe(), head)), entry: value}
            values[head] = {key: kept for key, kept in entries.items() if kept is not None}
        else:
            values[head] = value
            if value is not None and head in ("epochs", "steps"):
                values["steps" if head == "epochs" else "epochs"] = None
    return Recipe(**values)


def elsewhere(fields: Mapping[str, Any], recipe: Recipe, file: str | os.PathLike[str]) -> str | None:
    """Return a line that says which paths in `fields`, read from `file`, lead out of its folder and the present one.

    Those count that `recipe`, made from them, still has: not those in whose place options were given. None: no path.
    """
    named = [(name, fields.get(name)) for name in _PATHS if fields.get(name) == getattr(recipe, name)]
    if fields.get("sources") == recipe.sources:
        named += [("sources", spec.get("folder")) for spec in recipe.sources]
    near = [os.path.realpath(folder) for folder in (os.curdir, os.path.dirname(file))]
    found = []
    for name, value in named:
        path = os.path.realpath(re.sub(r"^\w+=", "", str(value or "")))  # val_dir may have a kind before it
        if value and not any(path == folder or path.startswith(os.path.join(folder, "")) for folder in near):
            found.append(f"{name} {shown(str(value))}")
    return f"{shown(file)} names what lies elsewhere: {', '.join(found)}" if found else None


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
        FileError: there is no run, its recipe is damaged, or it is of an earlier version.
    """
    path = Path(run) / RECIPE_NAME
    is_old = path.with_name(OLD_NAME).is_file()
    if not is_old and not path.is_file():
        raise FileError(f"{shown(path.parent)}: expected the folder of a training run, found no {RECIPE_NAME}")
    fields = {} if is_old else read_fields(str(path))
    if set(types()) - set(fields):  # `write` leaves none out
        raise FileError(
            f"{shown(path.parent)}: a run of an earlier version, which cannot go on; a new one can start from its "
            "weights: --init_weights"
        )
    try:
        return make(fields)
    except InputError as error:
        raise FileError(f"{shown(path)}: expected the recipe of a training run: {error}") from error


def check_resumable(recipe: Recipe, started: Recipe, run: str | os.PathLike[str]) -> None:
    """Check that the run in folder `run`, which was started with `started`, can go on with `recipe`.

    Raises:
        InputError: a field differs that is not in `FREE`.
    """
    for name in types():
        before, now = getattr(started, name), getattr(recipe, name)
        length = name in ("epochs", "steps") and recipe.schedule != "constant"
        if now != before and (name not in Recipe.FREE or length):
            why = f"; its {recipe.schedule} schedule depends on it" if length else ""
            raise InputError(
                f"{name}: expected {before!r}, which the run {run} was started with, received {now!r}{why}"
            )


def _folder() -> Any:
    return resources.files("deblurgan") / "recipes"


@functools.cache
def types() -> dict[str, Any]:
    """Return the type of each field, by its name."""
    hints = typing.get_type_hints(Recipe)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(Recipe)}


def _require_field(name: str) -> None:
    if name not in types():
        raise InputError(f"{name}: expected a field of the recipe{nearest(name, [*types(), *ALIASES])}")

"""What the trainer knows of a training step, and the steps that recipes name, built."""

from collections.abc import Mapping
from typing import Any, Protocol

import keras

from deblurgan import devices
from deblurgan.errors import InputError, nearest
from deblurgan.networks import zoo
from deblurgan.training import generation, tutorial
from deblurgan.training.adversarial import ADVERSARIAL, AdversarialLoss, Clipped
from deblurgan.training.generation import Generation
from deblurgan.training.losses import WeightedSum
from deblurgan.training.optimizers import build_optimizer
from deblurgan.training.recipe import GENERATION, TUTORIAL, Recipe, make, read_fields
from deblurgan.training.restoration import Restoration
from deblurgan.training.teacher import Teacher
from deblurgan.training.tutorial import TutorialGAN


class Step(Protocol):
    """Networks, and the step that trains them on a batch.

    What a batch holds is between the step and the data. A step may update one network or several, in whatever order.

    Attributes:
        watched: the loss or score by which epochs are compared where no pairs are validated, the lower the better.
    """

    watched: str

    @property
    def generator(self) -> keras.Model:
        """The network that is wanted."""

    @property
    def model(self) -> keras.Model:
        """What Keras' callbacks are given; its optimizer is the generator's."""

    def step(self, batch: Any) -> Mapping[str, float]:
        """Train on a batch, and return its losses."""

    def networks(self) -> Mapping[str, keras.Model]:
        """Return all networks that are trained, by the names that their files get."""

    def parts(self) -> Mapping[str, Any]:
        """Return all that has variables which training changes, for a checkpoint."""


def build_step(recipe: Recipe, steps: int, precision: str, teacher: Teacher | None = None) -> Step:
    """Build networks, losses and optimizers for a run of `steps` steps, with weights drawn from the recipe's seed.

    Args:
        recipe: what to build.
        steps: the length that schedules are made for.
        precision: "float32", "bfloat16" or "float16".
        teacher: the recipe's, from `open_teacher`.

    Raises:
        InputError, FileError, WeightsError: a name or option that does not exist, or VGG weights that do not fit.
    """
    _require_fixed(recipe)
    keras.utils.set_random_seed(recipe.seed)
    if recipe.step == GENERATION:
        return _generation(recipe, steps, precision)
    multiple = zoo.size_multiple(recipe.network, recipe.network_options)
    if recipe.image_size % multiple:
        raise InputError(
            f"image_size: expected a multiple of {multiple} for this network, received {recipe.image_size}"
        )
    if recipe.step == TUTORIAL:
        return _tutorial(recipe, precision)
    return restoration(recipe, steps, precision, teacher)


def restoration(recipe: Recipe, steps: int, precision: str, teacher: Teacher | None = None) -> Restoration:
    """Build the step of that name; see `build_step`."""
    policy = devices.policy(precision)
    generator = zoo.build_generator(recipe.network, recipe.generator_options, dtype=policy)
    found = generator.inputs[0].shape[-1], generator.outputs[-1].shape[-1]
    if found != recipe.channels:
        raise InputError(
            f"input_channels, output_channels: expected the network's, {found}, received {recipe.channels}"
        )
    critic = _critic(recipe, policy)
    perceptual: dict[str, Any] = {
        "network": recipe.perceptual_network,
        "weights": recipe.vgg_weights,
        "imagenet_preprocessing": recipe.imagenet_preprocessing,
        "compute_dtype": precision,
    }
    content = None
    if recipe.losses:
        content = WeightedSum(recipe.losses, **(perceptual if "perceptual" in recipe.losses else {}))
    model = Restoration(
        generator,
        content,
        reductions=zoo.reductions(recipe.network, recipe.network_options),
        sharp_weight=recipe.sharp_weight,
        teacher=None if teacher is None else teacher.restore,
        teacher_weight=recipe.teacher_weight,
        critic=critic,
        adversarial=_adversarial(recipe),
        adversarial_weight=recipe.adversarial_weight,
        simultaneous=recipe.simultaneous,
        conditional=recipe.conditional,
        **_updates(recipe),
    )
    _compile(model, recipe, steps, precision)
    return model


def _generation(recipe: Recipe, steps: int, precision: str) -> Generation:
    policy = devices.policy(precision)
    generator = zoo.build(recipe.role, recipe.network, recipe.network_options, dtype=policy)
    critic, adversarial = _critic(recipe, policy, generator.output_shape[1:]), _adversarial(recipe)
    assert critic is not None  # a recipe checks both
    assert adversarial is not None
    model = Generation(
        generator,
        critic,
        adversarial,
        **_updates(recipe),
    )
    _compile(model, recipe, steps, precision)
    return model


def _updates(recipe: Recipe) -> dict[str, Any]:
    """How the networks of both steps are updated, as keywords of `Restoration`."""
    return {
        "penalty_weight": recipe.gradient_penalty,
        "critic_updates": recipe.critic_updates,
        "accumulate": recipe.accumulate,
        "clip_norm": recipe.clip_norm,
        "seed": recipe.seed,
    }


def _compile(model: Restoration, recipe: Recipe, steps: int, precision: str) -> None:
    critic_optimizer = None
    if model.critic is not None:
        critic_optimizer = build_optimizer(recipe, steps, precision, critic=True)
    model.compile(build_optimizer(recipe, steps, precision), critic_optimizer, jit_compile=_jit(recipe))


def _tutorial(recipe: Recipe, precision: str) -> TutorialGAN:
    policy, shape = devices.policy(precision), (recipe.image_size, recipe.image_size, 3)
    critic = _critic(recipe, policy)
    assert critic is not None  # FIXED says so
    return TutorialGAN(
        zoo.build_generator(recipe.network, {**recipe.network_options, "image_shape": shape}, dtype=policy),
        critic,
        critic_updates=recipe.critic_updates,
        learning_rate=recipe.learning_rate,
        loss_weights=(recipe.losses["perceptual"], recipe.adversarial_weight),
        compute_dtype=precision,
        jit=_jit(recipe),
    )


def _require_fixed(recipe: Recipe) -> None:
    """Raise InputError where a recipe wants what its step gives no choice of."""
    fixed, named, whose = {
        TUTORIAL: (tutorial.FIXED, TUTORIAL, "the tutorial's step"),
        GENERATION: (generation.FIXED, "gan", "the step generation"),
    }.get(recipe.step, ((), TUTORIAL, ""))
    own = make(read_fields(named))
    for name in fixed:
        value, only = getattr(recipe, name), getattr(own, name)
        if value != only:
            raise InputError(f"{name}: expected {only!r}, which {whose} has, received {value!r}")
    if recipe.step == TUTORIAL and set(recipe.losses) != set(own.losses):
        raise InputError(f"losses: expected perceptual alone, as the tutorial's step has, received {recipe.losses}")


def _critic(recipe: Recipe, policy: str, shape: tuple[int, ...] | None = None) -> keras.Model | None:
    """Return the recipe's critic, if it has one, for pictures of this shape or of the size of its crops."""
    if recipe.critic is None:
        return None
    channels = recipe.output_channels + (recipe.input_channels if recipe.conditional else 0)
    shape = shape or (recipe.image_size, recipe.image_size, channels)
    critic = zoo.build_critic(recipe.critic, {**recipe.critic_options, "image_shape": shape}, dtype=policy)
    if recipe.clip_weights is not None:
        for variable in critic.trainable_variables:
            variable.constraint = Clipped(recipe.clip_weights)
    return critic


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


def _jit(recipe: Recipe) -> bool:
    return recipe.jit == "always" or (recipe.jit == "gpu" and bool(devices.gpu_names()))

"""Optimizers and learning-rate schedules by the names that recipes give them."""

import dataclasses
import math
from typing import Any

import keras
from keras import ops

from deblurgan.errors import InputError
from deblurgan.training.recipe import Recipe


@keras.saving.register_keras_serializable(package="deblurgan")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0, stays, and falls.

    Args:
        start: the rate after the warmup.
        end: the rate that it has come down to after the last step.
        steps: steps in all.
        warmup_steps: over these it rises linearly from 0.
        constant_steps: until this step it stays.
        shape: how it falls after that: "linear" or "cosine".
    """

    def __init__(
        self,
        start: float,
        end: float,
        steps: int,
        *,
        warmup_steps: int = 0,
        constant_steps: int = 0,
        shape: str = "linear",
    ) -> None:
        self.start = start
        self.end = end
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.constant_steps = constant_steps
        self.shape = shape

    def __call__(self, step: Any) -> Any:
        """Return the rate at `step`, counted from 0."""
        step = ops.cast(step, "float32")
        before = max(self.warmup_steps, self.constant_steps)
        done = ops.clip((step - before) / max(self.steps - before, 1), 0.0, 1.0)
        remaining = 0.5 * (1.0 + ops.cos(math.pi * done)) if self.shape == "cosine" else 1.0 - done
        rate = self.end + (self.start - self.end) * remaining
        return rate * ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this schedule again."""
        names = ("start", "end", "steps", "warmup_steps", "constant_steps", "shape")
        return {name: getattr(self, name) for name in names}


def learning_rate(recipe: Recipe, start: float, steps: int) -> float | Schedule:
    """Return the recipe's learning rate for a run of `steps` steps that starts with `start`.

    A constant one without warmup is a plain number, which callbacks such as ReduceLROnPlateau can change.
    """
    if recipe.schedule == "constant" and not recipe.warmup_steps:
        return start
    if recipe.schedule == "constant":
        return Schedule(start, start, steps, warmup_steps=recipe.warmup_steps)
    constant_steps = int(recipe.constant_part * steps) if recipe.schedule == "linear" else 0
    return Schedule(
        start,
        recipe.final_learning_rate,
        steps,
        warmup_steps=recipe.warmup_steps,
        constant_steps=constant_steps,
        shape=recipe.schedule,
    )


def build_optimizer(recipe: Recipe, steps: int, compute_dtype: str, *, critic: bool = False) -> Any:
    """Return the optimizer of the generator or of the critic, for a run of `steps` generator updates.

    The critic's schedule covers its own updates, which are `critic_updates` times as many. Where the networks
    compute in float16 the losses are scaled, and a step whose gradients overflow is skipped.

    Raises:
        InputError: an optimizer that this version of Keras does not have, or a weight decay that it does not take.
    """
    start = recipe.learning_rate
    if critic:
        start = start if recipe.critic_learning_rate is None else recipe.critic_learning_rate
        steps *= recipe.critic_updates
        recipe = dataclasses.replace(recipe, warmup_steps=recipe.warmup_steps * recipe.critic_updates)
    if recipe.weight_decay and recipe.optimizer in ("adam", "rmsprop"):
        raise InputError(
            f"weight_decay: expected 0 with {recipe.optimizer} (adamw has it), received {recipe.weight_decay}"
        )
    rate = learning_rate(recipe, start, steps)
    optimizer: Any
    if recipe.optimizer == "muon":
        if not hasattr(keras.optimizers, "Muon"):
            raise InputError(f"optimizer: expected Keras 3.11 or newer for muon, found {keras.__version__}")
        optimizer = keras.optimizers.Muon(
            rate,
            adam_beta_1=recipe.beta_1,
            adam_beta_2=recipe.beta_2,
            weight_decay=recipe.weight_decay,
            adam_weight_decay=recipe.weight_decay,
        )
    elif recipe.optimizer == "rmsprop":
        optimizer = keras.optimizers.RMSprop(rate, epsilon=recipe.epsilon)
    else:
        kind = keras.optimizers.AdamW if recipe.optimizer == "adamw" else keras.optimizers.Adam
        decay = {"weight_decay": recipe.weight_decay} if recipe.optimizer == "adamw" else {}
        optimizer = kind(rate, beta_1=recipe.beta_1, beta_2=recipe.beta_2, epsilon=recipe.epsilon, **decay)
    return keras.optimizers.LossScaleOptimizer(optimizer) if compute_dtype == "float16" else optimizer

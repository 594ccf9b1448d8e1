"""A trained generator that another one learns from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deblurgan import devices
from deblurgan.errors import InputError
from deblurgan.networks.folding import folded
from deblurgan.networks.footprint import footprint, require_channels
from deblurgan.restoring import fast_layers
from deblurgan.training.recipe import Recipe
from deblurgan.weights.generators import generator_file


@dataclass(frozen=True)
class Teacher:
    """A generator whose pictures are learnt from; it does not change.

    Attributes:
        network: what it is, in words.
        digest: of its weights, by which a run that goes on knows them again.
        restore: from float32 (batch, height, width, 3) RGB in [-1, 1] to the same, without a gradient.
    """

    network: str
    digest: str
    restore: Callable[[Any], Any]


def open_teacher(recipe: Recipe, precision: str) -> Teacher | None:
    """Return the recipe's teacher, if it has one.

    Its layers compute in `precision`, "float32", "bfloat16" or "float16", as they do when they restore.

    Raises:
        FileError, WeightsError: as `generators.generator_file`.
        InputError: options that its file does not leave open, or a network that crops of this size do not fit, or
            whose result is random.
    """
    if recipe.teacher is None:
        return None
    stages = recipe.teacher_options.get("stages")
    content = generator_file(recipe.teacher, stages=stages if type(stages) is int and stages > 0 else None)
    try:
        network = folded(content.build(dtype=devices.policy(precision), **recipe.teacher_options))
        require_channels(network, (3,), content.network)
        needs = footprint(network)
    except InputError as error:
        raise InputError(f"teacher {recipe.teacher}: {error}") from error
    if recipe.image_size % needs.multiple:
        raise InputError(
            f"image_size: expected a multiple of {needs.multiple} for the teacher {recipe.teacher}, "
            f"received {recipe.image_size}"
        )
    if any(getattr(layer, "always", False) for layer in network.layers):
        raise InputError(f"teacher {recipe.teacher}: expected test_dropout=false; its pictures would be random")
    network.trainable = False

    def restore(images: Any) -> Any:
        restored = fast_layers.restored(network, images)
        return keras.ops.clip(keras.ops.cast(restored, "float32"), -1.0, 1.0)

    return Teacher(content.network, _digest(network), restore)


def _digest(network: keras.Model) -> str:
    digest = hashlib.sha256()
    for weight in network.get_weights():
        digest.update(f"{weight.dtype} {weight.shape}".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()

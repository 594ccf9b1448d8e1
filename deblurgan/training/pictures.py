"""The pictures that a recipe trains and validates on."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deblurgan.data.arrays import ArrayStream, open_set
from deblurgan.data.crops import CropStream
from deblurgan.data.opening import open_source, parse_source
from deblurgan.data.pairs import PreparedPair, WholePair
from deblurgan.data.sources import ColouriseSource
from deblurgan.errors import InputError, prefixed
from deblurgan.files import shown
from deblurgan.networks import zoo
from deblurgan.pictures.pixels import as_rgb, from_model
from deblurgan.scoring import metrics
from deblurgan.training.recipe import Recipe


def training_stream(recipe: Recipe) -> CropStream | ArrayStream:
    """Return the stream of crops, or of whole pictures of a dataset, that a recipe trains on.

    Raises:
        InputError, FileError: its sources cannot be used.
    """
    if recipe.dataset is not None:
        return whole_pictures(recipe)
    if not recipe.sources:
        raise InputError("sources: expected at least one source of training pictures, received none")
    sources = [open_source(spec) for spec in recipe.sources]
    for source in sources:
        if recipe.teacher is None and not source.has_sharp:
            raise InputError(
                f"teacher: expected one for {source.kind}={shown(source.folder)}, "
                "where nothing is sharp, received none"
            )
        if source.kind == ColouriseSource.kind and recipe.input_channels != 1:
            raise InputError(
                f"input_channels: expected 1 for {source.kind}={shown(source.folder)}, whose blurred side is grey, "
                f"received {recipe.input_channels}; a grey photograph stays grey with a network that takes 3"
            )
    return CropStream(
        sources,
        crop_size=recipe.image_size,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        preprocess=recipe.preprocess,
        downscale=recipe.downscale,
        augment=recipe.augment,
        resize=recipe.resize,
        channels=recipe.channels,
        candidates=recipe.candidates,
        crops_per_picture=recipe.crops_per_picture,
        n_images=recipe.n_images,
        cache_mb=recipe.cache_mb,
        workers=recipe.workers,
    )


def whole_pictures(recipe: Recipe) -> ArrayStream:
    """Return the stream of a recipe's dataset; see `training_stream`."""
    assert recipe.dataset is not None
    height, width, channels = zoo.build(recipe.role, recipe.network, recipe.network_options).output_shape[1:]
    if (height, width) != (recipe.image_size, recipe.image_size):
        raise InputError(
            f"image_size: expected what network_options make, {height}x{width} pixels, received {recipe.image_size}"
        )
    return ArrayStream(
        open_set(recipe.dataset, (height, width, channels)),
        batch_size=recipe.batch_size,
        batches_per_step=recipe.critic_updates,
        seed=recipe.seed,
        n_images=recipe.n_images,
    )


def validation_pairs(recipe: Recipe) -> tuple[Sequence[WholePair], dict[str, str]]:
    """Return the pairs that a recipe validates on, and by name why others cannot be opened.

    Raises:
        InputError, FileError: the folder holds no pairs, or none that can be opened.
    """
    if recipe.val_dir is None or recipe.n_val == 0:
        return [], {}
    source = open_source(parse_source(recipe.val_dir)).drawn(recipe.n_val, recipe.seed)
    with prefixed(f"val_dir {recipe.val_dir}", InputError):
        source, bad = source.checked(1 if recipe.val_resize else metrics.MIN_SIDE)
    pairs = [PreparedPair(pair, recipe.channels, recipe.val_resize) for pair in source.whole()]
    return pairs, {os.path.relpath(name, source.folder): why for name, why in bad.items()}


@dataclass(frozen=True)
class Sample:
    """A training crop to look at where there are no validation pairs; read like a `Pair`. No sharp one is grey."""

    stream: CropStream
    index: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"crop {self.index}"

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the blurred and the sharp crop."""
        blurred, sharp = self.stream.crop(self.index)
        return as_rgb(from_model(blurred)), as_rgb(from_model(np.nan_to_num(sharp)))

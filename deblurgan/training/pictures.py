"""The pictures that a recipe trains and validates on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deblurgan.data.crops import CropStream
from deblurgan.data.opening import open_source
from deblurgan.data.pairs import Pair, check_pairs, choose_pairs
from deblurgan.data.sources import PairSource
from deblurgan.errors import InputError
from deblurgan.files import shown
from deblurgan.pictures.pixels import from_model
from deblurgan.scoring import metrics
from deblurgan.training.recipe import Recipe


def training_crops(recipe: Recipe) -> CropStream:
    """Return the stream of crops that a recipe trains on.

    Raises:
        InputError, FileError: its sources cannot be used.
    """
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
        preprocess=recipe.preprocess,
        downscale=recipe.downscale,
        augment=recipe.augment,
        candidates=recipe.candidates,
        crops_per_picture=recipe.crops_per_picture,
        n_images=recipe.n_images,
        cache_mb=recipe.cache_mb,
        workers=recipe.workers,
    )


def validation_pairs(recipe: Recipe) -> tuple[list[Pair], dict[str, str]]:
    """Return the pairs that a recipe validates on, and by name why others cannot be opened.

    Raises:
        InputError, FileError: the folder holds no pairs, or none that can be opened.
    """
    if recipe.val_dir is None or recipe.n_val == 0:
        return [], {}
    source = open_source({"folder": recipe.val_dir})
    assert isinstance(source, PairSource)  # no other kind is guessed
    pairs, bad = check_pairs(choose_pairs(source.pairs, recipe.n_val, recipe.seed), metrics.MIN_SIDE)
    if not pairs:
        raise InputError(f"val_dir {recipe.val_dir}: none of its pictures can be read: {next(iter(bad.values()))}")
    return pairs, bad


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
        return from_model(blurred), from_model(np.nan_to_num(sharp))

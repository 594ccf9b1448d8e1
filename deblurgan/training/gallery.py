"""Pictures that show what a trained generator from noise has learnt: samples, what lies between, what is nearest."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.pictures.pixels import Pixels, from_model
from deblurgan.pictures.writing import write_image
from deblurgan.scoring import samples
from deblurgan.training.samples import COLUMNS, generated

BETWEEN = 8  # pictures of a row of the interpolation, its ends included
PAIRS = 16  # samples beside their nearest real pictures


@dataclass(frozen=True)
class Gallery:
    """What `write` wrote, and how near samples are to real pictures.

    Attributes:
        files: the PNG files.
        nearest: mean absolute difference, values being in [-1, 1], of the samples from their nearest real pictures.
        among_real: the same of as many real pictures from their nearest others: what is usual.
    """

    files: tuple[Path, ...]
    nearest: float
    among_real: float


def write(folder: Path, generator: keras.Model, real: Pixels, seed: int) -> Gallery:
    """Write samples.png, interpolation.png (each row leads from one sample to another) and nearest.png.

    The last has samples and, right of each, the real picture whose mean absolute difference from it is the least: a
    generator that has learnt by heart gives what is there already.

    Args:
        folder: where they go.
        generator: from noise to pictures.
        real: uint8 pictures that it was trained on.
        seed: of the noise, and of which real pictures are taken for `Gallery.among_real`.
    """
    rng = np.random.default_rng([seed, 1])  # other noise than the validation's
    noise = rng.standard_normal((10 * COLUMNS, generator.input_shape[-1]), np.float32)
    made = from_model(generated(generator, noise))
    ends = noise[: 2 * COLUMNS].reshape(COLUMNS, 2, -1)
    between = np.concatenate([_between(start, end) for start, end in ends])
    indices, differences = samples.nearest(made[:PAIRS], real)
    beside = np.stack([made[:PAIRS], real[indices]], axis=1).reshape(-1, *real.shape[1:])
    chosen = rng.permutation(len(real))[:PAIRS]
    others = [samples.nearest(real[[i]], np.delete(real, i, axis=0))[1][0] for i in chosen]
    pictures = {
        "samples": samples.grid(made, 10),
        "interpolation": samples.grid(from_model(generated(generator, between)), BETWEEN),
        "nearest": samples.grid(beside, 8),
    }
    files = tuple(folder / f"{name}.png" for name in pictures)
    for file, picture in zip(files, pictures.values(), strict=True):
        write_image(file, picture)
    return Gallery(files, float(differences.mean()), float(np.mean(others)))


def _between(start: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return noise on the way from one point to another, all of a likely length: along a circle, not the chord."""
    cosine = float(start @ end / np.sqrt((start @ start) * (end @ end)))
    angle = np.arccos(np.clip(cosine, -1, 1))
    part = np.linspace(0, 1, BETWEEN, dtype=np.float32)[:, None]
    return (np.sin((1 - part) * angle) * start + np.sin(part * angle) * end) / np.sin(angle)

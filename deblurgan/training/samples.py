"""What a generator from noise makes, looked at while it trains: there is nothing to restore and compare with."""

from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import InputError
from deblurgan.pictures.pixels import Pixels, from_model, to_model
from deblurgan.scoring import samples

MEASURED = 500  # samples, and real pictures, that are compared
COLUMNS = 5  # of the grid, and its rows
AT_ONCE = 100  # pictures that are made together


class SampleValidation:
    """Makes pictures from the same noise each time, shows some, and compares all with real ones as a set.

    Args:
        generator: from noise to pictures, with the present weights.
        real: uint8 pictures, of which some are drawn with `seed`.
        seed: also of the noise.

    Raises:
        InputError: all real pictures are the same.

    Attributes:
        shows: what the grid is.
        grid: 25 samples.
        bad: nothing.
    """

    shows = "samples"

    def __init__(self, generator: keras.Model, real: Pixels, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.generator = generator
        self.noise = rng.standard_normal((MEASURED, generator.input_shape[-1]), np.float32)
        self.real = to_model(real[rng.permutation(len(real))[:MEASURED]])
        if (self.real == self.real[0]).all():
            raise InputError(f"dataset: expected pictures that differ from each other, found {len(real)} that do not")
        self.bad: dict[str, str] = {}
        self.grid: NDArray[np.uint8] = np.full((4, 4, 3), 255, np.uint8)

    def of_blurred(self) -> Mapping[str, float]:
        """Return nothing: there is no input whose scores could be beaten."""
        return {}

    def score(self) -> dict[str, float]:
        """Return `val_distance` and `val_diversity`; see `scoring.samples`."""
        made = generated(self.generator, self.noise)
        self.grid = samples.grid(from_model(made[: COLUMNS**2]), COLUMNS)
        return {
            "val_distance": samples.distance(made, self.real),
            "val_diversity": samples.diversity(made, self.real),
        }


def generated(generator: keras.Model, noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a generator makes of noise, float32 in [-1, 1], as it is used: in inference."""
    parts = np.array_split(noise, -(-len(noise) // AT_ONCE))
    return np.concatenate([np.asarray(generator(part, training=False), np.float32) for part in parts])

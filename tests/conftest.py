import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

GOPRO_CROPS = Path(__file__).parent / "data" / "GOPRO_crops"


@pytest.fixture(autouse=True)
def _seeded():
    """Seed Keras where it is loaded; a test that needs no Keras does not pay for importing it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def gopro_crops():
    """Folder of nine real pairs, laid out as GOPRO is."""
    return GOPRO_CROPS


@pytest.fixture(scope="session")
def photos():
    """One real pair, 288x288 RGB uint8: (blurred, sharp)."""
    scene = GOPRO_CROPS / "train" / "GOPR0372_07_00"
    return tuple(np.asarray(Image.open(scene / side / "000059.png").convert("RGB")) for side in ("blur", "sharp"))


@pytest.fixture(scope="session")
def randomised():
    """A function that gives all weights of a model random values of realistic size, and returns the model."""

    def randomise(model, seed=0):
        random = np.random.default_rng(seed)
        for variable in model.weights:
            shape, name = tuple(variable.shape), variable.path.split("/")[-1]
            if name == "kernel":
                value = random.normal(scale=np.sqrt(0.7 / np.prod(shape[:-1])), size=shape)
            elif name == "gamma":
                value = random.uniform(0.5, 1.5, shape) * random.choice([1, 1, 1, -1], shape)
            elif name == "moving_variance":
                value = random.uniform(0.3, 2, shape)
            else:
                value = random.normal(scale=0.2, size=shape)
            variable.assign(value)
        return model

    return randomise

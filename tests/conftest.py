import gc
import os
import random
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

import deblurgan  # noqa: F401 (it chooses TensorFlow's operations, before a test imports TensorFlow)


def pytest_configure(config):
    """Import PyTorch before a test imports TensorFlow, after which its import ends the process (2.14 with 2.21)."""
    if config.option.markexpr == "torch":
        import torch._dynamo  # noqa: F401


def pytest_collection_finish():
    """Spare Python's garbage collector the modules, and most of its rounds through all that networks hold."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 10)


GOPRO_CROPS = Path(__file__).parent / "data" / "GOPRO_crops"


@pytest.fixture(autouse=True)
def _seeded():
    """Seed what Keras draws the seeds of its layers from.

    `keras.utils.set_random_seed` would also have TensorFlow prepare all operations and graphs anew for each test.
    """
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


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
def crops(photos):
    """Two pairs of a real blurred and sharp crop in [-1, 1]: two arrays (2, 32, 40, 3)."""
    return [
        np.stack([photo[y : y + 32, x : x + 40] for y, x in ((0, 0), (128, 100))]).astype(np.float32) / 127.5 - 1
        for photo in photos
    ]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """File with the weights of a small generator that leaves pictures recognisable."""
    import keras

    from deblurgan.networks.tutorial import generator_model
    from deblurgan.weights.hdf5 import save_weights

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    save_weights(generator_model((None, None, 3), ngf=4, n_blocks=1), path)
    return path


@pytest.fixture(scope="session")
def vgg16():
    """The shipped weights, read without the code under test."""
    with np.load(Path(__file__).parents[1] / "deblurgan/assets/vgg16_block1_to_block3.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def vgg19(vgg16):
    """Random weights; those of VGG16 have the same shapes."""
    rng = np.random.default_rng(19)
    scales = {name: np.sqrt(2 / (9 * array.shape[2])) if array.ndim == 4 else 0.1 for name, array in vgg16.items()}
    return {name: rng.normal(0, scales[name], array.shape).astype(np.float32) for name, array in vgg16.items()}


@pytest.fixture(scope="session")
def vgg19_file(vgg19, tmp_path_factory):
    """A `.npz` file of them."""
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.npz"
    np.savez(path, **vgg19)
    return path


@pytest.fixture(scope="session")
def randomised():
    """A function that gives all weights of a model random values of realistic size, and returns the model."""

    def randomise(model, seed=0):
        rng = np.random.default_rng(seed)
        for variable in model.weights:
            shape, name = tuple(variable.shape), variable.path.split("/")[-1]
            if name == "kernel":
                value = rng.normal(scale=np.sqrt(0.7 / np.prod(shape[:-1])), size=shape)
            elif name == "gamma":
                value = rng.uniform(0.5, 1.5, shape) * rng.choice([1, 1, 1, -1], shape)
            elif name == "moving_variance":
                value = rng.uniform(0.3, 2, shape)
            else:
                value = rng.normal(scale=0.2, size=shape)
            variable.assign(value)
        return model

    return randomise

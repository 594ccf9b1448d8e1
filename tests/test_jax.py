"""The networks, layers and losses on Keras' JAX backend, in a process of their own; compared with TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deblurgan.networks import zoo
from tests import maxim_files

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")

NETWORKS = {
    "tutorial": ("generator", "tutorial", {"ngf": 4, "n_blocks": 1, "dropout": 0.0}),
    "paper": ("generator", "paper", {"ngf": 4, "n_blocks": 1, "dropout": 0.0, "statistics": "noted"}),
    "unet": ("generator", "unet", {"ngf": 4, "num_downs": 5, "dropout": 0.0}),
    "nafnet": (
        "generator",
        "nafnet",
        {"width": 4, "encoder_blocks": [1, 1], "decoder_blocks": [1, 1], "space_to_depth": 2, "local_window": 16},
    ),
    "maxim": ("generator", "maxim", maxim_files.OPTIONS),
    "critic": ("critic", "tutorial", {"ndf": 4, "image_shape": [32, 32, 3]}),
    "linear critic": (
        "critic",
        "tutorial",
        {"ndf": 4, "image_shape": [32, 32, 3], "norm": "instance", "sigmoid": False},
    ),
    "patchgan": ("critic", "patchgan", {"ndf": 4}),
    "dcgan": ("sampler", "dcgan", {"z_dim": 5, "initial_dense_layer_size": [2, 2, 4], "conv_filters": [6, 6, 4, 1]}),
    "dcgan's critic": ("critic", "dcgan", {"conv_filters": [4, 4, 4, 4], "sigmoid": False}),
}
TRAINED = ["paper", "nafnet"]  # a step of each takes JAX a while to compile


def weights_of(model, random):
    """Random weights of realistic size: no factor stays 0, variances are positive."""
    weights = []
    for variable in model.weights:
        shape = tuple(variable.shape)
        if variable.name.endswith("variance"):
            weights.append(random.uniform(0.5, 2, shape))
        elif len(shape) > 1:
            weights.append(random.normal(0, (9 if shape[-1] == 1 else np.prod(shape[:-1])) ** -0.5, shape))
        else:
            weights.append(random.normal(1.0 if variable.name.endswith(("scale", "gamma")) else 0.0, 0.2, shape))
    return [weight.astype(np.float32) for weight in weights]


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory):
    """For each network what it was given and what TensorFlow makes of it, and what JAX does: two dicts of arrays."""
    folder = tmp_path_factory.mktemp("jax")
    given = {"networks": np.array(json.dumps(NETWORKS)), "trained": np.array(TRAINED)}
    random = np.random.default_rng(0)
    for key, (role, name, options) in NETWORKS.items():
        model = zoo.build(role, name, options)
        weights = weights_of(model, random)
        model.set_weights(weights)
        shape = [side or 32 for side in model.input_shape[1:]]
        images, sharp = random.uniform(-1, 1, (2, 2, *shape)).astype(np.float32)
        given |= {f"{key}/weights/{i}": weight for i, weight in enumerate(weights)}
        given |= {f"{key}/images": images, f"{key}/sharp": sharp}
        given[f"{key}/output"] = np.asarray(model(images, training=False))
        given[f"{key}/trained"] = np.asarray(model(images, training=True))
        given |= {f"{key}/noted/{i}": np.asarray(weight) for i, weight in enumerate(model.weights)}
        given |= {f"{key}/trainable/{i}": np.array(weight.trainable) for i, weight in enumerate(model.weights)}
    np.savez(folder / "given.npz", **given)
    root = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, Path(__file__).with_name("jax_side.py"), folder / "given.npz", folder / "made.npz"],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(root),
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # it is the compiling that takes long
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    with np.load(folder / "made.npz") as file:
        return given, dict(file)


@pytest.mark.parametrize("key", NETWORKS)
def test_jax_computes_what_tensorflow_does(key, exchanged):
    given, made = exchanged
    expected = given[f"{key}/output"]
    largest = np.abs(expected).max()
    assert expected.std() > 1e-2 * largest
    np.testing.assert_allclose(made[f"{key}/output"], expected, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("key", TRAINED)
def test_the_loss_of_a_training_step_is_minus_the_psnr(key, exchanged):
    given, made = exchanged
    output, sharp = (given[f"{key}/{name}"].astype(np.float64) for name in ("trained", "sharp"))
    errors = [np.mean((a / 2 - b / 2) ** 2) for a, b in zip(output, sharp, strict=True)]
    np.testing.assert_allclose(made[f"{key}/loss"], np.mean(10 * np.log10(np.array(errors) + 1e-8)), atol=1e-3)


@pytest.mark.parametrize("key", TRAINED)
def test_a_training_step_moves_the_weights_and_notes_what_tensorflow_notes(key, exchanged):
    given, made = exchanged
    n = sum(name.startswith(f"{key}/weights/") for name in given)
    moved = 0
    for i in range(n):
        before, after = given[f"{key}/weights/{i}"], made[f"{key}/after/{i}"]
        if given[f"{key}/trainable/{i}"]:
            moved += np.any(after != before)
            assert np.abs(after - before).max() < 2e-2  # AdamW's first step is of the size of the learning rate
        else:
            np.testing.assert_allclose(after, given[f"{key}/noted/{i}"], rtol=1e-4, atol=1e-4)
            assert np.any(after != before)
    assert moved == sum(bool(given[f"{key}/trainable/{i}"]) for i in range(n))

"""Training on pictures of more channels than three, and restoring such."""

import re
from dataclasses import replace

import numpy as np
import pytest

import deblurgan
from deblurgan.errors import InputError
from deblurgan.pictures.pixels import from_model
from deblurgan.restoring.opening import open_restorer
from deblurgan.training.pictures import training_stream
from deblurgan.training.recipe import make
from deblurgan.training.trainer import train
from tests.cli.program import deblurgan as run_command
from tests.cli.program import error_of
from tests.photographs import noise, save


@pytest.fixture(scope="module")
def five_to_two(tmp_path_factory):
    """A recipe whose pictures have five channels, and whose results two, and its folder; each pair is alike."""
    folder = tmp_path_factory.mktemp("channels")
    for part in ("train", "test"):
        for side in "AB":
            (folder / part / side).mkdir(parents=True)
        for number in range(2):
            image = np.random.default_rng(number).integers(0, 256, (40, 48, 5), np.uint8)
            np.save(folder / part / "A" / f"{number}.npy", image)
            np.save(folder / part / "B" / f"{number}.npy", image[..., 3:])
    fields = {
        "network": "unet",
        "network_options": {"ngf": 2, "num_downs": 5},
        "input_channels": 5,
        "output_channels": 2,
        "critic": "patchgan",
        "critic_options": {"ndf": 2, "n_layers": 1},
        "adversarial": "lsgan",
        "conditional": True,
        "panels": {"blurred": "", "restored": "", "sharp": "", "critic": ""},
        "sources": [{"kind": "pairs", "folder": str(folder / "train")}],
        "val_dir": str(folder / "test"),
        "batch_size": 2,
        "image_size": 32,
        "steps": 2,
        "cache_mb": 16,
    }
    return make(fields), folder


def test_a_crop_has_the_same_window_of_all_channels(five_to_two):
    recipe, folder = five_to_two
    stream = training_stream(recipe)
    for index in range(8):
        blurred, sharp = stream.crop(index)
        assert (blurred.shape, sharp.shape) == ((32, 32, 5), (32, 32, 2))
        np.testing.assert_array_equal(blurred[..., 3:], sharp)
    wholes = [np.load(folder / "train" / "A" / f"{number}.npy").tobytes() for number in range(2)]
    assert any(from_model(blurred)[0, 0].tobytes() in whole for whole in wholes)


def test_a_run_is_validated_and_its_weights_restore_arrays(five_to_two, tmp_path):
    result = train(five_to_two[0], tmp_path / "run")
    assert 0 < result.history[-1]["val_psnr"] < 50
    picture = np.random.default_rng(5).integers(0, 256, (70, 101, 5), np.uint8)
    restored = deblurgan.load(result.weights, precision="float32").restore(picture)
    assert (restored.shape, restored.dtype) == ((70, 101, 2), np.uint8)
    tiled = open_restorer(result.weights, precision="float32", tta=True)
    assert tiled(picture).shape == (70, 101, 2)
    with pytest.raises(InputError, match=r"expected uint8, uint16 or float32, \(height, width, 5\), received uint8"):
        deblurgan.load(result.weights).restore(picture[..., :3])
    with pytest.raises(InputError, match=r"strength: expected 1 with a network of \(5, 2\) channels"):
        deblurgan.load(result.weights, strength=0.5)
    save(tmp_path / "photos" / "x.png", noise(40, 40))
    for command, folder in (("deblur", tmp_path / "photos"), ("evaluate", five_to_two[1] / "test")):
        told = error_of(run_command(command, "--weight_path", result.weights, "--input_dir", folder))
        assert re.search(
            r"generator_best.weights.h5: expected a network for photographs, .* found one of \(5, 2\);", told
        )


def test_pictures_of_other_channels_than_the_recipes_are_told(five_to_two, tmp_path):
    for side in "AB":
        save(tmp_path / side / "x.png", noise(40, 40))
    recipe = make(
        vars(five_to_two[0]), [("sources", [{"kind": "pairs", "folder": str(tmp_path)}]), ("val_dir", None)]
    )
    with pytest.raises(InputError, match=r"^pairs=.*: x: expected a picture of 5 channels, found 3$"):
        train(recipe, tmp_path / "run")
    with pytest.raises(InputError, match=r"^validation/x: expected a picture of 5 channels, found 3$"):
        train(replace(five_to_two[0], val_dir=str(tmp_path)), tmp_path / "run2")

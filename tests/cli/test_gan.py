"""What becomes of the options of `gan`, and what it leaves and says."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from deblurgan.cli.gan import _GanBars
from deblurgan.training import recipe as recipes
from deblurgan.training import trainer
from deblurgan.training.from_noise import KINDS, fields
from deblurgan.training.progress import Result
from deblurgan.training.recipe import make, read_fields
from tests.cli.program import deblurgan, error_of, succeeds
from tests.photographs import names, noise, pixels, save
from tests.training.runs import DCGAN, from_noise


@pytest.fixture
def planned(monkeypatch):
    """What the trainer is called with for a command, in place of training, and what is said of an interrupted run."""
    calls, shown = [], []

    def train(recipe, folder, *, resume, progress):
        calls.append((recipe, folder, resume))
        return Result(folder, folder / "generator_best.weights.h5", [], {}, interrupted=True)

    monkeypatch.setattr(trainer, "train", train)
    monkeypatch.setattr(sys.modules["deblurgan.cli.gan"], "_show", lambda plan, result: shown.append(plan))

    def planned(*arguments):
        result = deblurgan("gan", *arguments)
        assert (result.exit_code, result.stderr) == (130, "")
        assert shown == [call[0] for call in calls]
        return (*calls[-1], result.stdout)

    return planned


@pytest.mark.parametrize("kind", KINDS)
def test_the_networks_of_the_tutorial_for_digits_are_those_of_the_recipes(kind):
    assert make(fields(kind, "digits")).network_options == {
        "upsample": [2, 2, 1, 1],
        "conv_filters": [128, 64, 64, 1],
        "conv_strides": [1, 1, 1, 1],
        "conv_kernel_size": [5, 5, 5, 5],
        "initial_dense_layer_size": [7, 7, 64],
    }
    assert fields(kind, "digits")["critic_options"].items() >= read_fields(kind)["critic_options"].items()


def test_options_are_fields_of_the_recipe(planned):
    plan, folder, resume, said = planned(
        "--kind", "wgan-gp", "--dataset", "cifar10", "--batch-size", 8, "--epochs", 3,
        "--seed", 5, "--n_images", 99, "--precision", "float32", "--set", "ema=0.9", "--output_dir", "out",
        "--run", "r",
    )  # fmt: skip
    changes = {"batch_size": 8, "epochs": 3, "seed": 5, "n_images": 99, "precision": "float32", "ema": 0.9}
    assert plan == make(fields("wgan-gp", "cifar10", size="small"), changes.items())
    assert (plan.image_size, plan.network_options["conv_filters"]) == (32, [32, 16, 3])
    assert plan.network_options["initial_dense_layer_size"] == [8, 8, 64]
    assert (folder, resume) == (Path("out/r"), False)
    assert said.endswith("Go on with:\n  deblurgan gan --resume --output_dir out --run r\n")


def test_networks_fit_a_folder_and_a_file(planned, tmp_path):
    save(tmp_path / "photos" / "one.png", noise(9, 12))
    plan = planned("--dataset", tmp_path / "photos", "--image_size", 32)[0]
    assert (plan.image_size, plan.network_options["conv_filters"][-1]) == (32, 3)
    np.savez(tmp_path / "own.npz", x=np.zeros((3, 12, 12), np.uint8))
    plan = planned("--dataset", tmp_path / "own.npz", "--network", "tutorial")[0]
    assert plan.network_options["conv_filters"] == [128, 64, 64, 1]
    assert plan.network_options["initial_dense_layer_size"] == [3, 3, 64]
    np.savez(tmp_path / "odd.npz", x=np.zeros((3, 12, 10), np.uint8))
    error = error_of(deblurgan("gan", "--dataset", tmp_path / "odd.npz"))
    assert error.endswith("expected squares with a side that is a multiple of 4, found (12, 10, 1)")


def test_resume_takes_the_runs_own_recipe(planned, tmp_path):
    started = make(fields("wgan", "digits", size="small"), [("seed", 4)])
    (tmp_path / "runs" / "one" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "checkpoints" / "step_000000003.h5").touch()
    recipes.write(started, tmp_path / "runs" / "one")
    plan, folder, resume, _ = planned("--resume", "--output_dir", tmp_path / "runs", "--steps", 9000)
    assert plan == dataclasses.replace(started, steps=9000)
    assert (folder, resume) == (tmp_path / "runs" / "one", True)
    error = error_of(deblurgan("gan", "--resume", "--output_dir", tmp_path / "runs", "--kind", "gan"))
    assert error.startswith("--kind: expected none with --resume")
    recipes.write(make({"steps": 5}), tmp_path / "runs" / "one")
    assert error_of(deblurgan("gan", "--resume", "--output_dir", tmp_path / "runs")).endswith(
        "found one of `deblurgan train`"
    )


def test_what_does_not_fit_is_told():
    error = error_of(deblurgan("gan", "--steps", 3, "--epochs", 1))
    assert error == "--steps: expected this or --epochs, received both"
    assert error_of(deblurgan("gan", "--dataset", "digit")).endswith("received digit; did you mean digits?")
    error = "Invalid value for '--kind': expected one of gan, wgan, wgan-gp, received 'gna'; did you mean gan?"
    assert error in deblurgan("gan", "--kind", "gna").stderr


def test_a_run_leaves_samples_curves_interpolation_and_nearest_pictures(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.integers(0, 256, (30, 8, 8), dtype=np.uint8))
    small = [f"--set={name}={str(value).replace(' ', '')}" for name, value in DCGAN.items()]
    more = ["--set", "steps_per_epoch=2", "--batch_size", 4, "--steps", 4, "--precision", "float32"]
    said = succeeds("gan", "--dataset", tmp_path / "own.npz", *small, *more, "--output_dir", tmp_path, "--run", "run")
    run = tmp_path / "run"
    for name in ("curves", "interpolation", "nearest", "samples/epoch_000", "samples/epoch_002"):
        assert (run / f"{name}.png").is_file()
    assert "Pictures: 30 to train on\n" in said
    assert "epoch 2: d_loss " in said
    assert "val_diversity " in said
    assert "from their nearest training pictures" in said
    assert "deblur" not in said.replace("deblurgan", "")
    assert pixels(run / "interpolation.png").shape == (5 * 60, 8 * 60, 3)
    beside = pixels(run / "nearest.png")[:, :, 0]
    shown = [beside[2 + 60 * row : 58 + 60 * row : 7, 62 + 120 * column : 118 + 120 * column : 7]
             for row in range(4) for column in range(4)]  # fmt: skip
    known = np.load(tmp_path / "own.npz")["x"]
    assert all((picture == known).all(axis=(1, 2)).any() for picture in shown)
    assert "run" in names(tmp_path)


def test_a_trouble_is_told_when_it_begins_and_not_again_before_it_has_ended(capsys):
    row = {"seconds": 1, "images_per_second": 1, "d_loss": 0.1, "g_loss": 1, "val_distance": 0.5}
    with _GanBars() as bars:
        for epoch, diversity in enumerate([0.1] * 5 + [0.9] * 2 + [0.1] * 4, 1):
            bars.epoch_done({**row, "epoch": epoch, "val_diversity": diversity})
    told = [number for number, line in enumerate(capsys.readouterr().out.splitlines()) if "mode collapse" in line]
    assert told == [3, 11]


def test_train_takes_the_recipes_from_noise_too(monkeypatch, tmp_path):
    calls = []

    def train(recipe, folder, *, resume, progress, **hosts):
        calls.append(recipe)
        return Result(folder, folder / "generator_best.weights.h5", [], {}, interrupted=False)

    monkeypatch.setattr(trainer, "train", train)
    said = succeeds("train", "--recipe", "gan", "--steps", 7, "--set", "dataset=mnist", "--output_dir", tmp_path)
    assert calls == [make(read_fields("gan"), [("steps", 7), ("dataset", "mnist")])]
    assert "Deblur" not in said
    assert from_noise().role == "sampler"

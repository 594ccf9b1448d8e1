"""Whole runs of recipes with tiny networks on real crops; what is killed is killed for real."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deblurgan.errors import DeblurganError, FileError, InputError, WeightsError
from deblurgan.networks.patchgan import patchgan_discriminator
from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.pictures.pixels import nearest
from deblurgan.pictures.reading import read_rgb
from deblurgan.restoring.opening import open_restorer
from deblurgan.training import record
from deblurgan.training.initial import with_network_of
from deblurgan.training.recipe import make, read_fields
from deblurgan.training.restoration import Restoration
from deblurgan.training.trainer import train
from deblurgan.weights import any_file
from tests.photographs import names, noise, save
from tests.training.killing import Life
from tests.training.runs import (
    CROPS,
    NAFNET,
    PIX2PIX,
    Listener,
    assert_same_file,
    recipe,
    tensors,
    tutorial,
    untimed,
)

SMALL = {  # what makes each recipe small, and changes nothing else
    "paper": [("network_options.ngf", 4), ("network_options.n_blocks", 1), ("critic_options.ndf", 4)],
    "unet": [("network_options.ngf", 4), ("network_options.num_downs", 5), ("critic_options.ndf", 4)],
    "pix2pix": PIX2PIX,
    "nafnet": [("network_options", NAFNET)],
    "nafnet-gan": [("network_options", NAFNET), ("critic_options.ndf", 4)],
    "nafnet-small": [("network_options", NAFNET)],
}
signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT that a process can send itself")


@pytest.fixture(autouse=True)
def _signals_are_handled_as_before():
    """After each run, Ctrl-C and SIGTERM do what they do in Python."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    assert {number: signal.signal(number, handler) for number, handler in before.items()} == usual


class Noting(keras.callbacks.Callback):
    """The generator's weights in float64 before the first step and after each."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_begin(self, logs=None):
        self.weights.append([np.float64(weight) for weight in self.model.generator.get_weights()])

    def on_train_batch_end(self, batch, logs=None):
        self.on_train_begin()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with averaged weights: its folder, its result, its recipe, and the weights that it went through."""
    run, noting = tmp_path_factory.mktemp("runs") / "whole", Noting()
    plan = recipe(ema=0.25, clip_norm=1.0, schedule="cosine", checkpoint_every=2, n_val=-1)
    return run, train(plan, run, callbacks=[noting]), plan, noting.weights


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The tutorial's run with Keras callbacks: its folder, its result, its recipe, and what it told."""
    folder = tmp_path_factory.mktemp("runs")
    plan, listener = tutorial(checkpoint_every=2, n_val=-1), Listener()
    callbacks = [
        keras.callbacks.CSVLogger(folder / "keras.csv"),
        keras.callbacks.ModelCheckpoint(folder / "keras.weights.h5", save_weights_only=True),
        keras.callbacks.EarlyStopping("g_loss", patience=9, mode="min"),
        keras.callbacks.ReduceLROnPlateau("g_loss", patience=9, mode="min"),
    ]
    return (
        folder / "deep" / "run",
        train(plan, folder / "deep" / "run", progress=listener, callbacks=callbacks),
        plan,
        listener,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run of one epoch, in another thread, without matplotlib, resumed before it has a checkpoint.

    Its folder, its results, what it told; its events go into the folder `events` beside its own.
    """
    folder, results, listener = tmp_path_factory.mktemp("runs"), [], Listener()
    plan = recipe(steps=None, epochs=1, steps_per_epoch=None, log_dir=str(folder / "events" / "here"))

    def run():
        results.append(train(plan, folder / "run", resume=True, progress=listener))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record.curves, "can_plot", lambda: False)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    return folder / "run", results, listener


# What a run leaves


def test_a_run_leaves_what_the_readme_lists(finished):
    run, result, plan, _ = finished
    folders, weights = ["checkpoints", "logs", "samples"], ["generator_best.weights.h5", "generator_last.weights.h5"]
    files = ["curves.png", "log.csv", "recipe.json", "run.json"]
    assert names(run) == sorted([*folders, *weights, *files])
    assert names(run / "checkpoints") == ["step_000000004.h5", "step_000000006.h5"]
    assert names(run / "samples") == [*(f"epoch_00{n}.png" for n in range(3)), "training_pairs.png"]
    assert read_rgb(run / "samples" / "training_pairs.png").shape == (4 * 32 + 3 * 4, 2 * 32 + 4, 3)
    about = json.loads((run / "run.json").read_text())
    assert about["recipe"] == dataclasses.asdict(plan)
    assert about["versions"]["keras"] == keras.__version__
    assert about["data"][0]["pictures"] == 6
    assert about["epochs"] == result.history
    assert about["steps"] == 6
    assert about["parameters"]["generator"] == any_file.read(result.weights).parameters
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "3", "6"]
    assert float(rows[2]["val_psnr"]) == result.history[2]["val_psnr"]
    assert rows[0]["loss"] == ""


def test_the_tutorials_run_leaves_the_same_and_the_weights_of_each_epoch(finished, taught):
    run, result, plan, listener = taught
    kept = [f"{network}_00{epoch}.weights.h5" for network in ("discriminator", "generator") for epoch in (1, 2)]
    assert names(run) == sorted([*names(finished[0]), *kept])
    assert json.loads((run / "recipe.json").read_text()) == dataclasses.asdict(plan)
    losses = ["d_loss", "d_loss_real", "d_loss_fake", "g_loss", "perceptual_loss", "wasserstein_loss"]
    assert list(result.history[1]) == [
        "epoch", "step", "seconds", "images_per_second", *losses, "val_psnr", "val_ssim", "learning_rate",
    ]  # fmt: skip
    for name in losses:
        for epoch in (1, 2):
            mean = np.mean([step[name] for step in listener.steps[3 * epoch - 3 : 3 * epoch]])
            assert result.history[epoch][name] == pytest.approx(mean, rel=1e-12)
    assert_same_file(run / "generator_002.weights.h5", run / "generator_last.weights.h5")
    best = max(result.history[1:], key=lambda row: row["val_psnr"])["epoch"]
    assert_same_file(result.weights, run / f"generator_00{best}.weights.h5")


def test_the_tutorials_weights_load_into_its_networks_as_they_were_trained(taught):
    run, *_ = taught
    trained = tensors(run / "checkpoints" / "step_000000006.h5")
    models = {
        "generator": generator_model((32, 32, 3), ngf=4, n_blocks=1),
        "discriminator": discriminator_model((32, 32, 3), ndf=4, n_layers=1),
    }
    for name, model in models.items():
        model.load_weights(run / f"{name}_002.weights.h5")
        variables = [trained[f"{name}/{number:04d}"] for number in range(len(model.variables))]
        for variable, expected in zip(model.variables, variables, strict=True):
            if "seed_generator" not in variable.path:
                np.testing.assert_array_equal(variable.numpy(), expected)
        found = tensors(run / f"{name}_002.weights.h5")
        assert not [key for key in found if "optimizer" in key]
        assert any_file.read(run / f"{name}_002.weights.h5").parameters == model.count_params()


def test_a_checkpoint_is_no_weight_file_and_names_one(taught):
    path = taught[0] / "checkpoints" / "step_000000006.h5"
    with pytest.raises(FileError) as caught:
        any_file.read(path)
    assert str(caught.value) == (
        f"{path}: expected a weight file, found a training run's checkpoint; take "
        f"{taught[0] / 'generator_best.weights.h5'}"
    )


def test_keras_callbacks_go_with_the_tutorials_step(taught):
    run, result, *_ = taught
    folder = run.parent.parent
    rows = list(csv.DictReader((folder / "keras.csv").read_text().splitlines()))
    assert [float(row["g_loss"]) for row in rows] == pytest.approx([row["g_loss"] for row in result.history[1:]])
    assert [float(row["val_psnr"]) for row in rows] == pytest.approx([row["val_psnr"] for row in result.history[1:]])
    assert len(tensors(folder / "keras.weights.h5")) > 10  # of d_on_g


@pytest.mark.parametrize("kind", ["finished", "taught"])
def test_the_scores_are_those_of_the_saved_weights_by_an_independent_measure(kind, request):
    run, result = request.getfixturevalue(kind)[:2]
    restore = open_restorer(run / "generator_last.weights.h5", precision="float32")
    psnrs, ssims, blurred_psnrs = [], [], []
    for sharp_path in sorted((CROPS / "test").glob("*/sharp/*")):
        blurred, sharp = read_rgb(sharp_path.parent.parent / "blur" / sharp_path.name), read_rgb(sharp_path)
        restored = restore(blurred)
        psnrs.append(peak_signal_noise_ratio(sharp, restored))
        blurred_psnrs.append(peak_signal_noise_ratio(sharp, blurred))
        options = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "channel_axis": 2}
        ssims.append(structural_similarity(sharp, restored, **options))
    assert len(psnrs) == 3
    assert result.history[-1]["val_psnr"] == pytest.approx(np.mean(psnrs), abs=1e-6)
    assert result.history[-1]["val_ssim"] == pytest.approx(np.mean(ssims), abs=1e-6)
    scored = json.loads((run / "run.json").read_text())["validation"]["blurred"]
    assert scored["val_psnr"] == pytest.approx(np.mean(blurred_psnrs), abs=1e-6)
    if kind == "finished":  # a NAFNet that has learnt nothing yet
        assert result.history[0]["val_psnr"] == pytest.approx(np.mean(blurred_psnrs), abs=1e-6)


def test_samples_show_blurred_restored_and_sharp_in_each_row(taught):
    run = taught[0]
    restore = open_restorer(run / "generator_002.weights.h5", precision="float32")
    scene = next(iter(sorted((CROPS / "test").iterdir())))
    name = min(path.name for path in (scene / "sharp").iterdir())
    blurred, sharp = (read_rgb(scene / side / name) for side in ("blur", "sharp"))
    grid = read_rgb(run / "samples" / "epoch_002.png")
    side = min(256, *sharp.shape[:2])
    top, left = ((length - side) // 2 for length in sharp.shape[:2])
    for column, picture in enumerate((blurred, restore(blurred), sharp)):
        np.testing.assert_array_equal(
            grid[:side, column * (side + 4) :][:, :side], picture[top : top + side, left : left + side]
        )


def events(folder):
    """The tensors that TensorBoard reads in a folder, by tag and step."""
    (path,) = folder.iterdir()
    records = (tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path)))
    return {(value.tag, event.step): value.tensor for event in records for value in event.summary.value}


def test_events_can_be_read_by_tensorflow(taught):
    run, result, *_ = taught
    found = events(run / "logs")
    for row in result.history[1:]:
        assert float(tf.make_ndarray(found["g_loss", row["step"]])) == pytest.approx(row["g_loss"], rel=1e-6)
        _, _, png = tf.make_ndarray(found["blurred, restored, sharp", row["step"]])
        sample = read_rgb(run / "samples" / f"epoch_00{row['epoch']}.png")
        np.testing.assert_array_equal(tf.io.decode_png(bytes(png)), sample)


def test_what_is_saved_is_the_average_of_the_weights(finished):
    run, _, _, seen = finished
    average = seen[0]
    for step, weights in enumerate(seen[1:], 1):
        keep = min(0.25, (1 + step) / (10 + step))
        average = [keep * old + (1 - keep) * new for old, new in zip(average, weights, strict=True)]
    assert len(seen) == 7
    saved = any_file.load(run / "generator_last.weights.h5").get_weights()
    for one, other in zip(saved, average, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# Going on


@signals
def test_an_interrupted_run_ends_as_one_that_was_not(finished, tmp_path):
    whole, expected, plan, _ = finished
    stop_after = 4  # in the middle of the second epoch
    first = Listener(stop_after)
    stopped = train(plan, tmp_path, progress=first)
    assert stopped.interrupted
    assert len(first.steps) == stop_after
    assert any(line.startswith("stopping after this batch or validation; ") for line in first.notices)
    second = Listener()
    result = train(plan, tmp_path, resume=True, progress=second)
    assert not result.interrupted
    assert len(second.steps) == 6 - stop_after
    assert second.epochs[0] == (1 + stop_after // 3, 2, 3, stop_after % 3)
    assert_same_run(tmp_path, result, whole, expected)


def assert_same_run(run, result, whole, expected):
    """Bit for bit: weights, optimizers, dropout's seeds, samples; and all that is told but for times."""
    assert untimed(result.history) == untimed(expected.history)
    assert [name for name in names(run) if name != "logs"] == [name for name in names(whole) if name != "logs"]
    for path in [*whole.glob("*.weights.h5"), whole / "checkpoints" / "step_000000006.h5"]:
        assert_same_file(run / path.relative_to(whole), path)
    for path in (whole / "samples").iterdir():
        np.testing.assert_array_equal(read_rgb(run / "samples" / path.name), read_rgb(path))


@pytest.mark.slow
def test_a_pix2pix_run_that_is_killed_ends_as_one_that_was_not(tmp_path):
    changes = {"image_size": 64, "batch_size": 1, "n_val": 1, "precision": "float32", "checkpoint_every": 2}
    plan = recipe(read_fields("pix2pix"), **changes, keep_every=1, **dict(PIX2PIX))
    expected = train(plan, tmp_path / "whole")
    life = Life(plan, tmp_path / "killed")
    assert life.until_step(5)
    assert life.kill()
    result = train(plan, tmp_path / "killed", resume=True)
    assert untimed(result.history) == untimed(expected.history)
    checkpoints = ["step_000000002.h5", "step_000000003.kept.h5", "step_000000004.h5", "step_000000006.kept.h5"]
    assert names(tmp_path / "whole" / "checkpoints") == checkpoints
    for name in ("generator_last.weights.h5", f"checkpoints/{checkpoints[-1]}"):
        assert_same_file(tmp_path / "killed" / name, tmp_path / "whole" / name)
    found = events(tmp_path / "whole" / "logs")
    for tag in ("gen_total_loss", "gen_gan_loss", "gen_l1_loss", "disc_loss"):
        assert [step for name, step in found if name == tag] == [1, 2, 3, 4, 5, 6]
    assert {step for name, step in found if name == "learning_rate"} == {3, 6}
    grid = read_rgb(tmp_path / "whole" / "samples" / "epoch_002.png")
    assert grid.shape[1] == 4 * 256 + 3 * 4
    assert (grid[:20] < 128).any()
    assert (grid[:2] == 255).all()  # titles above the pictures


def copied(finished, tmp_path):
    whole, _, plan, _ = finished
    run = tmp_path / "copy"
    shutil.copytree(whole, run)
    return run, plan


def test_a_run_is_not_overwritten_and_not_continued_with_another_recipe(finished, tmp_path):
    run, _, plan, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(InputError, match="holds a run already; resume it, or choose another name"):
        train(plan, run)
    with pytest.raises(InputError, match=r"batch_size: expected 2, which the run .* was started with, received 4"):
        train(dataclasses.replace(plan, batch_size=4), run, resume=True)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    run, plan = copied(finished, tmp_path)  # as if its schedule had been constant, so that its length may change
    text = (run / "recipe.json").read_text().replace('"schedule": "cosine"', '"schedule": "constant"')
    (run / "recipe.json").write_text(text)
    with pytest.raises(InputError, match=r"steps: expected at least the 6 steps that .* already has, received 3"):
        train(dataclasses.replace(plan, schedule="constant", steps=3), run, resume=True)
    assert json.loads((run / "recipe.json").read_text())["steps"] == 6


def test_a_finished_run_is_resumed_without_doing_anything(finished, tmp_path):
    run, plan = copied(finished, tmp_path)
    listener = Listener()
    result = train(plan, run, resume=True, progress=listener)
    assert (listener.steps, result.interrupted, result.history) == ([], False, finished[1].history)
    assert not any(line.startswith("CHANGED") for line in listener.notices)


@signals
def test_pictures_that_came_or_went_since_a_run_stopped_are_told(tmp_path):
    for folder, count in (("train", 6), ("test", 2)):
        for number in range(count):
            for side in "AB":
                save(tmp_path / folder / side / f"{number}.png", noise(40, 40, seed=number))
    plan = recipe(sources=[{"folder": str(tmp_path / "train")}], val_dir=str(tmp_path / "test"), n_val=-1, steps=2)
    assert train(plan, tmp_path / "run", progress=Listener(1)).interrupted
    for side in "AB":
        (tmp_path / "train" / side / "3.png").unlink()
        (tmp_path / "test" / side / "1.png").rename(tmp_path / "test" / side / "2.png")
    listener = Listener()
    assert train(plan, tmp_path / "run", resume=True, progress=listener).history[-1]["step"] == 2
    told = [line for line in listener.notices if line.startswith("CHANGED: ")]
    assert [line.split()[1] for line in told] == [str(tmp_path / folder) for folder in ("train", "test")]
    assert "then 6, now 5; the run goes on with these" in told[0]


def test_a_run_killed_before_its_first_checkpoint_starts_again(plain):
    _, results, listener = plain
    assert len(listener.steps) == 3
    assert any("no checkpoint yet" in line for line in listener.notices)
    assert results[0].history[-1]["step"] == 3


@signals
def test_a_second_ctrl_c_stops_at_once(tmp_path):
    class Twice(Listener):
        def step_done(self, losses):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe(), tmp_path / "run", progress=Twice())
    assert names(tmp_path / "run" / "checkpoints") == ["step_000000000.h5"]


def test_a_run_in_another_thread_leaves_signals_alone(plain):
    assert [result.interrupted for result in plain[1]] == [False]


# What goes wrong


def test_when_memory_runs_out_what_to_lower_is_named(tmp_path, monkeypatch):
    def step(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(Restoration, "step", step)
    with pytest.raises(
        DeblurganError, match=r"raise accumulate \(1\), or lower batch_size \(2\) or image_size \(32\)"
    ):
        train(recipe(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "nafnt"}, "network: expected a generator.*did you mean nafnet"),
        ({"network_options": {"widht": 3}}, "widht: expected an option of nafnet.*did you mean width"),
        ({"losses": {"l2": 1.0}}, "expected l1, mse.*received 'l2'"),
        ({"critic": "patchgan", "adversarial": "wgangp"}, r"adversarial: expected .*did you mean wgan-gp\?"),
        ({"steps": None}, "steps: expected steps or epochs, received neither"),
        ({"sources": []}, "sources: expected at least one source of training pictures"),
        ({"early_stopping": 2, "val_dir": None}, "early_stopping, reduce_lr: expected validation pairs"),
        ({"image_size": 33}, "image_size: expected a multiple of 4 for this network, received 33"),
        ({"adversarial": "wgan-gp", "critic": "patchgan"}, "gradient_penalty: expected a weight such as 10"),
        ({"image_size": 512, "cache_mb": 512}, "smaller than the 512x512 pixels needed"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(recipe(), **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "nafnet"}, "network: expected 'tutorial', which the tutorial's step has, received 'nafnet'"),
        ({"clip_norm": 1.0}, "clip_norm: expected None, which the tutorial's step has, received 1.0"),
        ({"losses": {"l1": 1.0}}, "losses: expected perceptual alone"),
        ({"critic_options": {"legacybn": True}}, "legacybn: expected an option of tutorial"),
        ({"image_size": 30}, "image_size: expected a multiple of 4 for this network, received 30"),
    ],
)
def test_what_the_tutorials_step_gives_no_choice_of_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(tutorial(), **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_that_cannot_be_read_is_left_out_and_told(tmp_path):
    folder = tmp_path / "pairs"
    for side in "AB":
        for number in range(3):
            save(folder / side / f"{number}.png", noise(40, 40, seed=number))
    broken = folder / "A" / "1.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    plan = recipe(sources=[{"kind": "pairs", "folder": str(folder)}], val_dir=None, steps=2)
    result = train(plan, tmp_path / "run")
    assert list(result.bad) == [str(broken)]
    assert result.history[-1]["step"] == 2
    sample = read_rgb(tmp_path / "run" / "samples" / "epoch_001.png")
    assert sample.shape == (4 * 32 + 3 * 4, 3 * 32 + 2 * 4, 3)  # crops, as nothing is validated
    for path in (folder / "A").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileError, match="no picture can be read any more"):
        train(plan, tmp_path / "other")


def test_a_run_trains_and_validates_on_pictures_with_two_halves(tmp_path):
    blurred, sharp = noise(40, 40, seed=1), noise(40, 40, seed=2)
    for part in ("train", "test"):
        save(tmp_path / part / "0.png", np.concatenate([sharp, blurred], axis=1))
    data = {"sources": [{"kind": "combined", "folder": str(tmp_path / "train"), "direction": "BtoA"}]}
    plan = recipe(**data, val_dir=f"combined={tmp_path / 'test'},direction=BtoA", steps=1)
    about = json.loads((train(plan, tmp_path / "run").run / "run.json").read_text())
    assert about["data"][0]["options"] == {"input": "right"}
    assert about["validation"]["blurred"]["val_psnr"] == pytest.approx(peak_signal_noise_ratio(sharp, blurred))
    grid = read_rgb(tmp_path / "run" / "samples" / "epoch_001.png")
    np.testing.assert_array_equal(grid[:, :40], blurred)
    np.testing.assert_array_equal(grid[:, -40:], sharp)
    result = train(dataclasses.replace(plan, val_resize=60, resize=36, augment="mirror"), tmp_path / "resized")
    bigger = read_rgb(result.run / "samples" / "epoch_001.png")
    np.testing.assert_array_equal(bigger[:, -60:], nearest(sharp, (60, 60)))
    with pytest.raises(InputError, match=r"sharp=.*: expected a source whose pairs are always the same"):
        train(recipe(**data, val_dir=f"sharp={tmp_path / 'test'}"), tmp_path / "other")


def test_a_network_learns_to_colour_and_its_file_says_so(tmp_path):
    for part, number in (("train", 0), ("test", 1)):
        save(tmp_path / part / "0.png", noise(40, 40, seed=number))
    unet = {
        "network": "unet",
        "network_options": {"ngf": 2, "num_downs": 5},
        "critic": "patchgan",
        "critic_options": {"ndf": 2, "n_layers": 1},
        "adversarial": "gan",
        "conditional": True,
        "input_channels": 1,
    }
    plan = recipe(
        **unet,
        sources=[{"kind": "colourise", "folder": str(tmp_path / "train")}],
        val_dir=f"colourise={tmp_path / 'test'}",
        steps=2,
    )
    result = train(plan, tmp_path / "run")
    critic = json.loads((result.run / "run.json").read_text())["parameters"]["discriminator"]
    assert critic == patchgan_discriminator((32, 32, 4), ndf=2, n_layers=1).count_params()
    content = any_file.read(result.weights)
    assert content.build().input_shape[-1] == 1
    assert content.build().output_shape[-1] == 3
    restorer = open_restorer(result.weights, precision="float32")
    colours = noise(40, 40, seed=1)
    grey = np.asarray(Image.fromarray(colours).convert("L").convert("RGB"))
    restored = restorer(colours)
    np.testing.assert_array_equal(restored, restorer(grey))
    assert np.ptp(restored, axis=2).any()
    best = max(result.history[1:], key=lambda row: row["val_psnr"])
    assert best["val_psnr"] == pytest.approx(peak_signal_noise_ratio(colours, restored), abs=0.05)

    goes_on = dataclasses.replace(
        plan, init_weights=str(result.weights), input_channels=3, network_options={}, steps=1
    )
    assert json.loads((train(goes_on, tmp_path / "more").run / "recipe.json").read_text())["input_channels"] == 1
    with pytest.raises(InputError, match="output_channels: expected an option of nafnet"):
        train(recipe(output_channels=1), tmp_path / "other")
    options = {**unet["network_options"], "output_channels": 1}
    with pytest.raises(InputError, match=r"expected the network's, \(3, 1\), received \(3, 3\)"):
        train(recipe(network="unet", network_options=options), tmp_path / "other")
    with pytest.raises(InputError, match=r"input_channels: expected 1 for colourise=.*train, .* received 3; a grey"):
        train(dataclasses.replace(plan, input_channels=3), tmp_path / "other")


def test_pictures_to_validate_on_that_cannot_be_read_are_left_out_and_told(tmp_path):
    for side in "AB":
        for number in range(3):
            save(tmp_path / "test" / side / f"{number}.png", noise(40, 40, seed=number))
    (tmp_path / "test" / "A" / "0.png").write_text("no picture at all")
    truncated = tmp_path / "test" / "B" / "1.png"
    truncated.write_bytes(truncated.read_bytes()[:-200])
    listener = Listener()
    result = train(recipe(val_dir=str(tmp_path / "test"), n_val=-1, steps=1), tmp_path / "run", progress=listener)
    assert sorted(result.bad) == ["validation/0", "validation/1"]
    assert listener.notices == [f"left out: {result.bad['validation/0']}"]
    for path in (tmp_path / "test" / "A").iterdir():
        path.write_text("no picture at all")
    with pytest.raises(InputError, match=r"val_dir .*test: no picture can be used: .*0\.png: not a"):
        train(recipe(val_dir=str(tmp_path / "test"), n_val=-1), tmp_path / "other")


# Recipes, and what they may change


@pytest.mark.parametrize(
    "name", [name if name == "nafnet-small" else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)
def test_each_recipe_trains_and_its_weights_restore(name, tmp_path):
    size = 64 if name in ("unet", "pix2pix", "nafnet-gan") else 32
    plan = recipe(read_fields(name), image_size=size, steps=2, steps_per_epoch=2, n_val=1, precision="float32",
                  perceptual_network="vgg16", **dict(SMALL[name]))  # fmt: skip
    result = train(plan, tmp_path)
    assert all(np.isfinite(value) for value in result.history[-1].values())
    picture = read_rgb(next((CROPS / "test").glob("*/blur/*")))[:51, :77]
    restored = open_restorer(result.weights)(picture)
    assert (restored.shape, restored.dtype) == (picture.shape, np.uint8)


def test_fine_tuning_starts_from_weights_and_takes_their_network(finished, tmp_path):
    run = finished[0]
    listener = Listener()
    plan = recipe(
        init_weights=str(run / "generator_last.weights.h5"), network_options={"width": 8}, steps=1, n_val=-1
    )
    result = train(plan, tmp_path / "a", progress=listener)
    assert result.history[0]["val_psnr"] == pytest.approx(finished[1].history[-1]["val_psnr"], abs=1e-6)
    assert json.loads((tmp_path / "a" / "recipe.json").read_text())["network_options"] == NAFNET
    assert any(line.startswith("network: nafnet, as in ") for line in listener.notices)


def test_fine_tuning_takes_the_network_of_old_files_by_their_tensors(tmp_path):
    path = tmp_path / "generator.h5"
    network = {"ngf": 4, "n_blocks": 1, "upsampling": "resize"}
    any_file.hdf5.save_keras2(any_file.zoo.build_generator("tutorial", network), path)
    plan = make(read_fields("tutorial"), [("init_weights", str(path))])
    assert with_network_of(any_file.read(path), plan, Listener()).network_options == network


def test_weights_of_another_network_are_refused(tmp_path):
    any_file.zoo.build_generator("nafnet", {**NAFNET, "width": 8}).save(tmp_path / "t.keras")
    with pytest.raises(WeightsError, match=r"init_weights .*t\.keras: expected weights of \d+ tensors"):
        train(recipe(init_weights=str(tmp_path / "t.keras")), tmp_path / "run")
    critic = any_file.zoo.build_critic("tutorial", {"ndf": 4, "n_layers": 1, "image_shape": (32, 32, 3)})
    any_file.hdf5.save_keras2(critic, tmp_path / "c.h5")
    with pytest.raises(WeightsError, match=r"c\.h5: expected a generator's weights, found those of a tutorial disc"):
        train(recipe(init_weights=str(tmp_path / "c.h5")), tmp_path / "run")


def test_early_stopping_ends_a_run_that_does_not_improve(tmp_path):
    plan = recipe(learning_rate=0.03, early_stopping=1, steps=20, steps_per_epoch=1)
    result = train(plan, tmp_path)
    assert not result.interrupted
    assert result.history[-1]["step"] < 20
    assert train(plan, tmp_path, resume=True).history == result.history


def test_float16_goes_on_after_an_overflow(tmp_path):
    listener = Listener()
    result = train(recipe(precision="float16", losses={"l1": 2000.0}, val_dir=None), tmp_path, progress=listener)
    assert any(not np.isfinite(losses["gradient_norm"]) for losses in listener.steps)
    assert result.history[-1]["step"] == 6
    json.loads((tmp_path / "run.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_epochs_of_all_pictures_are_the_unit_unless_steps_are(plain):
    assert plain[2].epochs == [(1, 1, 3, 0)]  # 6 pictures in batches of 2


def test_curves_need_matplotlib_and_a_run_does_not(plain):
    assert "curves.png" not in names(plain[0])


def test_events_go_where_they_are_wanted(plain, tmp_path):
    run = plain[0]
    assert len(names(run.parent / "events" / "here")) == 1
    assert "logs" not in names(run)
    (tmp_path / "file").write_text("a file")
    with pytest.raises(FileError, match="file: expected a folder, found a file"):
        train(recipe(log_dir=str(tmp_path / "file")), tmp_path / "other")

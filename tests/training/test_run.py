"""Whole training runs of tiny networks; where the training does not matter, with a step that takes no time."""

import csv
import dataclasses
import functools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.metrics import structural_similarity

from deblurgan.errors import DeblurganError, FileError, InputError, WeightsError
from deblurgan.pictures.reading import read_rgb
from deblurgan.restoring.restorer import Restorer
from deblurgan.training import run as training
from deblurgan.training.progress import Progress
from deblurgan.training.run import train
from deblurgan.training.settings import Settings, read_settings
from deblurgan.training.tutorial import LOSSES, TutorialGAN
from deblurgan.weights.any_file import load as load_generator

SIDE = 24  # of the pictures
SCRIPT = Path(__file__).parents[2] / "train.py"
SCALARS = [*LOSSES, "val_psnr", "val_ssim", "seconds", "step_share"]
TIMING = {"seconds", "step_share"}
signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT that a process can send itself")


def write_pairs(folder, count, seed=0):
    """Pairs 0, 1, ... of noise."""
    random = np.random.default_rng(seed)
    for letter in "AB":
        (folder / letter).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / letter / f"{number}.png")
    return folder


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


class Listener(Progress):
    """Notes what it is told, and sends a signal to this process when so many batches or validations are done."""

    def __init__(self, stop_after=None, stop_validating=None, signals=(signal.SIGINT,)):
        self.stop_after = stop_after
        self.stop_validating = stop_validating
        self.signals = signals
        self.steps = []
        self.epochs = []
        self.rows = []
        self.notices = []
        self.validated = 0

    def epoch_started(self, epoch, epochs, steps, done):
        self.epochs.append((epoch, epochs, steps, done))

    def notice(self, line):
        self.notices.append(line)

    def step_done(self, losses):
        self.steps.append(losses)
        if len(self.steps) == self.stop_after:
            self.stop()

    def validating(self, done, total):
        self.validated += 1
        if self.validated == self.stop_validating:
            self.stop()

    def epoch_done(self, row):
        self.rows.append(row)

    def stop(self):
        for number in self.signals:
            heard = len(self.notices)
            os.kill(os.getpid(), number)
            deadline = time.monotonic() + 60
            while len(self.notices) == heard and time.monotonic() < deadline:
                time.sleep(0.001)


@pytest.fixture(scope="module")
def networks():
    """Makes the networks of all runs tiny, and lists the models that the runs train."""
    built = []

    class Listed(TutorialGAN):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            built.append(self)

    small = pytest.MonkeyPatch()
    small.setattr(training, "generator_model", functools.partial(training.generator_model, ngf=4, n_blocks=1))
    small.setattr(training, "discriminator_model", functools.partial(training.discriminator_model, ndf=4, n_layers=1))
    small.setattr(training, "TutorialGAN", Listed)
    yield built
    small.undo()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with six pairs to train on and two to validate on."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pairs(folder / "train", 6, seed=1)
    write_pairs(folder / "test", 2, seed=2)
    return folder


@pytest.fixture(scope="module")
def settings(pictures):
    """Settings of runs of three epochs of three batches."""
    return Settings(
        input_dir=str(pictures / "train"),
        val_dir=str(pictures / "test"),
        batch_size=2,
        epoch_num=3,
        critic_updates=2,
        image_size=16,
        precision="float32",
        seed=4,
    )


@pytest.fixture(scope="module")
def finished(settings, networks, tmp_path_factory):
    """A whole run: its result, what its listener heard, and the networks that it trained."""
    listener = Listener()
    result = train(settings, tmp_path_factory.mktemp("runs") / "deep" / "run", progress=listener)
    return result, listener, networks[-1]


@pytest.fixture
def quick(networks, monkeypatch):
    """Replaces the training step by one that counts up the generator's last bias and gives losses of its own."""

    def step(self, blurred, sharp):
        self.generator.get_layer("out_conv").bias.assign_add([0.01, 0.02, 0.03])
        return dict.fromkeys(LOSSES, float(np.mean(blurred)))

    monkeypatch.setattr(TutorialGAN, "step", step)


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path):
    """After each test, no temporary file is in its folder, and signals are handled as before: as Python does."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert after == usual
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def datasets(path):
    """Every dataset of an HDF5 file by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def assert_same_datasets(path, expected):
    values, expected_values = datasets(path), datasets(expected)
    assert list(values) == list(expected_values)
    for name, value in values.items():
        assert value.dtype == expected_values[name].dtype
        np.testing.assert_array_equal(value, expected_values[name], err_msg=f"{path.name}: {name}")


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_timing(rows):
    return [{name: value for name, value in row.items() if name not in TIMING} for row in rows]


def state(run):
    with h5py.File(run / "checkpoint.h5") as file:
        return json.loads(file.attrs["state"])


# What a run leaves


def test_a_run_leaves_its_files_and_nothing_else(finished, settings):
    result, _, _ = finished
    assert names(result.run) == [
        "checkpoint.h5",
        *(f"discriminator_00{epoch}.weights.h5" for epoch in (1, 2, 3)),
        *(f"generator_00{epoch}.weights.h5" for epoch in (1, 2, 3)),
        "generator_best.weights.h5",
        "generator_last.weights.h5",
        "log.csv",
        "logs",
        "samples",
        "settings.json",
    ]
    assert names(result.run / "samples") == [f"epoch_00{epoch}.png" for epoch in (1, 2, 3)]
    assert len(names(result.run / "logs")) == 1
    assert read_settings(result.run) == settings
    assert (result.interrupted, result.bad) == (False, {})


def test_the_log_has_a_row_of_means_for_each_epoch(finished):
    result, listener, _ = finished
    rows = read_csv(result.run / "log.csv")
    assert [list(row) for row in rows] == [["epoch", *SCALARS]] * 3
    assert [{name: float(value) for name, value in row.items()} for row in rows] == result.history
    assert listener.rows == result.history
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert listener.epochs == [(epoch, 3, 3, 0) for epoch in (1, 2, 3)]
    assert len(listener.steps) == 9
    for epoch, row in enumerate(result.history):
        for name in LOSSES:
            mean = sum(losses[name] for losses in listener.steps[3 * epoch : 3 * epoch + 3]) / 3
            assert row[name] == pytest.approx(mean, rel=1e-12)
        assert row["seconds"] > 0
        assert 0 < row["step_share"] <= 1


def test_scores_are_those_of_the_weights_of_the_epoch(finished, pictures):
    result, _, _ = finished
    for row in result.history:
        restore = Restorer(load_generator(result.run / f"generator_00{row['epoch']}.weights.h5", dtype="float32"))
        psnr, ssim = [], []
        for number in range(2):
            sharp = read_rgb(pictures / "test" / "B" / f"{number}.png")
            restored = restore(read_rgb(pictures / "test" / "A" / f"{number}.png"))
            psnr.append(10 * math.log10(255**2 / np.mean((sharp.astype(float) - restored) ** 2)))
            ssim.append(
                structural_similarity(
                    sharp, restored, channel_axis=2, gaussian_weights=True, use_sample_covariance=False, sigma=1.5
                )
            )
        assert row["val_psnr"] == pytest.approx(np.mean(psnr), abs=1e-9)
        assert row["val_ssim"] == pytest.approx(np.mean(ssim), abs=1e-6)


def test_samples_show_blurred_restored_and_sharp_in_each_row(finished, pictures):
    result, _, _ = finished
    restore = Restorer(load_generator(result.run / "generator_002.weights.h5", dtype="float32"))
    grid = np.asarray(Image.open(result.run / "samples" / "epoch_002.png"))
    assert grid.shape == (2 * SIDE + 4, 3 * SIDE + 8, 3)
    for number in range(2):
        blurred, sharp = (read_rgb(pictures / "test" / letter / f"{number}.png") for letter in "AB")
        row = grid[number * (SIDE + 4) :][:SIDE]
        for column, picture in enumerate((blurred, restore(blurred), sharp)):
            np.testing.assert_array_equal(row[:, column * (SIDE + 4) :][:, :SIDE], picture)
    assert (grid[SIDE : SIDE + 4] == 255).all()


def test_tensorboard_has_the_values_of_the_log_and_the_samples(finished):
    result, _, _ = finished
    (events,) = (result.run / "logs").iterdir()
    assert "tfevents" in events.name
    scalars, images = {}, {}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            tensor = tf.make_ndarray(value.tensor)
            if value.metadata.plugin_data.plugin_name == "scalars":
                scalars[event.step, value.tag] = float(tensor)
            elif value.metadata.plugin_data.plugin_name == "images":
                width, height, png = tensor
                images[event.step] = (int(height), int(width), bytes(png))
    expected = {(row["epoch"], name): row[name] for row in result.history for name in SCALARS}
    assert scalars == pytest.approx(expected, rel=1e-6)
    assert sorted(images) == [1, 2, 3]
    for epoch, (height, width, png) in images.items():
        image = tf.io.decode_png(png).numpy()
        assert image.shape[:2] == (height, width)
        np.testing.assert_array_equal(image, read_rgb(result.run / "samples" / f"epoch_00{epoch}.png"))


def test_the_last_weights_are_the_trained_generators(finished):
    result, _, gan = finished
    images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    loaded = load_generator(result.run / "generator_last.weights.h5")
    for weight, expected in zip(loaded.get_weights(), gan.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    np.testing.assert_allclose(loaded(images), gan.generator(images), atol=1e-6)
    assert_same_datasets(result.run / "generator_003.weights.h5", result.run / "generator_last.weights.h5")


def test_the_critics_weights_load_into_a_critic(finished):
    result, _, gan = finished
    critic = training.discriminator_model((16, 16, 3))
    critic.load_weights(result.run / "discriminator_003.weights.h5")
    for weight, expected in zip(critic.get_weights(), gan.discriminator.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_weight_files_hold_no_optimizer(finished):
    result, _, gan = finished
    for network, model in (("generator", gan.generator), ("discriminator", gan.discriminator)):
        for path in result.run.glob(f"{network}_*.weights.h5"):
            found = datasets(path)
            assert not [name for name in found if "optimizer" in name]
            assert sum(value.size for value in found.values()) == model.count_params()


@pytest.mark.parametrize(("validated", "best"), [(True, 2), (False, 1)])
def test_best_is_the_epoch_of_the_highest_psnr_or_else_of_the_lowest_loss(
    validated, best, settings, quick, tmp_path, monkeypatch
):
    """The last bias decides the brightness: 0.8 in epoch 2 is nearest to the sharp picture."""
    for letter, grey in (("A", 100), ("B", 160)):
        (tmp_path / "grey" / letter).mkdir(parents=True)
        Image.fromarray(np.full((SIDE, SIDE, 3), grey, np.uint8)).save(tmp_path / "grey" / letter / "0.png")
    plan = iter([(0.3, -5.0), (0.9, 7.0), (2.0, 6.0)])

    def step(self, blurred, sharp):
        bias, g_loss = next(plan)
        self.generator.get_layer("out_conv").kernel.assign(np.zeros((7, 7, 4, 3)))
        self.generator.get_layer("out_conv").bias.assign(np.full(3, bias))
        return {**dict.fromkeys(LOSSES, 0.0), "g_loss": g_loss}

    monkeypatch.setattr(TutorialGAN, "step", step)
    result = train(
        dataclasses.replace(settings, batch_size=6, val_dir=str(tmp_path / "grey") if validated else None),
        tmp_path / "run",
    )
    assert result.weights == tmp_path / "run" / "generator_best.weights.h5"
    assert load_generator(result.weights).get_layer("out_conv").get_weights()[1] == pytest.approx(
        [{1: 0.3, 2: 0.9}[best]] * 3
    )
    restored = [round(127.5 * (math.tanh(bias) + 100 / 127.5 - 1) / 2 + 127.5) for bias in (0.3, 0.9, 2.0)]
    expected = [pytest.approx(20 * math.log10(255 / abs(value - 160)), abs=1e-6) for value in restored]
    assert [row["val_psnr"] for row in result.history] == (expected if validated else [None] * 3)


def test_without_validation_scores_are_empty_and_samples_show_training_pictures(settings, quick, tmp_path, pictures):
    result = train(dataclasses.replace(settings, val_dir=None, epoch_num=1), tmp_path / "run")
    (row,) = read_csv(result.run / "log.csv")
    assert (row["val_psnr"], row["val_ssim"]) == ("", "")
    grid = read_rgb(result.run / "samples" / "epoch_001.png")
    assert grid.shape == (4 * (SIDE + 4) - 4, 3 * SIDE + 8, 3)
    np.testing.assert_array_equal(grid[:SIDE, :SIDE], read_rgb(pictures / "train" / "A" / "0.png"))
    assert names(result.run).count("generator_best.weights.h5") == 1


def test_weights_are_kept_every_so_many_epochs_and_events_go_where_wanted(settings, quick, tmp_path):
    events = tmp_path / "events" / "here"
    result = train(dataclasses.replace(settings, save_every=2, log_dir=str(events)), tmp_path / "run")
    kept = [name for name in names(result.run) if name.endswith("weights.h5")]
    assert kept == [
        "discriminator_002.weights.h5",
        "generator_002.weights.h5",
        "generator_best.weights.h5",
        "generator_last.weights.h5",
    ]
    assert len(names(events)) == 1
    assert "logs" not in names(result.run)


def test_a_folder_of_events_that_is_a_file_is_one_line(settings, quick, tmp_path):
    (tmp_path / "events").write_text("a file")
    with pytest.raises(FileError, match="events: expected a folder, found a file"):
        train(dataclasses.replace(settings, log_dir=str(tmp_path / "events")), tmp_path / "run")


# Resuming


@signals
def test_a_run_in_four_parts_equals_an_uninterrupted_one_bit_for_bit(finished, settings, networks, tmp_path):
    """It stops after an epoch, in the middle of one, and on the last batch of one. Dropout is on."""
    whole = finished[0].run
    run = tmp_path / "run"
    assert networks[-1].generator.get_layer("block1_dropout").rate == 0.5

    first = train(dataclasses.replace(settings, epoch_num=1), run)
    assert (len(first.history), first.interrupted) == (1, False)
    for stop_after, done in ((1, 1), (2, 3)):
        listener = Listener(stop_after=stop_after)
        result = train(settings, run, resume=True, progress=listener)
        assert (len(listener.steps), len(result.history), result.interrupted) == (stop_after, 1, True)
        assert listener.epochs == [(2, 3, 3, done - stop_after)]
        assert (state(run)["epoch"], len(state(run)["losses"])) == (2, done)
        for weight, expected in zip(
            load_generator(run / "generator_last.weights.h5").get_weights(),
            networks[-1].generator.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(weight, expected)
        assert not (run / "generator_002.weights.h5").exists()
    listener = Listener()
    result = train(settings, run, resume=True, progress=listener)

    assert (len(listener.steps), result.interrupted) == (3, False)
    assert_same_datasets(run / "checkpoint.h5", whole / "checkpoint.h5")
    assert state(run) | {"history": None} == state(whole) | {"history": None}
    assert without_timing(state(run)["history"]) == without_timing(state(whole)["history"])
    assert without_timing(read_csv(run / "log.csv")) == without_timing(read_csv(whole / "log.csv"))
    assert [name for name in names(run) if name != "logs"] == [name for name in names(whole) if name != "logs"]
    for path in whole.glob("*.weights.h5"):
        assert_same_datasets(run / path.name, path)
    for path in (whole / "samples").iterdir():
        np.testing.assert_array_equal(read_rgb(run / "samples" / path.name), read_rgb(path))


def test_the_checkpoint_holds_what_the_restatement_of_training_needs(finished):
    """Weights, both moments of both optimizers with their counts, and dropout's seed."""
    result, _, gan = finished
    found = datasets(result.run / "checkpoint.h5")
    trainable = sum(len(model.trainable_variables) for model in (gan.generator, gan.discriminator))
    weights = sum(len(model.weights) for model in (gan.generator, gan.discriminator))
    iterations_rates_and_seed = 5
    assert len(found) == weights + 2 * trainable + iterations_rates_and_seed
    assert found["discriminator_optimizer/0000"] == 3 * 3 * 2 * 2
    assert found["d_on_g_optimizer/0000"] == 3 * 3


def test_free_settings_may_change_when_a_run_resumes(settings, quick, tmp_path):
    train(dataclasses.replace(settings, epoch_num=1), tmp_path / "run")
    changed = dataclasses.replace(settings, epoch_num=2, val_dir=None, n_val=1, save_every=7)
    result = train(changed, tmp_path / "run", resume=True)
    assert [row["val_psnr"] is None for row in result.history] == [False, True]
    assert [row["val_psnr"] == "" for row in read_csv(result.run / "log.csv")] == [False, True]
    assert not (result.run / "generator_002.weights.h5").exists()
    assert read_settings(result.run) == changed


def test_other_settings_may_not_change_when_a_run_resumes(settings, quick, tmp_path):
    train(dataclasses.replace(settings, epoch_num=1), tmp_path / "run")
    for name, value in (("seed", 5), ("batch_size", 3), ("learning_rate", 0.1), ("preprocess", "resize")):
        with pytest.raises(InputError, match=f"^{name}: expected .*, which the run .* was started with, received"):
            train(dataclasses.replace(settings, **{name: value}), tmp_path / "run", resume=True)
    assert read_settings(tmp_path / "run") == dataclasses.replace(settings, epoch_num=1)


def test_a_missing_run_does_not_resume_and_no_folder_is_made_for_it(settings, networks, tmp_path):
    with pytest.raises(FileError) as caught:
        train(settings, tmp_path / "run", resume=True)
    assert str(caught.value) == f"{tmp_path / 'run'}: expected the folder of a training run, found no settings.json"
    assert not (tmp_path / "run").exists()


def test_a_finished_run_does_not_resume(finished, settings, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0].run, run)
    before = (run / "settings.json").read_bytes()
    with pytest.raises(InputError) as caught:
        train(settings, run, resume=True)
    assert str(caught.value) == f"epoch_num: expected more than the 3 epochs that {run} already has, received 3"
    assert (run / "settings.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "other HDF5", "state"])
def test_a_damaged_checkpoint_is_one_line_that_names_it(damage, finished, settings, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0].run, run)
    path = run / "checkpoint.h5"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        truncate(path)
    elif damage == "text":
        path.write_text("not HDF5")
    elif damage == "other HDF5":
        shutil.copy(run / "generator_last.weights.h5", path)
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["state"] = "{"
    with pytest.raises(FileError) as caught:
        train(dataclasses.replace(settings, epoch_num=4), run, resume=True)
    assert str(caught.value).startswith(f"{path}: expected a checkpoint of a training run")
    assert "\n" not in str(caught.value)
    # While the error is still looked at, other threads can read HDF5: its lock is free.
    reader = threading.Thread(target=load_generator, args=(run / "generator_last.weights.h5",), daemon=True)
    reader.start()
    reader.join(timeout=120)
    assert not reader.is_alive()


def test_a_checkpoint_of_other_networks_is_one_line(finished, settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(finished[0].run, run)
    wider = functools.partial(training.generator_model.func, ngf=8, n_blocks=1)
    monkeypatch.setattr(training, "generator_model", wider)
    with pytest.raises(WeightsError) as caught:
        train(dataclasses.replace(settings, epoch_num=4), run, resume=True)
    assert str(caught.value) == (
        f"{run / 'checkpoint.h5'}: the variables of generator are not those of this run's settings"
    )


def test_starting_into_a_run_is_refused_and_leaves_it_alone(finished, settings):
    run = finished[0].run
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(InputError) as caught:
        train(settings, run)
    assert str(caught.value) == f"{run}: holds a run already; resume it, or choose another name"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_checkpoint_has_room_for_epochs_of_many_batches(finished, networks, tmp_path):
    """64 KB is the limit of ordinary HDF5 attributes; the losses of some hundred batches are more."""
    gan = finished[2]
    losses = [dict.fromkeys(LOSSES, i / 7) for i in range(5000)]
    training.checkpoint.save(tmp_path / "checkpoint.h5", gan.parts(), {"losses": losses})
    assert training.checkpoint.load(tmp_path / "checkpoint.h5", gan.parts()) == {"losses": losses}


# Interrupting


@signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_the_first_epoch_leaves_weights_and_a_checkpoint(number, settings, quick, tmp_path):
    listener = Listener(stop_after=2, signals=[number])
    result = train(settings, tmp_path / "run", progress=listener)
    assert (result.interrupted, result.history) == (True, [])
    assert result.weights == tmp_path / "run" / "generator_last.weights.h5"
    assert load_generator(result.weights).get_layer("out_conv").get_weights()[1] == pytest.approx([0.02, 0.04, 0.06])
    assert names(result.run) == ["checkpoint.h5", "generator_last.weights.h5", "logs", "settings.json"]
    assert listener.notices == [
        "stopping after this batch or validation; "
        "press Ctrl-C again to stop at once and lose the work since the last save"
    ]


@signals
def test_a_second_ctrl_c_stops_at_once(settings, quick, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "run", progress=Listener(stop_after=2, signals=[signal.SIGINT, signal.SIGINT]))
    assert names(tmp_path / "run") == ["logs", "settings.json"]
    assert train(settings, tmp_path / "run").interrupted is False  # nothing of it is in the way of another start


@signals
def test_ctrl_c_while_validating_finishes_the_epoch_and_no_further_batch(settings, quick, tmp_path):
    listener = Listener(stop_validating=1)
    result = train(settings, tmp_path / "run", progress=listener)
    assert (result.interrupted, len(result.history), len(listener.steps)) == (True, 1, 3)
    assert (state(result.run)["epoch"], state(result.run)["losses"]) == (2, [])
    listener = Listener(stop_validating=4)  # of the last epoch's validation
    result = train(settings, tmp_path / "run", resume=True, progress=listener)
    assert (result.interrupted, len(result.history), len(listener.steps)) == (False, 3, 6)


def test_a_run_in_another_thread_leaves_signals_alone(settings, quick, tmp_path):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train(dataclasses.replace(settings, epoch_num=1), tmp_path / "run"))
    )
    thread.start()
    thread.join()
    assert [result.interrupted for result in results] == [False]


@signals
def test_the_script_stops_on_ctrl_c_and_resumes(pictures, tmp_path):
    """The real networks in a process of their own: the first batch is finished, and after resuming the rest."""
    options = ["--output_dir", "runs", "--run", "one"]
    command = [sys.executable, str(SCRIPT), *options, "--input_dir", str(pictures / "train")]
    command += ["--n_val", "0", "--image_size", "16", "--batch_size", "2", "--epoch_num", "1"]
    command += ["--critic_updates", "1", "--precision", "float32"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        started = list(iter(process.stdout.readline, "Pairs: 6 to train on, 0 to validate on\n"))
        assert "Run: runs/one\n" in started
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=300)
    run = tmp_path / "runs" / "one"
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Stopped. Weights so far: runs/one/generator_last.weights.h5" in output
    assert f"--resume {' '.join(options)}" in output
    assert names(run) == ["checkpoint.h5", "generator_last.weights.h5", "logs", "settings.json"]
    assert (state(run)["epoch"], len(state(run)["losses"])) == (1, 1)
    assert load_generator(run / "generator_last.weights.h5").count_params() == 11_399_171

    resumed = subprocess.run([sys.executable, str(SCRIPT), "--resume", *options], timeout=300, check=False, **pipes)
    assert resumed.returncode == 0, resumed.stderr
    assert len(read_csv(run / "log.csv")) == 1
    assert "--weight_path runs/one/generator_best.weights.h5" in resumed.stdout
    (run / "checkpoint.h5").unlink()  # 170 MB


# What goes wrong


@pytest.mark.parametrize("epochs", [0, 1])
def test_losses_that_are_no_longer_finite_stop_the_run_and_name_the_last_good_weights(
    epochs, settings, quick, tmp_path, monkeypatch
):
    """A weight of the generator, and with it a loss, turns into NaN in the first batch or in the fourth."""
    quick_step = TutorialGAN.step
    batches = iter([False] * 3 * epochs + [True])

    def step(self, blurred, sharp):
        losses = quick_step(self, blurred, sharp)
        if not next(batches):
            return losses
        kernel = self.generator.get_layer("out_conv").kernel
        kernel.assign(np.full(kernel.shape, np.nan))
        return {**losses, "perceptual_loss": math.nan}

    monkeypatch.setattr(TutorialGAN, "step", step)
    with pytest.raises(DeblurganError) as caught:
        train(settings, tmp_path / "run")
    good = tmp_path / "run" / "generator_last.weights.h5"
    where = f"the last good weights are in {good}; " if epochs else ""
    assert str(caught.value) == (
        f"epoch {epochs + 1}: perceptual_loss is no longer finite; {where}"
        "try a lower learning_rate or float32 precision"
    )
    assert good.exists() == bool(epochs)
    if epochs:
        assert all(np.isfinite(weight).all() for weight in load_generator(good).get_weights())
        assert state(tmp_path / "run")["epoch"] == 2


def test_unreadable_pictures_are_left_out_and_reported(settings, quick, tmp_path):
    """Also where a pair to train on and one to validate on have the same name."""
    training_pairs = write_pairs(tmp_path / "train", 6)
    validation = write_pairs(tmp_path / "test", 3)
    truncate(training_pairs / "A" / "1.png")
    truncate(validation / "B" / "1.png")
    (training_pairs / "B" / "2.png").write_text("no picture at all")
    (validation / "A" / "2.png").write_text("no picture at all")
    listener = Listener()
    result = train(
        dataclasses.replace(settings, input_dir=str(training_pairs), val_dir=str(validation)),
        tmp_path / "run",
        progress=listener,
    )
    assert (result.interrupted, len(result.history)) == (False, 3)
    assert len(listener.steps) == 3 * 2  # four of six pairs are good
    broken = {
        "1": training_pairs / "A" / "1.png",
        "2": training_pairs / "B" / "2.png",
        "validation/1": validation / "B" / "1.png",
        "validation/2": validation / "A" / "2.png",
    }
    assert sorted(result.bad) == sorted(broken)
    for name, path in broken.items():
        assert result.bad[name].startswith(f"{path}: not a readable image")
    assert listener.notices == [f"left out: {result.bad[name]}" for name in ("2", "validation/2")]

    sharp, restored = (
        read_rgb(validation / "B" / "0.png"),
        Restorer(load_generator(result.run / "generator_003.weights.h5", dtype="float32"))(
            read_rgb(validation / "A" / "0.png")
        ),
    )
    psnr = 10 * math.log10(255**2 / np.mean((sharp.astype(float) - restored) ** 2))
    assert result.history[-1]["val_psnr"] == pytest.approx(psnr, abs=1e-9)


def test_pictures_that_are_all_truncated_are_one_line(settings, quick, tmp_path):
    pairs = write_pairs(tmp_path / "train", 3)
    for path in (pairs / "A").iterdir():
        truncate(path)
    with pytest.raises(InputError, match=r"train: too few of its pictures can be read for one batch of 2: .*\.png"):
        train(dataclasses.replace(settings, input_dir=str(pairs)), tmp_path / "run")


@pytest.mark.parametrize("folder", ["input_dir", "val_dir"])
def test_pictures_none_of_which_is_one_are_one_line(folder, settings, quick, tmp_path):
    pairs = write_pairs(tmp_path / "pairs", 2)
    for path in (pairs / "B").iterdir():
        path.write_text("no picture")
    with pytest.raises(InputError, match=r"pairs: none of its pictures can be read: .*0\.png: not a readable image"):
        train(dataclasses.replace(settings, **{folder: str(pairs)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_smaller_than_the_crop_are_refused(settings, quick, tmp_path):
    with pytest.raises(InputError, match="6 pictures are smaller than the 32x32 pixels needed"):
        train(dataclasses.replace(settings, image_size=32), tmp_path / "run")


def test_keras_global_policy_is_left_alone(finished):
    assert keras.config.dtype_policy().name == "float32"

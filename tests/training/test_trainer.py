"""Whole runs of recipes with tiny networks on real crops; what is killed is killed for real."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deblurgan.errors import DeblurganError, FileError, InputError, WeightsError
from deblurgan.pictures.reading import read_rgb
from deblurgan.restoring.opening import open_restorer
from deblurgan.training import callbacks, trainer
from deblurgan.training.checkpoint import Checkpoints
from deblurgan.training.progress import Progress
from deblurgan.training.recipe import make, read_fields
from deblurgan.training.trainer import train
from deblurgan.weights import any_file

CROPS = Path(__file__).parents[1] / "data" / "GOPRO_crops"
ROOT = Path(__file__).parents[2]
NAFNET = {"width": 4, "encoder_blocks": [1], "middle_blocks": 1, "decoder_blocks": [1], "space_to_depth": 2}
TIMING = ("seconds", "images_per_second")
SMALL = {  # what makes each recipe small, and changes nothing else
    "paper": [("network_options.ngf", 4), ("network_options.n_blocks", 1), ("critic_options.ndf", 4)],
    "unet": [("network_options.ngf", 4), ("network_options.num_downs", 5), ("critic_options.ndf", 4)],
    "nafnet": [("network_options", NAFNET)],
    "nafnet-gan": [("network_options", NAFNET), ("critic_options.ndf", 4)],
    "nafnet-small": [("network_options", NAFNET)],
}


def recipe(base=None, **changes):
    """A recipe that takes seconds: a NAFNet of 2,000 weights, 32x32 crops, 2 epochs of 3 steps."""
    fields = base or {"network_options": NAFNET, "learning_rate": 1e-3, "precision": "float32"}
    run = {
        "sources": [{"kind": "gopro", "folder": str(CROPS)}],
        "val_dir": str(CROPS / "test"),
        "n_val": -1,
        "batch_size": 2,
        "image_size": 32,
        "steps_per_epoch": 3,
        "steps": 6,
        "cache_mb": 64,
    }
    return make(fields, [*run.items(), *changes.items()])


def untimed(history):
    return [{name: value for name, value in row.items() if name not in TIMING} for row in history]


def tensors(path):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same_file(one, other):
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys()
    assert len(one) > 5
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


class Listener(Progress):
    """Notes what it is told, and interrupts after so many steps."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.notices, self.steps, self.epochs = [], [], []

    def notice(self, line):
        self.notices.append(line)

    def epoch_started(self, epoch, epochs, steps, done):
        self.epochs.append((epoch, epochs, steps, done))

    def step_done(self, losses):
        self.steps.append(losses)
        if len(self.steps) == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with averaged weights: its folder, its result, its recipe."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    plan = recipe(ema=0.9, clip_norm=1.0, schedule="cosine", checkpoint_every=2)
    return run, train(plan, run), plan


# What a run leaves


def test_a_run_leaves_what_the_readme_lists(finished):
    run, result, plan = finished
    folders, weights = ["checkpoints", "logs", "samples"], ["generator_best.weights.h5", "generator_last.weights.h5"]
    files = ["curves.png", "log.csv", "recipe.json", "run.json"]
    assert sorted(path.name for path in run.iterdir()) == sorted([*folders, *weights, *files])
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        "step_000000004.h5",
        "step_000000006.h5",
    ]
    assert [path.name for path in sorted((run / "samples").iterdir())] == [f"epoch_000{n}.png" for n in range(3)]
    about = json.loads((run / "run.json").read_text())
    assert about["recipe"] == dataclasses.asdict(plan)
    assert about["versions"]["keras"] == keras.__version__
    assert about["data"]["sources"][0]["pictures"] == 6
    assert about["epochs"] == result.history
    assert about["steps"] == 6
    assert about["parameters"]["generator"] == any_file.read(result.weights).parameters
    rows = list(csv.DictReader((run / "log.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["0", "3", "6"]
    assert float(rows[2]["val_psnr"]) == result.history[2]["val_psnr"]
    assert rows[0]["loss"] == ""


def test_the_scores_are_those_of_the_saved_weights_by_an_independent_measure(finished):
    run, result, _ = finished
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
    blurred = json.loads((run / "run.json").read_text())["validation"]["blurred"]
    assert blurred["val_psnr"] == pytest.approx(np.mean(blurred_psnrs), abs=1e-6)
    assert result.history[0]["val_psnr"] == pytest.approx(np.mean(blurred_psnrs), abs=1e-6)  # nothing learnt yet


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path):
    result = train(recipe(learning_rate=0.5, steps=3), tmp_path)  # which does harm
    scores = [row["val_psnr"] for row in result.history]
    assert scores[0] > scores[1]
    model = any_file.load(tmp_path / "generator_best.weights.h5")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(model(images)), images, atol=1e-6)


def test_what_is_saved_is_the_average_of_the_weights(tmp_path):
    seen = []

    class Noting(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append([np.float64(weight) for weight in self.model.generator.get_weights()])

        def on_train_batch_end(self, batch, logs=None):
            seen.append([np.float64(weight) for weight in self.model.generator.get_weights()])

    train(recipe(ema=0.25), tmp_path, callbacks=[Noting()])
    average = seen[0]
    for step, weights in enumerate(seen[1:], 1):
        keep = min(0.25, (1 + step) / (10 + step))
        average = [keep * old + (1 - keep) * new for old, new in zip(average, weights, strict=True)]
    assert len(seen) == 7
    saved = any_file.load(tmp_path / "generator_last.weights.h5").get_weights()
    for one, other in zip(saved, average, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_events_can_be_read_by_tensorflow(finished):
    run, result, _ = finished
    values = {}
    (path,) = (run / "logs").iterdir()
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            values[value.tag, event.step] = value.tensor
    assert float(tf.make_ndarray(values["val_psnr", 6])) == pytest.approx(result.history[-1]["val_psnr"])
    assert ("blurred, restored, sharp", 0) in values


# Going on


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT that a process can send itself")
@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_an_interrupted_run_ends_as_one_that_was_not(finished, tmp_path, stop_after):
    whole, expected, plan = finished
    first = Listener(stop_after)
    stopped = train(plan, tmp_path, progress=first)
    assert stopped.interrupted
    assert len(first.steps) == stop_after
    second = Listener()
    result = train(plan, tmp_path, resume=True, progress=second)
    assert not result.interrupted
    assert len(second.steps) == 6 - stop_after
    assert second.epochs[0] == (1 + stop_after // 3, 2, 3, stop_after % 3)
    assert untimed(result.history) == untimed(expected.history)
    for name in ("generator_last.weights.h5", "generator_best.weights.h5", "checkpoints/step_000000006.h5"):
        assert_same_file(tmp_path / name, whole / name)


KILLED = """
import json, sys
sys.path.insert(0, {root!r})
from tests.training.test_trainer import kill_recipe
from deblurgan.training.progress import Progress
from deblurgan.training.trainer import train

class Telling(Progress):
    def step_done(self, losses):
        print("step", flush=True)
    def notice(self, line):
        print(line, flush=True)

train(kill_recipe(), sys.argv[1], resume="--resume" in sys.argv, progress=Telling())
print("finished", flush=True)
"""


def kill_recipe():
    """A GAN with all that has a state: dropout, penalty points, averages, optimizers, a plateau's patience, noise."""
    return recipe(
        network="paper",
        network_options={"ngf": 4, "n_blocks": 1},
        critic="patchgan",
        critic_options={"ndf": 4, "n_layers": 1},
        adversarial="wgan-gp",
        gradient_penalty=10.0,
        critic_updates=2,
        losses={"l1": 10.0},
        ema=0.9,
        steps=20,
        steps_per_epoch=6,
        checkpoint_every=2,
        learning_rate=0.03,
        reduce_lr=1,
        early_stopping=9,
        sources=[
            {"kind": "gopro", "folder": str(CROPS), "weight": 1},
            {"kind": "sharp", "folder": str(CROPS), "weight": 1, "noise": [1, 3]},
        ],
    )


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED.format(root=str(ROOT))]

    def start(run, *arguments):
        return subprocess.Popen(
            [*command, str(tmp_path / run), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    steps = 0
    for number, kill_after in enumerate([1, 5, 4]):  # steps in this life: before any checkpoint but the first, ...
        process = start("killed", *(["--resume"] if number else []))
        for line in process.stdout:
            steps += line == "step\n"
            kill_after -= line == "step\n"
            if not kill_after:
                time.sleep(0.02 * number)  # also while a checkpoint is being written
                process.kill()
                break
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    whole, last = start("whole"), start("killed", "--resume")
    (out, errors), (last_out, last_errors) = whole.communicate(timeout=300), last.communicate(timeout=300)
    assert (whole.returncode, last.returncode) == (0, 0), errors + last_errors
    assert out.count("step\n") == 20
    assert 20 - steps <= last_out.count("step\n") < 20  # it did go on
    names = ["generator_last.weights.h5", "generator_best.weights.h5"]
    names += [f"checkpoints/step_0000000{step}.h5" for step in (18, 20)]
    for name in names:
        assert_same_file(tmp_path / "killed" / name, tmp_path / "whole" / name)
    histories = [json.loads((tmp_path / run / "run.json").read_text())["epochs"] for run in ("killed", "whole")]
    assert untimed(histories[0]) == untimed(histories[1])
    assert histories[1][-1]["learning_rate"] < histories[1][1]["learning_rate"]  # the plateau was noticed
    states = []
    for run in ("killed", "whole"):
        with h5py.File(tmp_path / run / "checkpoints" / "step_000000020.h5", "r") as file:
            states.append(json.loads(file.attrs["state"])["callbacks"])
    assert states[0] == states[1]
    assert states[0][1]["best"] > 0


def copied(finished, tmp_path):
    whole, _, plan = finished
    run = tmp_path / "copy"
    shutil.copytree(whole, run)
    return run, plan


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(finished, tmp_path, damage):
    run, plan = copied(finished, tmp_path)
    path = run / "checkpoints" / "step_000000006.h5"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        value = tensors(path)["optimizer/0005"]
        place = content.index(value.tobytes())
        content[place] ^= 1
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b""}.get(damage, content))
    listener = Listener()
    result = train(plan, run, resume=True, progress=listener)
    assert any(line.startswith("DAMAGED") and str(path) in line for line in listener.notices)
    assert len(listener.steps) == 2  # from step 4
    assert path.with_suffix(".damaged").exists()
    assert untimed(result.history) == untimed(finished[1].history)
    assert_same_file(path, finished[0] / "checkpoints" / path.name)


def test_only_damaged_checkpoints_are_an_error(finished, tmp_path):
    run, plan = copied(finished, tmp_path)
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"no")
    for _ in range(2):
        with pytest.raises(FileError, match="expected a checkpoint, found 2 that are all damaged"):
            train(plan, run, resume=True)
    (run / "recipe.json").unlink()
    with pytest.raises(InputError, match="holds a run already"):
        train(plan, run)


def test_a_run_is_not_overwritten_and_not_continued_with_another_recipe(finished):
    run, _, plan = finished
    with pytest.raises(InputError, match="holds a run already; resume it, or choose another name"):
        train(plan, run)
    with pytest.raises(InputError, match=r"batch_size: expected 2, which the run .* was started with, received 4"):
        train(dataclasses.replace(plan, batch_size=4), run, resume=True)
    longer = dataclasses.replace(plan, steps=3)
    with pytest.raises(InputError, match=r"steps: expected at least the 6 that .* already has, received 3"):
        train(dataclasses.replace(longer, schedule="constant"), constant_copy(run), resume=True)
    assert json.loads((run.parent / "constant" / "recipe.json").read_text())["steps"] == 6


def constant_copy(run):
    """The same run, as if its schedule had been constant, so that its length may change."""
    copy = run.parent / "constant"
    shutil.copytree(run, copy)
    text = (copy / "recipe.json").read_text().replace('"schedule": "cosine"', '"schedule": "constant"')
    (copy / "recipe.json").write_text(text)
    return copy


def test_a_finished_run_is_resumed_without_doing_anything(finished, tmp_path):
    run, plan = copied(finished, tmp_path)
    listener = Listener()
    result = train(plan, run, resume=True, progress=listener)
    assert (listener.steps, result.interrupted, result.history) == ([], False, finished[1].history)
    (run / "generator_best.weights.h5").unlink()
    assert train(plan, run, resume=True).weights == run / "generator_last.weights.h5"


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    listener = Listener()
    result = train(recipe(steps=3), tmp_path / "new", resume=True, progress=listener)
    assert len(listener.steps) == 3
    assert any("no checkpoint yet" in line for line in listener.notices)
    assert result.history[-1]["step"] == 3


def test_what_a_killed_process_was_writing_is_removed(finished, tmp_path):
    run, plan = copied(finished, tmp_path)
    left = [run / ".abc.tmp.weights.h5", run / "checkpoints" / ".abc.tmp.h5"]
    for path in left:
        path.write_bytes(b"half")
    (run / "checkpoints" / "step_000000006.h5").unlink()
    train(plan, run, resume=True)
    assert not any(path.exists() for path in left)


def test_the_latest_checkpoints_are_kept(tmp_path):
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    kept = Checkpoints(tmp_path / "c", 2)
    assert kept.latest(print) is None
    for step in (1, 10, 2):
        kept.save(step, {"layer": layer}, {"step": step})
    assert [path.name for path in kept.paths()] == ["step_000000002.h5", "step_000000010.h5"]
    _, values, state = kept.latest(print)
    assert state == {"step": 10}
    np.testing.assert_array_equal(values["layer"][0], layer.kernel)


# What goes wrong


def test_losses_that_are_not_finite_stop_the_run_and_name_the_last_good_checkpoint(tmp_path, monkeypatch):
    count = []

    class Breaking(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            count.append(batch)
            if len(count) == 5:
                weight = self.model.generator.trainable_variables[0]
                weight.assign(weight * np.nan)

    with pytest.raises(
        DeblurganError, match=r"is nan, no longer finite; the last good checkpoint is .*step_000000004"
    ):
        train(recipe(checkpoint_every=2), tmp_path, callbacks=[Breaking()])
    last = any_file.load(tmp_path / "generator_last.weights.h5").get_weights()
    assert all(np.isfinite(weight).all() for weight in last)


def test_a_loss_beyond_its_limit_stops_the_run(tmp_path):
    with pytest.raises(
        DeblurganError, match=r"l1 is 0\.\d+, larger than 1e-05 \(loss_limit\); the last good .*000000000"
    ):
        train(recipe(loss_limit=1e-5), tmp_path)


def test_when_memory_runs_out_what_to_lower_is_named(tmp_path, monkeypatch):
    def fit(*args, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(trainer.Restoration, "fit", fit)
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
        train(dataclasses.replace(recipe(), **changes), tmp_path)


def test_a_picture_that_cannot_be_read_is_left_out_and_told(tmp_path):
    folder = tmp_path / "pairs"
    for side in "AB":
        (folder / side).mkdir(parents=True)
        for number in range(3):
            Image.effect_noise((40, 40), 50).convert("RGB").save(folder / side / f"{number}.png")
    broken = folder / "A" / "1.png"
    broken.write_bytes(broken.read_bytes()[:-200])
    plan = recipe(sources=[{"kind": "pairs", "folder": str(folder)}], val_dir=None, steps=3)
    result = train(plan, tmp_path / "run")
    assert list(result.bad) == [str(broken)]
    assert result.history[-1]["step"] == 3
    sample = read_rgb(tmp_path / "run" / "samples" / "epoch_0001.png")
    assert sample.shape == (4 * 32 + 3 * 4, 3 * 32 + 2 * 4, 3)  # crops, as nothing is validated
    for path in (folder / "A").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileError, match="no picture can be read any more"):
        train(plan, tmp_path / "other")


# Recipes, and what they may change


@pytest.mark.parametrize("name", SMALL)
def test_each_recipe_trains_and_its_weights_restore(name, tmp_path):
    size = 64 if name in ("unet", "nafnet-gan") else 32
    plan = recipe(read_fields(name), image_size=size, steps=2, steps_per_epoch=2, n_val=1, precision="float32",
                  perceptual_network="vgg16", **dict(SMALL[name]))  # fmt: skip
    result = train(plan, tmp_path)
    assert all(np.isfinite(value) for value in result.history[-1].values())
    picture = read_rgb(next((CROPS / "test").glob("*/blur/*")))[:51, :77]
    restored = open_restorer(result.weights)(picture)
    assert (restored.shape, restored.dtype) == (picture.shape, np.uint8)


def test_fine_tuning_starts_from_weights_and_takes_their_network(finished, tmp_path):
    run, _, _ = finished
    listener = Listener()
    plan = recipe(init_weights=str(run / "generator_last.weights.h5"), network_options={"width": 8}, steps=3)
    result = train(plan, tmp_path / "a", progress=listener)
    assert result.history[0]["val_psnr"] == pytest.approx(finished[1].history[-1]["val_psnr"], abs=1e-6)
    assert json.loads((tmp_path / "a" / "recipe.json").read_text())["network_options"] == NAFNET
    assert any(line.startswith("network: nafnet, as in ") for line in listener.notices)


def test_weights_of_another_network_are_refused(tmp_path):
    other = any_file.zoo.build_generator("tutorial", {"ngf": 4, "n_blocks": 1})
    any_file.hdf5.save_weights(other, tmp_path / "t.weights.h5")
    with pytest.raises(WeightsError, match=r"init_weights .*t\.weights\.h5: expected weights of \d+ tensors"):
        train(recipe(init_weights=str(tmp_path / "t.weights.h5")), tmp_path / "run")


def test_early_stopping_ends_a_run_that_does_not_improve(tmp_path):
    result = train(recipe(learning_rate=0.03, early_stopping=1, steps=30), tmp_path)
    assert not result.interrupted
    assert result.history[-1]["step"] < 30
    again = train(recipe(learning_rate=0.03, early_stopping=1, steps=30), tmp_path, resume=True)
    assert again.history == result.history


def test_a_callback_is_told_once_that_training_begins_and_ends(tmp_path):
    told = []

    class Telling(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            told.append("begin")

        def on_train_end(self, logs=None):
            told.append("end")

    csv_logger = keras.callbacks.CSVLogger(tmp_path / "keras.csv")
    train(recipe(steps=7), tmp_path / "run", callbacks=[Telling(), csv_logger])
    assert told == ["begin", "end"]
    rows = list(csv.DictReader((tmp_path / "keras.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[2]["val_psnr"]) > 0


def test_float16_goes_on_after_an_overflow(tmp_path):
    listener = Listener()
    result = train(recipe(precision="float16", losses={"l1": 2000.0}), tmp_path, progress=listener)
    assert any(not np.isfinite(losses["gradient_norm"]) for losses in listener.steps)
    assert result.history[-1]["step"] == 6
    json.loads((tmp_path / "run.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_epochs_of_all_pictures_are_the_unit_unless_steps_are(tmp_path):
    plan = recipe(steps=None, epochs=2, steps_per_epoch=None)
    listener = Listener()
    train(plan, tmp_path, progress=listener)
    assert listener.epochs == [(1, 2, 3, 0), (2, 2, 3, 0)]  # 6 pictures in batches of 2


def test_a_last_epoch_may_be_shorter(tmp_path):
    listener = Listener()
    result = train(recipe(steps=4), tmp_path, progress=listener)
    assert listener.epochs == [(1, 2, 3, 0), (2, 2, 1, 0)]
    assert [row["step"] for row in result.history] == [0, 3, 4]


def test_curves_need_matplotlib_and_a_run_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks.curves, "can_plot", lambda: False)
    train(recipe(steps=3), tmp_path)
    assert not (tmp_path / "curves.png").exists()

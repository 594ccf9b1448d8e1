"""The loop, driving a step that knows no pictures: it has noise for a batch, and one number for a network."""

import json
import os

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from deblurgan.errors import DeblurganError, FileError
from deblurgan.files import atomic_path, ensure_folder
from deblurgan.training import curves
from deblurgan.training.checkpoint import Checkpoints
from deblurgan.training.epoch_losses import EpochLosses
from deblurgan.training.folder import RunFolder
from deblurgan.training.hosts import ALONE
from deblurgan.training.keeping import Keeper
from deblurgan.training.logs import TensorBoard
from deblurgan.training.loop import Loop
from deblurgan.training.record import Record
from deblurgan.training.team import Team
from tests.photographs import names
from tests.power_cuts import Disk, put
from tests.training.runs import Listener, recipe, untimed

LOSSES = [5.0, 1.0, 3.0, 2.0, 8.0, 2.0, 7.0]  # of the steps, in turn


class Noise:
    """Adds each batch to a weight, and gives the loss of that name."""

    watched = "loss"

    def __init__(self):
        inputs = keras.Input((1,))
        self.model = self.generator = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
        self.model.compile(keras.optimizers.SGD(0.5))
        self.model.set_weights([np.zeros((1, 1))])
        self.seen = []

    @property
    def weight(self):
        return float(self.model.get_weights()[0][0, 0])

    def step(self, batch):
        self.seen.append(batch)
        self.model.set_weights([np.full((1, 1), self.weight + batch)])
        return {"loss": LOSSES[batch]}

    def networks(self):
        return {"generator": self.generator}

    def parts(self):
        return {"model": self.model, "optimizer": self.model.optimizer}


class Validating:
    """Stands for the snapshot and for the validation of a step's only weight."""

    grid = np.zeros((4, 4, 3), np.uint8)

    def __init__(self, step, on_score=lambda: None):
        self.trained, self.on_score = step, on_score

    def take(self):
        self.weight = self.trained.weight

    def save(self, path):
        with atomic_path(path) as temporary:
            temporary.write_text(str(self.weight))

    def score(self):
        self.on_score()
        return {"val_psnr": -abs(self.weight - 6), "val_ssim": 0.0}  # best with a weight of 6


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A function that puts a loop of 7 steps together; it goes on where there are checkpoints.

    Curves are not drawn, which takes longest.
    """
    monkeypatch.setattr(curves, "can_plot", lambda: False)

    def build(callbacks=(), on_score=lambda: None, progress=None, run=tmp_path, keep_checkpoints=99, **fields):
        plan = recipe(steps=7, keep_checkpoints=keep_checkpoints, **fields)
        step, folder = Noise(), RunFolder(run)
        validating = Validating(step, on_score)
        about = {"recipe": {"init_weights": None}, "validation": {"blurred": {}}}
        checkpoints = Checkpoints(folder.checkpoints, plan.keep_checkpoints)
        saved = checkpoints.latest(print)
        record = Record(folder, about, run / "logs", step.watched)
        loop = Loop(
            recipe=plan,
            step=step,
            batches=lambda first, count: iter(range(first, first + count)),
            steps=7,
            per_epoch=3,
            losses=EpochLosses(plan.loss_limit, scaled=False),
            average=None,
            keeper=Keeper(plan, step, validating, validating, record, checkpoints, Team(ALONE, "one")),
            callbacks=callbacks,
            progress=progress or Listener(),
        )
        if saved is not None:
            loop.restore(*saved)
        return loop

    return build


class Told(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.events = []

    def on_train_begin(self, logs=None):
        self.events.append("begin")

    def on_train_end(self, logs=None):
        self.events.append("end")

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(f"epoch {epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.events.append({name: value for name, value in logs.items() if name != "val_ssim"})

    def on_train_batch_begin(self, batch, logs=None):
        self.events.append(f"batch {batch}")

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(logs["loss"])


def test_callbacks_are_told_everything_once_and_in_order(build):
    told = Told()
    assert build([told]).run(lambda: False)
    epochs = [
        ["epoch 0", "batch 0", 5.0, "batch 1", 1.0, "batch 2", 3.0, {"loss": 3.0, "val_psnr": -3.0}],
        ["epoch 1", "batch 0", 2.0, "batch 1", 8.0, "batch 2", 2.0, {"loss": 4.0, "val_psnr": -9.0}],
        ["epoch 2", "batch 0", 7.0, {"loss": 7.0, "val_psnr": -15.0}],
    ]
    assert told.events == ["begin", *epochs[0], *epochs[1], *epochs[2], "end"]


def test_an_epoch_leaves_its_row_its_weights_and_a_checkpoint(build, tmp_path):
    listener = Listener()
    loop = build(progress=listener, checkpoint_every=2, save_every=2)
    assert loop.run(lambda: False)
    assert loop.step.seen == list(range(7))
    assert [(row["epoch"], row["step"], row.get("loss")) for row in loop.keeper.history] == [
        (0, 0, None), (1, 3, 3.0), (2, 6, 4.0), (3, 7, 7.0),
    ]  # fmt: skip
    assert listener.epochs == [(1, 3, 3, 0), (2, 3, 3, 0), (3, 3, 1, 0)]
    assert listener.rows == loop.keeper.history[1:]
    assert names(tmp_path / "checkpoints") == [f"step_00000000{step}.h5" for step in (0, 2, 3, 4, 6, 7)]
    weights = {path.name: path.read_text() for path in tmp_path.glob("*.weights.h5")}
    assert weights == {
        "generator_002.weights.h5": "15.0",
        "generator_best.weights.h5": "3.0",
        "generator_last.weights.h5": "21.0",
    }


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 5, 6])
def test_an_interrupted_loop_ends_as_one_that_was_not(build, tmp_path, stop_after):
    """Whether it stops while validating, in the middle of an epoch, or on its last batch."""
    first = build(checkpoint_every=2)
    listener = first.progress
    assert not first.run(lambda: len(listener.steps) >= stop_after)
    assert first.step.seen == list(range(stop_after))
    assert (tmp_path / "generator_last.weights.h5").read_text() == str(float(sum(range(stop_after))))
    second = build(checkpoint_every=2)
    assert second.run(lambda: False)
    assert second.step.seen == list(range(stop_after, 7))
    assert second.progress.epochs[0] == (1 + stop_after // 3, 3, min(3, 7 - stop_after // 3 * 3), stop_after % 3)
    assert [row.get("loss") for row in second.keeper.history] == [None, 3.0, 4.0, 7.0]
    assert second.step.weight == 21.0


def test_an_interruption_while_validating_finishes_the_epoch_and_no_further_batch(build):
    scored = []
    loop = build(on_score=lambda: scored.append(1))
    assert not loop.run(lambda: len(scored) == 2)
    assert (len(loop.keeper.history), loop.done) == (2, 3)


def test_a_full_disk_is_not_taken_for_a_lack_of_memory(build, tmp_path, monkeypatch):
    def full(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "events; No space left on device")

    monkeypatch.setattr(TensorBoard, "_put", full)
    with pytest.raises(FileError, match=r"logs: TensorBoard's events cannot be written: .* No space left on device"):
        build().run(lambda: False)


def test_a_run_outlasts_a_power_cut_at_any_moment(build, tmp_path, monkeypatch):
    def run_to_the_end(run):
        with RunFolder(run).claimed(resume=True):
            loop = build(run=run, keep_checkpoints=1, checkpoint_every=2)
            before = loop.done
            assert loop.run(lambda: False)
        return before

    def end(run):
        history = untimed(json.loads((run / "run.json").read_text())["epochs"])
        weights = {path.name: path.read_text() for path in run.glob("*.weights.h5")}
        return history, weights, names(run / "checkpoints")[-1]

    with monkeypatch.context() as patch:
        disk = Disk(tmp_path, patch)
        run_to_the_end(tmp_path / "run")
    disk.close()
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # which would take longer than all else
    done = [
        run_to_the_end(ensure_folder(put(files, tmp_path / f"left {number}") / "run"))
        for number, files in enumerate(disk.left)
    ]
    assert done == sorted(done)
    assert set(done) == {0, 2, 3, 4, 6, 7}
    for number in range(len(done)):
        assert end(tmp_path / f"left {number}" / "run") == end(tmp_path / "run")


def test_a_callback_may_stop_it_and_remembers_when_it_goes_on(build, tmp_path):
    def patient():
        return keras.callbacks.EarlyStopping("val_psnr", patience=1, mode="max")

    class Interrupting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            interrupted.append(batch)

    interrupted = []
    assert not build([patient(), Interrupting()]).run(lambda: len(interrupted) == 4)
    loop = build([patient()])  # epoch 1 was the best so far, so that after epoch 2 it has waited enough
    assert loop.callbacks_state[0]["best"] == -3.0
    assert loop.run(lambda: False)
    assert loop.done == 6
    with h5py.File(tmp_path / "checkpoints" / "step_000000006.h5") as file:
        state = json.loads(file.attrs["state"])
    assert (state["stopped"], state["callbacks"][0]["wait"]) == (True, 1)


def test_a_learning_rate_that_a_callback_reduces_stays_reduced(build):
    def plateau():
        return keras.callbacks.ReduceLROnPlateau("val_psnr", factor=0.1, patience=1, mode="max")

    loop = build([plateau()])
    assert not loop.run(lambda: len(loop.progress.steps) >= 6)
    assert [row.get("learning_rate") for row in loop.keeper.history] == pytest.approx([None, 0.5, 0.05])
    again = build([plateau()])
    assert again.run(lambda: False)
    assert again.keeper.history[-1]["learning_rate"] == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("value", "limit", "message"),
    [
        (np.nan, 1e6, "loss is nan, no longer finite"),
        (np.inf, 1e6, "loss is inf, no longer finite"),
        (-9.0, 8.5, r"loss is -9, larger than 8.5 \(loss_limit\)"),
    ],
)
def test_a_broken_loss_ends_it_and_names_the_last_good_checkpoint(
    build, tmp_path, monkeypatch, value, limit, message
):
    monkeypatch.setitem(globals(), "LOSSES", [*LOSSES[:4], value, *LOSSES[5:]])
    loop = build(loss_limit=limit)
    with pytest.raises(DeblurganError, match=f"{message}; the last good checkpoint is .*step_000000003.h5; try"):
        loop.run(lambda: False)
    assert (tmp_path / "generator_last.weights.h5").read_text() == "3.0"  # of the epoch before


def test_a_skipped_step_of_scaled_losses_is_no_broken_one_and_in_no_mean():
    scaled, plain = EpochLosses(10.0, scaled=True), EpochLosses(10.0, scaled=False)
    scaled.add({"loss": 2.0, "gradient_norm": np.inf})
    scaled.add({"loss": 4.0, "gradient_norm": 50.0})
    assert scaled.means() == {"loss": 3.0, "gradient_norm": 50.0}
    with pytest.raises(DeblurganError, match="gradient_norm is inf"):
        plain.add({"loss": 2.0, "gradient_norm": np.inf})


def test_some_checkpoints_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, 1)
    for step in range(1, 7):
        checkpoints.save(step, {}, {"step": step}, kept=step in (2, 4))
    assert [path.name for path in checkpoints.paths()] == [
        "step_000000002.kept.h5", "step_000000004.kept.h5", "step_000000006.h5",
    ]  # fmt: skip
    assert checkpoints.latest(print)[2] == {"step": 6}
    checkpoints.paths()[-1].unlink()
    assert checkpoints.latest(print)[2] == {"step": 4}


def test_every_so_many_epochs_and_in_the_end_a_checkpoint_is_kept(build, tmp_path):
    build(keep_every=2).run(lambda: False)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step_000000000.h5", "step_000000003.h5", "step_000000006.kept.h5", "step_000000007.kept.h5",
    ]  # fmt: skip


# The best epoch


@pytest.mark.parametrize(
    ("rows", "fine_tuned", "best"),
    [
        (
            [{"val_psnr": 30.0}, {"val_psnr": 20.0}, {"val_psnr": 25.0}],
            False,
            2,
        ),  # the untrained network is no result
        ([{"val_psnr": 30.0}, {"val_psnr": 20.0}, {"val_psnr": 25.0}], True, 0),
        ([{"val_psnr": 30.0}], False, 0),
        ([{}, {"g_loss": 5.0}, {"g_loss": -2.0}, {"g_loss": 3.0}], False, 2),
        ([{}, {"g_loss": 1.0}, {"g_loss": 2.0, "val_psnr": 9.0}], False, 2),  # validated from then on
    ],
)
def test_best_is_the_epoch_of_the_highest_psnr_or_else_of_the_lowest_loss(tmp_path, rows, fine_tuned, best):
    about = {"recipe": {"init_weights": "x" if fine_tuned else None}}
    record = Record(RunFolder(tmp_path), about, tmp_path, "g_loss")
    record.history = rows
    assert record.best is rows[best]


def test_rows_that_have_other_columns_than_the_first_are_in_the_table(tmp_path):
    about = {"recipe": {"init_weights": None}, "validation": {"blurred": {}}}
    record = Record(RunFolder(tmp_path), about, tmp_path / "logs", "loss")
    for row in ({"epoch": 0, "step": 0}, {"epoch": 1, "step": 3, "loss": 2.5}):
        record.add(row, np.zeros((4, 4, 3), np.uint8))
    assert (tmp_path / "log.csv").read_text().split() == ["epoch,step,loss", "0,0,", "1,3,2.5"]
    assert untimed(json.loads((tmp_path / "run.json").read_text())["epochs"]) == record.history

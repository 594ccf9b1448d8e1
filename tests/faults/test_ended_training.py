"""Trainings that are asked to end, are not listened to, are started twice, have a wrong clock, or take long."""

import contextlib
import multiprocessing
import os
import random
import signal
import time

import pytest

from deblurgan.cli.training import TrainingBars
from deblurgan.devices import start_quietly
from deblurgan.restoring.memory import keep_freed
from deblurgan.training.trainer import train
from tests.faults.children import resident
from tests.training import killing
from tests.training.killing import Life, training
from tests.training.runs import Listener, assert_same_end, from_noise, recipe

FIELDS = {"steps_per_epoch": 20, "checkpoint_every": 7, "ema": 0.5}
PLAN = recipe(steps=40, **FIELDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    Life(PLAN, run).to_its_end()
    return run


@pytest.mark.faults
def test_a_training_that_is_asked_to_end_does_and_goes_on(tmp_path, often, note):
    times, chance, ends = often(2, 16), random.Random(0), []
    whole, run, said = (tmp_path / name for name in ("whole", "run", "said"))
    Life(recipe(steps=20 * times, **FIELDS), whole).to_its_end()
    for number in range(times):
        said.write_text("")
        process = training(whole / "recipe.json", run, said)
        early, twice = number % 4 == 1, number % 4 == 2
        while process.is_alive() and "Pictures: " not in said.read_text() and not early:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.2, 1))
        numbers = [(signal.SIGTERM, signal.SIGHUP, signal.SIGINT)[number % 3], *[signal.SIGTERM][:twice]]
        for each in numbers:
            with contextlib.suppress(ProcessLookupError):  # it has ended by the first
                os.kill(process.pid, each)
            time.sleep(chance.uniform(0, 0.1))
        process.join()
        assert "Traceback" not in said.read_text()
        assert "Error" not in said.read_text()
        assert {1: "Aborted!", 130: "Stopped. Weights so far: "}[process.exitcode] in said.read_text()
        ends.append(process.exitcode)
    process = training(whole / "recipe.json", run, said)
    process.join()
    assert process.exitcode == 0
    assert_same_end(run, whole)
    note(
        "training: SIGTERM, SIGHUP or Ctrl-C at a random moment, a fourth of them twice",
        times,
        f"{ends.count(130)} saved and stopped; {ends.count(1)} stopped at once, asked before the training began or "
        "twice; each goes on, to the end of the undisturbed run",
    )


@pytest.mark.faults
def test_a_training_that_nobody_listens_to_any_more_goes_on(whole, tmp_path, often, note):
    times = often(1, 4)
    for number in range(times):
        run = tmp_path / f"run {number}"
        reading, writing = multiprocessing.Pipe(duplex=False)
        process = training(whole / "recipe.json", run, writing)
        writing.close()
        for _ in range(number + 1):
            os.read(reading.fileno(), 8)
        reading.close()
        process.join()
        assert process.exitcode == 0
        assert_same_end(run, whole)
    note("training: in a pipe to `head -1`, nobody reads what it prints", times, "it goes on to its end")


@pytest.mark.faults
def test_of_two_trainings_in_one_folder_the_second_is_refused(whole, tmp_path, often, note):
    times, run = often(1, 4), tmp_path / "run"
    first = Life(PLAN, run)
    assert first.until_step()
    os.kill(first.process.pid, signal.SIGSTOP)
    for _ in range(times):
        second = training(whole / "recipe.json", run, tmp_path / "said")
        second.join()
        assert second.exitcode == 1
    os.kill(first.process.pid, signal.SIGCONT)
    first.to_its_end()
    said = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("Error: ")]
    assert said == [f"Error: {run}: another process trains in this folder now"] * times
    assert_same_end(run, whole)
    note("training: a second one in the same folder", times, "refused in one line; the first ends as if alone")


@pytest.mark.faults
def test_a_wrong_clock_changes_nothing_but_what_is_told_of_times(whole, tmp_path, monkeypatch, often, note):
    times = often(1, 3)
    for number in range(times):
        run, chance, clock = tmp_path / f"run {number}", random.Random(number), time.time
        monkeypatch.setattr(time, "time", lambda clock=clock, chance=chance: clock() - chance.uniform(0, 1e6))
        assert train(PLAN, run, progress=Listener(23)).interrupted
        for path in [run, *run.rglob("*")]:
            os.utime(path, (clock() + chance.uniform(-1e9, 1e9),) * 2)
        with TrainingBars() as bars:
            train(PLAN, run, resume=True, progress=bars)
        monkeypatch.undo()
        assert_same_end(run, whole)
    note("training: the clock is set back again and again, files are of the future", times, "the same end")


class Weighing(killing.Telling):
    def __init__(self, tell):
        super().__init__(tell)
        self.step_done = lambda losses: None
        self.epoch_done = lambda row: tell(resident(os.getpid()))


def weigh(plan, run, told):
    start_quietly()
    keep_freed()
    train(plan, run, progress=Weighing(told.send))


@pytest.mark.faults
@pytest.mark.skipif(not resident(os.getpid()), reason="expected /proc, which tells the memory in use")
@pytest.mark.parametrize("name", ["gan", "nafnet"])
def test_a_long_training_needs_no_more_memory_than_a_short_one(name, tmp_path, often, note):
    epochs, every = often(0, 100), {"gan": 50, "nafnet": 20}[name]
    sizes = {"steps_per_epoch": every, "steps": epochs * every}
    plan = from_noise("gan", **sizes) if name == "gan" else recipe(**sizes)
    told, telling = killing.CONTEXT.Pipe(duplex=False)
    process = killing.CONTEXT.Process(target=weigh, args=(plan, tmp_path / "run", telling))
    process.start()
    telling.close()
    held = [told.recv() for _ in range(epochs)]
    process.join()
    first, last = held[epochs // 10], held[-1]
    assert last < 1.05 * first, held
    note(
        f"training, `{name}`: memory after the first tenth and in the end, in epochs of {every} steps",
        epochs,
        f"{first / 1e6:.0f} MB, {last / 1e6:.0f} MB",
    )

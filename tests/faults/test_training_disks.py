"""Trainings whose disk is full, or can no longer be written to."""

import random
import time

import pytest

from deblurgan.training.checkpoint import Checkpoints
from tests.training.killing import Life, training
from tests.training.runs import assert_same_end, half_written, recipe

PLAN = recipe(checkpoint_every=2, ema=0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    Life(PLAN, run).to_its_end()
    return run


@pytest.fixture
def trained(whole, tmp_path):
    """A function that trains in a folder, and returns the one line in which it says why it ended, if it did."""

    def trained(run, meanwhile=lambda: None):
        process = training(whole / "recipe.json", run, tmp_path / "said", "--log_dir", tmp_path / "logs")
        meanwhile()
        process.join()
        said = (tmp_path / "said").read_text()
        (tmp_path / "said").unlink()
        errors = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert "Traceback" not in said
        assert (process.exitcode, errors) in ((0, []), (1, said.splitlines()[-1:])), said
        return errors[0] if errors else None

    return trained


@pytest.mark.faults
def test_a_training_whose_disk_is_full_goes_on_when_there_is_room(whole, trained, disk, often, note):
    size = sum(path.stat().st_size for path in whole.rglob("*"))
    times, named, chance = often(1, 12), [], random.Random(0)
    for number in range(times):
        run = disk(f"size={max(4096, int(size * 0.7 * (number + chance.random()) / times))}") / "run"
        named.append(trained(run))
        assert named[-1].endswith("No space left on device")
        assert not half_written(run)
        told = []
        Checkpoints(run / "checkpoints", 2).latest(told.append)
        assert told == []
        disk(f"remount,size={10 * size}")
        assert trained(run) is None
        assert_same_end(run, whole)
    of_checkpoints = sum("/checkpoints/" in line for line in named)
    note(
        "training: the disk is full, at some moment; then there is room",
        times,
        f"one line names the file ({of_checkpoints} times a checkpoint); what was there stays whole; `--resume` goes "
        "on, to the end of the undisturbed run",
    )


@pytest.mark.faults
def test_a_training_whose_disk_becomes_read_only_goes_on_when_it_is_not(whole, trained, disk, often, note):
    times, chance, ended = often(0, 5), random.Random(1), 0
    for _ in range(times):
        run = disk("size=64M") / "run"

        def meanwhile(run=run):
            while not run.exists():
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 1.5))
            disk("remount,ro")

        line = trained(run, meanwhile)
        ended += line is not None
        assert line is None or line.endswith(("Read-only file system", "the folder is not writable"))
        disk("remount,rw")
        assert trained(run) is None
        assert_same_end(run, whole)
    assert ended
    note(
        "training: its folder is read-only from some moment on",
        ended,
        "one line says so; `--resume` goes on when it can be written to again, to the end of the undisturbed run",
    )

"""Whose a run's folder is, and what its checkpoints survive."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.training import checkpoint
from deblurgan.training.checkpoint import Checkpoints
from deblurgan.training.folder import RunFolder
from tests.photographs import names


def refused(folder, message, *, resume):
    with pytest.raises(InputError, match=message), folder.claimed(resume=resume):
        pass


def test_of_two_that_start_at_once_one_has_the_folder(tmp_path):
    one, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    assert one.started(resume=False) is None
    assert other.started(resume=False) is None  # there is nothing yet
    with one.claimed(resume=False):
        refused(other, "run: holds a run already; resume it", resume=False)
    with pytest.raises(InputError, match="holds a run already"):
        other.started(resume=False)


LOCKING = """
import sys
from pathlib import Path
from deblurgan.training.folder import RunFolder

with RunFolder(Path(sys.argv[1])).claimed(resume=True):
    print("claimed", flush=True)
    sys.stdin.readline()
"""


def test_of_two_that_resume_at_once_one_has_the_folder_until_it_ends_in_whatever_way(tmp_path):
    command = [sys.executable, "-c", LOCKING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        refused(RunFolder(tmp_path), "another process trains in this folder now", resume=True)
        process.kill()
    with RunFolder(tmp_path).claimed(resume=True):
        pass


def test_a_file_system_without_locks_does(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    for resume in (False, True):
        with RunFolder(tmp_path / "run").claimed(resume=resume):
            pass
    refused(RunFolder(tmp_path / "run"), "holds a run already", resume=False)


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    left = [tmp_path / ".abc.tmp.weights.h5", tmp_path / "checkpoints" / ".abc.tmp.h5"]
    (tmp_path / "checkpoints").mkdir()
    for path in left:
        path.write_bytes(b"half")
    with RunFolder(tmp_path).claimed(resume=True):
        assert not any(path.exists() for path in left)


@pytest.mark.parametrize("name", ["settings.json", "recipe.json"])
def test_a_run_of_an_earlier_version_is_told(tmp_path, name):
    (tmp_path / name).write_text('{"network": "nafnet"}')  # recipes of runs have all fields
    with pytest.raises(InputError, match="holds a run already"):
        RunFolder(tmp_path).started(resume=False)
    with pytest.raises(FileError) as caught:
        RunFolder(tmp_path).started(resume=True)
    assert str(caught.value) == (
        f"{tmp_path}: a run of an earlier version, which cannot go on; a new one can start from its weights: "
        "--init_weights"
    )


def test_folders_that_are_links_are_told(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert run.linked() == []
    run.samples.mkdir(parents=True)
    run.checkpoints.symlink_to(tmp_path, target_is_directory=True)
    run.weights("last").symlink_to(tmp_path / "x")  # a link that is replaced itself
    assert run.linked() == ["checkpoints"]


# Checkpoints


@pytest.fixture
def layer():
    layer = keras.layers.Dense(3)
    layer.build((None, 2))
    return layer


def test_the_latest_checkpoints_are_kept(tmp_path, layer):
    kept = Checkpoints(tmp_path / "c", 2)
    assert kept.latest(print) is None
    for step in (1, 10, 2):
        kept.save(step, {"layer": layer}, {"step": step})
    assert names(tmp_path / "c") == ["step_000000002.h5", "step_000000010.h5"]
    _, values, state = kept.latest(print)
    assert state == {"step": 10}
    np.testing.assert_array_equal(values["layer"][0], layer.kernel)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "state"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(tmp_path, layer, damage):
    kept, told = Checkpoints(tmp_path, 2), []
    for step in (4, 6):
        kept.save(step, {"layer": layer}, {"step": step})
    path = tmp_path / "step_000000006.h5"
    content = path.read_bytes()
    place = content.index(np.asarray(layer.kernel).tobytes())
    damaged = {
        "truncated": content[: len(content) // 2],
        "flipped": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "empty": b"",
        "text": b"no HDF5",
        "state": content.replace(b'{"step": 6}', b'{"step": 7}'),
    }
    path.write_bytes(damaged[damage])
    found, _, state = kept.latest(told.append)
    assert (found.name, state) == ("step_000000004.h5", {"step": 4})
    assert [line.startswith(f"DAMAGED, the checkpoint before it is used: {path}: expected") for line in told] == [
        True
    ]
    assert names(tmp_path) == ["step_000000004.h5", "step_000000006.damaged"]


def test_a_checkpoint_of_an_earlier_version_which_has_no_digest_is_read(tmp_path):
    path = tmp_path / "step_000000004.h5"
    with h5py.File(path, "w") as file:
        file.attrs["state"] = json.dumps({"step": 4})
        file["layer/0000"] = np.arange(3.0)
    _, values, state = Checkpoints(tmp_path, 2).latest(print)
    assert state == {"step": 4}
    np.testing.assert_array_equal(values["layer"], [np.arange(3.0)])


def test_only_damaged_checkpoints_are_an_error(tmp_path, layer):
    kept = Checkpoints(tmp_path, 2)
    kept.save(1, {"layer": layer}, {})
    (tmp_path / "step_000000001.h5").write_bytes(b"no")
    for _ in range(2):
        with pytest.raises(FileError, match="expected a checkpoint, found 1 that are all damaged"):
            kept.latest(print)


def test_a_checkpoint_of_other_networks_is_one_line(tmp_path, layer):
    other = keras.layers.Dense(4)
    other.build((None, 2))
    path = tmp_path / "c.h5"
    checkpoint.save(path, {"layer": other}, {})
    with pytest.raises(WeightsError) as caught:
        checkpoint.assign(path, checkpoint.read(path)[0], {"layer": layer})
    assert str(caught.value) == f"{path}: the variables of layer are not those of this run's recipe"


def test_a_checkpoint_has_room_for_long_histories(tmp_path, layer):
    """64 KB is the limit of ordinary HDF5 attributes."""
    state = {"history": [{"epoch": epoch, "loss": epoch / 7} for epoch in range(5000)]}
    checkpoint.save(tmp_path / "c.h5", {"layer": layer}, state)
    assert checkpoint.read(tmp_path / "c.h5")[1] == state


def test_checkpoints_are_read_whatever_locks_there_are(tmp_path, layer):
    """HDF5's own locks would be refused here, as they are where there are none."""
    checkpoint.save(tmp_path / "c.h5", {"layer": layer}, {"step": 1})
    with (tmp_path / "c.h5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert checkpoint.read(tmp_path / "c.h5")[1] == {"step": 1}


def test_a_checkpoint_takes_no_values_from_other_files(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["0000"] = np.zeros(3)
    with h5py.File(tmp_path / "step_000000001.h5", "w") as file:
        file.attrs["state"] = "{}"
        file["layer"] = h5py.ExternalLink(tmp_path / "other.h5", "/")
    with pytest.raises(FileError, match="layer takes them from another"):
        checkpoint.read(tmp_path / "step_000000001.h5")

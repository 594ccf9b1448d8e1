"""Checkpoints that were damaged afterwards, and those of a training whose computer loses its power."""

import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from deblurgan.errors import FileError
from deblurgan.training import checkpoint
from deblurgan.training.trainer import train
from tests.faults.children import ROOT
from tests.power_cuts import Disk, put
from tests.training.killing import Life
from tests.training.runs import assert_same_end, recipe


class Part:
    """Stands for a network whose weights are random."""

    def __init__(self, count):
        self.variables = [self] * count

    def numpy(self):
        return np.random.default_rng(0).standard_normal((8, 9, 10), np.float32)


@pytest.mark.faults
def test_no_byte_of_a_checkpoint_can_change_unnoticed(tmp_path, often, note):
    kept, chance = checkpoint.Checkpoints(tmp_path, 2), random.Random(0)
    for step in (4, 6):
        kept.save(step, {"generator": Part(5), "optimizer": Part(3)}, {"step": step, "history": []})
    path = tmp_path / "step_000000006.h5"
    whole = path.read_bytes()
    assert len(whole) > 20_000
    places = [*range(0, 4096, often(4, 1)), *(chance.randrange(4096, len(whole)) for _ in range(often(50, 500)))]
    cut = [chance.randrange(len(whole)) for _ in range(often(20, 200))]
    flipped = [
        whole[:place] + bytes([whole[place] ^ chance.randrange(1, 256)]) + whole[place + 1 :] for place in places
    ]
    for damaged in [*flipped, *(whole[:length] for length in cut), whole + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises(FileError, match="expected a checkpoint of a training run"):
            checkpoint.read(path)
    told = []
    assert kept.latest(told.append)[2]["step"] == 4
    assert len(told) == 1
    note(
        "training: a checkpoint with one byte changed, each of the first 4,096 and 500 others, or that is cut off",
        len(places) + len(cut),
        "each is noticed before anything is read from it; the checkpoint before it is used",
    )


@pytest.mark.faults
def test_a_training_whose_power_is_cut_goes_on(tmp_path, monkeypatch, often, note):
    plan = recipe(checkpoint_every=2, keep_checkpoints=1, ema=0.5)
    with monkeypatch.context() as patch:
        disk = Disk(tmp_path, patch)
        train(plan, tmp_path / "whole")
    disk.close()
    chosen = random.Random(0).sample(disk.left[1:], often(1, 12))
    for number, files in enumerate(chosen):
        folder = put(files, tmp_path / f"left {number}")
        Life(plan, folder / "whole").to_its_end()
        assert_same_end(folder / "whole", tmp_path / "whole")
        shutil.rmtree(folder)
    note(
        "training: a power cut, after which only what was synced is on the disk (simulated)",
        len(chosen),
        "each goes on; the end is that of the undisturbed run, bit for bit",
    )


CALLS = re.compile(r'(fsync|rename|unlink)\w*\((?:AT_FDCWD\S*, )?(?:\d+<|")(?P<path>[^">]+).* = 0$', re.M)


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("strace") is None, reason="expected strace, which shows the calls of the system")
def test_the_system_is_asked_to_sync_a_checkpoint_before_the_old_one_goes(tmp_path, often, note):
    steps = often(0, 60)
    run = tmp_path / "run"
    program = (
        "from tests.training.runs import recipe; from deblurgan.training.trainer import train; "
        f"train(recipe(steps={steps}, keep_checkpoints=1, checkpoint_every=1, val_dir=None), {str(run)!r})"
    )
    traced = ["strace", "-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,/^rename,/^unlink", "-o", tmp_path / "calls"]
    ran = subprocess.run([*traced, sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    if "ptrace" in ran.stderr and ran.returncode:
        pytest.skip(f"strace may not watch a process here: {ran.stderr.splitlines()[0]}")
    assert ran.returncode == 0, ran.stderr
    folder = str(run / "checkpoints")
    calls = [found.groups() for found in CALLS.finditer((tmp_path / "calls").read_text()) if folder in found["path"]]
    gone = [at for at, (call, _) in enumerate(calls) if call == "unlink"]
    for at in gone:
        (first, temporary), (second, renamed), (third, synced), _ = calls[at - 3 : at + 1]
        assert (first, second, third) == ("fsync", "rename", "fsync")
        assert temporary == renamed
        assert synced == folder
    assert len(gone) == steps
    note(
        "training: a checkpoint replaces the one before it, watched by strace",
        len(gone),
        "always the file is synced, gets its name, its folder is synced, and then the old one goes",
    )

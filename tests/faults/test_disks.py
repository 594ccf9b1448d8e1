"""Disks that are full or read-only, from the start or in the middle of the work."""

import random
import shutil
import signal
import time

import pytest

from tests.faults.children import stand_in
from tests.faults.negatives import FRAMES, check_negatives, ended
from tests.photographs import names
from tests.video import clips

pytestmark = pytest.mark.faults

SMALL = 400_000  # bytes of a disk
BIG = 10_000_000


def test_disks_that_are_full_or_read_only(often, note, pictures, clip, disk, tmp_path):
    place = disk(f"size={SMALL}")
    out = place / "out"
    _, err, code = ended(stand_in(0, "deblur", pictures, "--output_dir", out))
    count = check_negatives(out, pictures, some=True)
    assert 0 < count < len(names(pictures))
    assert code == 1
    assert err.count("No space left on device") == len(names(pictures)) - count

    child = stand_in(0, "deblur", pictures, "--output_dir", place / "out.zip")
    assert "out.zip: cannot be written: No space left on device" in ended(child)[1]
    assert names(place) == ["out"]

    disk(f"remount,size={BIG}")
    assert ended(stand_in(0, "deblur", pictures, "--output_dir", out, "--skip_existing"))[2] == 0
    check_negatives(out, pictures)

    held = sum(path.stat().st_size for path in out.iterdir()) + 150_000
    disk(f"remount,size={held}")
    _, err, code = ended(stand_in(0, "deblur", clip, "--output_dir", place / "video"))
    assert (code, "clip.mp4" in names(place / "video")) == (1, False)
    assert "No space left on device" in err
    disk(f"remount,size={BIG}")
    assert ended(stand_in(0, "deblur", clip, "--output_dir", place / "video"))[2] == 0
    assert len(clips.read(place / "video" / "clip.mp4")) == FRAMES

    for folder in (out, place / "new", place / "new.zip"):
        disk("remount,ro")
        _, err, code = ended(stand_in(0, "deblur", pictures, "--output_dir", folder))
        assert (code, len(err.splitlines())) == (1, 2), err
        disk("remount,rw")

    shutil.copytree(pictures, place / "in")
    _, err, code = ended(stand_in(0, "deblur", place / "in", "--output_dir", tmp_path / "out"))  # read only
    check_negatives(tmp_path / "out", pictures)
    note(
        "`deblur` onto full and read-only disks, room made, and again",
        8,
        "each told in a line; the second time all done",
    )


def test_a_disk_that_becomes_read_only_in_the_middle(often, note, pictures, disk, tmp_path):
    moments, times, place = random.Random(14), often(2, 25), disk(f"size={BIG}")
    for number in range(times):
        more = [["--watch"], []][number % 2]
        child = stand_in(0.03, "deblur", pictures, "--output_dir", place / "out", *more)
        child.stderr.readline()
        time.sleep(moments.uniform(1 if more else 0, 1.4 if more else 0.4))
        disk("remount,ro")
        time.sleep(0.2 if more else 1)
        disk("remount,rw")
        if more:
            time.sleep(0.5)
            child.send_signal(signal.SIGINT)
        _, err, code = ended(child)
        there = check_negatives(place / "out", pictures, some=True)
        assert err.count("failed: ") == err.count(" is not writable") + err.count("Read-only file system")
        assert code == bool(err.count("failed: "))
        assert more or there + err.count("failed: ") == len(names(pictures))
        shutil.rmtree(place / "out", ignore_errors=True)
    note(
        "a disk that becomes read-only while `deblur` or `--watch` writes",
        times,
        "whole results, a line for each other",
    )

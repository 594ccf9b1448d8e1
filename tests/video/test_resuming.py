import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import Interrupted, restore_video
from deblurgan.video.resuming import parts_folder
from tests.video.clips import (
    Stops,
    greys,
    identity,
    levels,
    read,
    times,
    write,
)

av = pytest.importorskip("av")


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("options", [VideoOptions(), VideoOptions(start=0.04, end=0.36)])
def test_after_ctrl_c_the_same_call_goes_on_where_it_stopped(tmp_path, extension, options):
    source = write(tmp_path / f"x{extension}", levels(10), options={"g": "5"})
    target, whole = tmp_path / "out" / source.name, tmp_path / "whole" / source.name
    restore_video(identity, source, whole, options)
    with pytest.raises(Interrupted, match=r"restored up to 0\.\d+ s; the same command goes on from there"):
        restore_video(Stops(5), source, target, options)
    assert os.listdir(target.parent) == [parts_folder(target).name]
    rest = Stops(100)
    restore_video(rest, source, target, options)
    assert len(rest.seen) == len(read(whole)) - 5
    assert times(target) == times(whole)
    np.testing.assert_allclose(greys(target), greys(whole), atol=3)
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.usefixtures("one_by_one")
def test_progress_counts_what_was_done_before(clip, tmp_path):
    told = []

    @contextlib.contextmanager
    def progress(path, done, total):
        told.append([path, done, total])
        yield lambda more: told[-1].append(more)

    for restore in (Stops(4), identity):
        with contextlib.suppress(Interrupted):
            restore_video(restore, clip, tmp_path / "y.mp4", VideoOptions(progress=progress))
    assert told == [[clip, 0, 10, *[1] * 4], [clip, 4, 10, *[1] * 6]]


@pytest.mark.usefixtures("one_by_one")
def test_parts_of_other_settings_or_another_video_are_not_gone_on_with(clip, tmp_path):
    target = tmp_path / "out" / "clip.mp4"
    for settings, changed in (("a", False), ("b", False), ("b", True)):
        if changed:
            os.utime(clip, (1, 1))
        again = Stops(4)
        with pytest.raises(Interrupted):
            restore_video(again, clip, target, VideoOptions(settings=settings))
        np.testing.assert_allclose(again.seen, [20, 40, 60, 80], atol=3)  # from the beginning
    rest = Stops(100)
    restore_video(rest, clip, target, VideoOptions(settings="b"))
    assert len(rest.seen) == 6


def test_finished_parts_outlast_a_kill(clip, tmp_path):
    program = (
        "import os, sys; from deblurgan.video import resuming, restoring as video; "
        "video._BATCH_FRAMES, resuming._PART_FRAMES = 1, 3; seen = []\n"
        "video.restore_video(lambda x: x if seen.append(1) or len(seen) < 9 else os._exit(9), *sys.argv[1:])"
    )
    target = tmp_path / "out" / "clip.mp4"
    done = subprocess.run([sys.executable, "-c", program, clip, target], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    assert not target.exists()
    rest = Stops(100)
    restore_video(rest, clip, target)
    assert len(rest.seen) in (4, 7)  # seven or eight were handed over to be written, so that one or two parts were
    np.testing.assert_allclose(greys(target), greys(clip), atol=3)
    assert os.listdir(target.parent) == ["clip.mp4"]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("damaged", [0, 1])
def test_parts_from_a_damaged_one_on_are_made_again(clip, tmp_path, damaged):
    target = tmp_path / "out" / "clip.mp4"
    with pytest.raises(Interrupted):
        restore_video(Stops(8), clip, target)
    sorted(parts_folder(target).glob("*.mp4"), key=lambda path: int(path.stem))[damaged].write_bytes(b"")
    rest = Stops(100)
    restore_video(rest, clip, target)
    assert len(rest.seen) == 10 - 3 * damaged
    np.testing.assert_allclose(greys(target), greys(clip), atol=3)


def test_ctrl_c_at_the_first_frame_leaves_nothing(clip, tmp_path):
    with pytest.raises(Interrupted, match="interrupted before a frame was restored"):
        restore_video(Stops(0), clip, tmp_path / "out" / "y.mp4")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("which", [1, 2])
def test_ctrl_c_while_a_thread_starts_leaves_nothing(clip, tmp_path, monkeypatch, which):
    start, starts = threading.Thread.start, []

    def interrupted(thread):
        start(thread)
        starts.append(thread)
        if len(starts) == which:
            raise KeyboardInterrupt

    def slow(image):
        time.sleep(0.01)
        return image

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(Interrupted, match="interrupted before a frame was restored"):
            restore_video(slow, clip, tmp_path / "out" / "y.mp4")
    for thread in starts:
        thread.join()
    assert len(starts) == which
    assert os.listdir(tmp_path / "out") == []

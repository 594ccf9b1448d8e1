"""Signals at random moments: what is done stays whole, and the same command does the rest."""

import random
import shutil
import signal
import time

import numpy as np
import pytest

from tests.faults.children import stand_in, started
from tests.faults.negatives import FRAMES, after, check_negatives, ended, members
from tests.photographs import names, noise, pixels, save
from tests.video import clips

pytestmark = pytest.mark.faults

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signals_while_pictures_are_restored(often, note, pictures, tmp_path, number):
    moments, times = random.Random(int(number)), often(1, 15)
    for _ in range(times):
        for output in ("out", "out.zip"):
            out = tmp_path / output
            child = stand_in(0.05, "deblur", pictures, "--output_dir", out)
            after(child, moments.uniform(0, 0.7), number)
            _, err, code = ended(child)
            done = code in (0, -number)  # the latter: as it ended anyway
            assert done or (code, err.strip()) == (1, "Aborted!")
            assert set(names(tmp_path)) <= {output}  # no debris
            if output == "out":
                count = check_negatives(out, pictures, some=True)
                assert not done or count == len(names(pictures))
                ended(stand_in(0, "deblur", pictures, "--output_dir", out, "--skip_existing"))
                check_negatives(out, pictures)
            elif out.exists():
                count = check_negatives(members(out, tmp_path), pictures, some=True)
                assert count > 0
                assert not done or count == len(names(pictures))
            for place in tmp_path.iterdir():
                shutil.rmtree(place) if place.is_dir() else place.unlink()
    note(
        f"{number.name} at a random moment of `deblur` into a folder and into a zip file",
        2 * times,
        "whole results only, no debris; `--skip_existing` did the rest",
    )


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signals_while_a_video_is_restored(often, note, clip, tmp_path, number):
    moments, times, kept = random.Random(int(number)), often(1, 8), 0
    ended(stand_in(0, "deblur", clip, "--output_dir", tmp_path / "expected"))
    for _ in range(times):
        child = stand_in(0.005, "deblur", clip, "--output_dir", tmp_path / "out")
        after(child, moments.uniform(0.1, 1.4), number)
        _, err, code = ended(child)
        if code not in (0, -number):
            before = (1, "Aborted!")  # before a frame was asked for
            assert (code, err.strip()) == before or (code == 130 and err.startswith(f"{clip}: ")), err
            assert set(names(tmp_path / "out")) <= {".clip.mp4.parts"}
            kept += "the same command goes on from there" in err
            _, err, code = ended(stand_in(0, "deblur", clip, "--output_dir", tmp_path / "out"))
        assert names(tmp_path / "out") == ["clip.mp4"]
        files = (tmp_path / folder / "clip.mp4" for folder in ("expected", "out"))
        expected, found = ([clips.plane(frame) for frame in clips.read(file)] for file in files)
        assert len(found) == len(expected) == FRAMES
        off = [np.abs(a - b).mean() for a, b in zip(found, expected, strict=True)]
        assert max(off) < 20  # parts that begin elsewhere are encoded otherwise; another frame is off by 60 and more
        shutil.rmtree(tmp_path / "out")
    note(
        f"{number.name} at a random moment of `deblur` of a video of {FRAMES} frames",
        times,
        f"the same command went on and made all frames; {kept} of them from what was kept",
    )


def test_a_hang_up_that_is_ignored_stays_ignored(pictures, tmp_path):
    out = tmp_path / "out"
    child = stand_in(
        0.05,
        *("deblur", pictures, "--output_dir", out),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as `nohup` does
    )
    after(child, 0.1, signal.SIGHUP)
    assert ended(child)[2] == 0
    check_negatives(out, pictures)


def test_signals_while_other_commands_work(often, note, weights, tmp_path):
    """At random moments, from TensorFlow's import on."""
    moments, times = random.Random(14), often(1, 20)
    for number in range(8):
        for side in "AB":
            save(tmp_path / "pairs" / side / f"{number}.png", noise(200, 200, seed=number))
    commands = {
        "evaluate": [
            "--input_dir",
            tmp_path / "pairs",
            "--weight_path",
            weights,
            "--html",
            tmp_path / "out" / "a.html",
        ],
        "convert": [weights, tmp_path / "out" / "a.keras"],
        "export": [weights, tmp_path / "out" / "a.onnx"],
        "deblur": ["--weight_path", weights, tmp_path / "pairs" / "A", "--output_dir", tmp_path / "out"],
        "web": ["--weight_path", weights, "--port", "0"],
    }
    for name in moments.sample(list(commands) * times, times):
        (tmp_path / "out").mkdir()
        (tmp_path / "temporary").mkdir()
        child = started(name, *commands[name], cwd=tmp_path, env={"TMPDIR": str(tmp_path / "temporary")})
        time.sleep(moments.uniform(1, 12 if name == "export" else 8))
        number = moments.choice(SIGNALS)
        child.send_signal(number)
        _, err, code = ended(child)
        assert code in (0, 1, -number, -signal.SIGINT), err  # the latter: Python's way where an import is ended
        assert not [file for file in names(tmp_path / "out") if file.startswith(".")]
        for file in (tmp_path / "out").glob("*.png"):
            assert pixels(file).shape == (200, 200, 3)
        left = [file for file in names(tmp_path / "temporary") if "deblurgan" in file]
        assert left == []
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "temporary")
    note(
        "SIGINT, SIGTERM or SIGHUP at a random moment of `evaluate`, `convert`, `export`, `deblur`, `web`",
        times,
        "no traceback, no half file",
    )

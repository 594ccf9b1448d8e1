"""Two processes at once, clocks that run backwards, and pipes that close."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.children import environment, stand_in
from tests.faults.negatives import FRAMES, check_negatives, ended, members
from tests.photographs import names, noise, save
from tests.video import clips

pytestmark = pytest.mark.faults


# Two at once


def test_two_at_once_into_one_folder_and_one_zip_file(often, note, pictures, clip, tmp_path):
    delays, times = random.Random(14), often(1, 15)

    def two(*arguments):
        children = [stand_in(0.01, "deblur", *arguments)]
        time.sleep(delays.uniform(0, 0.2))
        children.append(stand_in(0.01, "deblur", *arguments))
        return children

    for _ in range(times):
        for more in ([], ["--skip_existing"]):
            out = tmp_path / "out"
            for child in two(pictures, "--output_dir", out, *more):
                assert ended(child)[2] == 0
            check_negatives(out, pictures)
            shutil.rmtree(out)
        out = tmp_path / "out.zip"
        children = two(pictures, "--output_dir", out)
        while any(child.poll() is None for child in children):  # whole at each moment
            if out.exists():
                check_negatives(members(out, tmp_path), pictures)
        assert [ended(child)[2] for child in children] == [0, 0]
        check_negatives(members(out, tmp_path), pictures)
        out.unlink()
        shutil.rmtree(tmp_path / "unpacked")
        said = [ended(child) for child in two(clip, "--output_dir", tmp_path / "video")]
        for _, err, code in said:
            assert code == 0 or "another process is restoring a video into this file" in err
        assert 0 in [code for _, _, code in said]
        assert names(tmp_path / "video") == ["clip.mp4"]
        assert len(clips.read(tmp_path / "video" / "clip.mp4")) == FRAMES
        shutil.rmtree(tmp_path / "video")
    note(
        "two `deblur` at once into one folder (also with `--skip_existing`), one zip file, and of one video",
        4 * times,
        "each result whole and right, the zip file at each moment; one of the videos done, the other too or refused",
    )


# The clock


def test_a_clock_that_runs_backwards(note, pictures, clip, tmp_path):
    pictures = shutil.copytree(pictures, tmp_path / "in")
    for path in pictures.iterdir():
        os.utime(path, (10**10, 10**10))
    out = tmp_path / "out"
    assert ended(stand_in(-0.01, "deblur", pictures, clip, "--output_dir", out))[2] == 0
    (out / "clip.mp4").unlink()
    check_negatives(out, pictures)
    child = stand_in(-0.01, "deblur", pictures, "--output_dir", tmp_path / "watched", "--watch")
    for _ in names(pictures):
        child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert ended(child)[2] == 0
    check_negatives(tmp_path / "watched", pictures)
    note("`deblur` and `--watch` under a clock that runs backwards, files from the future", 2, "all restored")


# Closed pipes


def piped(command, *, cwd):
    """What a line of the shell says on standard error; the exit code of the program is its last line."""
    ran = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}} >&2"],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "Exception ignored" not in ran.stderr, ran.stderr
    *lines, code = ran.stderr.splitlines()
    return lines, int(code)


def test_closed_pipes_and_full_disks_behind_them(often, note, pictures, tmp_path):
    python = shlex.quote(sys.executable)
    program, stands = f"{python} -m deblurgan", f"{python} -m tests.faults.stand_in 0.02"
    save(tmp_path / "pairs" / "A" / "1.png", noise())
    save(tmp_path / "pairs" / "B" / "1.png", noise(seed=1))
    folder = shlex.quote(str(pictures))
    commands = [
        f"{program} --help",
        f"{program} deblur --help",
        f"{program} inspect maxim-gopro",
        f"{program} recipes",
        f"{program} weights",
        f"{program} doctor",
        f"{stands} deblur {folder} --output_dir out --dry_run",
        f"{stands} deblur {folder} --output_dir out",
        f"{stands} deblur {folder}/00.png --output_dir -",
        f"{stands} evaluate --input_dir pairs",
        f"{stands} deblur nothing.png",
    ]
    commands = often([commands[number] for number in (0, 7)], commands)
    count = 0
    for command in commands:
        for end in ("| true", "| head -c 1", "2>&1 | true", "2>&1 >/dev/null | true", ">/dev/full", "2>/dev/full"):
            lines, code = piped(f"{command} {end}", cwd=tmp_path)
            count += 1
            assert code in (0, 1), (command, end, code)
            if end == ">/dev/full":
                assert code == 1
                assert lines[-1].startswith("Error: "), (command, lines)
            if "--output_dir out" in command and "dry_run" not in command:
                check_negatives(tmp_path / "out", pictures, some="2>" in end)
    child = stand_in(0.01, "deblur", pictures, "--output_dir", tmp_path / "watched", "--watch")
    child.stdout.readline()
    child.stdout.close()
    child.stdout = None
    assert ended(child)[2] == 1
    check_negatives(tmp_path / "watched", pictures, some=True)
    note(
        "commands whose output or messages go into a closed pipe or onto a full disk",
        count + 1,
        "no traceback; results whole",
    )

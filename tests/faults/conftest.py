"""The fault campaign: in its short form part of CI (`make faults-short`), whole by `make faults`.

Each of its tests is marked `faults`, asks `often` how much it has to do, and notes what it found for the table of
`docs/faults.md`.
"""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.photographs import noise, save

HEAD = "| what was done | how often | what came of it |\n| --- | --- | --- |\n"
ROW = re.compile(r"\| (?P<what>.+?) \| .+ \|\n")


def pytest_addoption(parser):
    parser.addoption("--whole", action="store_true", help="the fault campaign at its full length")
    parser.addoption("--table", type=Path, help="page whose table gets the rows of what was run")


def pytest_collection_modifyitems(items):
    """Put the hour of watching first, which mostly waits: others work beside it."""
    items.sort(key=lambda item: item.path.name != "test_watching.py")


@pytest.fixture(scope="session")
def often(request):
    """A function that returns the first number, or the second in the whole campaign; the test is skipped at 0."""

    def often(short, whole):
        if not (number := whole if request.config.option.whole else short):
            pytest.skip("in the whole campaign alone")
        return number

    return often


@pytest.fixture
def note(record_property):
    """A function that notes a row of the table: what was done, how often, what came of it."""
    return lambda what, times, outcome: record_property("faults", (what, f"{times:,}", outcome))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of twelve pictures that compress badly."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(12):
        save(folder / f"{number:02}.png", noise(90 + number, 160, seed=number))
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A video of `negatives.FRAMES` small frames."""
    from tests.faults.negatives import FRAMES
    from tests.video import clips

    frames = [noise(48, 64, seed=number) for number in range(FRAMES)]
    return clips.write(tmp_path_factory.mktemp("clips") / "clip.mp4", frames)


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a small disk, before an earlier one, or changes how, and returns where it is."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options, *more):
        command = ["mount", "-t", "tmpfs", *more, "-o", options, "tmpfs", str(place)]
        deadline = time.monotonic() + 10
        while (done := subprocess.run(command, capture_output=True, text=True)).returncode:
            if "busy" not in done.stderr or time.monotonic() > deadline:  # busy: a file is being written
                pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
            time.sleep(0.01)
        return place

    yield mount
    while os.path.ismount(place):
        subprocess.run(["umount", place], check=True)


def pytest_terminal_summary(terminalreporter, config):
    rows = {
        value[0]: "| {} | {} | {} |\n".format(*value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == "faults"
    }
    if not rows:
        return
    terminalreporter.section("faults")
    terminalreporter.write(HEAD + "".join(rows.values()))
    if config.option.table:
        page = config.option.table.read_text("utf-8")
        before, _, after = page.partition(HEAD)
        there = {match["what"]: match[0] for match in ROW.finditer(after)}
        rest = after[sum(map(len, there.values())) :]
        config.option.table.write_text(before + HEAD + "".join((there | rows).values()) + rest, "utf-8")

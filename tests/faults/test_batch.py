"""`deblurgan batch` on real crops: workers are killed at random moments, and the job itself is, too."""

import contextlib
import hashlib
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.cli.program import succeeds
from tests.faults.children import started
from tests.photographs import save

pytestmark = pytest.mark.faults
SIDE = 64
LIMIT = 1200  # seconds for a run
RUNS = (
    ("first", 1 / 3, signal.SIGINT),
    ("second", 2 / 3, signal.SIGKILL),
    ("third", 2, None),
)  # how each ends, and when


def crops(folder, count, photographs):
    """Cut so many crops out of real photographs at random places."""
    rng = np.random.default_rng(0)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        y, x = (rng.integers(0, side - SIDE + 1) for side in photograph.shape[:2])
        save(folder / f"{number % 7}" / f"{number:04}.png", photograph[y : y + SIDE, x : x + SIDE])
    return folder


def workers(run):
    """The processes of Ray's workers that belong to a run, by what their environment says."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended, or is another's
            mark = f"BATCH_OF={run}".encode()
            if b"ray::MapWorker" in (process / "cmdline").read_bytes() and mark in (process / "environ").read_bytes():
                yield int(process.name)


def results(output):
    return sum(not name.startswith(".") for _, _, names in os.walk(output) for name in names)


def killed_at_random(run, output, arguments, kills, until, count, rng):
    """Run the command, kill the first worker, and one at each of some random numbers of results.

    Return how many were killed, and the process.

    At the number of results `until`, of the `count` in the end, the process is left to the caller.
    """
    process = started("batch", *arguments, env={"BATCH_OF": run}, start_new_session=True)
    began, there = time.monotonic(), results(output)
    moments = [there, *sorted(rng.uniform(there, min(until, count)) for _ in range(kills - 1))]
    killed = 0
    while process.poll() is None and results(output) < until:
        assert time.monotonic() - began < LIMIT
        if moments and results(output) >= moments[0] and (found := list(workers(run))):
            time.sleep(rng.random())
            moments.pop(0)
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(found), signal.SIGKILL)
                killed += 1
        time.sleep(0.02)
    return killed, process


def test_workers_and_jobs_that_are_killed_cost_no_picture(gopro_crops, weights, tmp_path, often, note):
    count, kills = often(60, 2000), often(1, 10)
    photographs = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(gopro_crops.rglob("blur/*.png"))]
    source, output = crops(tmp_path / "in", count, photographs), tmp_path / "out"
    chosen = ["--weight_path", weights]
    succeeds("deblur", source, "--output_dir", tmp_path / "expected", "--recursive", *chosen)
    arguments = [source, output, "--actors", often(1, 2), *chosen]
    rng = random.Random(0)

    killed = 0
    for name, share, end in often(RUNS[1:], RUNS):
        deaths, process = killed_at_random(name, output, arguments, kills, int(share * count), count, rng)
        killed += deaths
        if end is not None:
            os.killpg(process.pid, end)  # as a terminal does
        said = "".join(process.communicate(timeout=LIMIT))
        assert "Traceback" not in said
        if end == signal.SIGINT:
            assert process.returncode == 130
            assert said.splitlines()[-1] == "Interrupted; the same command goes on from here."
    assert process.returncode == 0, said
    assert f"{count} of {count} pictures restored into {output}" in said

    rows = pq.read_table(output / "manifest.parquet").to_pylist()
    assert sorted(row["path"] for row in rows) == sorted(str(path) for path in source.rglob("*.png"))
    assert {row["status"] for row in rows} == {"restored"}
    for row in rows:
        expected = (tmp_path / "expected" / row["output"]).read_bytes()
        assert (output / row["output"]).read_bytes() == expected
        assert hashlib.sha256(expected).hexdigest() == row["sha256"]
    assert killed >= often(1, 15)
    note(
        f"`deblurgan batch` on {count:,} crops: workers killed at random, and the job by Ctrl-C and SIGKILL",
        killed + len(often(RUNS[1:], RUNS)) - 1,
        "every picture restored, once in the manifest, and byte for byte as by `deblur`",
    )

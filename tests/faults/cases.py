"""Cases run one after another in processes of their own, so that one that hangs, crashes or fills the memory is told.

A module of cases has a function `attempt(number, samples, folder)`, which does case `number` with the files in the
folder `samples` and writes what it needs below `folder`, which is empty. It returns what came of it in a word, such
as "refused"; what should not have happened, it raises.
"""

import collections
import importlib
import os
import re
import resource
import select
import shutil
import signal
import sys
import traceback
from pathlib import Path

from tests.faults.children import started

MORE = 6 << 30  # bytes of addresses for a child: `read` takes as many as a file says, up to 2**32, if not the memory
START = 180  # seconds until a child is ready


class Findings(list):
    """A line for each case that went wrong; and how many ended in which way."""

    def __init__(self):
        super().__init__()
        self.outcomes = collections.Counter()


def campaign(module, samples, folder, count, *, seconds, growth):
    """Run cases 0 to `count`; a fault is one that takes longer, or more bytes of memory at its peak, or dies."""
    findings, number = Findings(), 0
    while number < count and len(findings) < 40:
        number = _some(module, samples, folder, number, count, seconds, growth, findings)
    return findings


def _some(module, samples, folder, number, count, seconds, growth, findings):
    """As many cases as one child gets through; return the number of the next."""
    folder.mkdir(parents=True, exist_ok=True)
    errors = (folder / "errors.txt").open("a+", errors="replace")
    with (
        errors,
        started(
            *(module, samples, folder, number, count),
            program=("tests.faults.cases",),
            cwd=folder,
            env={"PYTHONWARNINGS": "ignore"},
            stderr=errors,
            text=False,
        ) as child,
    ):
        buffer, patience = b"", START
        try:
            while True:
                if not select.select([child.stdout], [], [], patience)[0]:
                    findings.append(f"{number}: takes more than {patience} s")
                    return number + 1
                piece = os.read(child.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                *lines, buffer = (buffer + piece).split(b"\n")
                for line in lines:
                    patience = seconds
                    if line == b"ready":
                        continue
                    grown, outcome = line.decode().split(" ", 1)
                    if outcome.startswith("wrong"):
                        findings.append(f"{number}: {outcome}")
                    elif int(grown) > growth:
                        findings.append(f"{number}: {outcome}, with {int(grown) >> 20} MB of memory")
                    else:
                        findings.outcomes[outcome] += 1
                    number += 1
        finally:
            child.kill()
            code = child.wait()
        if number < count:
            errors.seek(max(0, errors.tell() - 2000))
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            findings.append(f"{number}: the process ended, {how}: {errors.read().strip()[-600:]}")
            number += 1
        errors.seek(0)
        if "Traceback" in (text := errors.read()):
            findings.append(f"a traceback on the way to {number}: {text[-1500:]}")
        errors.truncate(0)
    return number


def _memory(field):
    return int(re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) << 10


def peak_from_here():
    """Forget how much memory was taken before; return how much is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def main(module, samples, folder, first, end):
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints
    cases = importlib.import_module(module)
    if hasattr(cases, "prepare"):
        cases.prepare(Path(samples))
    limit = _memory("VmSize") + MORE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    channel.write("ready\n")
    for number in range(int(first), int(end)):
        place = Path(folder, f"case-{number}")
        place.mkdir()
        before = peak_from_here()
        try:
            outcome = cases.attempt(number, Path(samples), place)
            shutil.rmtree(place)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            text = " ".join(str(error).split())[:300]
            outcome = f"wrong: {type(error).__name__} at {where}: {text}"
        channel.write(f"{max(0, _memory('VmHWM') - before)} {outcome}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

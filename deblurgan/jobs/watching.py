"""Watching folders for pictures that appear."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deblurgan.errors import FileError
from deblurgan.jobs.finding import Input

Find = Callable[[], tuple[Sequence[Input], Sequence[str]]]


@dataclass(frozen=True)
class Look:
    """What one look has found.

    Attributes:
        settled: the pictures that are new or have changed, and are no longer being written.
        there: all files.
        problems: a line for each folder that cannot be looked into since this look.
    """

    settled: list[Input]
    there: set[Path]
    problems: list[str]


def watched(find: Find, pause: Callable[[], None] = lambda: time.sleep(1)) -> Iterator[Look]:
    """Look again and again, with a pause between.

    A file is taken when its state (size, times, and which file it is) is the one that it was a pause before, whatever
    the clock says. One that goes is forgotten, and is a new one when it comes again; but what was in a folder that
    cannot be looked into stays known, so that nothing is done twice when it can be again.

    Args:
        find: as `finding.find_inputs`; what it raises is a problem, too.
        pause: what to do between two looks.
    """
    before: dict[Path, tuple[int, ...]] = {}
    done: dict[Path, tuple[int, ...]] = {}
    told: set[str] = set()
    while True:
        now: dict[Path, tuple[int, ...]] = {}
        settled = []
        try:
            sources, problems = find()
        except FileError as error:
            sources, problems = (), (str(error),)
        for source in sources:
            try:
                found = os.stat(source.path)
            except OSError:  # gone again, or a link to what is not there yet
                continue
            state = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_dev, found.st_ino)
            now[source.path] = state
            if before.get(source.path) == state != done.get(source.path):
                done[source.path] = state
                settled.append(source)
        if not problems:
            done = {path: state for path, state in done.items() if path in now}
        yield Look(settled, set(now), [line for line in problems if line not in told])
        before, told = now, set(problems)
        pause()

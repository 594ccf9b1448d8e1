"""Watching folders for pictures that appear."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deblurgan.jobs.finding import Input


def watched(
    find: Callable[[], Sequence[Input]], pause: Callable[[], None] = lambda: time.sleep(1)
) -> Iterator[list[Input]]:
    """Yield, again and again, the pictures that are new or have changed and are no longer being written.

    A file is taken when its size and time are those that they were a pause before. `find` returns all that are there.
    """
    before: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        now: dict[Path, tuple[int, int]] = {}
        settled = []
        for source in find():
            try:
                found = os.stat(source.path)
            except OSError:  # gone again, or a link to what is not there yet
                continue
            state = now[source.path] = (found.st_size, found.st_mtime_ns)
            if before.get(source.path) == state != done.get(source.path):
                done[source.path] = state
                settled.append(source)
        yield settled
        before = now
        pause()

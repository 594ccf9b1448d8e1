"""Reading pictures and frames, and writing them, while others are restored."""

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def one_thread() -> Iterator[ThreadPoolExecutor]:
    """Yield what does one thing after the other in a thread, and is waited for whenever Ctrl-C ends the block.

    A thread that Ctrl-C interrupts the start of is not waited for; this one has nothing to do then.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(int).result()
        yield thread


@contextlib.contextmanager
def ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Yield an iterator over `items` that makes each, in a thread, while the one before is used.

    At most one is made that is not asked for; when the block ends, none is being made any more.
    """
    with one_thread() as reader:
        yield _ahead(items, reader)


def _ahead(items: Iterator[T], reader: ThreadPoolExecutor) -> Iterator[T]:
    def following() -> Future[list[T]]:
        return reader.submit(lambda: list(itertools.islice(items, 1)))

    reading = following()
    while found := reading.result():
        reading = following()
        yield found.pop()  # so that nothing here holds it: it may be large

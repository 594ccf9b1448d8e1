"""Reading pictures and frames while the ones before are restored."""

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Yield an iterator over `items` that makes each, in a thread, while the one before is used.

    At most one is made that is not asked for; when the block ends, none is being made any more.
    """
    with ThreadPoolExecutor(1) as reader:
        yield _ahead(items, reader)


def _ahead(items: Iterator[T], reader: ThreadPoolExecutor) -> Iterator[T]:
    def following() -> Future[list[T]]:
        return reader.submit(lambda: list(itertools.islice(items, 1)))

    reading = following()
    while found := reading.result():
        reading = following()
        yield found.pop()  # so that nothing here holds it: it may be large

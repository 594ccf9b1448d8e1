"""How far a long job is: bars on a terminal, a plain line now and then in a log."""

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from deblurgan.files import shown

INTERVAL = 30  # seconds between the lines of a log
LINE = "{desc}{unit} {n_fmt} of {total_fmt}{postfix}, {elapsed} gone, {remaining} left"


class _Lines(tqdm):
    """Prints lines in place of a bar, the first after one interval."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"bar_format": LINE, **options}, mininterval=INTERVAL, delay=INTERVAL, miniters=1)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print how far it is, or the message."""
        if line := str(self) if msg is None else msg:
            self.fp.write(f"{line}\n")
            self.fp.flush()

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Show the text with what is printed next."""
        super().set_postfix_str(s, refresh=False)

    def clear(self, nolock: bool = False) -> None:
        """Leave the lines that there are."""

    def close(self) -> None:
        """End without a word: no bar has to be cleared."""
        self.delay = math.inf
        super().close()


class Lasting:
    """A stream whose reader may go away without an end to what writes: from then on it writes to nowhere.

    The reader may be a program such as `head`, a terminal that is closed, or a log on a disk that is full.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if it can be."""
        with self._or_nowhere():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Have it written, if it can be."""
        with self._or_nowhere():
            self._stream.flush()

    @contextlib.contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def bar(**options: Any) -> Any:
    """Return a `tqdm`, on standard error; where that is no terminal it prints a line every half minute."""
    return (tqdm if sys.stderr.isatty() else _Lines)(**options)


@contextlib.contextmanager
def pictures_bar(total: int, restorer: Any) -> Iterator[Callable[[Path], None]]:
    """Show how many pictures are done, and of a large one how many tiles, how fast, and the time that is left.

    Yield what is to be called after each picture.
    """
    tiles: Any = None
    add_tiles: Any = None
    with contextlib.ExitStack() as of_picture, bar(total=total, unit="picture") as pictures:
        add_picture = _with_speed(pictures, restorer)

        def tile_done(done: int, total: int) -> None:
            nonlocal tiles, add_tiles
            if tiles is None and done < total:
                tiles = of_picture.enter_context(bar(total=total, initial=done, unit="tile", leave=False))
                add_tiles = _with_speed(tiles, restorer)
            elif tiles is not None:
                add_tiles(done - tiles.n)
            if done == total:
                of_picture.close()
                tiles = None

        restorer.on_tile = tile_done
        yield lambda picture: add_picture(1)


@contextlib.contextmanager
def frames_bar(restorer: Any, path: Path, done: int, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many frames of a video are done, how fast, and the time that is left; yield what adds some."""
    name, total = f"{shown(path.name)}: ", max(done, total)
    with bar(desc=name, initial=done, total=total or None, unit="frame", leave=False) as frames:
        yield _with_speed(frames, restorer)


def _with_speed(counted: Any, restorer: Any) -> Callable[[int], None]:
    """Return what adds to a bar, with the megapixels a second since now beside it."""
    before = restorer.pixels_done

    def add(count: int) -> None:
        megapixels = (restorer.pixels_done - before) / 1e6
        counted.set_postfix_str(f"{megapixels / max(counted.format_dict['elapsed'], 1e-3):.2f} MP/s", refresh=False)
        counted.update(count)

    return add

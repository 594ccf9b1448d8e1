"""Cutting a picture into tiles and putting the restored tiles together: geometry, without a network.

A side of a picture is cut into parts. Each part has an interior, and sees some of its surroundings besides; the
interiors cover the side without gap or overlap. A tile is a part of the height and a part of the width.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import InputError


class TooFewPixelsError(InputError):
    """Not even the smallest tiles are small enough: `needed` is what they would take."""

    def __init__(self, needed: int, pixels: int) -> None:
        super().__init__(f"pixels: expected at least {needed} for the smallest tiles, received {pixels}")
        self.needed = needed


class Span(NamedTuple):
    """A part of a side, in pixels: [start, stop) is its interior, [see_from, see_to) what the network is given."""

    start: int
    stop: int
    see_from: int
    see_to: int


def spans(size: int, count: int, overlap: int, multiple: int) -> list[Span]:
    """Cut a side of `size` pixels into `count` parts that see `overlap` pixels of their surroundings to each side.

    All of `size`, `overlap`, starts and stops are multiples of `multiple`, so that a tile samples the picture where
    the whole picture's network would. Interiors differ by at most that.

    Raises:
        InputError: other arguments, or fewer multiples than parts.
    """
    if multiple < 1 or size < 1 or overlap < 0 or size % multiple or overlap % multiple:
        raise InputError(f"size and overlap: expected multiples of {multiple}, received {size} and {overlap}")
    units = size // multiple
    if not 1 <= count <= units:
        raise InputError(f"count: expected 1 to {units} parts for {size} pixels, received {count}")
    edges = [i * units // count * multiple for i in range(count + 1)]
    return [
        Span(start, stop, max(0, start - overlap), min(size, stop + overlap))
        for start, stop in itertools.pairwise(edges)
    ]


def cut(
    height: int, width: int, *, pixels: int, overlap: int, multiple: int, least: int = 1, band: float = 0
) -> tuple[list[Span], list[Span]]:
    """Cut a picture so that no tile has too many pixels, and as little as can be is computed twice.

    Args:
        height: of the picture, a multiple of `multiple`.
        width: the same.
        pixels: of the largest tile, its surroundings included.
        overlap: see `spans`.
        multiple: see `spans`.
        least: the shortest interior; what is blended with a neighbour must not reach across it.
        band: how much each pixel of the rows that a tile sees, over the whole width, counts besides: `stitched` holds
            them until they are complete.

    Raises:
        TooFewPixelsError: not even the smallest tiles are small enough.
    """
    most_rows, most_columns = (_most(side, multiple, least) for side in (height, width))
    (tallest, _), (widest, _) = (
        _seen(side, most, overlap, multiple) for side, most in ((height, most_rows), (width, most_columns))
    )
    if (needed := tallest * (widest + math.ceil(band * width))) > pixels:
        raise TooFewPixelsError(needed, pixels)
    best: tuple[int, int, int] | None = None
    for rows in range(1, most_rows + 1):
        tallest, seen_rows = _seen(height, rows, overlap, multiple)
        if best and seen_rows * width > best[0]:
            break
        longest = pixels // tallest - math.ceil(band * width)  # what is left for the other side of a tile
        fewest = -(-width // max(1, longest))
        # The fewest columns that fit are the cheapest with so many rows.
        for columns in range(fewest, most_columns + 1):
            widest, seen_columns = _seen(width, columns, overlap, multiple)
            if widest <= longest:
                cost = (seen_rows * seen_columns, rows, columns)
                best = min(best or cost, cost)
                break
    _, rows, columns = best  # type: ignore[misc]  # the smallest tiles, at least, fit
    return spans(height, rows, overlap, multiple), spans(width, columns, overlap, multiple)


def cut_alike(
    height: int, width: int, *, sides: Sequence[int], best: int, pixels: int, overlap: int, multiple: int
) -> tuple[list[Span], list[Span]]:
    """Cut a picture into tiles that are all alike, for a network that mixes over whatever it is given.

    A side that is not longer than the longest of `sides` is not cut. The others are cut so that as little as can
    be is computed twice.

    Args:
        height: of the picture.
        width: the same.
        sides: how long and wide tiles may be, in ascending order, all multiples of one number.
        best: the side that restores best; equally costly ones are as near to it as may be.
        pixels: of a tile, at most. Where none of `sides` are that small, shorter ones are taken.
        overlap: how many pixels two neighbours share at least.
        multiple: all starts are multiples of it.

    Returns:
        The parts of the height and those of the width, to be blended over `overlap // 2` to each side. They end at
        the picture's end or behind it, for the picture to be padded.

    Raises:
        TooFewPixelsError: not even the smallest tiles are small enough.
    """
    for short_of_memory in (False, True):
        fitting = [
            (rows * tall * columns * wide, abs(tall - best) + abs(wide - best), (rows, tall), (columns, wide))
            for rows, tall in _ways_alike(height, sides, overlap, short_of_memory)
            for columns, wide in _ways_alike(width, sides, overlap, short_of_memory)
            if tall * wide <= pixels
        ]
        if fitting:
            _, _, down, across = min(fitting)
            return _alike(height, *down, multiple), _alike(width, *across, multiple)
    tall, wide = (min(side for _, side in _ways_alike(size, sides, overlap, True)) for size in (height, width))
    raise TooFewPixelsError(tall * wide, pixels)


def _ways_alike(size: int, sides: Sequence[int], overlap: int, short_of_memory: bool) -> list[tuple[int, int]]:
    """Count and length of the parts that a side can be cut into."""
    step = math.gcd(*sides)
    whole = -(-size // step) * step
    found = [(1, whole)] if whole <= sides[-1] else []
    if short_of_memory or not found:
        # In shorter ones than that, what is shared with one neighbour would reach into what the other shares.
        shorter = [side for side in range(step, sides[0], step) if side >= 3 * overlap]
        allowed = [*(shorter if short_of_memory else []), *sides]
        found += [(-(-(size - overlap) // (side - overlap)), side) for side in allowed if side < whole]
    return found


def _alike(size: int, count: int, side: int, multiple: int) -> list[Span]:
    """Spread `count` parts that see `side` pixels evenly; the edges lie in the middle of what two of them share."""
    size = max(side, -(-size // multiple) * multiple)
    places = [i * (size - side) // max(1, count - 1) // multiple * multiple for i in range(count)]
    edges = [0] + [(before + side + after) // 2 for before, after in itertools.pairwise(places)] + [size]
    return [
        Span(start, stop, place, place + side)
        for (start, stop), place in zip(itertools.pairwise(edges), places, strict=True)
    ]


def samples(height: int, width: int, *, pixels: int, side: int, multiple: int) -> list[tuple[slice, slice]]:
    """Choose squares, evenly spread over a picture, that together have at most `pixels`, but at least one.

    All are of the same size: `side`, or that of the picture where that is less. Sides and starts are multiples of
    `multiple`. Returns the rows and columns of each.
    """
    tall, wide = min(side, height), min(side, width)
    count = max(1, pixels // (tall * wide))
    rows = min(max(1, height // tall), max(1, round((count * height / width) ** 0.5)), count)
    columns = min(max(1, width // wide), count // rows)

    def places(size: int, length: int, number: int) -> list[slice]:
        free = (size - length) // multiple
        starts = [
            (2 * i + 1) * free // (2 * number) * multiple if number == 1 else i * free // (number - 1) * multiple
            for i in range(number)
        ]
        return [slice(start, start + length) for start in starts]

    return list(itertools.product(places(height, tall, rows), places(width, wide, columns)))


def computed(parts: tuple[Sequence[Span], Sequence[Span]]) -> int:
    """Return how many pixels the network is given in all, for the parts of the height and of the width."""
    rows, columns = (sum(span.see_to - span.see_from for span in side) for side in parts)
    return rows * columns


def ramp(span: Span, blend: int) -> tuple[slice, NDArray[np.float32]]:
    """Return which of the pixels that a part sees count in the result, and with which weights in (0, 1].

    The result reaches over an edge that the part shares with a neighbour by `blend` pixels, at most the overlap. On
    these `2 * blend` pixels weights rise linearly; those of the two parts sum to 1. 0: no blending.
    """
    left = blend if span.see_from < span.start else 0
    right = blend if span.stop < span.see_to else 0
    weights = np.ones(span.stop - span.start + left + right, np.float32)
    rising = (np.arange(2 * blend, dtype=np.float32) + 0.5) / max(1, 2 * blend)
    if left:
        weights[: 2 * left] *= rising
    if right:
        weights[-2 * right :] *= 1 - rising
    return slice(span.start - left, span.stop + right), weights


def stitched(
    rows: Sequence[Span],
    columns: Sequence[Span],
    blend: int,
    restore: Callable[[slice, slice], NDArray[np.float32]],
    channels: int = 3,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Put tiles together, row of tiles by row, holding only the rows of pixels that are not yet complete.

    Args:
        rows: the parts of the height, as from `cut`, with interiors of at least `2 * blend`.
        columns: those of the width.
        blend: see `ramp`.
        restore: returns the restored tile, float32 (height, width, `channels` or 1), for what it sees: rows and
            columns.
        channels: of the picture.

    Yields:
        The next complete rows of the picture: which, and their values, float32 (rows, width, channels), which the
        caller may change and gives up before asking for more.
    """
    waiting = np.zeros((0, columns[-1].stop, channels), np.float32)
    for row in rows:
        lines, down = ramp(row, blend)
        band: NDArray[np.float32] = np.zeros((len(down), columns[-1].stop, channels), np.float32)
        for column in columns:
            place, across = ramp(column, blend)
            tile = restore(slice(row.see_from, row.see_to), slice(column.see_from, column.see_to))
            part = tile[lines.start - row.see_from : lines.stop - row.see_from]
            part = part[:, place.start - column.see_from : place.stop - column.see_from]
            band[:, place] += part * across[:, np.newaxis]
        band *= down[:, np.newaxis, np.newaxis]
        band[: len(waiting)] += waiting
        complete = len(band) - 2 * (lines.stop - row.stop)
        waiting = band[complete:].copy()
        yield slice(lines.start, lines.start + complete), band[:complete]
        del band  # before the next one is made


def _most(size: int, multiple: int, least: int) -> int:
    """Return into how many parts of at least `least` pixels a side can be cut."""
    return max(1, size // (-(-least // multiple) * multiple))


@functools.lru_cache(maxsize=4096)
def _seen(size: int, count: int, overlap: int, multiple: int) -> tuple[int, int]:
    """Return the longest part of a side with its surroundings, and the sum of all."""
    lengths = [span.see_to - span.see_from for span in spans(size, count, overlap, multiple)]
    return max(lengths), sum(lengths)

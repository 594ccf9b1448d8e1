import itertools
import math

import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.restoring.tiles import (
    TooFewPixelsError,
    computed,
    cut,
    cut_alike,
    ramp,
    samples,
    spans,
    stitched,
)


@pytest.mark.parametrize("multiple", [1, 4, 16])
@pytest.mark.parametrize("overlap", [0, 16, 96])
def test_spans_cover_a_side_aligned_and_see_enough(multiple, overlap):
    for units, count in itertools.product([1, 2, 3, 7, 40, 111], [1, 2, 3, 5, 39]):
        if count > units:
            continue
        size = units * multiple
        parts = spans(size, count, overlap, multiple)
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == size
        lengths = [part.stop - part.start for part in parts]
        assert len(parts) == count
        assert min(lengths) > 0
        assert max(lengths) - min(lengths) <= multiple
        for part in parts:
            assert not any(edge % multiple for edge in part)
            assert part.see_from == max(0, part.start - overlap)
            assert part.see_to == min(size, part.stop + overlap)


BAD_SPANS = {
    "a size that is no multiple": (10, 1, 0, 4),
    "an overlap that is no multiple": (8, 1, 2, 4),
    "a negative overlap": (8, 1, -4, 4),
    "no part": (8, 0, 0, 4),
    "more parts than there are units": (8, 3, 0, 4),
    "nothing": (0, 1, 0, 4),
}


@pytest.mark.parametrize("arguments", BAD_SPANS.values(), ids=BAD_SPANS.keys())
def test_spans_that_cannot_be_are_refused(arguments):
    with pytest.raises(InputError, match=r"expected (multiples of 4|1 to 2 parts for 8 pixels), received"):
        spans(*arguments)


def largest(parts):
    return max(
        (row.see_to - row.see_from) * (column.see_to - column.see_from) for row, column in itertools.product(*parts)
    )


@pytest.mark.parametrize(
    ("overlap", "multiple", "least"), [(0, 1, 1), (8, 4, 1), (16, 8, 16), (96, 4, 1), (32, 16, 48)]
)
def test_a_plan_keeps_to_the_pixels_and_computes_least(overlap, multiple, least):
    """Against a search through all ways to cut."""
    for height, width in itertools.product([1, 5, 12, 20], [1, 3, 9, 30]):
        height, width = height * multiple, width * multiple
        limits = {"overlap": overlap, "multiple": multiple, "least": least}
        ways = []
        for rows, columns in itertools.product(range(1, 21), range(1, 31)):
            if rows * multiple > height or columns * multiple > width:
                continue
            way = spans(height, rows, overlap, multiple), spans(width, columns, overlap, multiple)
            shortest = [min(span.stop - span.start for span in side) for side in way]
            if all(count == 1 or short >= least for count, short in zip((rows, columns), shortest, strict=True)):
                ways.append((largest(way), computed(way)))
        with pytest.raises(TooFewPixelsError) as short:
            cut(height, width, pixels=0, **limits)
        needed = short.value.needed
        assert needed >= min(size for size, _ in ways)
        for pixels in {needed, needed + 37, height * width // 2, height * width - 1, height * width}:
            if pixels < needed:
                with pytest.raises(InputError, match=f"expected at least {needed} for the smallest tiles"):
                    cut(height, width, pixels=pixels, **limits)
                continue
            parts = cut(height, width, pixels=pixels, **limits)
            assert largest(parts) <= pixels
            assert computed(parts) == min(cost for size, cost in ways if size <= pixels)
            if pixels == height * width:
                assert [len(side) for side in parts] == [1, 1]


@pytest.mark.parametrize("band", [0.1, 0.75, 2])
def test_a_plan_leaves_room_for_the_rows_in_progress(band):
    limits = {"overlap": 8, "multiple": 4, "band": band}
    for height, width in itertools.product([40, 100, 400], [40, 120, 604]):
        with pytest.raises(TooFewPixelsError) as short:
            cut(height, width, pixels=0, **limits)
        needed = short.value.needed
        with pytest.raises(InputError, match=f"expected at least {needed} for the smallest tiles"):
            cut(height, width, pixels=needed - 1, **limits)
        for pixels in (needed, 2 * needed, 10 * needed):
            rows, columns = cut(height, width, pixels=pixels, **limits)
            tallest = max(row.see_to - row.see_from for row in rows)
            assert largest((rows, columns)) + band * tallest * width <= pixels


def test_a_photograph_of_24_megapixels_is_planned_as_by_hand():
    """Two rows and four columns: 2000 + 96 rows and 1500 + 2 x 96 columns are 3.55 million pixels."""
    rows, columns = cut(4000, 6000, pixels=3_600_000, overlap=96, multiple=4)
    assert len(rows) == 2
    assert len(columns) == 4
    assert columns[1] == (1500, 3000, 1404, 3096)


@pytest.mark.parametrize("blend", [0, 1, 4, 8])
def test_the_weights_of_all_parts_sum_to_one(blend):
    for units, count in itertools.product([1, 4, 9, 30], [1, 2, 3, 7]):
        if count > units or (count > 1 and units // count * 4 < 2 * blend):
            continue
        total = np.zeros(4 * units)
        for span in spans(4 * units, count, 8, 4):
            place, weights = ramp(span, blend)
            assert place.start >= span.see_from
            assert place.stop <= span.see_to
            assert np.all(weights > 0)
            assert np.all(np.abs(np.diff(weights)) <= 1 / max(1, 2 * blend) + 1e-6)
            total[place] += weights
        np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("blend", [0, 3, 8])
@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (1, 3), (3, 2), (4, 5)])
def test_tiles_that_agree_make_the_picture(blend, counts):
    picture = np.random.default_rng(0).random((96, 112, 3), np.float32)
    rows, columns = (spans(side, count, 8, 4) for side, count in zip(picture.shape, counts, strict=False))
    pieces = list(stitched(rows, columns, blend, lambda y, x: picture[y, x]))
    assert [place.start for place, _ in pieces] == [0, *(place.stop for place, _ in pieces[:-1])]
    np.testing.assert_allclose(np.concatenate([piece for _, piece in pieces]), picture, atol=1e-6)


def test_tiles_that_differ_are_blended_linearly():
    """Columns of 0, 1 and 2 become stairs with ramps of twice the blend between."""
    rows, columns = spans(8, 1, 8, 4), spans(96, 3, 8, 4)
    values = {column.see_from: i for i, column in enumerate(columns)}

    def restore(y, x):
        return np.full((y.stop - y.start, x.stop - x.start, 3), values[x.start], np.float32)

    ((place, picture),) = stitched(rows, columns, 4, restore)
    assert place == slice(0, 8)
    expected = np.clip((np.arange(96) + 0.5 - 28) / 8, 0, 1) + np.clip((np.arange(96) + 0.5 - 60) / 8, 0, 1)
    np.testing.assert_allclose(picture, np.broadcast_to(expected[:, np.newaxis], (8, 96, 3)), atol=1e-6)


def test_samples_are_equal_squares_within_the_picture_that_do_not_overlap():
    for height, width, pixels, side in itertools.product(
        [8, 40, 128, 400], [16, 88, 600], [1, 900, 5000, 10**6], [8, 32]
    ):
        places = samples(height, width, pixels=pixels, side=side, multiple=8)
        assert len(places) * min(side, height) * min(side, width) <= max(pixels, min(side, height) * min(side, width))
        seen = np.zeros((height, width), int)
        for rows, columns in places:
            assert rows.start % 8 == columns.start % 8 == 0
            assert seen[rows, columns].shape == (min(side, height), min(side, width))
            seen[rows, columns] += 1
        assert seen.max() == 1


# Tiles that are all alike

ALIKE = [  # step of the sides, the sides, the best of them, overlap, multiple of the starts
    {"sides": range(320, 513, 64), "best": 384, "overlap": 32, "multiple": 8},
    {"sides": range(368, 417, 16), "best": 384, "overlap": 32, "multiple": 8},
    {"sides": range(96, 161, 32), "best": 96, "overlap": 16, "multiple": 4},
]


def lengths_alike(parts):
    """The one length that all parts of a side see."""
    (length,) = {part.see_to - part.see_from for part in parts}
    return length


def counted(size, length, overlap):
    """How many pixels a side makes of `size`, cut into as few parts as cover it with that overlap at least."""
    count = 1
    while count * length - (count - 1) * overlap < size:
        count += 1
    return count * length


@pytest.mark.parametrize("alike", ALIKE, ids=lambda alike: f"{alike['sides']}")
def test_tiles_that_are_alike_cover_a_picture_and_share_enough(alike):
    random = np.random.default_rng(0)
    overlap, multiple, step = alike["overlap"], alike["multiple"], alike["sides"].step
    for height, width in np.exp(random.uniform(0, np.log(6000), (150, 2))).astype(int).tolist():
        plan = cut_alike(height, width, pixels=10**9, **alike)
        for size, parts in zip((height, width), plan, strict=True):
            length = lengths_alike(parts)
            assert parts[0].start == parts[0].see_from == 0
            assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
            assert parts[-1].stop == parts[-1].see_to >= size
            assert not any(part.see_from % multiple for part in parts)
            if size <= alike["sides"][-1]:
                assert len(parts) == 1
                assert length == -(-size // step) * step
            else:
                assert length in alike["sides"]
                assert parts[-1].see_to - size < multiple
            for part, after in itertools.pairwise(parts):
                assert part.see_to - after.see_from >= overlap
                assert part.stop + overlap // 2 <= part.see_to
                assert after.start - overlap // 2 >= after.see_from
            if len(parts) > 1:
                assert min(part.stop - part.start for part in parts) >= overlap


@pytest.mark.parametrize("alike", ALIKE, ids=lambda alike: f"{alike['sides']}")
def test_as_little_as_can_be_is_computed_twice(alike):
    """Against all sides that there are for a tile."""
    random = np.random.default_rng(1)
    sides, overlap = alike["sides"], alike["overlap"]
    for height, width in random.integers(sides[-1] + 1, 5000, (40, 2)).tolist():
        ways = {
            (tall, wide): counted(height, tall, overlap) * counted(width, wide, overlap)
            for tall, wide in itertools.product(sides, sides)
        }
        plan = cut_alike(height, width, pixels=10**9, **alike)
        assert computed(plan) == min(ways.values())
        away = {
            way: sum(abs(side - alike["best"]) for side in way)
            for way, cost in ways.items()
            if cost == computed(plan)
        }
        assert away[tuple(map(lengths_alike, plan))] == min(away.values())


@pytest.mark.parametrize("alike", ALIKE, ids=lambda alike: f"{alike['sides']}")
def test_tiles_that_are_alike_become_smaller_where_memory_is_short(alike):
    random = np.random.default_rng(2)
    overlap = alike["overlap"]
    for height, width in np.exp(random.uniform(0, np.log(2500), (60, 2))).astype(int).tolist():
        with pytest.raises(TooFewPixelsError) as short:
            cut_alike(height, width, pixels=0, **alike)
        needed = short.value.needed
        with pytest.raises(InputError, match=f"expected at least {needed} for the smallest tiles, received"):
            cut_alike(height, width, pixels=needed - 1, **alike)
        for pixels in (needed, 2 * needed, alike["best"] ** 2):
            if pixels < needed:
                continue
            plan = cut_alike(height, width, pixels=pixels, **alike)
            assert math.prod(map(lengths_alike, plan)) <= pixels
            for size, parts in zip((height, width), plan, strict=True):
                assert parts[-1].stop == parts[-1].see_to >= size
                total = np.zeros(parts[-1].stop)
                for part in parts:
                    place, weights = ramp(part, overlap // 2)
                    assert part.see_from <= place.start
                    assert place.stop <= part.see_to
                    total[place] += weights
                np.testing.assert_allclose(total, 1, atol=1e-6)


def test_pictures_of_usual_sizes_are_cut_as_by_hand():
    alike = ALIKE[0]
    for (height, width), expected in {
        (256, 256): ([(0, 256)], [(0, 256)]),
        (300, 500): ([(0, 320)], [(0, 512)]),
        (720, 1280): ([(0, 384), (336, 720)], [(0, 448), (416, 864), (832, 1280)]),
    }.items():
        plan = cut_alike(height, width, pixels=10**9, **alike)
        assert tuple([(part.see_from, part.see_to) for part in parts] for parts in plan) == expected


@pytest.mark.parametrize("size", [(97, 40), (130, 300), (520, 65), (700, 333)])
@pytest.mark.parametrize("pixels", [96 * 96, 128 * 96, 10**9])
def test_tiles_that_are_alike_and_agree_make_the_picture(size, pixels):
    alike = {"sides": range(160, 257, 32), "best": 192, "overlap": 32, "multiple": 8}
    rows, columns = cut_alike(*size, pixels=pixels, **alike)
    picture = np.random.default_rng(0).random((rows[-1].see_to, columns[-1].see_to, 3), np.float32)
    seen = []

    def restore(y, x):
        seen.append((y, x))
        return picture[y, x]

    pieces = list(stitched(rows, columns, 16, restore))
    assert len(seen) == len(rows) * len(columns)
    np.testing.assert_allclose(np.concatenate([piece for _, piece in pieces]), picture, atol=1e-6)

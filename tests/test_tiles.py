import itertools

import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.tiles import computed, least_pixels, plan, ramp, samples, spans, stitched


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
        needed = least_pixels(height, width, **limits)
        assert needed >= min(size for size, _ in ways)
        for pixels in {needed, needed + 37, height * width // 2, height * width - 1, height * width}:
            if pixels < needed:
                with pytest.raises(InputError, match=f"expected at least {needed} for the smallest tiles"):
                    plan(height, width, pixels=pixels, **limits)
                continue
            parts = plan(height, width, pixels=pixels, **limits)
            assert largest(parts) <= pixels
            assert computed(parts) == min(cost for size, cost in ways if size <= pixels)
            if pixels == height * width:
                assert [len(side) for side in parts] == [1, 1]


@pytest.mark.parametrize("band", [0.1, 0.75, 2])
def test_a_plan_leaves_room_for_the_rows_in_progress(band):
    limits = {"overlap": 8, "multiple": 4, "band": band}
    for height, width in itertools.product([40, 100, 400], [40, 120, 604]):
        needed = least_pixels(height, width, **limits)
        with pytest.raises(InputError, match=f"expected at least {needed} for the smallest tiles"):
            plan(height, width, pixels=needed - 1, **limits)
        for pixels in (needed, 2 * needed, 10 * needed):
            rows, columns = plan(height, width, pixels=pixels, **limits)
            tallest = max(row.see_to - row.see_from for row in rows)
            assert largest((rows, columns)) + band * tallest * width <= pixels


def test_a_photograph_of_24_megapixels_is_planned_as_by_hand():
    """Two rows and four columns: 2000 + 96 rows and 1500 + 2 x 96 columns are 3.55 million pixels."""
    rows, columns = plan(4000, 6000, pixels=3_600_000, overlap=96, multiple=4)
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

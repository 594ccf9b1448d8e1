import math

import numpy as np
import pytest

from deblurgan.scoring.detections import (
    MOST,
    Detections,
    Judge,
    Ratio,
    letterboxed,
    matched,
    micro,
    overlaps,
    without_doubles,
)
from deblurgan.scoring.evaluation import Evaluation


def detections(*boxes):
    """From (score, class, left, top, right, bottom), in any order."""
    rows = np.array(boxes, float).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 0], rows[:, 1].astype(int)).surest()


def drawn_at_random(seed, count, side=24):
    """Boxes with corners at whole pixels of a small picture, so that many overlap."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, side, (count, 2, 2)), axis=1).reshape(count, 4)
    return Detections(corners.astype(float), rng.permutation(count) / count, rng.integers(0, 2, count)).surest()


def painted(box, side=24):
    """The pixels that a box with corners at whole pixels covers."""
    mask = np.zeros((side, side), bool)
    left, top, right, bottom = box.astype(int)
    mask[top:bottom, left:right] = True
    return mask


def overlap(one, other):
    union = (painted(one) | painted(other)).sum()
    return (painted(one) & painted(other)).sum() / union if union else 0


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_are_those_of_painted_pixels(seed):
    one, other = drawn_at_random(seed, 12), drawn_at_random(seed + 10, 9)
    expected = [[overlap(a, b) for b in other.boxes] for a in one.boxes]
    np.testing.assert_allclose(overlaps(one.boxes, other.boxes), expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_are_matched_as_a_plain_restatement_does(seed):
    found, wanted = drawn_at_random(seed, 40), drawn_at_random(seed + 100, 30)
    left = list(range(len(wanted)))
    right = []
    for i in sorted(range(len(found)), key=lambda i: -found.scores[i]):
        fits = [
            (overlap(found.boxes[i], wanted.boxes[j]), j)
            for j in left
            if found.classes[i] == wanted.classes[j] and overlap(found.boxes[i], wanted.boxes[j]) >= 0.5
        ]
        if fits:
            left.remove(max(fits, key=lambda fit: fit[0])[1])
            right.append(i)
    is_right, taken = matched(found, wanted)
    assert np.flatnonzero(is_right).tolist() == sorted(right)
    assert np.flatnonzero(~taken).tolist() == left
    assert 0 < len(right) < len(found)


def test_the_surest_box_takes_a_thing_and_the_class_must_be_the_same():
    wanted = detections((0.9, 1, 0, 0, 10, 10))
    found = detections((0.5, 1, 0, 0, 10, 10), (0.8, 1, 0, 0, 10, 9), (0.9, 2, 0, 0, 10, 10))
    right, taken = matched(found, wanted)
    assert (right.tolist(), taken.tolist()) == ([False, True, False], [True])


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0)])
def test_nothing_may_be_found_or_wanted(counts):
    right, taken = matched(*(drawn_at_random(1, count) for count in counts))
    assert (right.sum(), taken.sum()) == (0, 0)
    assert (len(right), len(taken)) == counts


def test_doubles_are_left_out_class_by_class():
    found = detections(
        *((0.9, 0, 0, 0, 10, 10), (0.8, 0, 0, 0, 10, 9), (0.7, 0, 0, 4, 10, 13)),
        *((0.6, 1, 0, 0, 10, 10), (0.5, 0, 30, 30, 40, 40)),
    )
    assert without_doubles(found, 0.5).scores.tolist() == [0.9, 0.7, 0.6, 0.5]
    assert without_doubles(found, 0.3).scores.tolist() == [0.9, 0.6, 0.5]
    assert len(without_doubles(detections(), 0.5)) == 0


def test_of_very_many_boxes_the_surest_are_looked_at():
    scores = np.random.default_rng(0).permutation(300_000).reshape(-1, 80) / 300_000
    found = Detections.of_scores(np.zeros((len(scores), 4)), scores, 0)
    assert found.scores.tolist() == sorted(scores.ravel())[: -MOST - 1 : -1]


@pytest.mark.parametrize("shape", [(30, 60), (60, 30), (40, 40), (7, 400)])
def test_boxes_are_placed_where_the_letterbox_came_from(shape):
    image = np.zeros((*shape, 3), np.uint8)
    height, width = shape
    image[height // 3 :, width // 2 :] = 255
    canvas, placed = letterboxed(image, (416, 416), 114)
    ys, xs = np.nonzero(canvas[:, :, 0] > 200)
    found = placed(detections((1, 0, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)))
    pixel = max(shape) / 416
    assert found.boxes[0] == pytest.approx([width // 2, height // 3, width, height], abs=max(2 * pixel, 0.5))


def test_ratios_are_summed_up_before_they_are_divided():
    assert micro([Ratio(1, 1), Ratio(0, 9), Ratio(0, 0)]) == 0.1
    assert math.isnan(Ratio(0, 0))
    assert math.isnan(micro([Ratio(0, 0)]))


class Lookup:
    """A detector that finds in a picture what is noted for its first pixel; it counts its calls."""

    names = ("cat",)

    def __init__(self, noted):
        self.noted, self.calls = noted, 0

    def __call__(self, image):
        self.calls += 1
        return self.noted[int(image[0, 0, 0])]


@pytest.fixture
def pictures():
    """A detector, and the three pictures of which it knows what is there: blurred 0, restored 1, sharp 2."""
    cat, dog, ghost = (0, 0, 0, 10, 10), (7, 20, 20, 30, 30), (0, 40, 40, 50, 50)
    noted = [
        detections((0.9, *cat), (0.8, *ghost)),
        detections((0.7, *cat), (0.6, *dog)),
        detections((0.9, *cat), (0.8, *dog), (0.5, 0, 60, 60, 70, 70)),
    ]
    return Lookup(noted), [np.full((80, 80, 3), value, np.uint8) for value in range(3)]


def test_precision_recall_and_f1_come_from_the_counts(pictures):
    detector, (blurred, restored, sharp) = pictures
    judge = Judge(detector, "a lookup")
    assert judge.counts(sharp, blurred) == (1, 1, 2)
    assert judge.counts(sharp, restored) == (2, 0, 1)
    scores = {metric.name: [metric.score(sharp, image) for image in (blurred, restored)] for metric in judge.metrics}
    assert scores == {"precision": [1 / 2, 1], "recall": [1 / 3, 2 / 3], "f1": [2 / 5, 4 / 5]}
    assert detector.calls == 3
    _, precision, _ = judge.metrics
    rows = [{"precision_blurred": Ratio(1, 2)}, {"precision_blurred": Ratio(1, 10)}]
    assert Evaluation(rows, metrics=(precision,), restored=()).means == {"precision_blurred": 2 / 12}


def test_boxes_are_drawn_right_wrong_missed_and_wanted(pictures):
    detector, (blurred, _, sharp) = pictures
    judge = Judge(detector, "a lookup")
    assert [(box.kind, box.text, box.sides[0]) for box in judge.drawn(sharp, blurred)] == [
        ("missed", "class 7 0.80", 20),
        ("missed", "cat 0.50", 60),
        ("right", "cat 0.90", 0),
        ("wrong", "cat 0.80", 40),
    ]
    assert {box.kind for box in judge.drawn(sharp, sharp)} == {"wanted"}

"""What a detector finds in a picture, and how much of what it finds in the sharp one that is."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deblurgan.pictures.pixels import resize
from deblurgan.scoring.metrics import Metric, check_pair

OVERLAP = 0.5  # intersection over union from which a box is the same thing
MOST = 1000  # boxes of a picture


@dataclass(frozen=True)
class Detections:
    """Boxes, the surest first.

    Attributes:
        boxes: float (count, 4), in pixels: left, top, right, bottom.
        scores: (count,), from 0 to 1.
        classes: (count,), whole numbers.
    """

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]
    classes: NDArray[np.integer]

    @classmethod
    def of_scores(cls, boxes: NDArray[np.floating], scores: NDArray[np.floating], least: float) -> "Detections":
        """Return the boxes (count, 4) with a score of at least `least`, of (count, classes); a box for each class."""
        which, classes = np.nonzero(scores >= least)
        return cls(boxes[which], scores[which, classes], classes).surest()

    def surest(self) -> "Detections":
        """Return them with the surest first, `MOST` of them at most."""
        return self[np.argsort(-self.scores, kind="stable")[:MOST]]

    def __getitem__(self, which: NDArray) -> "Detections":
        """Return some of them, by their numbers or by a mask."""
        return Detections(self.boxes[which], self.scores[which], self.classes[which])

    def __len__(self) -> int:
        return len(self.scores)


class Detector(Protocol):
    """Finds things in uint8 RGB (height, width, 3)."""

    @property
    def names(self) -> Sequence[str]:
        """What the classes are called; empty where it is not known."""

    def __call__(self, image: NDArray[np.uint8], /) -> Detections:
        """Return what is found."""


def overlaps(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the intersection over union of each box with each other, (count, other count); 0 for empty ones."""
    corners = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    common = (corners[1] - corners[0]).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def without_doubles(found: Detections, most: float) -> Detections:
    """Return only the surest of boxes of one class that overlap by more than `most` (non-maximum suppression)."""
    same = (overlaps(found.boxes, found.boxes) > most) & (found.classes[:, None] == found.classes)
    kept: list[int] = []
    for number in range(len(found)):
        if not same[number, kept].any():
            kept.append(number)
    return found[np.array(kept, int)]


def matched(found: Detections, wanted: Detections) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of the found boxes are right, and which of the wanted ones were found.

    One after the other, the surest first, takes the wanted box of its class that it overlaps most, by `OVERLAP` at
    least, of those that are not yet taken.
    """
    right, taken = np.zeros(len(found), bool), np.zeros(len(wanted), bool)
    fitting = overlaps(found.boxes, wanted.boxes) * (found.classes[:, None] == wanted.classes)
    for number, overlap in enumerate(fitting):
        free = np.where(taken, 0, overlap)
        if len(wanted) and free.max() >= OVERLAP:
            right[number] = taken[free.argmax()] = True
    return right, taken


def letterboxed(
    image: NDArray[np.uint8], size: tuple[int, int], fill: int
) -> tuple[NDArray[np.uint8], Callable[[Detections], Detections]]:
    """Return an image resized to fit into the middle of (height, width), and what places boxes there in the image."""
    scale = min(new / old for new, old in zip(size, image.shape, strict=False))
    inner = [min(new, max(1, round(scale * old))) for new, old in zip(size, image.shape, strict=False)]
    top, left = ((new - side) // 2 for new, side in zip(size, inner, strict=True))
    canvas = np.full((*size, 3), fill, np.uint8)
    canvas[top : top + inner[0], left : left + inner[1]] = resize(image, (inner[0], inner[1]))
    height, width = image.shape[:2]
    ratios = np.array([width / inner[1], height / inner[0]] * 2)

    def placed(found: Detections) -> Detections:
        boxes = (found.boxes - [left, top, left, top]) * ratios
        return Detections(boxes.clip(0, [width, height, width, height]), found.scores, found.classes)

    return canvas, placed


class Ratio(float):
    """A part of a whole, as precision and recall are; not a number where the whole is 0."""

    part: int
    whole: int

    def __new__(cls, part: int, whole: int) -> "Ratio":
        """Divide."""
        ratio = super().__new__(cls, part / whole if whole else math.nan)
        ratio.part, ratio.whole = part, whole
        return ratio


def micro(ratios: Sequence[Ratio]) -> Ratio:
    """Return the sum of the parts over the sum of the wholes."""
    return Ratio(sum(ratio.part for ratio in ratios), sum(ratio.whole for ratio in ratios))


@dataclass(frozen=True)
class Box:
    """A box to draw: in pixels, "right", "wrong", "missed" or "wanted", and what it is."""

    sides: tuple[float, float, float, float]
    kind: str
    text: str


class Judge:
    """Compares what a detector finds in pictures with what it finds in the sharp ones.

    Args:
        detector: finds.
        about: what it is, in a few words.
    """

    def __init__(self, detector: Detector, about: str) -> None:
        self._detector = detector
        self._about = about
        self._seen: deque[tuple[NDArray[np.uint8], Detections]] = deque(maxlen=3)  # of one pair, for three metrics

    def found(self, image: NDArray[np.uint8]) -> Detections:
        """Return what is found in an image; asked again of the same one, it remembers."""
        for seen, found in self._seen:
            if seen is image:
                return found
        self._seen.append((image, self._detector(image)))
        return self._seen[-1][1]

    def counts(self, sharp: NDArray[np.uint8], image: NDArray[np.uint8]) -> tuple[int, int, int]:
        """Return how many boxes are right, wrong and missed; raise as `check_pair`."""
        check_pair(sharp, image)
        right, taken = matched(self.found(image), self.found(sharp))
        return int(right.sum()), int((~right).sum()), int((~taken).sum())

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """F1, by which pages are ordered, precision and recall."""
        kinds = (
            (
                "f1",
                "F1",
                "2 right / (2 right + wrong + missed)",
                lambda right, wrong, missed: (2 * right, 2 * right + wrong + missed),
            ),
            ("precision", "Precision", "right / (right + wrong)", lambda right, wrong, _: (right, right + wrong)),
            ("recall", "Recall", "right / (right + missed)", lambda right, _, missed: (right, right + missed)),
        )
        return tuple(
            Metric(
                name,
                title,
                f"{title}: {formula}, of the boxes of {self._about}, against its boxes in the sharp picture: same "
                f"class, intersection over union from {OVERLAP}, greedy by score; mean of summed counts",
                "comparable with the same detector alone: how much of what that finds in the sharp picture is "
                "found again, not how much of what is there",
                lambda sharp, image, parts=parts: Ratio(*parts(*self.counts(sharp, image))),  # type: ignore[misc]
                mean=micro,
            )
            for name, title, formula, parts in kinds
        )

    def drawn(self, sharp: NDArray[np.uint8], image: NDArray[np.uint8]) -> list[Box]:
        """Return the boxes in an image, right and wrong, and those missed; in the sharp one itself those wanted."""
        found, wanted = self.found(image), self.found(sharp)
        if image is sharp:
            return self._boxes(wanted, ["wanted"] * len(wanted))
        right, taken = matched(found, wanted)
        missed = self._boxes(wanted[~taken], ["missed"] * int((~taken).sum()))
        return [*missed, *self._boxes(found, ["right" if fits else "wrong" for fits in right])]

    def _boxes(self, found: Detections, kinds: Sequence[str]) -> list[Box]:
        names = dict(enumerate(self._detector.names))
        return [
            Box(tuple(map(float, box)), kind, f"{names.get(int(number), f'class {number}')} {score:.2f}")  # type: ignore[arg-type]
            for box, number, score, kind in zip(found.boxes, found.classes, found.scores, kinds, strict=True)
        ]

"""NanoDet-g, a small detector of COCO's 80 kinds of things, whose weights are in the package.

After https://github.com/RangiLyu/nanodet, version 0.x, at 416x416: 22.9 % mAP on COCO val2017 by its author. A box
is told by how far its sides are from a point, each as a distribution over whole numbers (Li et al. 2020, "Generalized
Focal Loss").
"""

import importlib.resources
from collections.abc import Iterator, Mapping

import numpy as np
from keras import ops
from numpy.typing import NDArray

from deblurgan.scoring.detections import Detections, letterboxed, without_doubles
from deblurgan.weights.torch_file import read_safetensors

SIDE = 416
LARGEST_OVERLAP = 0.6  # of two boxes of one class

_CONVOLUTIONS = 34
_STRIDES = (8, 16, 32)
_BINS = 11  # of each distribution: 0 to 10 strides
_MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # of BGR
_DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)
_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote,
keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush
"""
COCO = tuple(" ".join(name.split()) for name in _NAMES.split(","))


class NanoDet:
    """The detector: uint8 RGB (height, width, 3) -> `Detections` of at least a score.

    Args:
        score: from 0 to 1.
    """

    names = COCO

    def __init__(self, score: float) -> None:
        path = importlib.resources.files("deblurgan") / "assets" / "nanodet" / "nanodet-g-416.safetensors"
        with importlib.resources.as_file(path) as file:
            tensors = {name: tensor.astype(np.float32) for name, tensor in read_safetensors(file).items()}
        self._tensors = tensors
        self._score = score

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detect; boxes are in pixels of the image."""
        canvas, placed = letterboxed(image, (SIDE, SIDE), fill=0)
        outputs = features(self._tensors, (canvas[None, :, :, ::-1].astype(np.float32) - _MEAN) / _DEVIATION)
        boxes, scores = zip(*map(_decoded, outputs, _STRIDES), strict=True)
        found = Detections.of_scores(np.concatenate(boxes), np.concatenate(scores), self._score)
        return placed(without_doubles(found, LARGEST_OVERLAP))


def features(tensors: Mapping[str, NDArray[np.float32]], images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return what the network makes of normalised BGR (count, 416, 416, 3), before scores and boxes are made of it.

    Three arrays (count, side, side, 80 + 4 * 11), of sides 52, 26 and 13.
    """
    convolutions = iter([(tensors[f"{n:02}.kernel"], tensors[f"{n:02}.bias"]) for n in range(_CONVOLUTIONS)])
    x = ops.max_pool(_padded(_convolved(images, convolutions, 2), -np.inf), 3, 2, data_format="channels_last")
    x = _stage(x, convolutions, 1, stride=1)
    levels = []
    for residuals in (2, 2, 3):
        x = _stage(x, convolutions, residuals, stride=2)
        levels.append(x)
    fine, middle, coarse = (_convolved(level, convolutions, active=False) for level in levels)
    middle = middle + _scaled(coarse, 2)
    fine = fine + _scaled(middle, 2)
    middle = middle + _scaled(fine, 0.5)
    coarse = coarse + _scaled(middle, 0.5)
    heads = [_convolved(_convolved(x, convolutions), convolutions, active=False) for x in (fine, middle, coarse)]
    return [ops.convert_to_numpy(head) for head in heads]


Convolutions = Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]


def _stage(x: NDArray, convolutions: Convolutions, residuals: int, stride: int) -> NDArray:
    x = first = _convolved(x, convolutions, stride)
    for _ in range(residuals):
        half = _convolved(x, convolutions)
        x = ops.concatenate([_convolved(half, convolutions), half], axis=-1)
    return ops.concatenate([_convolved(x, convolutions), first], axis=-1)


def _convolved(x: NDArray, convolutions: Convolutions, stride: int = 1, active: bool = True) -> NDArray:
    kernel, bias = next(convolutions)
    x = _padded(x, 0) if kernel.shape[0] == 3 else x
    x = ops.conv(x, kernel, stride, "valid", data_format="channels_last") + bias
    return ops.leaky_relu(x, 0.1) if active else x


def _padded(x: NDArray, value: float) -> NDArray:
    return ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=value)


def _scaled(x: NDArray, factor: float) -> NDArray:
    height, width = (int(factor * side) for side in x.shape[1:3])
    return ops.image.resize(x, (height, width), "bilinear", data_format="channels_last")


def _decoded(output: NDArray[np.float32], stride: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return boxes (count, 4), and scores (count, 80), of one level."""
    side = output.shape[1]
    scores, sides = np.split(output.reshape(side * side, -1), [len(COCO)], axis=1)
    weights = np.exp(sides.reshape(-1, 4, _BINS) - sides.reshape(-1, 4, _BINS).max(axis=2, keepdims=True))
    distances = stride * (weights @ np.arange(_BINS, dtype=np.float32)) / weights.sum(axis=2)
    y, x = (np.indices((side, side), np.float32).reshape(2, -1) + 0.5) * stride
    boxes = np.stack([x, y, x, y], axis=1) + distances * np.array([-1, -1, 1, 1], np.float32)
    return boxes, 1 / (1 + np.exp(-scores))

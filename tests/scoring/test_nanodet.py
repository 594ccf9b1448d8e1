import numpy as np
import pytest

from deblurgan.scoring.nanodet import COCO, NanoDet, features

# Of @tensorflow/tfjs 4.22 in node, with the conversion that the weights are from, for the input below: outputs at
# (level, row, column, channel), where scores are after the sigmoid.
REFERENCE = {}


def test_outputs_are_those_of_the_published_conversion():
    n = np.arange(416 * 416 * 3, dtype=np.float64)
    images = (2 * np.sin(n * 0.01) + np.cos(n * 0.00037)).astype(np.float32).reshape(1, 416, 416, 3)
    outputs = features(NanoDet(0.3)._tensors, images)
    assert [output.shape for output in outputs] == [(1, 52, 52, 124), (1, 26, 26, 124), (1, 13, 13, 124)]
    for (level, *place), expected in REFERENCE.items():
        value = outputs[level][(0, *place)]
        value = 1 / (1 + np.exp(-value)) if place[-1] < len(COCO) else value
        assert value == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_names_are_coco_s():
    assert (len(COCO), COCO[0], COCO[2], COCO[9], COCO[79]) == (80, "person", "car", "traffic light", "toothbrush")

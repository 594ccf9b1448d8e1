"""`engine="auto"`: which engine a network gets, by processor and by what is installed."""

import importlib.util

import pytest

from deblurgan import engines

AVX2, AVX512 = frozenset({"avx2", "fma"}), frozenset({"avx2", "avx512f", "avx512_bf16"})


@pytest.mark.parametrize(
    ("features", "gpus", "installed", "convolutional", "expected"),
    [
        (AVX2, (), True, True, "openvino"),
        (AVX2, (), True, False, "tensorflow"),
        (AVX2, (), False, True, "tensorflow"),
        (AVX2, ("a GPU",), True, True, "tensorflow"),
        (AVX512, (), True, True, "tensorflow"),
        (frozenset(), (), True, True, "tensorflow"),
    ],
)
def test_the_fastest_engine(features, gpus, installed, convolutional, expected, monkeypatch):
    monkeypatch.setattr(engines, "cpu_features", lambda: features)
    monkeypatch.setattr(engines, "gpu_names", lambda: gpus)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found(name) if installed else None)
    assert engines.fastest(convolutional) == expected


def test_auto_is_the_engine_of_an_exported_file():
    assert engines.choose("network.onnx", "auto") == "onnxruntime"
    assert engines.choose("network.xml", "auto") == "openvino"
    assert engines.choose("generator.h5", "auto") == "auto"

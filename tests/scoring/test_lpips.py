import importlib.util

import numpy as np
import pytest

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.scoring.lpips import LPIPS, lpips_metric
from tests.safetensors_files import safetensors

CONVOLUTIONS = {  # name: (outputs, inputs, side), stride, padding
    "net.slice1.0": ((64, 3, 11), 4, 2),
    "net.slice2.3": ((192, 64, 5), 1, 2),
    "net.slice3.6": ((384, 192, 3), 1, 1),
    "net.slice4.8": ((256, 384, 3), 1, 1),
    "net.slice5.10": ((256, 256, 3), 1, 1),
}


@pytest.fixture(scope="module")
def state():
    """A state dict of the right names and shapes, with random values of realistic size."""
    random = np.random.default_rng(0)
    tensors = {}
    for level, (name, ((outputs, inputs, side), _, _)) in enumerate(CONVOLUTIONS.items()):
        scale = np.sqrt(2 / (inputs * side * side))
        tensors[f"{name}.weight"] = random.normal(0, scale, (outputs, inputs, side, side)).astype(np.float32)
        tensors[f"{name}.bias"] = random.normal(0, 0.1, outputs).astype(np.float32)
        tensors[f"lin{level}.model.1.weight"] = random.uniform(0, 1, (1, outputs, 1, 1)).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def pair(photos):
    blurred, sharp = photos
    return sharp[:40, :47], blurred[:40, :47]


def windows(planes, side, step):
    """(channels, height, width) -> (channels, rows, columns, side, side)"""
    return np.lib.stride_tricks.sliding_window_view(planes, (side, side), axis=(1, 2))[:, ::step, ::step]


def expected_distance(state, first, second):
    """LPIPS of two images by its definition, in float64 NumPy, channels first as in PyTorch."""
    features, distance = [], 0.0
    for image in (first, second):
        scaled = (image / 127.5 - 1 - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]
        features.append(scaled.transpose(2, 0, 1))
    for level, (name, ((_, _, side), stride, padding)) in enumerate(CONVOLUTIONS.items()):
        units = []
        for index, planes in enumerate(features):
            if level in (1, 2):
                planes = windows(planes, 3, 2).max(axis=(3, 4))
            planes = np.pad(planes, ((0, 0), (padding, padding), (padding, padding)))
            seen = windows(planes, side, stride)
            planes = np.tensordot(state[f"{name}.weight"].astype(np.float64), seen, axes=([1, 2, 3], [0, 3, 4]))
            features[index] = np.maximum(planes + state[f"{name}.bias"][:, None, None], 0)
            units.append(features[index] / (np.linalg.norm(features[index], axis=0) + 1e-10))
        weights = state[f"lin{level}.model.1.weight"][0]
        distance += float(((units[0] - units[1]) ** 2 * weights).sum(axis=0).mean())
    return distance


def test_the_distance_is_that_of_the_definition(state, pair):
    distance = LPIPS(state)(*pair)
    assert type(distance) is float
    assert distance > 0.01
    assert distance == pytest.approx(expected_distance(state, *pair), rel=1e-4)


def test_identical_images_have_no_distance_and_order_does_not_matter(state, pair):
    distance = LPIPS(state)
    # The two may be computed apart: float32 rounds each feature to some 1e-6, and differences are squared.
    assert distance(pair[0], pair[0]) == pytest.approx(0, abs=1e-11)
    assert distance(*pair) == pytest.approx(distance(*pair[::-1]), rel=1e-5)


def test_a_grey_image_is_taken_as_rgb_of_equal_channels(state, pair):
    first, second = (np.ascontiguousarray(image[..., 1]) for image in pair)
    rgb = (np.repeat(image[..., None], 3, axis=-1) for image in (first, second))
    assert LPIPS(state)(first, second) == pytest.approx(LPIPS(state)(*rgb), rel=1e-6)


def test_the_smallest_image_is_31_pixels_wide(state, pair):
    smallest = [image[:31, :31] for image in pair]
    assert LPIPS(state)(*smallest) == pytest.approx(expected_distance(state, *smallest), rel=1e-4)
    with pytest.raises(InputError, match=r"at least 31 by 31 pixels, got \(30, 40, 3\)"):
        LPIPS(state)(*(image[:30, :40] for image in pair))


def test_images_that_do_not_fit_are_refused(state, pair):
    with pytest.raises(InputError, match="same shape"):
        LPIPS(state)(pair[0], pair[1][:39])
    with pytest.raises(InputError, match="round to uint8 first"):
        LPIPS(state)(pair[0], pair[1].astype(np.float32))


def test_tensors_that_do_not_fit_are_named(state):
    lacking = {name: tensor for name, tensor in state.items() if name != "lin3.model.1.weight"}
    with pytest.raises(WeightsError, match=r"LPIPS on AlexNet with lin3\.model\.1\.weight, found none"):
        LPIPS(lacking)
    with pytest.raises(WeightsError, match=r"net\.slice1\.0\.bias: expected shape \(64,\), found \(63,\)"):
        LPIPS({**state, "net.slice1.0.bias": np.zeros(63)})
    with pytest.raises(WeightsError, match=r"net\.slice1\.0\.bias: expected finite values, found NaN"):
        LPIPS({**state, "net.slice1.0.bias": np.full(64, np.nan)})


def test_weights_come_from_a_safetensors_file(state, pair, tmp_path):
    (tmp_path / "lpips.safetensors").write_bytes(safetensors(state))
    metric = lpips_metric(tmp_path / "lpips.safetensors")
    assert metric.score(*pair) == LPIPS(state)(*pair)
    assert (metric.name, metric.lower_is_better) == ("lpips", True)
    assert metric.protocol.startswith("LPIPS: version 0.1, AlexNet")


def test_a_file_of_other_weights_is_named(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors({"features.0.weight": np.zeros((64, 3, 11, 11), np.float32)}))
    with pytest.raises(WeightsError, match=r"other\.safetensors: expected the state dict of LPIPS on AlexNet"):
        lpips_metric(path)
    with pytest.raises(FileError, match=r"missing\.pth: expected a PyTorch weight file, found nothing"):
        lpips_metric(tmp_path / "missing.pth")


STAND_IN = """
import types
import numpy

def LPIPS(net, version, verbose):
    assert (net, version, verbose) == ("alex", "0.1", False)
    print("downloading")
    if {fails}:
        raise OSError("no route to host")
    tensor = lambda array: types.SimpleNamespace(numpy=lambda: array)
    with numpy.load({path!r}) as arrays:
        state = {{name: tensor(array) for name, array in arrays.items()}}
    return types.SimpleNamespace(state_dict=lambda: state)
"""


@pytest.fixture
def package(tmp_path, state, monkeypatch):
    """A function that puts a stand-in for the package `lpips` in place, whose network has that state dict."""

    def put(fails=False):
        np.savez(tmp_path / "state.npz", **state)
        (tmp_path / "lpips.py").write_text(STAND_IN.format(fails=fails, path=str(tmp_path / "state.npz")))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return put


def test_weights_come_from_the_package_where_no_file_is_named(state, pair, package):
    package()
    assert lpips_metric().score(*pair) == LPIPS(state)(*pair)


def test_a_missing_package_is_one_line_that_says_what_to_do(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lpips" else find_spec(name))
    with pytest.raises(InputError, match=r"(?s)^lpips: expected a file .*--lpips_weights.* pip install") as raised:
        lpips_metric()
    assert "\n" not in str(raised.value)


def test_a_failed_download_is_one_line_that_says_what_to_do(package):
    package(fails=True)
    with pytest.raises(
        FileError, match=r"could not get AlexNet's weights; give a file with --lpips_weights .*no route"
    ):
        lpips_metric()


@pytest.mark.torch
def test_a_file_that_pytorch_saved_gives_what_pytorch_computes(state, pair, tmp_path):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    tensors = {name: torch.tensor(array) for name, array in state.items()}
    torch.save(tensors, tmp_path / "lpips.pth")
    shift, scale = (torch.tensor(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    x = torch.stack([torch.tensor(image.transpose(2, 0, 1) / 127.5 - 1, dtype=torch.float32) for image in pair])
    x, expected = (x - shift) / scale, 0
    for level, (name, (_, stride, padding)) in enumerate(CONVOLUTIONS.items()):
        x = functional.max_pool2d(x, 3, 2) if level in (1, 2) else x
        x = functional.relu(functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride, padding))
        unit = x / (torch.sqrt((x**2).sum(1, keepdim=True)) + 1e-10)
        squares = (unit[:1] - unit[1:]) ** 2
        expected += functional.conv2d(squares, tensors[f"lin{level}.model.1.weight"]).mean()
    assert lpips_metric(tmp_path / "lpips.pth").score(*pair) == pytest.approx(float(expected), rel=1e-4)

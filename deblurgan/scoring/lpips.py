"""LPIPS, the learned perceptual distance of Zhang et al. 2018, on AlexNet, whose weights come from elsewhere.

They are read from a file without PyTorch, or taken from the package `lpips` of the paper's authors; the network is
written here with `keras.ops`, so that it runs wherever the rest does.
"""

import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from keras import ops
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError, WeightsError, prefixed
from deblurgan.files import shown
from deblurgan.scoring.metrics import Metric, check_pair
from deblurgan.weights.torch_file import read_safetensors, read_torch

MIN_SIDE = 31  # pixels, of which AlexNet's deepest layers make one value

_CONVOLUTIONS = (  # name in the state dict, kernel's side, inputs, outputs, stride, max-pooled first
    ("net.slice1.0", 11, 3, 64, 4, False),
    ("net.slice2.3", 5, 64, 192, 1, True),
    ("net.slice3.6", 3, 192, 384, 1, True),
    ("net.slice4.8", 3, 384, 256, 1, False),
    ("net.slice5.10", 3, 256, 256, 1, False),
)
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)
_EPSILON = 1e-10
_SAVE = """
import sys
output, sys.stdout = sys.stdout.buffer, sys.stderr
try:
    import lpips, numpy
    tensors = lpips.LPIPS(net="alex", version="0.1", verbose=False).state_dict()
except (ImportError, OSError) as error:
    output.write(str(error).encode())
    sys.exit(1)
numpy.savez(output, **{name: tensor.numpy() for name, tensor in tensors.items()})
"""


class LPIPS:
    """The distance of two images: squared differences of AlexNet's features, weighted per channel (eq. 1).

    Args:
        tensors: state dict of `lpips.LPIPS(net="alex")` (version 0.1), by PyTorch's names and in its layouts.

    Raises:
        WeightsError: a tensor is missing, has another shape or is not finite; the message names it.
    """

    def __init__(self, tensors: Mapping[str, NDArray]) -> None:
        self._layers = []
        for level, (name, side, inputs, outputs, stride, pooled) in enumerate(_CONVOLUTIONS):
            kernel = _tensor(tensors, f"{name}.weight", (outputs, inputs, side, side)).transpose(2, 3, 1, 0)
            bias = _tensor(tensors, f"{name}.bias", (outputs,))
            importance = _tensor(tensors, f"lin{level}.model.1.weight", (1, outputs, 1, 1)).reshape(outputs)
            padding = 2 if side > 3 else 1
            self._layers.append((kernel, bias, importance, stride, padding, pooled))

    def __call__(self, reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
        """Return the distance after the `Metric.protocol` of `lpips_metric`, lower is better, 0 for identical images.

        Of images as `metrics` takes them, at least 31 by 31 pixels; InputError for others.
        """
        check_pair(reference, image)
        if min(reference.shape[:2]) < MIN_SIDE:
            raise InputError(f"expected images of at least {MIN_SIDE} by {MIN_SIDE} pixels, got {reference.shape}")
        pair = np.stack([reference, image])
        if pair.ndim == 3:
            pair = np.repeat(pair[..., None], 3, axis=-1)
        features = (pair.astype(np.float32) / 127.5 - 1 - _SHIFT) / _SCALE
        distance = 0.0
        for kernel, bias, importance, stride, padding, pooled in self._layers:
            if pooled:
                features = ops.max_pool(features, 3, 2, "valid", data_format="channels_last")
            features = ops.pad(features, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
            features = ops.conv(features, kernel, stride, "valid", data_format="channels_last")
            features = ops.relu(features + bias)
            unit = features / (ops.sqrt(ops.sum(features**2, axis=-1, keepdims=True)) + _EPSILON)
            weighted = ops.sum((unit[0] - unit[1]) ** 2 * importance, axis=-1)
            distance += float(ops.convert_to_numpy(ops.mean(weighted)))
        return distance


def lpips_metric(path: str | os.PathLike[str] | None = None) -> Metric:
    """Return LPIPS as a metric for `evaluation`.

    Args:
        path: file with the state dict of `lpips.LPIPS(net="alex")`: `.safetensors`, or anything that `torch.save`
            writes. When None, the package `lpips` supplies it; that one downloads AlexNet on its first use.

    Raises:
        FileError: the file is missing or unreadable, or the download failed.
        WeightsError: the weights are not those of this network.
        InputError: neither a file nor the package is there.
    """
    if path is None:
        network = LPIPS(_packaged())
    else:
        reader = read_safetensors if Path(path).suffix.lower() == ".safetensors" else read_torch
        tensors = reader(path)
        with prefixed(shown(path), WeightsError):
            network = LPIPS(tensors)
    return Metric(
        "lpips",
        "LPIPS",
        "LPIPS: version 0.1, AlexNet, whole 8-bit RGB image scaled to [-1, 1]; lower is better",
        "comparable with papers that name LPIPS of AlexNet, version 0.1, on the same pictures; not with VGG's, which "
        "is on another scale",
        network,
        lower_is_better=True,
    )


def _packaged() -> dict[str, NDArray]:
    """The weights that the package `lpips` has or downloads.

    It runs in a process of its own: where TensorFlow is loaded, importing PyTorch's Triton (2.14) ends the process.
    """
    if importlib.util.find_spec("lpips") is None:
        raise InputError(
            "lpips: expected a file of weights (--lpips_weights) or the package: pip install 'deblurgan[lpips]'; "
            "found neither"
        )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _SAVE], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        why = done.stdout.decode(errors="replace") or f"it ended with exit code {done.returncode}"
        raise FileError(
            "lpips: the package could not get AlexNet's weights; give a file with --lpips_weights instead: "
            f"{' '.join(why.split())}"
        )
    with np.load(io.BytesIO(done.stdout)) as arrays:
        return dict(arrays)


def _tensor(tensors: Mapping[str, NDArray], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if name not in tensors:
        raise WeightsError(f"expected the state dict of LPIPS on AlexNet with {name}, found none of that name")
    if tensors[name].shape != shape:
        raise WeightsError(f"{name}: expected shape {shape}, found {tensors[name].shape}")
    if not np.isfinite(tensors[name]).all():
        raise WeightsError(f"{name}: expected finite values, found NaN or infinity")
    return np.asarray(tensors[name], np.float32)

"""Networks in 8-bit integers, after training: measured on pictures, and what that costs."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.data.pairs import match_pairs
from deblurgan.errors import InputError
from deblurgan.files import shown
from deblurgan.pictures.listing import list_images
from deblurgan.pictures.pixels import as_rgb, to_8_bits, with_channels
from deblurgan.pictures.reading import read_picture
from deblurgan.runtimes.contract import Images, optional
from deblurgan.scoring.metrics import psnr

PICTURES = 16  # of the folder, spread evenly over it
SIDE = 256  # pixels; the middle of each picture
ASSUMED_PSNR = 30.0  # dB, of a restored picture against the sharp one, where no sharp one is given


@dataclass(frozen=True)
class Calibration:
    """Pictures that the ranges of the integers are measured on.

    Attributes:
        blurred: the middles of pictures, uint8 (height, width, channels), with sides that the network takes.
        sharp: those of the sharp pictures, where the folder has pairs.
    """

    blurred: list[NDArray[np.uint8]]
    sharp: list[NDArray[np.uint8]] | None

    @property
    def inputs(self) -> list[Images]:
        """The blurred pictures as an exported network takes them."""
        return [(image[np.newaxis] / np.float32(255)).astype(np.float32) for image in self.blurred]

    def cost(self, exact: Sequence[Images], rounded: Sequence[Images]) -> float:
        """Return by how many dB results are farther from the sharp pictures for being computed in integers.

        Without sharp pictures, those are taken to be 30 dB from the exact results, in directions that have nothing to
        do with the rounding. `exact` and `rounded` are the outputs for `inputs` of the network and of its version in
        integers.
        """
        outputs = [[_to_uint8(image) for image in images] for images in (exact, rounded)]
        if self.sharp is not None:
            sharp = list(map(as_rgb, self.sharp))
            before, after = (np.mean(list(map(psnr, sharp, map(as_rgb, images)))) for images in outputs)
            return float(before - after)
        added = np.mean(
            [np.square(np.subtract(a, b, dtype=np.float64)).mean() for a, b in zip(*outputs, strict=True)]
        )
        assumed = 255.0**2 / 10 ** (ASSUMED_PSNR / 10)
        return float(10 * np.log10(1 + added / assumed))


def read_calibration(
    folder: str | os.PathLike[str], multiple: int, channels: tuple[int, int] = (3, 3)
) -> Calibration:
    """Read pictures to calibrate with, cut to sides that are multiples of `multiple`, of so many channels.

    Those in `folder`, which are like those to restore, or the pairs in its A (blurred) and B (sharp).

    Raises:
        FileError, InputError: no folder, no pictures in it, or one that cannot be read or is too small.
    """
    folder = Path(folder)
    if (folder / "A").is_dir() and (folder / "B").is_dir():
        pairs = [pair.read() for pair in _some(match_pairs(folder))]
        blurred, sharp = (
            [with_channels(_middle(image, folder, multiple), number) for image in side]
            for side, number in zip(zip(*pairs, strict=True), channels, strict=True)
        )
        return Calibration(blurred, sharp)
    pictures = list_images(folder)
    if not pictures:
        raise InputError(f"{shown(folder)}: expected pictures to calibrate with, found none")
    images = (_middle(to_8_bits(read_picture(path).rgb), path, multiple) for path in _some(pictures))
    return Calibration([with_channels(image, channels[0]) for image in images], None)


def quantized(proto: Any, calibration: Calibration) -> Any:
    """Return an `onnx.ModelProto` whose convolutions compute in 8-bit integers, but for the first and the last one.

    Those two see and make the picture itself, take little time, and need more digits. Weights are scaled for each
    channel of the output, activations by the range that they have on the pictures (QuantizeLinear and
    DequantizeLinear, which ONNX Runtime and OpenVINO understand). Transposed convolutions stay in float32.

    Raises:
        InputError: onnx or onnxruntime is missing.
    """
    onnx = optional("onnx")
    quantization: Any = optional("onnxruntime.quantization")
    prepared = optional("onnxruntime.quantization.shape_inference").quant_pre_process
    name = proto.graph.input[0].name

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, done = (str(Path(folder, f"{stage}.onnx")) for stage in ("plain", "ready", "done"))
        onnx.save(proto, plain)
        prepared(plain, ready, skip_symbolic_shape=True)
        nodes = [node for node in onnx.load(ready).graph.node if node.op_type in ("Conv", "MatMul")]
        quantization.quantize_static(
            ready,
            done,
            _Reader({name: x} for x in calibration.inputs),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul"],
            nodes_to_exclude=[nodes[0].name, nodes[-1].name],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return onnx.load(done)


class _Reader:
    """The inputs, one after the other, as `onnxruntime.quantization` asks for them."""

    def __init__(self, inputs: Iterator[dict[str, Images]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, Images] | None:
        return next(self._inputs, None)


def _some(things: Sequence[Any]) -> list[Any]:
    """At most `PICTURES` of them, spread evenly."""
    count = min(PICTURES, len(things))
    return [things[i * len(things) // count] for i in range(count)]


def _middle(image: NDArray[np.uint8], path: Path, multiple: int) -> NDArray[np.uint8]:
    """The middle of a picture, with sides up to `SIDE`, or one `multiple` where that is more."""
    height, width = (min(side, max(SIDE, multiple)) // multiple * multiple for side in image.shape[:2])
    if not height or not width:
        raise InputError(f"{shown(path)}: expected at least {multiple}x{multiple} pixels to calibrate with")
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def _to_uint8(images: Images) -> NDArray[np.uint8]:
    return np.rint(images[0] * 255).astype(np.uint8)

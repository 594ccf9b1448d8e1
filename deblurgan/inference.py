"""Restoring pictures: uint8 image in, uint8 image of the same size out."""

import itertools
import math
import os
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.devices import policy
from deblurgan.errors import InputError, WeightsError
from deblurgan.files import shown
from deblurgan.model import SIZE_MULTIPLE
from deblurgan.networks.nafnet_layers import SpaceToDepth
from deblurgan.weight_files import read
from deblurgan.weights import GeneratorWeights, generator_weights

MIN_SIDE = 5  # reflecting up to the next multiple of 4 that the network takes (8) needs more pixels than it adds
TILE = 1280  # interior of a tile, pixels
DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16))
OVERLAP = 96  # at least the generator's receptive field to each side, a multiple of 4


Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class Restorer:
    """Restores RGB images, uint8 or uint16, of any size with a generator.

    The normalisations are folded into the convolutions, and scaling, padding and rounding are part of one compiled
    graph, so that a picture costs little more than the network's multiplications. Pictures larger than a tile are
    restored tile by tile in bounded memory; each tile sees as much of its surroundings as the network can, so that
    the result is the same.

    Args:
        weights: from `weights.read_generator`, or a model built by `model.generator_model`.
        precision: "auto", "float32", "bfloat16" or "float16"; see `devices.resolve_precision`.
        tile: side of a tile's interior in pixels, a multiple of 4.
    """

    def __init__(self, weights: GeneratorWeights | keras.Model, *, precision: str = "auto", tile: int = TILE) -> None:
        if tile < SIZE_MULTIPLE or tile % SIZE_MULTIPLE:
            raise InputError(f"tile: expected a positive multiple of {SIZE_MULTIPLE}, received {tile}")
        if isinstance(weights, keras.Model):
            weights = generator_weights(weights)
        channels = weights.convs[0].kernel_shape[2]
        if channels != 3:
            raise InputError(f"{weights.source}: expected a generator of 3 channels, found {channels}")
        self._network = weights.folded(dtype=policy(precision))
        self._tile = tile
        self._run = _compiled(self._network)

    def update(self, model: keras.Model) -> None:
        """Take the present weights of `model`, which has the architecture that this restorer was made with."""
        generator_weights(model).assign_folded(self._network)

    def __call__(self, image: Pixels) -> Any:
        """Return `image`, (height, width, 3) uint8 or uint16 RGB, restored, with the same shape and dtype.

        Raises:
            InputError: another shape or dtype, or a side shorter than 5 pixels.
        """
        _check_image(image)
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise InputError(f"image: expected at least {MIN_SIDE}x{MIN_SIDE} pixels, received {width}x{height}")
        rows, columns = (spans(side, self._tile, OVERLAP) for side in (height, width))
        if len(rows) == len(columns) == 1:
            return self._run(image)
        output = np.empty_like(image)
        for top, bottom, y0, y1 in rows:
            for left, right, x0, x1 in columns:
                tile = self._run(image[y0:y1, x0:x1])
                output[top:bottom, left:right] = tile[top - y0 : bottom - y0, left - x0 : right - x0]
        return output


class WholePictureRestorer:
    """Restores RGB images, uint8 or uint16, of any size with any generator, each picture in one piece.

    For networks that look at the whole picture, as those with instance normalisation do; memory grows with its size.

    Args:
        model: from float32 (1, height, width, 3) RGB in [-1, 1] to the same, for any height and width.
    """

    def __init__(self, model: keras.Model) -> None:
        if model.input_shape[-1] != 3 or model.output_shape[-1] != 3:
            shapes = f"{model.input_shape} to {model.output_shape}"
            raise InputError(f"{model.name}: expected a network from 3 channels to 3, found {shapes}")
        self._multiple = size_multiple(model)
        self._run = _compiled(model)

    def __call__(self, image: Pixels) -> Any:
        """Return `image`, (height, width, 3) uint8 or uint16 RGB, restored, with the same shape and dtype.

        Raises:
            InputError: another shape or dtype.
        """
        _check_image(image)
        height, width = image.shape[:2]
        bottom, right = (-side % self._multiple for side in (height, width))
        padded = np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="reflect")
        return self._run(padded)[:height, :width]


def size_multiple(model: keras.Model) -> int:
    """Return what the sides of a network's input must be multiples of: the product of what its layers divide by."""
    strides = math.prod(layer.strides[0] for layer in model.layers if type(layer) is keras.layers.Conv2D)
    factors = math.prod(layer.factor for layer in model.layers if isinstance(layer, SpaceToDepth))
    return max(strides * factors, 2 * SIZE_MULTIPLE)


class Refined:
    """Restores with another restorer, averages over flips and turns, and blends with the input.

    Args:
        restorer: what restores; it is given uint16 images, so that nothing is rounded to 8 bits on the way.
        tta: whether to average over the 8 ways of flipping and turning the image (self-ensemble).
        strength: from 0, the input as it is, to 1, the restored image.

    Raises:
        InputError: `strength` is out of range.

    Source: Lim et al. (EDSR), arXiv 1707.02921, section 3.4, for the self-ensemble.
    """

    def __init__(self, restorer: Any, *, tta: bool = False, strength: float = 1.0) -> None:
        if not 0 <= strength <= 1:
            raise InputError(f"strength: expected 0 to 1, received {strength}")
        self._restorer = restorer
        self._turns = range(4) if tta else range(1)
        self._flips = (1, -1) if tta else (1,)
        self._strength = strength

    def __call__(self, image: Pixels) -> Any:
        """Return `image`, (height, width, 3) uint8 or uint16 RGB, restored, with the same shape and dtype."""
        _check_image(image)
        step = 257 if image.dtype == np.uint8 else 1  # of 65535 levels
        deep = image.astype(np.uint16) * np.uint16(step)
        total = np.zeros(image.shape, np.float32)
        for turns in self._turns:
            for flip in self._flips:
                turned = np.ascontiguousarray(np.rot90(deep[:, ::flip], turns))
                total += np.rot90(self._restorer(turned), -turns)[:, ::flip]
        restored = total / (len(self._turns) * len(self._flips))
        blended = self._strength * restored + (1 - self._strength) * deep
        return np.rint(blended / step).astype(image.dtype)


def open_restorer(
    path: str | os.PathLike[str], *, precision: str = "auto", tta: bool = False, strength: float = 1.0, **assumed: Any
) -> Restorer | WholePictureRestorer | Refined:
    """Return what restores pictures with the generator in the weight file `path`, of any kind that is known.

    Args:
        path: see `weight_files.read`.
        precision: see `devices.resolve_precision`.
        tta: whether to average over flips and turns; see `Refined`.
        strength: how much of the result to take, from 0 to 1; see `Refined`.
        assumed: what the file leaves open, e.g. `residual=False`; see `weight_files.WeightFile`.

    Raises:
        FileError, WeightsError: as `weight_files.read`, or the file holds no generator.
        InputError: an assumption that this network does not know.
    """
    content = read(path)
    if not content.is_generator:
        raise WeightsError(f"{shown(path)}: expected a generator's weights, found those of a {content.network}")
    restorer: Restorer | WholePictureRestorer
    if content.generator is not None and not assumed:
        restorer = Restorer(content.generator, precision=precision)
    else:
        restorer = WholePictureRestorer(content.build(dtype=policy(precision), **assumed))
    return Refined(restorer, tta=tta, strength=strength) if tta or strength != 1 else restorer


def spans(size: int, tile: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """Cut a side of `size` pixels into tiles: (start, stop) of each interior, (start, stop) of what it must see.

    Interiors cover the side without gap or overlap, each at most `tile` long; all starts are multiples of 4, so that
    a tile samples the image where the whole picture's network would. A side that one tile with its surroundings
    covers is not cut.
    """
    if size <= tile + 2 * overlap:
        return [(0, size, 0, size)]
    count = -(-size // tile)
    units = -(-size // SIZE_MULTIPLE)
    edges = [i * units // count * SIZE_MULTIPLE for i in range(count)] + [size]
    return [
        (start, stop, max(0, start - overlap), min(size, stop + overlap)) for start, stop in itertools.pairwise(edges)
    ]


def _check_image(image: Pixels) -> None:
    if image.dtype not in DTYPES or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"image: expected uint8 or uint16 (height, width, 3), received {image.dtype} {image.shape}")


def _compiled(network: keras.Model) -> Any:
    """Return a function from an image to one of its dtype that runs scaling, padding and `network` as one graph."""
    import tensorflow as tf

    def restore(image: Any) -> Any:
        half = image.dtype.max / 2
        height, width = tf.unstack(tf.shape(image)[:2])
        multiple, least = SIZE_MULTIPLE, 2 * SIZE_MULTIPLE
        bottom, right = (tf.maximum(-(-side // multiple) * multiple, least) - side for side in (height, width))
        x = tf.pad(image, [[0, bottom], [0, right], [0, 0]], "REFLECT")
        x = tf.cast(x[tf.newaxis], tf.float32) / half - 1.0
        x = network(x, training=False)[0, :height, :width]
        return tf.cast(tf.round(tf.clip_by_value(x * half + half, 0.0, 2 * half)), image.dtype)

    functions = {
        dtype: tf.function(restore, input_signature=[tf.TensorSpec((None, None, 3), dtype)], autograph=False)
        for dtype in DTYPES
    }
    return lambda image: functions[image.dtype](image).numpy()

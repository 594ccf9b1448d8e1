"""The layers that restoring spends its time in, as TensorFlow computes them fastest; the results are the layers' own.

Keras adds biases in a way that TensorFlow's optimizer does not merge into convolutions; TensorFlow mirrors edges on
one core, its convolutions do not get faster below 16 output channels, and it does not use Winograd's algorithm.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import keras

from deblurgan.devices import gpu_names
from deblurgan.networks.footprint import run, takes_statistics
from deblurgan.networks.layers import ReflectionPadding2D
from deblurgan.networks.maxim_parts import Composite
from deblurgan.restoring import fast_maxim, winograd

FEW = 4  # output channels
BLOCK = 4  # pixels, a side of the squares that a convolution to few channels computes as one
MANY = 64  # channels, from which on Winograd's algorithm gains more than it costs


def restored(
    model: keras.Model, images: Any, *, fixed: bool = False, normalise: Callable[[Any, Any], Any] | None = None
) -> Any:
    """Return what `model`, any network from images to images, makes of a tensor of them outside training.

    With `fixed`, the graph that is being traced may keep what is computed from the present weights. `normalise` is
    called in place of each layer that takes statistics of the images, with it and its input.
    """

    def called(layer: Any, given: Any) -> Any:
        if normalise is not None and takes_statistics(layer):
            return normalise(layer, winograd.joined(given))
        return call(layer, given, fixed)

    return winograd.joined(run(model, images, called))


def call(layer: Any, inputs: Any, fixed: bool = False) -> Any:
    """Return what one layer makes of `inputs`: a tensor, a list of these, or what this function returned.

    The rows of images come apart, `winograd.Halves`, at the reflection before a convolution by Winograd's algorithm.
    They stay so through more reflections and such convolutions, and through what computes pixel by pixel. Before any
    other layer they are joined.
    """
    given = inputs if isinstance(inputs, list) else [inputs]
    if isinstance(layer, ReflectionPadding2D) and layer.data_format == "channels_last":
        return _reflected(layer, *given)
    if any(isinstance(x, winograd.Halves) for x in given):
        if _is_elementwise(layer):
            return _of_halves(layer, given)
        if _is_plain(layer) and _takes_halves(layer):
            return _convolved_in_halves(layer, given[0], fixed)
    given = [winograd.joined(x) for x in given]
    if _is_plain(layer):
        return _convolved(layer, *given)
    is_composite = isinstance(layer, Composite)
    given = [_cast(layer, x) for x in given] if is_composite else given
    joined = given if isinstance(inputs, list) else given[0]
    return fast_maxim.call(layer, joined, fixed) if is_composite else layer(joined)


def _is_elementwise(layer: Any) -> bool:
    relu = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu
    return relu or type(layer) is keras.layers.Add


def _of_halves(layer: Any, given: list[Any]) -> winograd.Halves:
    """Let an elementwise layer take even and odd rows one after the other."""
    first, *others = (x if isinstance(x, winograd.Halves) else winograd.split(x) for x in given)
    return first.map(lambda *rows: layer(list(rows) if others else rows[0]), *others)


def _takes_halves(layer: Any) -> bool:
    return layer.kernel_size == (3, 3) and layer.strides == (1, 1) and layer.padding == "valid"


def _convolved_in_halves(layer: Any, images: winograd.Halves, fixed: bool) -> winograd.Halves:
    import tensorflow as tf

    with tf.init_scope() if fixed else contextlib.nullcontext():
        kernels = [_cast(layer, kernel) for kernel in winograd.kernels(tf.convert_to_tensor(layer.kernel))]
    return winograd.convolved(images.map(lambda rows: _cast(layer, rows)), kernels, _cast(layer, layer.bias))


def _is_plain(layer: Any) -> bool:
    if type(layer) is not keras.layers.Conv2D:
        return False
    plain = layer.groups == 1 and layer.dilation_rate == (1, 1) and layer.activation is keras.activations.linear
    return plain and layer.use_bias and layer.data_format == "channels_last"


def _cast(layer: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x, layer.compute_dtype)


def _reflected(layer: Any, x: Any) -> Any:
    """Mirror the edges; on a CPU the rows come apart where a 3x3 convolution of many channels is likely to follow."""
    rows, columns = layer.padding
    channels = (x.even if isinstance(x, winograd.Halves) else x).shape[-1]
    if rows == columns == (1, 1) and channels >= MANY and not gpu_names():
        halves = x if isinstance(x, winograd.Halves) else winograd.split(_cast(layer, x))
        return winograd.reflected(halves).map(lambda part: _mirrored(part, ((0, 0), columns)))
    return _mirrored(_cast(layer, winograd.joined(x)), layer.padding)


def _mirrored(x: Any, padding: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    """Mirror the edges by joining slices, which TensorFlow copies on all cores."""
    import tensorflow as tf

    for axis, (before, after) in enumerate(padding, 1):
        # Row `i` from the start and row `-i - 1`, as many as are missing, the farthest outermost.
        start = [_row(x, axis, i) for i in range(before, 0, -1)]
        end = [_row(x, axis, -i - 1) for i in range(1, after + 1)]
        x = tf.concat([*start, x, *end], axis) if start or end else x
    return x


def _row(x: Any, axis: int, i: int) -> Any:
    rows = slice(i, i + 1 or None)
    return x[:, rows] if axis == 1 else x[:, :, rows]


def _convolved(layer: Any, x: Any) -> Any:
    import tensorflow as tf

    x, kernel, bias = (_cast(layer, value) for value in (x, layer.kernel, layer.bias))
    few = layer.filters <= FEW and min(layer.kernel_size) > BLOCK
    if few and layer.strides == (1, 1) and layer.padding == "valid":
        return _convolved_by_blocks(x, kernel, bias)
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, layer.strides, layer.padding.upper()), bias)


def _convolved_by_blocks(x: Any, kernel: Any, bias: Any) -> Any:
    """Convolve to few channels: all values of a square of pixels are channels of a larger kernel's one output."""
    import tensorflow as tf

    rows, columns = kernel.shape[:2]
    more = BLOCK - 1
    shifted = [
        tf.pad(kernel, [(i, more - i), (j, more - j), (0, 0), (0, 0)]) for i in range(BLOCK) for j in range(BLOCK)
    ]
    padding = [(0, 0), (0, more), (0, more), (0, 0)]  # so that the last square is not left out
    blocks = tf.nn.conv2d(x, tf.concat(shifted, 3), BLOCK, padding)
    blocks = tf.nn.bias_add(blocks, tf.tile(bias, [BLOCK**2]))
    height, width = tf.shape(x)[1] - rows + 1, tf.shape(x)[2] - columns + 1
    return tf.nn.depth_to_space(blocks, BLOCK)[:, :height, :width]

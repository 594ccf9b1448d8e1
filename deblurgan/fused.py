"""The layers that restoring spends its time in, as TensorFlow computes them fastest; the results are the layers' own.

Keras adds biases in a way that TensorFlow's optimizer does not merge into convolutions; TensorFlow mirrors edges on
one core, and its convolutions do not get faster below 16 output channels.
"""

from typing import Any

import keras

from deblurgan.layer_utils import ReflectionPadding2D

FEW = 4  # output channels
BLOCK = 4  # pixels, a side of the squares that a convolution to few channels computes as one


def call(layer: Any, inputs: Any, fixed: bool = False) -> Any:
    """Return what `layer`, any layer of a network, makes of `inputs` outside training.

    Args:
        layer: the layer.
        inputs: a tensor, or a list where it takes several.
        fixed: whether the graph that is being traced keeps the present weights, which then are cast and laid out once
            and not in each call.
    """
    if isinstance(layer, ReflectionPadding2D) and layer.data_format == "channels_last":
        return _reflected(_cast(layer, inputs), layer.padding)
    if type(layer) is keras.layers.Conv2D and _is_plain(layer):
        few = layer.filters <= FEW and min(layer.kernel_size) > BLOCK
        by_blocks = few and layer.strides == (1, 1) and layer.padding == "valid"
        weights = [
            _constant(layer, weight) if fixed else _cast(layer, weight) for weight in (layer.kernel, layer.bias)
        ]
        return (_convolved_by_blocks if by_blocks else _convolved)(layer, _cast(layer, inputs), *weights)
    return layer(inputs)


def _is_plain(layer: Any) -> bool:
    plain = layer.groups == 1 and layer.dilation_rate == (1, 1) and layer.activation is keras.activations.linear
    return plain and layer.use_bias and layer.data_format == "channels_last"


def _cast(layer: Any, x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x, layer.compute_dtype)


def _constant(layer: Any, weight: Any) -> Any:
    import tensorflow as tf

    with tf.init_scope():
        value = weight.numpy()
    return tf.constant(value, layer.compute_dtype)


def _reflected(x: Any, padding: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    """Mirror the edges by joining slices, which TensorFlow copies on all cores."""
    import tensorflow as tf

    for axis, (before, after) in enumerate(padding, 1):
        # Row `i` from the start and row `-i - 1`, as many as are missing, the farthest outermost.
        start = [_row(x, axis, i) for i in range(before, 0, -1)]
        end = [_row(x, axis, -i - 1) for i in range(1, after + 1)]
        x = tf.concat([*start, x, *end], axis)
    return x


def _row(x: Any, axis: int, i: int) -> Any:
    rows = slice(i, i + 1 or None)
    return x[:, rows] if axis == 1 else x[:, :, rows]


def _convolved(layer: Any, x: Any, kernel: Any, bias: Any) -> Any:
    import tensorflow as tf

    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, layer.strides, layer.padding.upper()), bias)


def _convolved_by_blocks(layer: Any, x: Any, kernel: Any, bias: Any) -> Any:
    """Convolve to few channels: all values of a square of pixels are channels of a larger kernel's one output."""
    import tensorflow as tf

    rows, columns = layer.kernel_size
    more = BLOCK - 1
    shifted = [
        tf.pad(kernel, [(i, more - i), (j, more - j), (0, 0), (0, 0)]) for i in range(BLOCK) for j in range(BLOCK)
    ]
    padding = [(0, 0), (0, more), (0, more), (0, 0)]  # so that the last square is not left out
    blocks = tf.nn.conv2d(x, tf.concat(shifted, 3), BLOCK, padding)
    blocks = tf.nn.bias_add(blocks, tf.tile(bias, [BLOCK**2]))
    height, width = tf.shape(x)[1] - rows + 1, tf.shape(x)[2] - columns + 1
    return tf.nn.depth_to_space(blocks, BLOCK)[:, :height, :width]

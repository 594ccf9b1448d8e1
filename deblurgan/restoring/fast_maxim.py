"""What MAXIM's layers compute with, as TensorFlow computes it fastest; the results are those of `KERAS`.

A layer normalisation is one operation where TensorFlow was built with oneDNN. Elsewhere, and wherever that operation
is not as it is known here, it is the six of which Keras makes it.
"""

import contextlib
import functools
import json
from typing import Any

from deblurgan.networks.maxim_parts import EPSILON, SLOPE, Arithmetic, Composite


class TensorFlowArithmetic(Arithmetic):
    """An arithmetic outside training, in TensorFlow's graphs."""

    def dense(self, rows: Any, kernel: Any, bias: Any = None, *, gelu: bool = False) -> Any:
        """See `Arithmetic.dense`."""
        import tensorflow as tf

        rows = tf.matmul(rows, tf.cast(kernel, rows.dtype))
        rows = rows if bias is None else tf.nn.bias_add(rows, tf.cast(bias, rows.dtype))
        return tf.nn.gelu(rows, approximate=True) if gelu else rows

    def conv(self, x: Any, kernel: Any, bias: Any, *, leaky: bool = False) -> Any:
        """See `Arithmetic.conv`."""
        import tensorflow as tf

        x = tf.nn.bias_add(tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 1, "SAME"), tf.cast(bias, x.dtype))
        return tf.nn.leaky_relu(x, SLOPE) if leaky else x

    def normalised(self, rows: Any, scale: Any = None, shift: Any = None) -> Any:
        """See `Arithmetic.normalised`."""
        import tensorflow as tf

        if rows.dtype != tf.float32 or not has_layer_norm():
            return super().normalised(rows, scale, shift)
        width = rows.shape[-1]
        return _layer_norm(
            rows, tf.ones(width) if scale is None else scale, tf.zeros(width) if shift is None else shift
        )

    def enlarged(self, x: Any, factor: int) -> Any:
        """See `Arithmetic.enlarged`."""
        import tensorflow as tf

        return tf.cast(tf.image.resize(x, tf.shape(x)[1:3] * factor), x.dtype)


@functools.cache
def traced(kind: Any, config: str) -> Any:
    """Return what computes a `Composite` of this class and config (JSON), of inputs and `Composite.folded`.

    It is traced once for all layers of a network that are alike.
    """
    import tensorflow as tf

    layer = kind.from_config(json.loads(config))
    return tf.function(lambda inputs, weights: layer.compute(inputs, weights, TENSORFLOW), autograph=False)


def call(layer: Composite, inputs: Any, fixed: bool) -> Any:
    """Return what `layer` makes of `inputs`; see `fast_layers.call`."""
    import tensorflow as tf

    with tf.init_scope() if fixed else contextlib.nullcontext():
        weights = tf.nest.map_structure(tf.convert_to_tensor, layer.folded())
    config = {name: value for name, value in layer.get_config().items() if name not in ("name", "trainable", "dtype")}
    kind: Any = type(layer)
    return traced(kind, json.dumps(config))(inputs, weights)


def _layer_norm(rows: Any, scale: Any, shift: Any) -> Any:
    """TensorFlow's own layer normalisation, which has no name in Python; only in graphs."""
    import tensorflow as tf
    from tensorflow.core.framework import attr_value_pb2, types_pb2

    attributes = {
        "T": attr_value_pb2.AttrValue(type=types_pb2.DT_FLOAT),
        "epsilon": attr_value_pb2.AttrValue(f=EPSILON),
    }
    graph = tf.compat.v1.get_default_graph()
    made = graph.create_op(
        "_MklLayerNorm", [rows, scale, shift], dtypes=[tf.float32], attrs=attributes, name="layer_norm"
    )
    made.outputs[0].set_shape(rows.shape)
    return made.outputs[0]


@functools.cache
def has_layer_norm() -> bool:
    """Whether TensorFlow has a layer normalisation of its own for this processor, with the right results."""
    import numpy as np
    import tensorflow as tf

    rows = np.random.default_rng(0).normal(3, 2, (8, 32)).astype(np.float32)
    function = tf.function(lambda x: _layer_norm(x, tf.ones(32) * 2.0, tf.ones(32)), autograph=False)
    try:
        with tf.init_scope(), tf.device("CPU"):
            found = function(rows).numpy()
    except (tf.errors.OpError, ValueError, TypeError, KeyError):
        return False
    deviation = np.sqrt(rows.var(1, keepdims=True) + EPSILON)
    expected = (rows - rows.mean(1, keepdims=True)) / deviation * 2 + 1
    return not tf.config.list_physical_devices("GPU") and bool(np.allclose(found, expected, atol=1e-4))


TENSORFLOW = TensorFlowArithmetic()

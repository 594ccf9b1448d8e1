"""Stand-ins for functions of the old `keras.backend` whose arguments or results differ from those of `keras.ops`.

They take KerasTensors, the backend's tensors and NumPy arrays alike, with Keras 2's arguments, defaults and meaning.
What `names.NAMES` lists besides has the same positional arguments in `keras.ops` and is taken from there.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from deblurgan.compat.names import DIM_ORDERINGS


def _reduction(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Let `axis` be an int, a list or an array, not all of which every operation and version of Keras 3 takes."""

    def reduce(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
        return operation(x, axis=None if axis is None else _axes(axis), keepdims=keepdims)

    return reduce


def _axes(axis: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(np.atleast_1d(axis).tolist())


def _constant(
    value: Any, dtype: str | None = None, shape: Sequence[int] | None = None, name: str | None = None
) -> Any:
    tensor = ops.convert_to_tensor(value, dtype=dtype or keras.config.floatx())
    return tensor if shape is None else ops.broadcast_to(tensor, shape)


def _pool2d(
    x: Any,
    pool_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    data_format: str | None = None,
    pool_mode: str = "max",
) -> Any:
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides, padding, data_format)


def _resize_images(x: Any, height_factor: int, width_factor: int, data_format: str | None = None) -> Any:
    rows, columns = (2, 3) if _channels_first(data_format) else (1, 2)
    return ops.repeat(ops.repeat(x, height_factor, rows), width_factor, columns)


def _spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Any:
    sides = [tuple(pair) for pair in padding]
    none = (0, 0)
    return ops.pad(x, [none, none, *sides] if _channels_first(data_format) else [none, *sides, none])


def _channels_first(data_format: str | None) -> bool:
    return (data_format or keras.config.image_data_format()) == "channels_first"


def _switch(condition: Any, then_expression: Any, else_expression: Any) -> Any:
    if callable(then_expression) and callable(else_expression):
        is_symbolic = keras.backend.is_keras_tensor(condition)
        condition = condition if is_symbolic else ops.convert_to_tensor(condition)
        return ops.cond(condition, then_expression, else_expression)
    return ops.where(condition, then_expression, else_expression)


def _variable(value: Any, dtype: str | None = None, name: str | None = None) -> Any:
    return keras.Variable(_constant(value, dtype), name=name)


def _stop_gradient(variables: Any) -> Any:
    if isinstance(variables, (list, tuple)):
        return [ops.stop_gradient(variable) for variable in variables]
    return ops.stop_gradient(variables)


_REDUCTIONS = ("all", "any", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "var")
STAND_INS: dict[str, Callable[..., Any]] = {
    **{name: _reduction(getattr(ops, name)) for name in _REDUCTIONS},
    "argmax": lambda x, axis=-1: ops.argmax(x, axis=axis),
    "argmin": lambda x, axis=-1: ops.argmin(x, axis=axis),
    "batch_flatten": lambda x: ops.reshape(x, (-1, math.prod(x.shape[1:]))),
    "batch_get_value": lambda tensors: [ops.convert_to_numpy(x) for x in tensors],
    "batch_set_value": lambda tuples: [variable.assign(value) for variable, value in tuples],
    "cast_to_floatx": lambda x: ops.cast(x, keras.config.floatx()),
    "clip": lambda x, min_value, max_value: ops.clip(x, min_value, max_value),
    "concatenate": lambda tensors, axis=-1: ops.concatenate(tensors, axis=axis),
    "constant": _constant,
    "conv2d": lambda x, kernel, strides=(1, 1), padding="valid", data_format=None, dilation_rate=(1, 1): ops.conv(
        x, kernel, strides, padding, data_format, dilation_rate
    ),
    "count_params": lambda x: math.prod(x.shape),
    "cumprod": lambda x, axis=0: ops.cumprod(x, axis=axis),
    "cumsum": lambda x, axis=0: ops.cumsum(x, axis=axis),
    "dropout": lambda x, level, noise_shape=None, seed=None: keras.random.dropout(x, level, noise_shape, seed),
    "dtype": lambda x: keras.backend.standardize_dtype(x.dtype),
    "expand_dims": lambda x, axis=-1: ops.expand_dims(x, axis),
    "flatten": lambda x: ops.reshape(x, (-1,)),
    "gather": lambda reference, indices: ops.take(reference, indices, axis=0),
    "hard_sigmoid": lambda x: ops.clip(0.2 * x + 0.5, 0.0, 1.0),
    "identity": lambda x, name=None: ops.copy(x),
    "image_dim_ordering": lambda: {new: old for old, new in DIM_ORDERINGS.items()}[keras.config.image_data_format()],
    "int_shape": lambda x: tuple(x.shape),
    "l2_normalize": lambda x, axis=None: (
        x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12))
    ),
    "ndim": lambda x: len(x.shape),
    "one_hot": lambda indices, num_classes: ops.one_hot(indices, num_classes),
    "ones": lambda shape, dtype=None, name=None: ops.ones(shape, dtype),
    "ones_like": lambda x, dtype=None, name=None: ops.ones_like(x, dtype),
    "permute_dimensions": lambda x, pattern: ops.transpose(x, pattern),
    "pool2d": _pool2d,
    "relu": lambda x, alpha=0.0, max_value=None: keras.activations.relu(x, alpha, max_value),
    "repeat_elements": lambda x, rep, axis: ops.repeat(x, rep, axis),
    "reshape": lambda x, shape: ops.reshape(x, shape),
    "resize_images": _resize_images,
    "reverse": lambda x, axes: functools.reduce(ops.flip, _axes(axes), x),
    "set_image_dim_ordering": lambda dim_ordering: keras.config.set_image_data_format(DIM_ORDERINGS[dim_ordering]),
    "set_value": lambda x, value: x.assign(value),
    "spatial_2d_padding": _spatial_2d_padding,
    "sqrt": lambda x: ops.sqrt(ops.maximum(x, 0.0)),
    "stop_gradient": _stop_gradient,
    "switch": _switch,
    "tile": lambda x, n: ops.tile(x, n),
    "update": lambda x, new_x: x.assign(new_x),
    "update_add": lambda x, increment: x.assign_add(increment),
    "update_sub": lambda x, decrement: x.assign_sub(decrement),
    "variable": _variable,
    "zeros": lambda shape, dtype=None, name=None: ops.zeros(shape, dtype),
    "zeros_like": lambda x, dtype=None, name=None: ops.zeros_like(x, dtype),
}

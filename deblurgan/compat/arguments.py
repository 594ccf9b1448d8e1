"""Old arguments of layers, models, optimizers and callbacks, put into their modern form."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional

from deblurgan.compat.imports import resolve
from deblurgan.compat.names import ARGUMENTS, DIM_ORDERINGS, LEARNING_RATES
from deblurgan.compat.notices import OldKerasError, note
from deblurgan.compat.patches import Patches
from deblurgan.errors import InputError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Translation = Callable[[tuple[Any, ...], dict[str, Any]], Arguments]


def install(patches: Patches) -> None:
    """Let the classes of `names.ARGUMENTS`, and layers in general, take their old arguments."""
    for path in ARGUMENTS:
        cls = resolve(path)
        rename = functools.partial(_rename, path)
        if path in ("keras.layers.Conv2D", "keras.layers.Conv2DTranspose", "keras.layers.SeparableConv2D"):
            _translate(patches, cls, functools.partial(_join_kernel, path), rename)
        elif path == "keras.layers.BatchNormalization":
            _translate(patches, cls, rename, _check_mode)
        elif path.startswith("keras.optimizers."):
            default = inspect.signature(cls).parameters["learning_rate"].default
            _translate(patches, cls, rename, functools.partial(_complete_optimizer, path, default))
        else:
            _translate(patches, cls, rename)
        if path.startswith("keras.layers."):
            _translate(patches, cls, _plain_sizes)  # before the others
    _translate(patches, Functional, functools.partial(_rename, "keras.Model"))
    patches.set(keras.Model, "__new__", staticmethod(_new_model(keras.Model.__new__)))
    _translate(patches, keras.layers.Layer, _check_layer)
    patches.set(keras.layers.Layer, "add_weight", _add_weight(keras.layers.Layer.add_weight))
    patches.set(keras.optimizers.Optimizer, "lr", property(_learning_rate, _set_learning_rate))


def _translate(patches: Patches, cls: Any, *translations: Translation) -> None:
    """Let `translations` have the arguments, one after another, before `cls.__init__` does."""
    original = cls.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        for translation in translations:
            args, kwargs = translation(args, kwargs)
        original(self, *args, **kwargs)

    __init__.__doc__ = original.__doc__  # not functools.wraps: Keras compares signatures, and must see this one
    patches.set(cls, "__init__", __init__)


def _plain_sizes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Make Python's integers of NumPy's, such as `np.prod(shape)`, which Keras 3 does not take everywhere."""

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)([plain(item) for item in value])
        return int(value) if isinstance(value, np.integer) else value

    return tuple(map(plain, args)), {name: plain(value) for name, value in kwargs.items()}


def _rename(path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Rename or drop what `names.ARGUMENTS` lists."""
    for old, new in ARGUMENTS[path].items():
        if old not in kwargs:
            continue
        value = kwargs.pop(old)
        if new is None:
            note(f"{path}({old}=...) is no longer needed")
        elif new in kwargs:
            raise InputError(f"{path}: expected {old} or {new}, received both")
        else:
            note(f"{path}({old}=...) is now {new}=...")
            kwargs[new] = DIM_ORDERINGS.get(value, value) if old == "dim_ordering" else value
    return args, kwargs


def _join_kernel(path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Join Keras 1's two arguments for the kernel's rows and columns.

    (filters, rows, columns) looks like today's (filters, kernel size, strides). As in Keras 2 it is the former,
    unless there are keywords that only the latter can have.
    """
    filters, sides = args[:1], args[1:]
    if len(sides) == 2 and all(type(side) is int for side in sides):
        joins = {"padding", "data_format"}.isdisjoint(kwargs)
    else:
        joins = not {"nb_row", "nb_col"}.isdisjoint(kwargs)
    if not joins:
        return args, kwargs
    sides += tuple(kwargs.pop(name) for name in ("nb_row", "nb_col") if name in kwargs)
    note(f"{path}(filters, rows, columns) is now (filters, (rows, columns))")
    return filters, {**kwargs, "kernel_size": sides}


def _check_mode(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Take BatchNormalization's `mode` away."""
    if kwargs.pop("mode", 0) != 0:
        raise OldKerasError("keras.layers.BatchNormalization(mode=...) is not in Keras 3, which does what mode=0 did")
    return args, kwargs


def _complete_optimizer(path: str, default: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Supply the learning rate that Keras 2 had for a default, its decay, and its `epsilon=None`."""
    if not args and "learning_rate" not in kwargs and path in LEARNING_RATES:
        note(f"{path}() has another default in Keras 3; for Keras 2's write learning_rate={LEARNING_RATES[path]}")
    learning_rate = args[0] if args else kwargs.pop("learning_rate", LEARNING_RATES.get(path, default))
    if decay := kwargs.pop("decay", 0):
        note(f"{path}(lr, decay) is now learning_rate=keras.optimizers.schedules.InverseTimeDecay(lr, 1, decay)")
        learning_rate = keras.optimizers.schedules.InverseTimeDecay(learning_rate, 1, decay)
    if kwargs.get("epsilon", 0) is None:
        del kwargs["epsilon"]
    return (learning_rate, *args[1:]), kwargs


def _check_layer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Turn what every layer could be given."""
    if "weights" in kwargs:
        raise OldKerasError("a layer's argument `weights` is not in Keras 3; write instead: layer.set_weights(...)")
    if "batch_input_shape" in kwargs:
        note("a layer's argument batch_input_shape=(batch, ...) is now a keras.Input(batch_shape=...) before it")
        kwargs["input_shape"] = tuple(kwargs.pop("batch_input_shape"))[1:]
    return args, kwargs


def _new_model(original: Callable[..., Any]) -> Callable[..., Any]:
    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if cls is keras.Model:
            args, kwargs = _rename("keras.Model", args, kwargs)
        return original(cls, *args, **kwargs)

    return __new__


def _add_weight(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def add_weight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], str):
            note("layer.add_weight(name, shape, ...) is now add_weight(shape, initializer, ..., name=name)")
            order = ("name", "shape", "dtype", "initializer", "regularizer", "trainable", "constraint")
            args, kwargs = (), {**kwargs, **dict(zip(order, args, strict=False))}
        return original(self, *args, **kwargs)

    return add_weight


def _learning_rate(optimizer: Any) -> Any:
    note("the attribute `lr` of an optimizer is now `learning_rate`")
    return optimizer.learning_rate


def _set_learning_rate(optimizer: Any, value: float) -> None:
    note("the attribute `lr` of an optimizer is now `learning_rate`")
    optimizer.learning_rate = value

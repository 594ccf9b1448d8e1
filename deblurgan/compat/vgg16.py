"""`keras.applications.vgg16.VGG16` without a download, as far as the package has its weights."""

import functools
import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
from keras import layers

from deblurgan.compat.notices import note
from deblurgan.compat.patches import Patches
from deblurgan.networks.vgg import VGG16_LAYERS, vgg16_weights


def install(patches: Patches) -> None:
    """Let `VGG16(weights="imagenet", include_top=False)` be the part of it that the package has."""
    stand_in = _without_download(keras.applications.VGG16)
    for module in ("keras.applications", "keras.applications.vgg16"):
        patches.set(importlib.import_module(module), "VGG16", stand_in)


def _without_download(original: Callable[..., Any]) -> Callable[..., Any]:
    build_once = functools.cache(_build_outside)

    @functools.wraps(original)
    def vgg16(
        include_top: bool = True,
        weights: Any = "imagenet",
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        pooling: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if include_top or weights != "imagenet" or pooling:
            return original(include_top, weights, input_tensor, input_shape, pooling, *args, **kwargs)
        note(
            "keras.applications.vgg16.VGG16: the layers up to block3_pool, with ImageNet's weights, come from "
            "deblurgan without a download; for all layers write weights=PATH"
        )
        import tensorflow as tf

        if input_tensor is not None:
            return _build(input_tensor)
        shape = tuple(input_shape or (None, None, 3))
        return _build(layers.Input(shape)) if tf.executing_eagerly() else build_once(shape)

    return vgg16


def _build_outside(shape: tuple[int | None, ...]) -> Any:
    """Build the model in a thread of its own, where no function is being traced.

    The tutorial calls `VGG16` in its loss. Keras 3 calls that while it traces the training step, in which variables
    can be neither made nor given their values.
    """
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: _build(layers.Input(shape))).result()


def _build(inputs: Any) -> Any:
    """Build the layers up to block3_pool with their usual names, and give them their weights."""
    x = inputs
    stored = vgg16_weights()
    for name in VGG16_LAYERS:
        if name.endswith("conv1") and name != VGG16_LAYERS[0]:
            x = layers.MaxPooling2D(2, name=f"block{int(name[5]) - 1}_pool")(x)
        filters = stored[f"{name}/bias"].size
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
    model = keras.Model(inputs, layers.MaxPooling2D(2, name="block3_pool")(x), name="vgg16")
    for name in VGG16_LAYERS:
        model.get_layer(name).set_weights([stored[f"{name}/kernel"], stored[f"{name}/bias"]])
    return model

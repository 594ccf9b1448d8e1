"""Taking batch normalisations into the convolutions before them, for a network that only restores."""

from collections import Counter
from typing import Any

import keras
import numpy as np

from deblurgan.networks.footprint import run, takes_statistics


def folded(model: keras.Model) -> keras.Model:
    """Return a network that gives what `model` gives outside training, with fewer layers where that can be.

    Each batch normalisation that alone takes what a convolution gives is in that convolution's weights, which are
    those of now, and dropout is left out. Where there is no such normalisation, it is `model` itself.
    """
    norms = _norms(model)
    if not norms:
        return model
    spare = list(norms.values())

    def called(layer: Any, given: Any) -> Any:
        is_dropout = isinstance(layer, keras.layers.Dropout) and not getattr(layer, "always", False)
        if is_dropout or layer in spare:
            return given
        config, norm = layer.get_config(), norms.get(layer)
        if norm is not None:
            config |= {"use_bias": True, "kernel_initializer": "zeros"}
        copy = type(layer).from_config(config)
        made = copy(given)
        copy.set_weights(layer.get_weights() if norm is None else _folded(layer, norm))
        return made

    inputs = keras.Input(model.input_shape[1:], name=model.inputs[0].name)
    return keras.Model(inputs, run(model, inputs, called), name=model.name)


def _norms(model: keras.Model) -> dict[Any, Any]:
    """The normalisations that can be folded, by the convolutions before them."""
    convolutions = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    sources = {id(layer.output): layer for layer in model.operations if isinstance(layer, convolutions)}
    uses = Counter(id(x) for layer in model.operations for x in keras.tree.flatten(getattr(layer, "input", [])))
    return {
        sources[id(layer.input)]: layer
        for layer in model.operations
        if isinstance(layer, keras.layers.BatchNormalization)
        and not takes_statistics(layer)
        and id(layer.input) in sources
        and uses[id(layer.input)] == 1
        and sources[id(layer.input)].activation is keras.activations.linear
    }


def _folded(conv: Any, norm: Any) -> list[np.ndarray]:
    """Return kernel and bias of `conv` with the normalisation after it taken in, computed in float64.

    y = gamma (W x + b - mean) / sqrt(variance + epsilon) + beta.
    """
    kernel, *biases = (tensor.astype(np.float64) for tensor in conv.get_weights())
    gamma, beta, mean, variance = (np.asarray(x, np.float64) for x in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    kernel = kernel * (factor[:, np.newaxis] if isinstance(conv, keras.layers.Conv2DTranspose) else factor)
    bias = (biases[0] - mean if biases else -mean) * factor + beta
    return [kernel.astype(np.float32), bias.astype(np.float32)]

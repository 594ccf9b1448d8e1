"""The tutorial's two networks in weight files: tensors matched by order and shape, whatever the layers are called."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deblurgan.errors import WeightsError
from deblurgan.networks import tutorial as networks
from deblurgan.weights.hdf5 import NORM_TENSORS, LayerWeights, check_shapes, read


@dataclass(frozen=True)
class GeneratorWeights:
    """The tutorial generator's weights, in the network's order, and the hyper-parameters that they imply.

    `convs` holds the convolutions (transposed ones included) from input to output; `norms` the normalisation after
    each but the last.
    """

    source: str
    convs: list[LayerWeights]
    norms: list[LayerWeights]

    def __post_init__(self) -> None:
        """Check that the tensors make a generator of the tutorial's family."""
        kernels = [conv.kernel_shape for conv in self.convs]
        n_blocks, odd = divmod(len(kernels) - 6, 2)
        if n_blocks < 1 or odd or len(self.norms) != len(kernels) - 1 or any(len(k) != 4 for k in kernels):
            raise WeightsError(
                f"{self.source}: expected a generator's 6 + 2n convolutions with a normalisation after each but the "
                f"last (9 blocks: 24 and 23), found {len(kernels)} and {len(self.norms)}{self._guess()}"
            )
        if kernels[0][:2] != (7, 7) or kernels[-1][:2] != (7, 7):
            raise WeightsError(
                f"{self.source}: expected a generator, whose first and last kernels are 7x7, found "
                f"{self.convs[0].name} {kernels[0]} and {self.convs[-1].name} {kernels[-1]}{self._guess()}"
            )

    def _guess(self) -> str:
        if self.convs and self.convs[0].kernel_shape[:2] == (4, 4):
            return "; it looks like a discriminator"
        return ""

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Keywords for `generator_model`, apart from the sizes and dtype."""
        kernels = [conv.kernel_shape for conv in self.convs]
        up = kernels[-3]  # transposed kernels are (rows, columns, out, in), others (rows, columns, in, out)
        return {
            "ngf": kernels[0][3],
            "n_blocks": (len(kernels) - 6) // 2,
            "upsampling": "transpose" if up[3] > up[2] else "resize",
        }

    def build(self, *, dtype: Any = None, dropout: float = 0.5) -> keras.Model:
        """Return the generator that fits, for images of any size, with these weights.

        Raises:
            WeightsError: a tensor has another shape than the network's; the message names both.
        """
        channels = self.convs[0].kernel_shape[2]
        model = networks.generator_model(
            (None, None, channels), **self.hyper_parameters, dropout=dropout, dtype=dtype
        )
        self.assign(model)
        return model

    def assign(self, model: keras.Model) -> None:
        """Put the weights into `model`, a generator built by `generator_model`; see `build` for the errors."""
        _assign(model, self.convs, self.norms, self.source)


@dataclass(frozen=True)
class DiscriminatorWeights:
    """The tutorial discriminator's weights, in the network's order, and the hyper-parameters that they imply.

    `convs` holds its convolutions and then the two dense layers.
    """

    source: str
    convs: list[LayerWeights]
    norms: list[LayerWeights]

    def __post_init__(self) -> None:
        """Check that the tensors make a discriminator of the tutorial's family."""
        kernels = [conv.kernel_shape for conv in self.convs]
        dense = [kernel for kernel in kernels if len(kernel) == 2]
        n_convs = len(kernels) - len(dense)
        fits = len(dense) == 2 and n_convs > 3 and len(self.norms) == n_convs - 2
        if not fits or any(kernel[:2] != (4, 4) for kernel in kernels[:n_convs]):
            raise WeightsError(
                f"{self.source}: expected a discriminator's 4x4 convolutions (6), a normalisation after all but the "
                f"first and last (4), and 2 dense layers, found {n_convs}, {len(self.norms)} and {len(dense)}"
            )

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Keywords for `discriminator_model`; the images are taken to be square."""
        kernels = [conv.kernel_shape for conv in self.convs]
        n_layers = len(kernels) - 5
        side = round(kernels[-2][0] ** 0.5) * 2 ** (n_layers + 1)
        return {"image_shape": (side, side, kernels[0][2]), "ndf": kernels[0][3], "n_layers": n_layers}

    def build(self, *, dtype: Any = None) -> keras.Model:
        """Return the discriminator that fits, with these weights.

        Raises:
            WeightsError: a tensor has another shape than the network's; the message names both.
        """
        model = networks.discriminator_model(**self.hyper_parameters, dtype=dtype)
        _assign(model, self.convs, self.norms, self.source)
        return model


def generator_weights(model: keras.Model) -> GeneratorWeights:
    """Return the weights that `model`, a generator built by `generator_model`, has now."""
    convs, norms = _weighted_layers(model)
    return GeneratorWeights(
        model.name,
        *(
            [LayerWeights(layer.name, tuple(np.asarray(w) for w in layer.get_weights())) for layer in layers]
            for layers in (convs, norms)
        ),
    )


def read_generator(path: str | os.PathLike[str]) -> GeneratorWeights:
    """Read the tutorial generator's weights from a file that `hdf5.read` reads.

    Layer names and numbers in the file are arbitrary; tensors are matched by order and shape.

    Raises:
        FileError: missing, unreadable, or not a weight file.
        WeightsError: the file holds something else than a generator; the message says what was found.
    """
    return GeneratorWeights(str(path), *_convs_and_norms(read(path).layers))


def from_layers(source: str, layers: Sequence[LayerWeights]) -> GeneratorWeights | DiscriminatorWeights:
    """Return whichever of the tutorial's two networks has these layers, in its order.

    Raises:
        WeightsError: neither has.
    """
    convs, norms = _convs_and_norms(layers)
    kind = DiscriminatorWeights if convs and convs[0].kernel_shape[:2] == (4, 4) else GeneratorWeights
    return kind(source, convs, norms)


def from_tensors(source: str, tensors: Sequence[np.ndarray]) -> GeneratorWeights | DiscriminatorWeights:
    """As `from_layers`, of all tensors in the order of a network's `weights`."""
    layers: list[LayerWeights] = []
    start = 0
    while start < len(tensors):
        count = 2 if tensors[start].ndim > 1 else len(NORM_TENSORS)
        layers.append(LayerWeights(f"variables/{start}", tuple(tensors[start : start + count])))
        start += count
    return from_layers(source, layers)


def _convs_and_norms(layers: Sequence[LayerWeights]) -> tuple[list[LayerWeights], list[LayerWeights]]:
    return [layer for layer in layers if not layer.is_norm], [layer for layer in layers if layer.is_norm]


def _weighted_layers(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """The layers of `model` that have weights, in order: convolutions and dense ones, normalisations."""
    layers = [layer for layer in model.layers if layer.weights]
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    return [layer for layer in layers if layer not in norms], norms


def _assign(model: keras.Model, convs: list[LayerWeights], norms: list[LayerWeights], source: str) -> None:
    """Put the weights into the layers of `model`, once all are known to fit."""
    pairs = list(zip(_weighted_layers(model), (convs, norms), strict=True))
    for layers, entries in pairs:
        _check_count(layers, entries, source)
        for layer, entry in zip(layers, entries, strict=True):
            check_shapes(layer.name, [tuple(variable.shape) for variable in layer.weights], entry, source)
    for layers, entries in pairs:
        for layer, entry in zip(layers, entries, strict=True):
            layer.set_weights(list(entry.tensors))


def _check_count(layers: list[Any], entries: list[LayerWeights], source: str) -> None:
    """Raise WeightsError unless there are as many entries as layers."""
    if len(layers) != len(entries):
        raise WeightsError(f"{source}: expected {len(layers)} layers for the network, found {len(entries)}")

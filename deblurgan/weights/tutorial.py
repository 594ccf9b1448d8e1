"""The tutorial's two networks in weight files: tensors matched by order and shape, whatever the layers are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deblurgan.errors import WeightsError
from deblurgan.networks import tutorial as networks
from deblurgan.weights.hdf5 import NORM_TENSORS, LayerWeights, check_shapes


@dataclass(frozen=True)
class TutorialWeights:
    """The weights of one of the tutorial's networks, in its order; `source` is what to call them in messages."""

    source: str
    layers: Sequence[LayerWeights]

    @property
    def convs(self) -> list[LayerWeights]:
        """The convolutions, transposed ones included, and then the dense layers."""
        return [layer for layer in self.layers if not layer.is_norm]

    @property
    def norms(self) -> list[LayerWeights]:
        """The normalisations."""
        return [layer for layer in self.layers if layer.is_norm]

    @property
    def kernels(self) -> list[tuple[int, ...]]:
        """The shape of each kernel."""
        return [conv.kernel_shape for conv in self.convs]

    def assign(self, model: keras.Model) -> None:
        """Put the weights into `model`, which is changed only if all fit.

        Raises:
            WeightsError: a tensor has another shape than the network's; the message names both.
        """
        layers = [layer for layer in model.layers if layer.weights]
        norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
        pairs: list[tuple[Any, LayerWeights]] = []
        for expected, found in (([layer for layer in layers if layer not in norms], self.convs), (norms, self.norms)):
            if len(expected) != len(found):
                raise WeightsError(
                    f"{self.source}: expected {len(expected)} layers for the network, found {len(found)}"
                )
            pairs += zip(expected, found, strict=True)
        for layer, entry in pairs:
            check_shapes(layer.name, [tuple(variable.shape) for variable in layer.weights], entry, self.source)
        for layer, entry in pairs:
            layer.set_weights(list(entry.tensors))


@dataclass(frozen=True)
class GeneratorWeights(TutorialWeights):
    """The generator's weights: a normalisation after each convolution but the last.

    Raises:
        WeightsError: the tensors make no generator of the tutorial's family.
    """

    def __post_init__(self) -> None:
        kernels, norms = self.kernels, self.norms
        n_blocks, odd = divmod(len(kernels) - 6, 2)
        guess = "; it looks like a discriminator" if kernels and kernels[0][:2] == (4, 4) else ""
        if n_blocks < 1 or odd or len(norms) != len(kernels) - 1 or any(len(k) != 4 for k in kernels):
            raise WeightsError(
                f"{self.source}: expected a generator's 6 + 2n convolutions with a normalisation after each but the "
                f"last (9 blocks: 24 and 23), found {len(kernels)} and {len(norms)}{guess}"
            )
        if kernels[0][:2] != (7, 7) or kernels[-1][:2] != (7, 7):
            raise WeightsError(
                f"{self.source}: expected a generator, whose first and last kernels are 7x7, found "
                f"{self.convs[0].name} {kernels[0]} and {self.convs[-1].name} {kernels[-1]}{guess}"
            )

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Keywords for `generator_model`, apart from the sizes and dtype."""
        kernels = self.kernels
        up = kernels[-3]  # transposed kernels are (rows, columns, out, in), others (rows, columns, in, out)
        return {
            "ngf": kernels[0][3],
            "n_blocks": (len(kernels) - 6) // 2,
            "upsampling": "transpose" if up[3] > up[2] else "resize",
        }

    def build(self, *, dtype: Any = None, dropout: float = 0.5) -> keras.Model:
        """Return the generator that fits, for images of any size, with these weights; errors as of `assign`."""
        shape = (None, None, self.kernels[0][2])
        model = networks.generator_model(shape, **self.hyper_parameters, dropout=dropout, dtype=dtype)
        self.assign(model)
        return model


@dataclass(frozen=True)
class DiscriminatorWeights(TutorialWeights):
    """The discriminator's weights, of its convolutions and two dense layers.

    Raises:
        WeightsError: the tensors make no discriminator of the tutorial's family.
    """

    def __post_init__(self) -> None:
        kernels, norms = self.kernels, self.norms
        dense = [kernel for kernel in kernels if len(kernel) == 2]
        n_convs = len(kernels) - len(dense)
        fits = len(dense) == 2 and n_convs > 3 and len(norms) == n_convs - 2
        if not fits or any(kernel[:2] != (4, 4) for kernel in kernels[:n_convs]):
            raise WeightsError(
                f"{self.source}: expected a discriminator's 4x4 convolutions (6), a normalisation after all but the "
                f"first and last (4), and 2 dense layers, found {n_convs}, {len(norms)} and {len(dense)}"
            )

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Keywords for `discriminator_model`; the images are taken to be square."""
        kernels = self.kernels
        n_layers = len(kernels) - 5
        side = round(kernels[-2][0] ** 0.5) * 2 ** (n_layers + 1)
        return {"image_shape": (side, side, kernels[0][2]), "ndf": kernels[0][3], "n_layers": n_layers}

    def build(self, *, dtype: Any = None) -> keras.Model:
        """Return the discriminator that fits, with these weights; errors as of `assign`."""
        model = networks.discriminator_model(**self.hyper_parameters, dtype=dtype)
        self.assign(model)
        return model


def from_layers(source: str, layers: Sequence[LayerWeights]) -> GeneratorWeights | DiscriminatorWeights:
    """Return whichever of the tutorial's two networks has these layers, in its order.

    Raises:
        WeightsError: neither has.
    """
    first = next((layer.kernel_shape for layer in layers if not layer.is_norm), ())
    return (DiscriminatorWeights if first[:2] == (4, 4) else GeneratorWeights)(source, layers)


def from_tensors(source: str, tensors: Sequence[np.ndarray]) -> GeneratorWeights | DiscriminatorWeights:
    """As `from_layers`, of all tensors in the order of a network's `weights`."""
    layers: list[LayerWeights] = []
    start = 0
    while start < len(tensors):
        count = 2 if tensors[start].ndim > 1 else len(NORM_TENSORS)
        layers.append(LayerWeights(f"variables/{start}", tuple(tensors[start : start + count])))
        start += count
    return from_layers(source, layers)

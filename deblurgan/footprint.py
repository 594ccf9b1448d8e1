"""What a network needs when it restores a part of a picture: surroundings, alignment, memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from deblurgan.errors import InputError
from deblurgan.layer_utils import InstanceNormalization
from deblurgan.networks.nafnet_layers import DepthToSpace, NAFBlock, SpaceToDepth

BLOCK_PEAK = 6  # tensors of its input's size, in float32, that a NAFBlock holds at once: the sums of its windows


@dataclass(frozen=True)
class Footprint:
    """What a network needs.

    Attributes:
        multiple: what the sides of its input must be multiples of.
        reach: how many pixels away it looks, to each side, windows and statistics apart.
        window: side in pixels of the largest square whose mean it takes besides; 0 for none.
        whole: whether it takes means of the whole picture.
        bytes_per_pixel: the largest sum of activations that are needed at the same time, for each pixel of the input.
    """

    multiple: int
    reach: int
    window: int
    whole: bool
    bytes_per_pixel: float

    @property
    def local(self) -> bool:
        """Whether nothing farther away than `reach` has any influence."""
        return not (self.window or self.whole)


def footprint(model: keras.Model, name: str | None = None) -> Footprint:
    """Survey the layers of `model`, a network from RGB images to RGB images of the same size.

    Raises:
        InputError: other channels; the message calls the network `name`, or else as it calls itself.
    """
    if model.input_shape[-1] != 3 or model.output_shape[-1] != 3:
        shapes = f"{model.input_shape} to {model.output_shape}"
        raise InputError(f"{name or model.name}: expected a network from 3 channels to 3, found {shapes}")
    scales: dict[int, int] = {}  # of each tensor: pixels of the input to one of its own, along a side
    reaches: dict[int, int] = {}
    sizes: dict[int, float] = {}  # bytes per pixel of the input
    last_use = {id(x): i for i, layer in enumerate(model.operations) for x in _inputs(layer)}
    largest, peak, window, whole = 1, 0.0, 0, False
    for i, layer in enumerate(model.operations):
        inputs = [id(x) for x in _inputs(layer)]
        output = id(layer.output)
        before = max((scales[x] for x in inputs), default=1)
        after = scales[output] = before * _shrinks(layer) // _grows(layer)
        reaches[output] = max((reaches[x] for x in inputs), default=0) + _looks(layer, before, after)
        sizes[output] = _bytes(layer.output, after)
        inside = 0.0
        if isinstance(layer, NAFBlock):
            window = max(window, (layer.window or 0) * after)
            whole = whole or layer.window is None
            inside = BLOCK_PEAK * 4 * layer.output.shape[-1] / after**2
        whole = whole or takes_statistics(layer)
        largest = max(largest, after)
        alive = sum(size for x, size in sizes.items() if last_use.get(x, len(model.operations)) >= i)
        peak = max(peak, alive + inside)
    # A stride adds up to its own length less one, depending on where in it a pixel lies: together the largest scale.
    return Footprint(largest, reaches[id(model.output)] + largest, window, whole, peak)


def run(model: keras.Model, inputs: Any, call: Callable[[Any, Any], Any]) -> Any:
    """Return what `model` makes of `inputs`, each layer by `call(layer, its input)`."""
    values = {id(model.inputs[0]): inputs}
    for layer in model.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        given = [values[id(x)] for x in _inputs(layer)]
        argument = given if len(given) > 1 else given[0]
        values[id(layer.output)] = call(layer, argument)
    return values[id(model.output)]


def takes_statistics(layer: Any) -> bool:
    """Whether a layer normalises an image by the image's own statistics."""
    return isinstance(layer, InstanceNormalization) and layer.statistics == "image"


def _inputs(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return list(layer.input) if isinstance(layer.input, (list, tuple)) else [layer.input]


def _shrinks(layer: Any) -> int:
    if isinstance(layer, SpaceToDepth):
        return layer.factor
    return layer.strides[0] if type(layer) is keras.layers.Conv2D else 1


def _grows(layer: Any) -> int:
    if isinstance(layer, DepthToSpace):
        return layer.factor
    if isinstance(layer, keras.layers.UpSampling2D):
        return layer.size[0]
    return layer.strides[0] if isinstance(layer, keras.layers.Conv2DTranspose) else 1


def _looks(layer: Any, before: int, after: int) -> int:
    """How many pixels of the network's input a layer looks beyond its own place."""
    if isinstance(layer, NAFBlock):
        return before  # its 3x3 convolution
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return layer.kernel_size[0] // 2 * after
    if isinstance(layer, keras.layers.Conv2D):
        return layer.kernel_size[0] // 2 * before
    return 0


def _bytes(tensor: Any, scale: int) -> float:
    return tensor.shape[-1] * {"float64": 8, "float32": 4}.get(tensor.dtype, 2) / scale**2

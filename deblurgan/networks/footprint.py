"""What a network needs when it restores a part of a picture: surroundings, alignment, memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from deblurgan.errors import InputError
from deblurgan.networks.layers import InstanceNormalization
from deblurgan.networks.maxim_layers import (
    ChannelAttentionBlock,
    CrossGating,
    Fusion,
    MultiAxisGmlp,
    Subsampled,
    SupervisedAttention,
)
from deblurgan.networks.nafnet_layers import DepthToSpace, NAFBlock, SpaceToDepth

# Tensors of its first input's size, in float32, that a layer holds at once beside what goes in and comes out.
INSIDE: dict[type, float] = {
    NAFBlock: 6,  # the sums of its windows
    MultiAxisGmlp: 6,
    CrossGating: 6,
    ChannelAttentionBlock: 2,
    SupervisedAttention: 2,
    Fusion: 2,
}
MIXES = (MultiAxisGmlp, CrossGating, ChannelAttentionBlock)  # over all of whatever they are given
TILE = 384  # pixels, a side of the tiles that MAXIM, trained on 256, restores best; see `benchmarks/maxim_tiles.py`


@dataclass(frozen=True)
class Footprint:
    """What a network needs.

    Attributes:
        multiple: what the sides of its input must be multiples of.
        reach: how many pixels away it looks, to each side, windows and statistics apart.
        window: side in pixels of the largest square whose mean it takes besides; 0 for none.
        whole: whether it takes means of the whole picture.
        bytes_per_pixel: the largest sum of activations that are needed at the same time, for each pixel of the input.
        tile: side in pixels of the tiles that it restores best, since it mixes over whatever it is given; None for as
            large ones as may be.
    """

    multiple: int
    reach: int
    window: int
    whole: bool
    bytes_per_pixel: float
    tile: int | None = None

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
    largest, peak, window, whole, mixes, multiple = 1, 0.0, 0, False, False, 1
    for i, layer in enumerate(model.operations):
        inputs = [id(x) for x in _inputs(layer)]
        before = max((scales[x] for x in inputs), default=1)
        after = _scale(layer, [scales[x] for x in inputs])
        reach = max((reaches[x] for x in inputs), default=0) + _looks(layer, before, after)
        for output in _outputs(layer):
            scales[id(output)], reaches[id(output)], sizes[id(output)] = after, reach, _bytes(output, after)
        inside = INSIDE.get(type(layer), 0) * 4 * _outputs(layer)[0].shape[-1] / after**2
        if isinstance(layer, NAFBlock):
            window = max(window, (layer.window or 0) * after)
            whole = whole or layer.window is None
        if isinstance(layer, (MultiAxisGmlp, CrossGating)):
            multiple = math.lcm(multiple, *(after * side for side in (*layer.block_size, *layer.grid_size)))
        mixes = mixes or isinstance(layer, MIXES)
        whole = whole or mixes or takes_statistics(layer)
        largest = max(largest, after)
        alive = sum(size for x, size in sizes.items() if last_use.get(x, len(model.operations)) >= i)
        peak = max(peak, alive + inside)
    tile = -(-TILE // multiple) * multiple if mixes else None
    # A stride adds up to its own length less one, depending on where in it a pixel lies: together the largest scale.
    reach = reaches[id(model.output)] + largest
    return Footprint(math.lcm(multiple, largest), reach, window, whole, peak, tile)


def run(model: keras.Model, inputs: Any, call: Callable[[Any, Any], Any]) -> Any:
    """Return what `model` makes of `inputs`, each layer by `call(layer, its input)`."""
    values = {id(model.inputs[0]): inputs}
    for layer in model.operations:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        given = [values[id(x)] for x in _inputs(layer)]
        made = call(layer, given if len(given) > 1 else given[0])
        outputs = _outputs(layer)
        values |= {id(x): y for x, y in zip(outputs, made if len(outputs) > 1 else [made], strict=True)}
    return values[id(model.outputs[0])]


def takes_statistics(layer: Any) -> bool:
    """Whether a layer normalises an image by the image's own statistics."""
    return isinstance(layer, InstanceNormalization) and layer.statistics == "image"


def _inputs(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return list(layer.input) if isinstance(layer.input, (list, tuple)) else [layer.input]


def _outputs(layer: Any) -> list[Any]:
    return list(layer.output) if isinstance(layer.output, (list, tuple)) else [layer.output]


def _scale(layer: Any, before: list[int]) -> int:
    """How many pixels of the network's input are one of what a layer gives, along a side."""
    if isinstance(layer, Fusion):
        return before[0] // 2 if layer.up else before[0] if layer.plain else round(before[0] / layer.ratios[0])
    return max(before, default=1) * _shrinks(layer) // _grows(layer)


def _shrinks(layer: Any) -> int:
    if isinstance(layer, (SpaceToDepth, Subsampled)):
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

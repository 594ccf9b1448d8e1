"""What a network needs when it restores a part of a picture: surroundings, alignment, memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from deblurgan.errors import InputError


@dataclass(frozen=True)
class LayerNeeds:
    """What a layer needs; those of `deblurgan.networks` say so by an attribute `needs`.

    Attributes:
        growth: how many times longer a side of its result is than one of its first input.
        looks: how many pixels of its first input it looks beyond its own place, to each side.
        window: side, in pixels of its result, of the squares whose mean it takes; 0 for none, None for the whole.
        multiple: what the sides of its result must be multiples of.
        held: how many tensors of its result's size, in float32, it holds at once beside what goes in and comes out.
        tile: side in pixels of the tiles that a network with it restores best, since it mixes over all of whatever it
            is given; None where it does not.
    """

    growth: float = 1
    looks: float = 0
    window: int | None = 0
    multiple: int = 1
    held: float = 0
    tile: int | None = None


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


def footprint(model: keras.Model) -> Footprint:
    """Survey the layers of `model`, a network from images to such of the same size."""
    scales: dict[int, int] = {}  # of each tensor: pixels of the input to one of its own, along a side
    reaches: dict[int, int] = {}
    sizes: dict[int, float] = {}  # bytes per pixel of the input
    last_use = {id(x): i for i, layer in enumerate(model.operations) for x in _inputs(layer)}
    largest, peak, window, whole, tile, multiple = 1, 0.0, 0, False, 0, 1
    for i, layer in enumerate(model.operations):
        needs = needs_of(layer)
        inputs = [id(x) for x in _inputs(layer)]
        before = scales[inputs[0]] if inputs else 1
        after = round(before / needs.growth)
        reach = max((reaches[x] for x in inputs), default=0) + round(needs.looks * before)
        for output in _outputs(layer):
            scales[id(output)], reaches[id(output)], sizes[id(output)] = after, reach, _bytes(output, after)
        window = max(window, (needs.window or 0) * after)
        tile = max(tile, needs.tile or 0)
        whole = whole or needs.window is None or needs.tile is not None
        multiple = math.lcm(multiple, after * needs.multiple)
        largest = max(largest, after)
        alive = sum(size for x, size in sizes.items() if last_use.get(x, len(model.operations)) >= i)
        peak = max(peak, alive + needs.held * 4 * _outputs(layer)[0].shape[-1] / after**2)
    # A stride adds up to its own length less one, depending on where in it a pixel lies: together the largest scale.
    reach = reaches[id(model.output)] + largest
    multiple = math.lcm(multiple, largest)
    return Footprint(multiple, reach, window, whole, peak, -(-tile // multiple) * multiple if tile else None)


def require_channels(model: keras.Model, known: tuple[int, ...], name: str) -> None:
    """Raise InputError unless `model`, which messages call `name`, takes and gives images of `known` channels."""
    if model.input_shape[-1] not in known or model.output_shape[-1] not in known:
        shapes, counts = f"{model.input_shape} to {model.output_shape}", " or ".join(map(str, known))
        raise InputError(f"{name}: expected a network from {counts} channels to {counts}, found {shapes}")


def needs_of(layer: Any) -> LayerNeeds:
    """Return what a layer needs, one of this package or of Keras."""
    if hasattr(layer, "needs"):
        return layer.needs
    if takes_statistics(layer):
        return LayerNeeds(window=None)
    if isinstance(layer, keras.layers.Conv2D):
        return LayerNeeds(growth=1 / layer.strides[0], looks=layer.kernel_size[0] // 2)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return LayerNeeds(growth=layer.strides[0], looks=layer.kernel_size[0] // 2 / layer.strides[0])
    return LayerNeeds(growth=layer.size[0]) if isinstance(layer, keras.layers.UpSampling2D) else LayerNeeds()


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
    return getattr(layer, "statistics", None) == "image"


def _inputs(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return list(layer.input) if isinstance(layer.input, (list, tuple)) else [layer.input]


def _outputs(layer: Any) -> list[Any]:
    return list(layer.output) if isinstance(layer.output, (list, tuple)) else [layer.output]


def _bytes(tensor: Any, scale: int) -> float:
    return tensor.shape[-1] * {"float64": 8, "float32": 4}.get(tensor.dtype, 2) / scale**2

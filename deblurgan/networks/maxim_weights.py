"""Weights of MAXIM by the names that its authors gave them: tell which network they make, and which is whose.

`weights.flax` and `weights.tfjs` give such weights. `layout` lists what a network has.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from deblurgan.errors import WeightsError
from deblurgan.networks.maxim_names import authors_names
from deblurgan.networks.network import Tensors, dimensions

Shape = tuple[int, ...]
Entries = Iterator[tuple[str, Shape]]

KIND = "MAXIM generator"
MARK = "stage_0_input_conv_0/kernel"  # a weight that every MAXIM has
SPARE = r"stage_\d+\.out_[1-9]\d*"  # layers that the last stage has for training alone


class Array(Protocol):
    """Anything that has a shape."""

    @property
    def shape(self) -> Shape:
        """Its size along each dimension."""


def identify(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """Tell which MAXIM the weights `tensors` make.

    Two things may be in a file or not, and the options are the same: the output convolutions of the last stage's
    smaller scales, which only training needs; and in place of all of the last stage's output convolutions the
    supervised attention modules of a stage that others follow, where a file has the first stages of a network.

    Returns:
        `channels` of the images, and as the network takes them: `features`, `depth`, `stages`, `groups`, `scales`,
        `bottleneck_blocks`, `high_resolutions`, `block_size`, `grid_size`, `low_block_size`, `low_grid_size`,
        `input_factor`, `block_factor`, `grid_factor`, `reduction`. Blocks and grids are taken for squares: only how
        many pixels they have is known.

    Raises:
        WeightsError: a tensor is missing, left over, or of another shape; the message names the first.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    options = _options(shapes)
    last = f"stage_{options['stages'] - 1}"
    attends = f"{last}_output_conv_0/kernel" not in shapes
    attends = attends and f"{last}_supervised_attention_module_0/Conv_0/kernel" in shapes
    left = dict(shapes)
    for name, expected, needed in layout(options, attends=attends):
        found = left.pop(name, None)
        if found != expected and (needed or found is not None):
            what = "no such tensor" if found is None else dimensions(found)
            raise WeightsError(f"{name}: expected {dimensions(expected)} for a {KIND}, found {what}")
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise WeightsError(f"{ascii(next(iter(left)))[1:-1][:200]}{more}: left over, a {KIND} has no such tensor")
    return options


def initial(tensors: Tensors, depth: int) -> Callable[[str], np.ndarray]:
    """Return what gives each weight of a network of this depth its value, by the weight's path.

    What only training needs starts at zero where it is missing. WeightsError for another that is.
    """

    def value(path: str) -> np.ndarray:
        names = authors_names(path, depth)
        name = next((name for name in names if name in tensors), None)
        if name is None and re.fullmatch(SPARE, path.partition("/")[0]):
            return np.zeros(())
        if name is None:
            raise WeightsError(f"{names[0]} is missing")
        return np.asarray(tensors[name], np.float32)

    return value


def layout(options: Mapping[str, Any], *, attends: bool = False) -> Iterator[tuple[str, Shape, bool]]:
    """Yield name and shape of each tensor of a network with these options of `identify`, and if restoring needs it.

    With `attends`, the last stage ends in supervised attention modules, as those before it do.
    """
    stages, scales, channels = options["stages"], options["scales"], options["channels"]
    for stage in range(stages):
        for name, shape in _u_net(stage, options):
            yield name, shape, True
        for level in range(scales):
            width = options["features"] * 2**level
            if stage < stages - 1 or attends:
                module = f"stage_{stage}_supervised_attention_module_{level}"
                for i, (inputs, outputs) in enumerate(((width, width), (width, channels), (channels, width))):
                    for name, shape in _conv(f"{module}/Conv_{i}", 3, inputs, outputs):
                        yield name, shape, True
            else:
                for name, shape in _conv(f"stage_{stage}_output_conv_{level}", 3, width, channels):
                    yield name, shape, level == 0


def _u_net(stage: int, options: Mapping[str, Any]) -> Entries:
    """One stage, without what puts its pictures out."""
    depth, scales = options["depth"], options["scales"]
    at = f"stage_{stage}"

    def width(level: int) -> int:
        return options["features"] * 2 ** min(level, depth - 1)

    for level in range(scales):
        yield from _conv(f"{at}_input_conv_{level}", 3, options["channels"], width(level))
        if stage:
            yield from _cross_gating(f"{at}_input_fuse_sam_{level}", width(level), width(level), level, options)
    for level in range(depth):
        block = f"{at}_encoder_block_{level}"
        joined = width(max(level - 1, 0)) + (width(level) if level < scales else 0)
        yield from _pairs(block, joined, width(level), level, options)
        if stage:
            yield from _cross_gating(f"{block}/cross_gating_block", width(level), width(level), level, options)
        yield from _conv(f"{block}/Conv_1", 4, width(level), width(level))
    for i in range(options["bottleneck_blocks"]):
        yield from _bottleneck(f"{at}_global_block_{i}", width(depth), options)
    number = 2 * depth**2 * stage  # of the first UpSampleRatio of this stage
    for level in reversed(range(depth)):
        for source in range(depth):
            yield from _conv(f"UpSampleRatio_{number}/Conv_0", 1, width(source), width(level))
            number += 1
        block = f"{at}_cross_gating_block_{level}"
        yield from _transposed(f"{block}/ConvTranspose_0", width(level + 1), width(level))
        yield from _cross_gating(block, depth * width(level), width(level), level, options)
    for level in reversed(range(depth)):
        for source in reversed(range(depth)):
            yield from _conv(f"UpSampleRatio_{number}/Conv_0", 1, width(source), width(level))
            number += 1
        block = f"{at}_decoder_block_{level}"
        yield from _transposed(f"{block}/ConvTranspose_0", width(level + 1), width(level))
        yield from _pairs(f"{block}/UNetEncoderBlock_0", (1 + depth) * width(level), width(level), level, options)


def _pairs(path: str, joined: int, width: int, level: int, options: Mapping[str, Any]) -> Entries:
    """A convolution that makes `width` channels of `joined`, then pairs of a multi-axis MLP and channel attention."""
    yield from _conv(f"{path}/Conv_0", 1, joined, width)
    for i in range(options["groups"]):
        yield from _multi_axis_mlp(f"{path}/SplitHeadMultiAxisGmlpLayer_{i}", width, level, options)
        block = f"{path}/channel_attention_block_1{i}"
        yield from _norm(f"{block}/LayerNorm", width)
        yield from _conv(f"{block}/conv1", 3, width, width)
        yield from _conv(f"{block}/conv2", 3, width, width)
        yield from _channel_attention(block, width, options)


def _bottleneck(path: str, width: int, options: Mapping[str, Any]) -> Entries:
    yield from _conv(f"{path}/input_proj", 1, width, width)
    for i in range(options["groups"]):
        yield from _multi_axis_mlp(f"{path}/SplitHeadMultiAxisGmlpLayer_{i}", width, None, options)
        block = f"{path}/channel_attention_block_1_{i}"
        yield from _norm(f"{block}/LayerNorm", width)
        yield from _dense(f"{block}/channel_mixing/Dense_0", width, width)
        yield from _dense(f"{block}/channel_mixing/Dense_1", width, width)
        yield from _channel_attention(block, width, options)


def _multi_axis_mlp(path: str, width: int, level: int | None, options: Mapping[str, Any]) -> Entries:
    half = width * options["input_factor"] // 2
    yield from _norm(f"{path}/LayerNorm_in", width)
    yield from _dense(f"{path}/in_project", width, width * options["input_factor"])
    for kind, places in zip(("Grid", "Block"), _places(level, options), strict=True):
        branch = f"{path}/{kind}GmlpLayer"
        grown = half * options[f"{kind.lower()}_factor"]
        yield from _norm(f"{branch}/LayerNorm", half)
        yield from _dense(f"{branch}/in_project", half, grown)
        yield from _norm(f"{branch}/{kind}GatingUnit/intermediate_layernorm", grown // 2)
        yield from _dense(f"{branch}/{kind}GatingUnit/Dense_0", places, places)
        yield from _dense(f"{branch}/out_project", grown // 2, half)
    yield from _dense(f"{path}/out_project", 2 * half, width)


def _channel_attention(path: str, width: int, options: Mapping[str, Any]) -> Entries:
    squeezed = width // options["reduction"]
    yield from _conv(f"{path}/channel_attention/Conv_0", 1, width, squeezed)
    yield from _conv(f"{path}/channel_attention/Conv_1", 1, squeezed, width)


def _cross_gating(path: str, joined: int, width: int, level: int, options: Mapping[str, Any]) -> Entries:
    """Cross gating, and the convolutions before it; the first makes `width` channels of `joined`."""
    grown = width * options["input_factor"]
    yield from _conv(f"{path}/Conv_0", 1, joined, width)
    yield from _conv(f"{path}/Conv_1", 1, width, width)
    for side in "xy":
        yield from _norm(f"{path}/LayerNorm_{side}", width)
        yield from _dense(f"{path}/in_project_{side}", width, width)
        gating = f"{path}/SplitHeadMultiAxisGating_{side}"
        yield from _norm(f"{gating}/LayerNorm_in", width)
        yield from _dense(f"{gating}/in_project", width, grown)
        for i, places in enumerate(_places(level, options)):
            yield from _dense(f"{gating}/Dense_{i}", places, places)
        yield from _dense(f"{gating}/out_project", grown // 2 * 2, width)
        yield from _dense(f"{path}/out_project_{side}", width, width)


def _places(level: int | None, options: Mapping[str, Any]) -> tuple[int, int]:
    """How many places a grid has and how many a block, at a level or in the bottleneck."""
    low = "" if level is not None and level < options["high_resolutions"] else "low_"
    return math.prod(options[f"{low}grid_size"]), math.prod(options[f"{low}block_size"])


def _conv(path: str, side: int, inputs: int, outputs: int) -> Entries:
    yield f"{path}/kernel", (side, side, inputs, outputs)
    yield f"{path}/bias", (outputs,)


def _transposed(path: str, inputs: int, outputs: int) -> Entries:
    yield f"{path}/kernel", (2, 2, outputs, inputs)
    yield f"{path}/bias", (outputs,)


def _dense(path: str, inputs: int, outputs: int) -> Entries:
    yield f"{path}/kernel", (inputs, outputs)
    yield f"{path}/bias", (outputs,)


def _norm(path: str, width: int) -> Entries:
    yield f"{path}/scale", (width,)
    yield f"{path}/bias", (width,)


def _options(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Tell the options from tensors of the first stage; whether all else fits them is left to `layout`."""
    block = "stage_0_encoder_block_{}"
    mlp = "{}/SplitHeadMultiAxisGmlpLayer_0"

    def count(pattern: str) -> int:
        n = 0
        while pattern.format(n) in shapes:
            n += 1
        return n

    def kernel(name: str, *sides: int) -> Shape:
        """Return the shape of a kernel, of a convolution with its sides."""
        found = shapes.get(name)
        if found is None or found[:-2] != sides or len(found) != len(sides) + 2 or 0 in found:
            expected = f"a kernel of {dimensions(sides)}" if sides else "a matrix"
            what = "no such tensor" if found is None else dimensions(found)
            raise WeightsError(f"{name}: expected {expected} for a {KIND}, found {what}")
        return found

    def sizes(path: str) -> list[tuple[int, int]]:
        """Return the sizes of the block and the grid of a multi-axis MLP."""
        found = []
        for kind in ("Block", "Grid"):
            name = f"{mlp.format(path)}/{kind}GmlpLayer/{kind}GatingUnit/Dense_0/kernel"
            places = kernel(name)[0]
            side = math.isqrt(places)
            if side**2 != places:
                raise WeightsError(f"{name}: expected as many places as a square has for a {KIND}, found {places}")
            found.append((side, side))
        return found

    *_, channels, features = kernel(MARK, 3, 3)
    kernel(f"{block.format(0)}/Conv_0/kernel", 1, 1)
    depth = count(f"{block}/Conv_0/kernel")
    first = mlp.format(block.format(0))
    half = max(kernel(f"{first}/in_project/kernel")[1] // 2, 1)
    attention = f"{block.format(depth - 1)}/channel_attention_block_10/channel_attention/Conv_0/kernel"
    *_, width, squeezed = kernel(attention, 1, 1)
    bottleneck_blocks = count("stage_0_global_block_{}/input_proj/kernel")
    levels = [sizes(block.format(level)) for level in range(depth)]
    low = sizes("stage_0_global_block_0") if bottleneck_blocks else levels[-1]
    return {
        "channels": channels,
        "features": features,
        "depth": depth,
        "stages": count("stage_{}_input_conv_0/kernel"),
        "groups": count(f"{block.format(0)}/SplitHeadMultiAxisGmlpLayer_{{}}/in_project/kernel"),
        "scales": min(count("stage_0_input_conv_{}/kernel"), depth),
        "bottleneck_blocks": bottleneck_blocks,
        "high_resolutions": next((i for i, level in enumerate(levels) if level != levels[0]), depth),
        "block_size": levels[0][0],
        "grid_size": levels[0][1],
        "low_block_size": low[0],
        "low_grid_size": low[1],
        "input_factor": 2 * half // features,
        "block_factor": kernel(f"{first}/BlockGmlpLayer/in_project/kernel")[1] // half,
        "grid_factor": kernel(f"{first}/GridGmlpLayer/in_project/kernel")[1] // half,
        "reduction": max(width // squeezed, 1),
    }

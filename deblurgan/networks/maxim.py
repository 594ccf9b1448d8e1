"""MAXIM, the multi-axis MLP for image processing."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError
from deblurgan.networks import maxim_weights
from deblurgan.networks.maxim_layers import ChannelAttentionBlock, CrossGating, MultiAxisGmlp, SupervisedAttention
from deblurgan.networks.maxim_parts import Initial, started
from deblurgan.networks.maxim_scales import Fusion, Subsampled
from deblurgan.networks.network import Found, Network, Tensors
from deblurgan.networks.parts import Shape, check_choice, check_counts, check_rate, checked_shape

OUTPUTS = ("last", "all")
SIZES = ("depth", "high_resolutions", "block_size", "grid_size", "low_block_size", "low_grid_size")


def maxim(
    image_shape: Shape = (None, None, 3),
    *,
    features: int = 32,
    depth: int = 3,
    stages: int = 3,
    groups: int = 2,
    scales: int = 3,
    bottleneck_blocks: int = 2,
    high_resolutions: int = 2,
    block_size: Sequence[int] = (16, 16),
    grid_size: Sequence[int] = (16, 16),
    low_block_size: Sequence[int] = (8, 8),
    low_grid_size: Sequence[int] = (8, 8),
    input_factor: int = 2,
    block_factor: int = 2,
    grid_factor: int = 2,
    reduction: int = 4,
    dropout: float = 0.0,
    outputs: str = "last",
    dtype: Any = None,
    name: str = "MAXIM",
    initial: Initial = None,
    frozen: bool = False,
) -> keras.Model:
    """Build MAXIM: blurred image in, restored image out.

    `stages` U-Nets one after the other, whose blocks mix pixels inside blocks and over a fixed grid of whatever image
    they are given. Every stage restores the image at `scales` sizes, and hands its features to the next by way of a
    supervised attention. The paper's networks are `maxim(features=32, stages=1, scales=1)` (S-1), `stages=2` (S-2),
    `stages=3` (S-3) and `maxim(features=64, stages=1, scales=1)` (M-1): 6.1, 13.4, 20.6 and 19.4 million parameters;
    S-3 at three scales, 22.2 million, is its network for deblurring and what the defaults make.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. Heights and widths are
            multiples of `size_multiple(...)`, 64 with the defaults.
        features: channels at full size; they double with each halving.
        depth: sizes in each U-Net.
        stages: U-Nets. The first ones of a network are a network, whose weights are those of the whole one.
        groups: pairs of a multi-axis MLP and a channel attention block at each size.
        scales: sizes at which the image is taken in and restored, at most `depth`.
        bottleneck_blocks: blocks at the smallest size, each with `groups` pairs.
        high_resolutions: sizes, from the full one on, that use `block_size` and `grid_size`.
        block_size: (height, width) of a block in pixels.
        grid_size: rows and columns of the grid.
        low_block_size: `block_size` of the smaller sizes and the bottleneck.
        low_grid_size: `grid_size` of these.
        input_factor: how many times the channels grow inside the multi-axis MLP.
        block_factor: how many times those of its block branch grow inside that.
        grid_factor: the same for its grid branch.
        reduction: how many times fewer channels a channel attention has inside.
        dropout: rate in the multi-axis MLPs, active in training only; the paper's deblurring network has none.
        outputs: "last", the restored image alone; or "all", for training: a list of the images of all stages, each
            from the full size down. The other sizes of the last stage have weights of their own.
        dtype: dtype policy of the layers; Keras' global one when None. Images are added up in float32.
        name: the model's name.
        initial: called with the path of each weight, as `variable.path` has it, for the array that it starts with,
            in any shape of that size, or for the number that all of it starts with; None for random ones.
        frozen: whether most weights are constants with the values of `initial`: thousands of variables take seconds.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 of the same shape, or a list of
        these. The values are not limited to [-1, 1]; whoever makes a picture of them clips. Inside, the range is the
        paper's [0, 1].

    Raises:
        InputError: an `image_shape` or other argument that makes no network.

    Source: arXiv 2201.02973, figure 2, and the authors' code for what it leaves open: the smaller inputs are every
    second or fourth pixel of the image; LayerNorm's epsilon is 1e-6, GELU in its tanh form, LeakyReLU's slope 0.2.
    """
    check_counts(features=features, depth=depth, stages=stages, groups=groups, scales=scales, reduction=reduction)
    check_counts(input_factor=input_factor, block_factor=block_factor, grid_factor=grid_factor)
    check_counts(0, bottleneck_blocks=bottleneck_blocks, high_resolutions=high_resolutions)
    check_rate("dropout", dropout)
    check_choice("outputs", outputs, OUTPUTS)
    if scales > depth:
        raise InputError(f"scales: expected at most the depth, {depth}, received {scales}")
    if reduction > features:
        raise InputError(f"reduction: expected at most the features, {features}, received {reduction}")
    high = {"block_size": _checked_size("block_size", block_size), "grid_size": _checked_size("grid_size", grid_size)}
    low: dict[str, Any] = {
        "block_size": _checked_size("low_block_size", low_block_size),
        "grid_size": _checked_size("low_grid_size", low_grid_size),
    }
    sizes = [high if level < high_resolutions else low for level in range(depth)]
    multiple = size_multiple(depth, high_resolutions, block_size, grid_size, low_block_size, low_grid_size)
    shape = checked_shape(image_shape, multiple)
    mlp: dict[str, Any] = {"input_factor": input_factor, "block_factor": block_factor, "grid_factor": grid_factor}
    mlp |= {"dropout": dropout}
    given: dict[str, Any] = {"dtype": dtype, "initial": initial, "frozen": frozen}
    float32: dict[str, Any] = {"dtype": "float32"}

    def conv(x: Any, filters: int, kernel_size: int, conv_name: str, strides: int = 1) -> Any:
        starts = {
            "kernel_initializer": started(initial, f"{conv_name}/kernel", keras.initializers.LecunNormal()),
            "bias_initializer": started(initial, f"{conv_name}/bias", "zeros"),
        }
        options: dict[str, Any] = {"padding": "same", "dtype": dtype, "name": conv_name, **starts}
        return layers.Conv2D(filters, kernel_size, strides, **options)(x)

    def pairs(x: Any, size: dict[str, Any], prefix: str) -> Any:
        shortcut = x
        for i in range(groups):
            x = MultiAxisGmlp(**size, **mlp, **given, name=f"{prefix}.mlp_{i}")(x)
            x = ChannelAttentionBlock(reduction, name=f"{prefix}.attention_{i}", **given)(x)
        return layers.Add(name=f"{prefix}.add", dtype=dtype)([shortcut, x])

    def cross_gated(x: Any, y: Any, size: dict[str, Any], gating_name: str) -> Any:
        return CrossGating(**size, input_factor=input_factor, name=gating_name, **given)([x, y])

    def projected(x: Any, y: Any, level: int, prefix: str) -> list[Any]:
        return [conv(image, features * 2**level, 1, f"{prefix}.{side}_conv") for image, side in ((x, "x"), (y, "y"))]

    inputs = Input(shape=shape, name="blurred")
    image = layers.Rescaling(0.5, 0.5, name="in_range", dtype="float32")(inputs)
    images = [image] + [Subsampled(2**i, name=f"in_scale_{i}", **float32)(image) for i in range(1, scales)]
    restored: list[Any] = []
    encoded_before: list[Any] = []
    decoded_before: list[Any] = []
    attended: list[Any] = []
    for stage in range(stages):
        prefix = f"stage_{stage}"
        last = stage == stages - 1

        taken = [conv(x, features * 2**i, 3, f"{prefix}.in_{i}") for i, x in enumerate(images)]
        for i, features_before in enumerate(attended):
            x, y = projected(taken[i], features_before, i, f"{prefix}.in_fusion_{i}")
            taken[i], _ = cross_gated(x, y, sizes[i], f"{prefix}.in_fusion_{i}")

        x, encoded = taken[0], []
        for level in range(depth):
            at = f"{prefix}.encoder_{level}"
            joined = [x, taken[level]] if level < scales else [x]
            x = Fusion(features * 2**level, plain=len(joined), name=f"{at}.fusion", **given)(joined)
            x = pairs(x, sizes[level], at)
            if encoded_before:
                before = layers.Add(name=f"{at}.before", dtype=dtype)([encoded_before[level], decoded_before[level]])
                x, y = projected(x, before, level, f"{at}.gating")
                x, _ = cross_gated(x, y, sizes[level], f"{at}.gating")
            encoded.append(x)
            x = conv(x, features * 2**level, 4, f"{at}.down", strides=2)

        for i in range(bottleneck_blocks):
            at = f"{prefix}.bottleneck_{i}"
            x = shortcut = conv(x, features * 2 ** (depth - 1), 1, f"{at}.conv")
            for j in range(groups):
                x = MultiAxisGmlp(**low, **mlp, **given, name=f"{at}.mlp_{j}")(x)
                x = ChannelAttentionBlock(reduction, mixing=True, name=f"{at}.attention_{j}", **given)(x)
            x = layers.Add(name=f"{at}.add", dtype=dtype)([shortcut, x])

        y, skips = x, []
        for level in reversed(range(depth)):
            at, width = f"{prefix}.gating_{level}", features * 2**level
            ratios = [2.0 ** (j - level) for j in range(depth)]
            signal = Fusion(width, ratios, name=f"{at}.fusion", **given)(encoded)
            y = Fusion(width, up=True, name=f"{at}.up", **given)([y])
            skip, y = cross_gated(signal, y, sizes[level], at)
            skips.append(skip)

        decoded, attended, pictures = [], [], []
        for level in reversed(range(depth)):
            at, width = f"{prefix}.decoder_{level}", features * 2**level
            ratios = [2.0 ** (depth - 1 - j - level) for j in range(depth)]
            x = Fusion(width, ratios, up=True, name=f"{at}.fusion", **given)([x, *skips])
            x = pairs(x, sizes[level], at)
            decoded.append(x)
            if level < scales and not (last and level and outputs == "last"):
                picture = conv(x, shape[2], 3, f"{prefix}.out_{level}")
                picture = layers.Add(name=f"{prefix}.out_{level}_add", **float32)([picture, images[level]])
                pictures.append(picture)
                if not last:
                    attention = SupervisedAttention(name=f"{prefix}.attention_{level}", **given)
                    attended.append(attention([x, picture]))
        encoded_before, decoded_before = encoded, decoded[::-1]
        attended = attended[::-1]
        restored.append(pictures[::-1])

    def in_range(picture: Any, stage: int, level: int) -> Any:
        return layers.Rescaling(2.0, -1.0, name=f"stage_{stage}.out_{level}_range", dtype="float32")(picture)

    if outputs == "last":
        return keras.Model(inputs, in_range(restored[-1][0], stages - 1, 0), name=name)
    everything = [in_range(x, i, j) for i, pictures in enumerate(restored) for j, x in enumerate(pictures)]
    return keras.Model(inputs, everything, name=name)


def size_multiple(
    depth: int = 3,
    high_resolutions: int = 2,
    block_size: Sequence[int] = (16, 16),
    grid_size: Sequence[int] = (16, 16),
    low_block_size: Sequence[int] = (8, 8),
    low_grid_size: Sequence[int] = (8, 8),
) -> int:
    """Return what the sides of the network's input must be multiples of: at each size, of blocks and of the grid."""
    needed = [
        2**level * side
        for level in range(depth + 1)
        for size in (
            (block_size, grid_size) if level < min(high_resolutions, depth) else (low_block_size, low_grid_size)
        )
        for side in size
    ]
    return math.lcm(*needed)


def _checked_size(option: str, size: Sequence[int]) -> tuple[int, int]:
    if not isinstance(size, (tuple, list)) or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
        raise InputError(f"{option}: expected two positive ints, received {size!r}")
    return size[0], size[1]


def reductions(stages: int, scales: int, outputs: str) -> tuple[int, ...]:
    """Return how many times smaller than the input each image is that the network gives."""
    return (1,) if outputs == "last" else tuple(2**level for level in range(scales)) * stages


def recognise(tensors: Tensors) -> Found | None:
    """Tell a MAXIM by the names of its authors; `stages` is left open, up to as many as there are."""
    if maxim_weights.MARK not in tensors:
        return None
    options = maxim_weights.identify(tensors)
    most = options.pop("stages")
    if (channels := options.pop("channels")) != 3:
        options["image_shape"] = (None, None, channels)

    def build(*, stages: int = most, **overrides: Any) -> keras.Model:
        if not 1 <= stages <= most:
            raise InputError(f"stages: expected 1 to {most}, received {stages}")
        initial = maxim_weights.initial(tensors, options["depth"])
        return maxim(**{**options, **overrides}, stages=stages, initial=initial)

    return Found(maxim_weights.KIND, options, {"stages": most}, build, certain=True, freezes=True)


GENERATOR = Network(
    name="maxim",
    role="generator",
    kind=maxim_weights.KIND,
    builder=maxim,
    multiple=lambda options: size_multiple(*(options[name] for name in SIZES)),
    switches=("image_shape", "dropout", "stages"),
    nested=True,
    in_training=("outputs",),
    spare=maxim_weights.SPARE,
    reductions=lambda options: reductions(options["stages"], options["scales"], options["outputs"]),
    recognise=recognise,
)

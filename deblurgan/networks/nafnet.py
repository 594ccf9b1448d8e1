"""NAFNet, the nonlinear-activation-free network."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import Input, layers

from deblurgan.errors import InputError, WeightsError
from deblurgan.networks import torch_weights
from deblurgan.networks.nafnet_layers import DepthToSpace, NAFBlock, SpaceToDepth, as_pytorch
from deblurgan.networks.network import Found, Network, Tensors
from deblurgan.networks.parts import Shape, check_counts, check_rate, checked_shape
from deblurgan.networks.torch_weights import CONV, SCALE, kernel_shape

KIND = "NAFNet generator"
PAPER_WINDOW = 384  # pixels: the test-time local converter for networks trained on 256x256 crops


def nafnet(
    image_shape: Shape = (None, None, 3),
    *,
    width: int = 32,
    encoder_blocks: Sequence[int] = (1, 1, 1, 28),
    middle_blocks: int = 1,
    decoder_blocks: Sequence[int] = (1, 1, 1, 1),
    space_to_depth: int = 1,
    dropout: float = 0.0,
    local_window: int | None = None,
    dtype: Any = None,
    name: str = "NAFNet",
) -> keras.Model:
    """Build NAFNet: blurred image in, restored image out.

    A U-Net of `NAFBlock`s: 2x2 stride-2 convolutions down, 1x1 convolutions and pixel shuffles up, skips that are
    added; it learns what to add to its input. 17,111,907 parameters with the defaults, the paper's network for GOPRO
    at width 32.

    Args:
        image_shape: (height, width, channels); None for a height or width that may vary. Heights and widths are
            multiples of `size_multiple(encoder_blocks, space_to_depth)`, 16 with the defaults.
        width: channels at full size; they double with each halving.
        encoder_blocks: number of blocks at each size on the way down, from the full size on.
        middle_blocks: number of blocks at the smallest size.
        decoder_blocks: number of blocks at each size on the way up, to the full size; as many as `encoder_blocks`.
        space_to_depth: the network computes on squares of this many by this many pixels as if each were one pixel
            with more channels: 2 does a quarter of the work.
        dropout: rate inside the blocks, active in training only; the paper's GOPRO networks have none.
        local_window: side in pixels of the squares whose means the channel attention uses outside training, instead
            of those of the whole image: the paper's 384 for a network that was trained on crops of 256. Weights are
            the same with and without. A picture not larger than the window gives the same either way.
        dtype: dtype policy of the layers; Keras' global one when None. The last layers always compute in float32.
        name: the model's name.

    Returns:
        A model from float32 (batch, height, width, channels) in [-1, 1] to float32 of the same shape. The values are
        not limited to [-1, 1], so that a loss moves those outside as well; whoever makes a picture of them clips.
        Inside, the range is the paper's [0, 1].

    Raises:
        InputError: an `image_shape` or other argument that makes no network.

    Source: NAFNet, arXiv 2204.04676; its local converter, arXiv 2112.04491.
    """
    encoder_blocks, decoder_blocks = _checked_blocks(encoder_blocks, decoder_blocks)
    check_counts(width=width, space_to_depth=space_to_depth)
    check_counts(0, middle_blocks=middle_blocks)
    check_rate("dropout", dropout)
    if local_window is not None:
        check_counts(local_window=local_window)
    shape = checked_shape(image_shape, size_multiple(encoder_blocks, space_to_depth))
    channels = shape[2] * space_to_depth**2

    def conv(x: Any, filters: int, kernel_size: int, conv_name: str, **options: Any) -> Any:
        options = {"padding": "same", "kernel_initializer": as_pytorch(), "dtype": dtype, **options}
        return layers.Conv2D(filters, kernel_size, name=conv_name, **options)(x)

    def blocks(x: Any, count: int, level: int, prefix: str) -> Any:
        window = local_window and max(1, local_window // (2**level * space_to_depth))
        for i in range(1, count + 1):
            x = NAFBlock(window=window, dropout=dropout, name=f"{prefix}_block{i}", dtype=dtype)(x)
        return x

    inputs = Input(shape=shape, name="blurred")
    x = layers.Rescaling(0.5, 0.5, name="in_range", dtype="float32")(inputs)
    if space_to_depth > 1:
        x = SpaceToDepth(space_to_depth, name="in_squares", dtype="float32")(x)
    x = conv(x, width, 3, "in_conv")
    skips = []
    for level, count in enumerate(encoder_blocks):
        x = blocks(x, count, level, f"encoder{level + 1}")
        skips.append(x)
        x = conv(x, width * 2 ** (level + 1), 2, f"down{level + 1}_conv", strides=2)
    x = blocks(x, middle_blocks, len(encoder_blocks), "middle")
    for level, count in reversed(list(enumerate(reversed(decoder_blocks)))):
        prefix = f"up{level + 1}"
        x = conv(x, width * 2 ** (level + 2), 1, f"{prefix}_conv", use_bias=False)
        x = DepthToSpace(name=f"{prefix}_pixels", dtype=dtype)(x)
        x = layers.Add(name=f"{prefix}_skip", dtype=dtype)([x, skips[level]])
        x = blocks(x, count, level, f"decoder{level + 1}")
    x = conv(x, channels, 3, "out_conv", kernel_initializer="zeros")  # training starts from the blurred image
    if space_to_depth > 1:
        x = DepthToSpace(space_to_depth, name="out_pixels", dtype="float32")(x)
    x = layers.Rescaling(2.0, name="out_range", dtype="float32")(x)
    outputs = layers.Add(name="out_add", dtype="float32")([x, inputs])
    return keras.Model(inputs, outputs, name=name)


def size_multiple(encoder_blocks: Sequence[int] = (1, 1, 1, 28), space_to_depth: int = 1) -> int:
    """Return what the sides of the network's input must be multiples of."""
    return 2 ** len(encoder_blocks) * space_to_depth


def _checked_blocks(*counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Return both sequences of counts as tuples, or raise InputError unless they are as long, of ints from 0 on."""
    checked = []
    for option, blocks in zip(("encoder_blocks", "decoder_blocks"), counts, strict=True):
        if not isinstance(blocks, (tuple, list)) or not blocks or any(type(n) is not int or n < 0 for n in blocks):
            raise InputError(f"{option}: expected the number of blocks at each size, received {blocks!r}")
        checked.append(tuple(blocks))
    if len(checked[0]) != len(checked[1]):
        raise InputError(
            f"decoder_blocks: expected {len(checked[0])} numbers, as many as encoder_blocks, received {counts[1]!r}"
        )
    return checked


NAMES = {  # PyTorch's of a block's tensors, by ours
    **{f"norm{n}_{ours}": f"norm{n}.{theirs}" for n in (1, 2) for ours, theirs in SCALE.items()},
    **{f"conv{n}_{ours}": f"conv{n}.{theirs}" for n in range(1, 6) for ours, theirs in CONV.items()},
    **{f"sca_{ours}": f"sca.1.{theirs}" for ours, theirs in CONV.items()},
    "beta": "beta",
    "gamma": "gamma",
}
LAYOUTS = {"conv2_kernel": "depthwise", "beta": "factor", "gamma": "factor"}


def recognise(tensors: Tensors) -> Found | None:
    """Tell a NAFNet of PyTorch's, whose stages and blocks are numbered.

    The tensors leave `local_window` open: 384, with which its authors restore full-size pictures of GOPRO.
    """
    if "intro.weight" not in tensors or "ending.weight" not in tensors:
        return None

    def count(prefix: str) -> int:
        """How many numbered modules there are in `prefix`."""
        n = 0
        while any(name.startswith(f"{prefix}.{n}.") for name in tensors):
            n += 1
        return n

    levels = count("downs")
    width, channels, _, _ = kernel_shape(tensors, "intro.weight", 3)
    encoders = tuple(count(f"encoders.{level}") for level in range(levels))
    decoders = tuple(count(f"decoders.{level}") for level in range(levels))
    middle = count("middle_blks")
    layers = {"in_conv": "intro", "out_conv": "ending"}
    shuffled = []
    for i in range(levels):
        level = levels - i  # of the decoder's stage i, which comes from below
        layers |= {f"down{i + 1}_conv": f"downs.{i}", f"up{level}_conv": f"ups.{i}.0"}
        layers |= {f"encoder{i + 1}_block{n + 1}": f"encoders.{i}.{n}" for n in range(encoders[i])}
        layers |= {f"decoder{level}_block{n + 1}": f"decoders.{i}.{n}" for n in range(decoders[i])}
        shuffled.append(f"up{level}_conv")
    layers |= {f"middle_block{n + 1}": f"middle_blks.{n}" for n in range(middle)}
    if not levels:
        raise WeightsError(f"expected a {KIND} of at least one level, found no downs.0")
    options = {"width": width, "encoder_blocks": encoders, "middle_blocks": middle, "decoder_blocks": decoders}
    assumed = {"image_shape": (None, None, channels), "dropout": 0.0, "local_window": PAPER_WINDOW}
    mapping: dict[str, Any] = {"names": {NAFBlock: NAMES}, "layouts": LAYOUTS, "shuffled": shuffled}
    return torch_weights.found(KIND, nafnet, tensors, layers, options, assumed, **mapping)


GENERATOR = Network(
    name="nafnet",
    role="generator",
    kind=KIND,
    builder=nafnet,
    multiple=lambda options: size_multiple(options["encoder_blocks"], options["space_to_depth"]),
    switches=("image_shape", "dropout", "local_window"),
    recognise=recognise,
)

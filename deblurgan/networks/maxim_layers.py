"""The layers of MAXIM: mixing inside blocks and over a grid, channel attention, cross gating.

Weights carry the names that the authors' code gives them, with points for slashes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

from deblurgan.networks.footprint import LayerNeeds
from deblurgan.networks.maxim_parts import (
    KERAS,
    Arithmetic,
    Composite,
    Size,
    after_norm,
    as_image,
    as_rows,
    images_of,
    mixed,
    of_both,
    of_tokens,
    tokens,
)

TILE = 384  # pixels, a side of the tiles that MAXIM, trained on 256, restores best; see `benchmarks/maxim_tiles.py`


class Mixing(Composite):
    """A layer that mixes one half of the channels over a grid, and the other inside blocks.

    Args:
        block_size: height and width in pixels of the blocks.
        grid_size: rows and columns of the grid.
        input_factor: how many times the input's channels both halves have together.
        kwargs: see `Composite`.
    """

    options: tuple[str, ...] = ("block_size", "grid_size", "input_factor")

    def __init__(self, block_size: Size, grid_size: Size, *, input_factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size, self.grid_size, self.input_factor = tuple(block_size), tuple(grid_size), input_factor

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(multiple=math.lcm(*self.block_size, *self.grid_size), held=6, tile=TILE)

    def mixed_both_ways(
        self, rows: Any, weights: Any, mix: Callable[..., Any], arithmetic: Arithmetic, height: Any, width: Any
    ) -> Any:
        """Return what becomes of the rows of images; `mix` is called with tokens, their size and what mixes them.

        The weights: what makes each half, what mixes it, and what takes it into the result.
        """
        x = arithmetic.normalised(rows)
        outputs = []
        halves, mixings, (out_first, out_second) = weights
        sizes = (self.grid_size, self.block_size)
        for half, mixing, grid, size in zip(halves, mixings, (True, False), sizes, strict=True):
            y = tokens(arithmetic.dense(x, *half, gelu=True), size, grid, height, width)
            outputs.append(images_of(mix(y, size, mixing), size, grid, height, width))
        return arithmetic.dense(outputs[0], *out_first) + arithmetic.dense(outputs[1], *out_second)


@keras.saving.register_keras_serializable(package="deblurgan")
class MultiAxisGmlp(Mixing):
    """MAXIM's multi-axis gated MLP block: one half of the channels is mixed inside blocks, the other over a grid.

    y = x + project([grid branch, block branch]) of two halves of gelu(project(norm(x))); each branch is a gated MLP
    with a shortcut, whose gate mixes the tokens of `networks.maxim_parts.tokens`.

    Arguments are those of `Mixing`; how many times its channels the block branch has inside, and the grid branch; and
    the rate of dropout after each branch and at the end, active in training only.

    Takes and gives (batch, height, width, channels), sides multiples of both sizes.

    Source: arXiv 2201.02973, section 3.2 and figure 3a.
    """

    options = (*Mixing.options, "block_factor", "grid_factor", "dropout")

    def __init__(
        self,
        block_size: Size,
        grid_size: Size,
        *,
        block_factor: int = 2,
        grid_factor: int = 2,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(block_size, grid_size, **kwargs)
        self.block_factor, self.grid_factor, self.dropout = block_factor, grid_factor, dropout
        self._drop = layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy) if dropout else None

    def make(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights."""
        width: int = input_shape[-1]  # type: ignore[assignment]
        both = width * self.input_factor
        self.norm_in, self.in_project = self.norm("LayerNorm_in", width), self.kernel("in_project", width, both)
        self.branches = [
            self._branch("Grid", both // 2, self.grid_factor, self.grid_size),
            self._branch("Block", both // 2, self.block_factor, self.block_size),
        ]
        self.out_project = self.kernel("out_project", both, width)

    def _branch(self, kind: str, width: int, factor: int, size: Size) -> tuple[Any, ...]:
        name, gate, inside, count = f"{kind}GmlpLayer", f"{kind}GatingUnit", width * factor // 2, math.prod(size)
        return (
            self.norm(f"{name}.LayerNorm", width),
            self.kernel(f"{name}.in_project", width, 2 * inside),
            self.norm(f"{name}.{gate}.intermediate_layernorm", inside),
            self.kernel(f"{name}.{gate}.Dense_0", count, count),
            self.kernel(f"{name}.out_project", inside, width),
        )

    def folded(self) -> Any:
        """See `Composite.folded`."""
        branches = [
            # The gate is what is mixed, and 1.
            (after_norm(norm, in_project, 2), gate_norm, of_tokens(mixing, 1.0), out_project)
            for norm, in_project, gate_norm, mixing, out_project in self.branches
        ]
        return after_norm(self.norm_in, self.in_project, 2), branches, of_both(self.out_project)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the block's output."""
        return self.compute(inputs, self.folded(), KERAS, training)

    def compute(self, inputs: Any, weights: Any, arithmetic: Arithmetic, training: bool | None = None) -> Any:
        """See `Composite.compute`."""
        _, height, width, _ = ops.shape(inputs)
        rows = as_rows(inputs)

        def gated(rows: Any, size: Size, branch: Any) -> Any:
            (in_u, in_v), gate_norm, mixing, out_project = branch
            x = arithmetic.normalised(rows)
            u, v = arithmetic.dense(x, *in_u, gelu=True), arithmetic.dense(x, *in_v, gelu=True)
            v = mixed(arithmetic.normalised(v, *gate_norm), size, width, mixing, arithmetic)
            return rows + self._dropped(arithmetic.dense(u * v, *out_project), training)

        x = self.mixed_both_ways(rows, weights, gated, arithmetic, height, width)
        return as_image(rows + self._dropped(x, training), height, width)

    def _dropped(self, x: Any, training: bool | None) -> Any:
        return x if self._drop is None else self._drop(x, training=training)


@keras.saving.register_keras_serializable(package="deblurgan")
class ChannelAttentionBlock(Composite):
    """MAXIM's residual channel attention block: x + attention(conv(leaky_relu(conv(norm(x))))).

    With `mixing`, as in the bottleneck: two dense layers and a GELU in place of the 3x3 convolutions.

    The attention multiplies each channel with sigmoid(dense(relu(dense(mean over the image)))).

    Args:
        reduction: how many times fewer channels the attention has inside.
        mixing: as above.
        kwargs: see `Composite`.

    Takes and gives (batch, height, width, channels).

    Source: arXiv 2201.02973, figure 2b and appendix; Zhang et al., arXiv 1807.02758.
    """

    options = ("reduction", "mixing")

    def __init__(self, reduction: int = 4, *, mixing: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reduction, self.mixing = reduction, mixing

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(held=2, tile=TILE)

    def make(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights."""
        width: int = input_shape[-1]  # type: ignore[assignment]
        self.norm_in = self.norm("LayerNorm", width)
        if self.mixing:
            self.steps = [self.kernel(f"channel_mixing.Dense_{i}", width, width) for i in range(2)]
        else:
            self.steps = [self.kernel(f"conv{i}", 3, 3, width, width) for i in (1, 2)]
        inside = width // self.reduction
        squeeze = self.kernel("channel_attention.Conv_0", width, inside)
        self.attention = squeeze, self.kernel("channel_attention.Conv_1", inside, width)

    def folded(self) -> Any:
        """See `Composite.folded`."""
        first, second = self.steps
        start = after_norm(self.norm_in, first) if self.mixing else [self.norm_in, first]
        return start, second, self.attention

    def compute(self, inputs: Any, weights: Any, arithmetic: Arithmetic) -> Any:
        """See `Composite.compute`."""
        start, second, (squeeze, excite) = weights
        _, height, width, _ = ops.shape(inputs)
        if self.mixing:
            x = arithmetic.dense(arithmetic.normalised(as_rows(inputs)), *start[0], gelu=True)
            x = as_image(arithmetic.dense(x, *second), height, width)
        else:
            norm, first = start
            x = as_image(arithmetic.normalised(as_rows(inputs), *norm), height, width)
            x = arithmetic.conv(arithmetic.conv(x, *first, leaky=True), *second)
        factors = ops.relu(arithmetic.dense(ops.mean(x, axis=(1, 2)), *squeeze))
        factors = ops.sigmoid(arithmetic.dense(factors, *excite))
        return inputs + x * factors[:, None, None]


@keras.saving.register_keras_serializable(package="deblurgan")
class CrossGating(Mixing):
    """MAXIM's cross gating: two images of the same shape, each multiplied with weights that the other gives.

    Arguments are those of `Mixing`.

    Takes [x, y] and gives [x + y' + x', y'], where y' = y + project(gelu(project(norm(y))) * gate of x), and x' is
    project(gelu(project(norm(x))) * gate of y).

    Source: arXiv 2201.02973, section 3.3 and figure 3b.
    """

    def make(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        """Make the weights."""
        width: int = input_shape[0][-1]  # type: ignore[assignment]
        self.sides = [self._side(side, width) for side in "xy"]

    def _side(self, side: str, width: int) -> tuple[Any, ...]:
        both, gating = width * self.input_factor, f"SplitHeadMultiAxisGating_{side}"
        return (
            self.norm(f"LayerNorm_{side}", width),
            self.kernel(f"in_project_{side}", width, width),
            (
                self.norm(f"{gating}.LayerNorm_in", width),
                self.kernel(f"{gating}.in_project", width, both),
                self.kernel(f"{gating}.Dense_0", *(math.prod(self.grid_size),) * 2),
                self.kernel(f"{gating}.Dense_1", *(math.prod(self.block_size),) * 2),
                self.kernel(f"{gating}.out_project", both, width),
            ),
            self.kernel(f"out_project_{side}", width, width),
        )

    def folded(self) -> Any:
        """See `Composite.folded`."""
        return [
            (
                *after_norm(norm, in_project),
                (after_norm(gate_norm, gate_in, 2), [of_tokens(grid), of_tokens(block)], of_both(gate_out)),
                out_project,
            )
            for norm, in_project, (gate_norm, gate_in, grid, block, gate_out), out_project in self.sides
        ]

    def compute(self, inputs: Any, weights: Any, arithmetic: Arithmetic) -> Any:
        """See `Composite.compute`."""
        _, height, width, _ = ops.shape(inputs[0])
        x, y = map(as_rows, inputs)
        (in_x, gating_x, out_x), (in_y, gating_y, out_y) = weights
        inside_x = arithmetic.dense(arithmetic.normalised(x), *in_x, gelu=True)
        inside_y = arithmetic.dense(arithmetic.normalised(y), *in_y, gelu=True)

        def mix(rows: Any, size: Size, mixing: Any) -> Any:
            return mixed(rows, size, width, mixing, arithmetic)

        gate_x = self.mixed_both_ways(inside_x, gating_x, mix, arithmetic, height, width)
        gate_y = self.mixed_both_ways(inside_y, gating_y, mix, arithmetic, height, width)
        y = y + arithmetic.dense(inside_y * gate_x, *out_y)
        x = x + y + arithmetic.dense(inside_x * gate_y, *out_x)
        return [as_image(x, height, width), as_image(y, height, width)]


@keras.saving.register_keras_serializable(package="deblurgan")
class SupervisedAttention(Composite):
    """MAXIM's supervised attention: features + conv(features) * sigmoid(conv(image)).

    Takes [features, image], image being what the stage restored, and gives the features for the next stage.

    Source: MPRNet, arXiv 2102.02808, section 3.2.
    """

    needs = LayerNeeds(held=2)

    def make(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        """Make the weights."""
        width, channels = (shape[-1] for shape in input_shape)
        self.features = self.kernel("Conv_0", 3, 3, width, width)  # type: ignore[arg-type]
        self.image = self.kernel("Conv_2", 3, 3, channels, width)  # type: ignore[arg-type]

    def folded(self) -> Any:
        """See `Composite.folded`."""
        return self.features, self.image

    def compute(self, inputs: Any, weights: Any, arithmetic: Arithmetic) -> Any:
        """See `Composite.compute`."""
        (features, image), (of_features, of_image) = inputs, weights
        attention = ops.sigmoid(arithmetic.conv(ops.cast(image, features.dtype), *of_image))
        return features + arithmetic.conv(features, *of_features) * attention

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Return the shape of the features."""
        return input_shape[0]

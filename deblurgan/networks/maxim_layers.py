"""The layers of MAXIM: mixing inside blocks and over a grid, channel attention, cross gating, fusion of scales.

Weights carry the names that the authors' code gives them, with points for slashes.
"""

import itertools
import math
from collections.abc import Sequence
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


@keras.saving.register_keras_serializable(package="deblurgan")
class MultiAxisGmlp(Composite):
    """MAXIM's multi-axis gated MLP block: one half of the channels is mixed inside blocks, the other over a grid.

    y = x + project([grid branch, block branch]) of two halves of gelu(project(norm(x))); each branch is a gated MLP
    with a shortcut, whose gate mixes the tokens of `networks.maxim_parts.tokens`.

    Args:
        block_size: height and width in pixels of the blocks.
        grid_size: rows and columns of the grid.
        input_factor: how many times the input's channels both halves have together.
        block_factor: how many times its channels the block branch has inside.
        grid_factor: the same for the grid branch.
        dropout: rate after each branch and at the end, active in training only.
        kwargs: see `Composite`.

    Takes and gives (batch, height, width, channels), sides multiples of both sizes.

    Source: arXiv 2201.02973, section 3.2 and figure 3a.
    """

    def __init__(
        self,
        block_size: Size,
        grid_size: Size,
        *,
        input_factor: int = 2,
        block_factor: int = 2,
        grid_factor: int = 2,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.block_size, self.grid_size = tuple(block_size), tuple(grid_size)
        self.input_factor, self.block_factor, self.grid_factor = input_factor, block_factor, grid_factor
        self.dropout = dropout
        self._drop = layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy) if dropout else None

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(multiple=math.lcm(*self.block_size, *self.grid_size), held=6, tile=TILE)

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
        halves, branches, (out_first, out_second) = weights
        _, height, width, _ = ops.shape(inputs)
        rows = as_rows(inputs)
        x = arithmetic.normalised(rows)
        outputs = []
        for half, branch, grid, size in zip(
            halves, branches, (True, False), (self.grid_size, self.block_size), strict=True
        ):
            y = tokens(arithmetic.dense(x, *half, gelu=True), size, grid, height, width)
            y = self._gated(y, size, width, branch, arithmetic, training)
            outputs.append(images_of(y, size, grid, height, width))
        x = arithmetic.dense(outputs[0], *out_first) + arithmetic.dense(outputs[1], *out_second)
        return as_image(rows + self._dropped(x, training), height, width)

    def _gated(
        self, rows: Any, size: Size, width: Any, weights: Any, arithmetic: Arithmetic, training: bool | None
    ) -> Any:
        """The gated MLP of one branch."""
        (in_u, in_v), gate_norm, mixing, out_project = weights
        x = arithmetic.normalised(rows)
        u, v = arithmetic.dense(x, *in_u, gelu=True), arithmetic.dense(x, *in_v, gelu=True)
        v = mixed(arithmetic.normalised(v, *gate_norm), size, width, mixing, arithmetic)
        return rows + self._dropped(arithmetic.dense(u * v, *out_project), training)

    def _dropped(self, x: Any, training: bool | None) -> Any:
        return x if self._drop is None else self._drop(x, training=training)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        names = ("block_size", "grid_size", "input_factor", "block_factor", "grid_factor", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


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

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "reduction": self.reduction, "mixing": self.mixing}


@keras.saving.register_keras_serializable(package="deblurgan")
class CrossGating(Composite):
    """MAXIM's cross gating: two images of the same shape, each multiplied with weights that the other gives.

    Args:
        block_size: height and width in pixels of the blocks.
        grid_size: rows and columns of the grid.
        input_factor: how many times the channels both halves of the gating have together.
        kwargs: see `Composite`.

    Takes [x, y] and gives [x + y' + x', y'], where y' = y + project(gelu(project(norm(y))) * gate of x), and x' is
    project(gelu(project(norm(x))) * gate of y).

    Source: arXiv 2201.02973, section 3.3 and figure 3b.
    """

    def __init__(self, block_size: Size, grid_size: Size, *, input_factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size, self.grid_size, self.input_factor = tuple(block_size), tuple(grid_size), input_factor

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(multiple=math.lcm(*self.block_size, *self.grid_size), held=6, tile=TILE)

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
        gate_x = self._gate(inside_x, gating_x, arithmetic, height, width)
        gate_y = self._gate(inside_y, gating_y, arithmetic, height, width)
        y = y + arithmetic.dense(inside_y * gate_x, *out_y)
        x = x + y + arithmetic.dense(inside_x * gate_y, *out_x)
        return [as_image(x, height, width), as_image(y, height, width)]

    def _gate(self, rows: Any, weights: Any, arithmetic: Arithmetic, height: Any, width: Any) -> Any:
        """The weights that an image gives to the other."""
        halves, mixings, (out_first, out_second) = weights
        x = arithmetic.normalised(rows)
        outputs = []
        for (kernel, bias), mixing, grid, size in zip(
            halves, mixings, (True, False), (self.grid_size, self.block_size), strict=True
        ):
            y = tokens(arithmetic.dense(x, kernel, bias, gelu=True), size, grid, height, width)
            outputs.append(images_of(mixed(y, size, width, mixing, arithmetic), size, grid, height, width))
        return arithmetic.dense(outputs[0], *out_first) + arithmetic.dense(outputs[1], *out_second)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        names = ("block_size", "grid_size", "input_factor")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


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


@keras.saving.register_keras_serializable(package="deblurgan")
class Fusion(Composite):
    """Bring images of several scales to one, join their channels, and let a 1x1 convolution make `filters` of them.

    The images `ratios` tells of are brought to the same scale each by a 1x1 convolution to `filters` and a bilinear
    resize; before them comes, with `up`, one that a 2x2 transposed convolution enlarges, else `plain` ones of that
    scale. All is linear, so that the kernels are multiplied into each other and small images convolved before they
    grow: the result is that of the steps one after the other.

    Args:
        filters: channels of the result.
        ratios: how many times larger each of the last images becomes: 2, 1, 0.5 and the like.
        plain: images that are joined as they are.
        up: whether the first image is enlarged by a transposed convolution.
        kwargs: see `Composite`.

    Takes a list of images: the one of `up`, the plain ones, those of `ratios`. Gives (batch, height, width, filters).

    Source: arXiv 2201.02973, figure 2a, "multi-scale feature fusion".
    """

    def __init__(
        self, filters: int, ratios: Sequence[float] = (), *, plain: int = 0, up: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.ratios, self.plain, self.up = filters, tuple(ratios), plain, up

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(growth=2 if self.up else 1 if self.plain else self.ratios[0], held=2)

    def make(self, input_shape: Sequence[Any]) -> None:
        """Make the weights."""
        widths = [shape[-1] for shape in _listed(input_shape)]
        if self.up:
            # Keras' layout of a transposed convolution: (height, width, out, in).
            start = keras.initializers.LecunNormal()
            self.transposed = (
                self.weight("ConvTranspose_0.kernel", 2, 2, self.filters, widths.pop(0), start=start),
                self.weight("ConvTranspose_0.bias", self.filters),
            )
        self.widths = [self.filters] * self.up + widths[: self.plain] + [self.filters] * len(self.ratios)
        self.scaled = [
            self.kernel(f"scaled_{j}", width, self.filters) for j, width in enumerate(widths[self.plain :])
        ]
        self.joined = self.kernel("Conv_0", sum(self.widths), self.filters)

    def folded(self) -> Any:
        """Return a matrix for each image, and the bias of them all."""
        kernel, bias = self.joined
        ends = list(itertools.accumulate(self.widths))
        parts = [kernel[end - width : end] for end, width in zip(ends, self.widths, strict=True)]
        matrices = []
        if self.up:
            own, shift = self.transposed
            bias = bias + ops.matmul(shift[None], parts[0])[0]
            squares = ops.matmul(ops.transpose(own, (3, 0, 1, 2)), parts.pop(0))  # (in, 2, 2, out)
            matrices.append(ops.reshape(squares, (squares.shape[0], 4 * self.filters)))
        matrices += parts[: self.plain]
        for part, (own, shift) in zip(parts[self.plain :], self.scaled, strict=True):
            bias = bias + ops.matmul(shift[None], part)[0]
            matrices.append(ops.matmul(own, part))
        return matrices, bias

    def compute(self, inputs: Any, weights: Any, arithmetic: Arithmetic) -> Any:
        """See `Composite.compute`."""
        images = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        (matrices, bias), total = weights, None
        ratios = [2.0] * self.up + [1.0] * self.plain + list(self.ratios)
        for i, (image, matrix, ratio) in enumerate(zip(images, matrices, ratios, strict=True)):
            image = arithmetic.shrunk(image, round(1 / ratio)) if ratio < 1 else image
            _, height, width, _ = ops.shape(image)
            rows = as_rows(image)
            if self.up and i == 0:
                x = _in_squares(arithmetic.dense(rows, matrix, ops.tile(bias, 4)), self.filters, height, width)
            else:
                x = as_image(arithmetic.dense(rows, matrix, None if i else bias), height, width)
                x = arithmetic.enlarged(x, round(ratio)) if ratio > 1 else x
            total = x if total is None else total + x
        return total

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        """Return the shape of the result."""
        batch, height, width, _ = _listed(input_shape)[0]
        grow = 2 if self.up else 1 if self.plain else self.ratios[0]
        sides = (None if side is None else int(side * grow) for side in (height, width))
        return batch, *sides, self.filters

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        names = ("filters", "ratios", "plain", "up")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _listed(shapes: Any) -> list[Any]:
    """The shapes of several images, or of one, which Keras gives alone."""
    return [shapes] if isinstance(shapes[-1], int) else list(shapes)


def _in_squares(rows: Any, filters: int, height: Any, width: Any) -> Any:
    """Return images twice as high and wide: each row of 4 times `filters` channels makes a square of four pixels."""
    x = ops.reshape(rows, (-1, height, width, 2, 2 * filters))
    x = ops.transpose(x, (0, 1, 3, 2, 4))
    return ops.reshape(x, (-1, 2 * height, 2 * width, filters))


@keras.saving.register_keras_serializable(package="deblurgan")
class Subsampled(layers.Layer):
    """Every `factor`-th pixel of an image, the ones behind the middle: index 1 of 2, 2 of 4.

    Takes (batch, height, width, channels), sides multiples of `factor`.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(growth=1 / self.factor)

    def call(self, inputs: Any) -> Any:
        """Return the smaller image."""
        return inputs[:, self.factor // 2 :: self.factor, self.factor // 2 :: self.factor]

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the output for an input of `input_shape`."""
        batch, height, width, channels = input_shape
        return batch, height and height // self.factor, width and width // self.factor, channels

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "factor": self.factor}

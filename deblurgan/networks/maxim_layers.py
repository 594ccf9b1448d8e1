"""The layers of MAXIM: mixing inside blocks and over a grid, channel attention, cross gating, fusion of scales.

Each is described once, in terms of an `Arithmetic`: that of Keras, for any backend, or a faster one of the same
results, which `compute` takes. Weights carry the names that the authors' code gives them, with points for slashes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

EPSILON = 1e-6  # of the layer normalisations
SLOPE = 0.2  # of the leaky ReLU

Size = Sequence[int]
Initial = Callable[[str], Any] | None


class Arithmetic:
    """What the layers compute with, in `keras.ops`. Images are (batch, height, width, channels)."""

    def cast(self, weight: Any, like: Any) -> Any:
        """Return a weight in the dtype of `like`."""
        return ops.cast(weight, like.dtype)

    def dense(self, x: Any, kernel: Any, bias: Any = None, gelu: bool = False) -> Any:
        """Multiply the channels of each pixel with a matrix (in, out), add (out,); GELU in its tanh form if asked."""
        rows = ops.matmul(ops.reshape(x, (-1, kernel.shape[0])), self.cast(kernel, x))
        rows = rows if bias is None else rows + self.cast(bias, x)
        rows = ops.gelu(rows, approximate=True) if gelu else rows
        return ops.reshape(rows, (*ops.shape(x)[:-1], kernel.shape[1]))

    def conv(self, x: Any, kernel: Any, bias: Any, leaky: bool = False) -> Any:
        """Convolve with "same" padding and stride 1; leaky ReLU if asked."""
        kernel, bias = self.cast(kernel, x), self.cast(bias, x)
        x = ops.conv(x, kernel, padding="same", data_format="channels_last") + bias
        return ops.leaky_relu(x, SLOPE) if leaky else x

    def standardised(self, x: Any) -> Any:
        """Subtract from each pixel's channels their mean and divide them by their deviation; computed in float32."""
        dtype = x.dtype
        x = ops.cast(x, keras.backend.result_type(dtype, "float32"))
        x = x - ops.mean(x, axis=-1, keepdims=True)
        x = x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON)
        return ops.cast(x, dtype)

    def mixed(self, x: Any, kernel: Any, bias: Any) -> Any:
        """Mix tokens: from (batch, tokens in, values) to (batch, tokens out, values), with a matrix (in, out)."""
        kernel, bias = self.cast(kernel, x), self.cast(bias, x)
        return ops.matmul(ops.transpose(kernel), x) + bias[:, None]

    def shrunk(self, x: Any, factor: int) -> Any:
        """Make an image smaller by `factor`, as a bilinear resize with antialiasing does."""
        taps = [1 - abs(i + 0.5 - factor) / factor for i in range(2 * factor)]
        total = sum(taps)
        lost = sum(taps[: factor // 2]) / total  # of the weights, for a pixel at an edge
        weights = ops.cast(ops.array([[a * b / total**2 for b in taps] for a in taps]), x.dtype)
        channels = x.shape[-1]
        kernel = ops.tile(weights[:, :, None, None], (1, 1, channels, 1))
        x = ops.depthwise_conv(x, kernel, strides=factor, padding="same", data_format="channels_last")
        rows, columns = (1 / _kept(side, lost, x.dtype) for side in ops.shape(x)[1:3])
        return x * rows[:, None, None] * columns[:, None]

    def enlarged(self, x: Any, factor: int) -> Any:
        """Make an image larger by `factor`, bilinearly."""
        batch, height, width, _ = ops.shape(x)
        x = ops.reshape(_phases(x, factor, 1), (batch, height * factor, width, x.shape[-1]))
        return ops.reshape(_phases(x, factor, 2), (batch, height * factor, width * factor, x.shape[-1]))


def _phases(x: Any, factor: int, axis: int) -> Any:
    """For each row (or column, by `axis`) of an image the `factor` ones that it becomes, on a new axis behind it."""
    first, last = (x[:, :1], x[:, -1:]) if axis == 1 else (x[:, :, :1], x[:, :, -1:])
    rest, start = (x[:, 1:], x[:, :-1]) if axis == 1 else (x[:, :, 1:], x[:, :, :-1])
    before, after = ops.concatenate([first, start], axis), ops.concatenate([rest, last], axis)
    places = [(i + 0.5) / factor - 0.5 for i in range(factor)]  # relative to the middle of the row
    return ops.stack([x + ((before if at < 0 else after) - x) * abs(at) for at in places], axis + 1)


def _kept(side: Any, lost: float, dtype: Any) -> Any:
    """How much of the weights lies inside the image, for each of `side` pixels."""
    place = ops.arange(side)
    ends = ops.cast(place == 0, dtype) + ops.cast(place == side - 1, dtype)
    return 1 - lost * ends


KERAS = Arithmetic()


def started(initial: Initial, path: str, otherwise: Any) -> Any:
    """Return an initializer with the values that `initial` gives for the weight `path`; `otherwise` without one."""

    def start(shape: Sequence[int], dtype: Any = None) -> Any:
        values = np.asarray(initial(path))  # type: ignore[misc]
        return values.reshape(shape) if values.ndim else np.full(shape, values)

    return otherwise if initial is None else start


class Composite(layers.Layer):
    """A layer of several steps, with weights in the layouts (in, out), (height, width, in, out) and (channels,).

    Args:
        initial: called with the path of each weight for what it starts with; None for flax's ways to start.
        kwargs: see `keras.layers.Layer`.
    """

    def __init__(self, *, initial: Initial = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._initial = initial

    def call(self, inputs: Any) -> Any:
        """Return the layer's output."""
        return self.compute(inputs, KERAS)

    def compute(self, inputs: Any, arithmetic: Arithmetic) -> Any:
        """Return the layer's output, computed with `arithmetic`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output, which is that of the input."""
        return input_shape

    def weight(self, name: str, *shape: int, start: Any = "zeros") -> Any:
        """Make a weight. It is cast where it is used, after what is multiplied into it: no digits are lost."""
        start = started(self._initial, f"{self.name}/{name}", start)
        return self.add_weight(name=name, shape=shape, initializer=start, autocast=False)

    def norm(self, name: str, width: int) -> tuple[Any, Any]:
        """Make the scale and the bias of a normalisation."""
        return self.weight(f"{name}.scale", width, start="ones"), self.weight(f"{name}.bias", width)

    def kernel(self, name: str, *shape: int) -> tuple[Any, Any]:
        """Make a kernel, as flax starts it, and a bias."""
        start = keras.initializers.LecunNormal()
        return self.weight(f"{name}.kernel", *shape, start=start), self.weight(f"{name}.bias", shape[-1])


def normalised_dense(
    x: Any, norm: tuple[Any, Any], dense: tuple[Any, Any], arithmetic: Arithmetic, gelu: bool = False
) -> Any:
    """Return `dense` of the layer normalisation of `x`, whose scale and bias are multiplied into the matrix."""
    (scale, shift), (kernel, bias) = norm, dense
    bias = bias + ops.matmul(shift[None], kernel)[0]
    return arithmetic.dense(arithmetic.standardised(x), scale[:, None] * kernel, bias, gelu)


def tokens(x: Any, size: Size, grid: bool) -> Any:
    """Return an image (batch, height, width, channels) as (batch, tokens, values).

    The tokens are the pixels of a block of `size`, the values the channels of the same pixel of all blocks; with
    `grid` the tokens are the cells of a grid of `size` cells, the values the pixels of a cell.
    """
    batch, height, width, channels = ops.shape(x)
    if grid:
        x = ops.reshape(x, (batch, size[0], height // size[0], size[1], width // size[1], channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    else:
        x = ops.reshape(x, (batch, height // size[0], size[0], width // size[1], size[1], channels))
        x = ops.transpose(x, (0, 2, 4, 1, 3, 5))
    return ops.reshape(x, (batch, size[0] * size[1], -1, x.shape[-1]))


def image_of(x: Any, size: Size, grid: bool, height: Any, width: Any) -> Any:
    """Return the image (batch, height, width, channels) of what `tokens` returned, or of more channels."""
    batch, _, _, channels = ops.shape(x)
    rows, columns = height // size[0], width // size[1]
    x = ops.reshape(x, (batch, *size, rows, columns, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5) if grid else (0, 3, 1, 4, 2, 5))
    return ops.reshape(x, (batch, height, width, x.shape[-1]))


def mixed(x: Any, dense: tuple[Any, Any], arithmetic: Arithmetic) -> Any:
    """Mix the tokens (batch, tokens, pixels, channels) with a matrix, every channel of every pixel alike."""
    batch, count, pixels, channels = ops.shape(x)
    y = arithmetic.mixed(ops.reshape(x, (batch, count, pixels * channels)), *dense)
    return ops.reshape(y, (batch, count, pixels, x.shape[-1]))


@keras.saving.register_keras_serializable(package="deblurgan")
class MultiAxisGmlp(Composite):
    """MAXIM's multi-axis gated MLP block: one half of the channels is mixed inside blocks, the other over a grid.

    y = x + project([grid branch, block branch]) of two halves of gelu(project(norm(x))); each branch is a gated MLP
    with a shortcut, whose gate mixes the tokens of `networks.maxim_layers.tokens`.

    Args:
        block_size: height and width in pixels of the blocks.
        grid_size: rows and columns of the grid.
        input_factor: how many times the input's channels both halves have together.
        block_factor, grid_factor: how many times its channels a branch has inside.
        dropout: rate after each branch and at the end, active in training only.

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

    def build(self, input_shape: Sequence[int | None]) -> None:
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

    def compute(self, inputs: Any, arithmetic: Arithmetic, training: bool | None = None) -> Any:
        """Return the block's output."""
        _, height, width, _ = ops.shape(inputs)
        x = normalised_dense(inputs, self.norm_in, self.in_project, arithmetic, gelu=True)
        halves = []
        for half, grid, size, weights in zip(
            ops.split(x, 2, axis=-1), (True, False), (self.grid_size, self.block_size), self.branches, strict=True
        ):
            y = self._gated(tokens(half, size, grid), weights, arithmetic, training)
            halves.append(image_of(y, size, grid, height, width))
        x = arithmetic.dense(ops.concatenate(halves, axis=-1), *self.out_project)
        return inputs + self._dropped(x, training)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the block's output."""
        return self.compute(inputs, KERAS, training)

    def _gated(self, x: Any, weights: tuple[Any, ...], arithmetic: Arithmetic, training: bool | None) -> Any:
        """The gated MLP of one branch, on (batch, tokens, pixels, channels)."""
        norm, in_project, gate_norm, mixing, out_project = weights
        y = normalised_dense(x, norm, in_project, arithmetic, gelu=True)
        u, v = ops.split(y, 2, axis=-1)
        (scale, shift), v = gate_norm, arithmetic.standardised(v)
        v = v * arithmetic.cast(scale, v) + arithmetic.cast(shift, v)
        v = mixed(v, mixing, arithmetic)
        return x + self._dropped(arithmetic.dense(u * (v + 1), *out_project), training)

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

    Takes and gives (batch, height, width, channels).

    Source: arXiv 2201.02973, figure 2b and appendix; Zhang et al., arXiv 1807.02758.
    """

    def __init__(self, reduction: int = 4, *, mixing: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reduction, self.mixing = reduction, mixing

    def build(self, input_shape: Sequence[int | None]) -> None:
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

    def compute(self, inputs: Any, arithmetic: Arithmetic) -> Any:
        """Return the block's output."""
        if self.mixing:
            x = normalised_dense(inputs, self.norm_in, self.steps[0], arithmetic, gelu=True)
            x = arithmetic.dense(x, *self.steps[1])
        else:
            scale, shift = self.norm_in
            x = arithmetic.standardised(inputs)
            x = x * arithmetic.cast(scale, x) + arithmetic.cast(shift, x)
            x = arithmetic.conv(x, *self.steps[0], leaky=True)
            x = arithmetic.conv(x, *self.steps[1])
        squeeze, excite = self.attention
        weights = ops.relu(arithmetic.dense(ops.mean(x, axis=(1, 2), keepdims=True), *squeeze))
        return inputs + x * ops.sigmoid(arithmetic.dense(weights, *excite))

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

    Takes [x, y] and gives [x + y' + x', y'], where y' = y + project(gelu(project(norm(y))) * gate of x), and x' the
    same the other way round.

    Source: arXiv 2201.02973, section 3.3 and figure 3b.
    """

    def __init__(self, block_size: Size, grid_size: Size, *, input_factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size, self.grid_size, self.input_factor = tuple(block_size), tuple(grid_size), input_factor

    def build(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        """Make the weights."""
        width: int = input_shape[0][-1]  # type: ignore[assignment]
        self.x, self.y = (self._side(side, width) for side in "xy")

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

    def compute(self, inputs: Any, arithmetic: Arithmetic) -> Any:
        """Return both outputs."""
        x, y = inputs
        x_in, y_in = (
            normalised_dense(image, norm, in_project, arithmetic, gelu=True)
            for image, (norm, in_project, _, _) in ((x, self.x), (y, self.y))
        )
        gate_x, gate_y = self._gate(x_in, self.x[2], arithmetic), self._gate(y_in, self.y[2], arithmetic)
        y = y + arithmetic.dense(y_in * gate_x, *self.y[3])
        return [x + y + arithmetic.dense(x_in * gate_y, *self.x[3]), y]

    def _gate(self, x: Any, weights: tuple[Any, ...], arithmetic: Arithmetic) -> Any:
        """The weights that an image gives to the other."""
        norm, in_project, *mixings, out_project = weights
        _, height, width, _ = ops.shape(x)
        x = normalised_dense(x, norm, in_project, arithmetic, gelu=True)
        halves = []
        for half, grid, size, mixing in zip(
            ops.split(x, 2, axis=-1), (True, False), (self.grid_size, self.block_size), mixings, strict=True
        ):
            y = mixed(tokens(half, size, grid), mixing, arithmetic)
            halves.append(image_of(y, size, grid, height, width))
        return arithmetic.dense(ops.concatenate(halves, axis=-1), *out_project)

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

    def build(self, input_shape: Sequence[Sequence[int | None]]) -> None:
        """Make the weights."""
        width, channels = (shape[-1] for shape in input_shape)
        self.features = self.kernel("Conv_0", 3, 3, width, width)  # type: ignore[arg-type]
        self.image = self.kernel("Conv_2", 3, 3, channels, width)  # type: ignore[arg-type]

    def compute(self, inputs: Any, arithmetic: Arithmetic) -> Any:
        """Return the attended features."""
        features, image = inputs
        attention = ops.sigmoid(arithmetic.conv(ops.cast(image, features.dtype), *self.image))
        return features + arithmetic.conv(features, *self.features) * attention

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

    Takes a list of images: the one of `up`, the plain ones, those of `ratios`. Gives (batch, height, width, filters).

    Source: arXiv 2201.02973, figure 2a, "multi-scale feature fusion".
    """

    def __init__(
        self, filters: int, ratios: Sequence[float] = (), *, plain: int = 0, up: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.ratios, self.plain, self.up = filters, tuple(ratios), plain, up

    def build(self, input_shape: Sequence[Any]) -> None:
        """Make the weights."""
        shapes = [shape[-1] for shape in _listed(input_shape)]
        joined = 0
        if self.up:
            # Keras' layout of a transposed convolution: (height, width, out, in).
            start = keras.initializers.LecunNormal()
            self.transposed = (
                self.weight("ConvTranspose_0.kernel", 2, 2, self.filters, shapes[0], start=start),
                self.weight("ConvTranspose_0.bias", self.filters),
            )
            joined += self.filters
        joined += sum(shapes[int(self.up) : self.plain + int(self.up)])
        scaled = shapes[self.plain + int(self.up) :]
        self.scaled = [self.kernel(f"scaled_{j}", width, self.filters) for j, width in enumerate(scaled)]
        joined += self.filters * len(scaled)
        self.joined = self.kernel("Conv_0", joined, self.filters)

    def compute(self, inputs: Any, arithmetic: Arithmetic) -> Any:
        """Return the fused image."""
        images = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        kernel, bias = self.joined
        start = 0

        def rows(count: int) -> Any:
            nonlocal start
            start += count
            return kernel[start - count : start]

        enlarged = images.pop(0) if self.up else None
        if self.up:
            own, shift = self.transposed
            part = rows(self.filters)
            both = ops.matmul(ops.transpose(own, (0, 1, 3, 2)), part)  # (2, 2, in, out)
            bias = bias + ops.matmul(shift[None], part)[0]
        same: dict[int, Any] = {}  # kernels of images that are the same one are added
        for image in images[: self.plain]:
            part = rows(image.shape[-1])
            known = same.get(id(image))
            same[id(image)] = (image, part if known is None else known[1] + part)
        parts = [(image, part, 1.0) for image, part in same.values()]
        for image, ratio, (own, shift) in zip(images[self.plain :], self.ratios, self.scaled, strict=True):
            part = rows(self.filters)
            bias = bias + ops.matmul(shift[None], part)[0]
            parts.append((image, ops.matmul(own, part), ratio))
        total = None if enlarged is None else self._doubled(enlarged, both, bias, arithmetic)
        for image, part, ratio in parts:
            if ratio < 1:
                image = arithmetic.shrunk(image, round(1 / ratio))
            image = arithmetic.dense(image, part, bias if total is None else None)  # the bias once
            if ratio > 1:
                image = arithmetic.enlarged(image, round(ratio))
            total = image if total is None else total + image
        return total

    def _doubled(self, image: Any, kernel: Any, bias: Any, arithmetic: Arithmetic) -> Any:
        """A 2x2 transposed convolution: each pixel makes a square of four."""
        _, _, width, filters = kernel.shape
        flat = ops.reshape(ops.transpose(kernel, (2, 0, 1, 3)), (width, 4 * filters))
        return in_squares(arithmetic.dense(image, flat, ops.tile(bias, 4)), filters)

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


def in_squares(x: Any, filters: int) -> Any:
    """Return (batch, 2 height, 2 width, filters) of (batch, height, width, 4 filters): a square of each pixel."""
    batch, height, width, _ = ops.shape(x)
    x = ops.reshape(x, (batch, height, width, 2, 2, filters))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch, 2 * height, 2 * width, filters))


@keras.saving.register_keras_serializable(package="deblurgan")
class Subsampled(layers.Layer):
    """Every `factor`-th pixel of an image, the ones behind the middle: index 1 of 2, 2 of 4.

    Takes (batch, height, width, channels), sides multiples of `factor`.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

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

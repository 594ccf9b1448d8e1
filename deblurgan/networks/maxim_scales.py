"""The layers of MAXIM that bring images from one scale to another."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from deblurgan.networks.footprint import LayerNeeds
from deblurgan.networks.maxim_parts import Arithmetic, Composite, as_image, as_rows


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

    options = ("filters", "ratios", "plain", "up")

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
        widths = [shape[-1] for shape in _shapes(input_shape)]
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
        batch, height, width, _ = _shapes(input_shape)[0]
        grow = 2 if self.up else 1 if self.plain else self.ratios[0]
        sides = (None if side is None else int(side * grow) for side in (height, width))
        return batch, *sides, self.filters


def _shapes(shapes: Any) -> list[Any]:
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

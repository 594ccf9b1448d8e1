"""The layers of NAFNet: its block, and the exchange of pixels and channels."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from deblurgan.errors import InputError
from deblurgan.networks.footprint import LayerNeeds

EPSILON = 1e-6  # of the layer normalisation


def as_pytorch() -> keras.initializers.Initializer:
    """Return an initializer as PyTorch starts convolutions; a new one, since each draws the same values again."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


@keras.saving.register_keras_serializable(package="deblurgan")
class NAFBlock(layers.Layer):
    """NAFNet's block: y = x + beta * attention(x), then y + gamma * feed_forward(y).

    attention: layer normalisation, 1x1 convolution to twice the channels, 3x3 depthwise convolution, simple gate
    (one half of the channels times the other), simplified channel attention (times a 1x1 convolution of the mean over
    the image), 1x1 convolution. feed_forward: layer normalisation, 1x1 convolution to twice the channels, simple
    gate, 1x1 convolution. `beta` and `gamma` have a value for each channel and start at 0, so that the block starts
    as the identity.

    The 1x1 convolutions are matrices (in, out), which Keras' Muon takes. What multiplies and shifts channels before
    or after one is multiplied into it, which gives the same at the cost of a matrix instead of an image. Statistics
    are computed in float32.

    Args:
        window: side in this layer's pixels of the squares whose means the attention uses outside training, instead of
            the means of the whole image: the test-time local converter (arXiv 2112.04491). A square ends where the
            image does, and those nearer to the border than half of it are the outermost square. None: the image.
        dropout: rate after the attention and after the feed-forward part, active in training only.

    Takes images (batch, height, width, channels) of any size and returns the same shape in the compute dtype.

    Source: arXiv 2204.04676, figure 3c and equations 3 to 6.
    """

    def __init__(self, *, window: int | None = None, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window = window
        self.dropout = dropout
        self._drop = layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy) if dropout else None
        self.input_spec = keras.InputSpec(ndim=4)

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(looks=1, window=self.window, held=6)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make the weights."""
        width: int = input_shape[-1]  # type: ignore[assignment]

        def weight(name: str, *shape: int, start: Any = "zeros") -> Any:
            # Cast only after they have been multiplied into each other, so that no digits are lost before.
            return self.add_weight(name=name, shape=shape, initializer=start, autocast=False)

        def norm(name: str) -> tuple[Any, Any]:
            return weight(f"{name}_scale", width, start="ones"), weight(f"{name}_bias", width)

        def conv(name: str, filters: int) -> tuple[Any, Any]:
            return weight(f"{name}_kernel", width, filters, start=as_pytorch()), weight(f"{name}_bias", filters)

        self.norm1 = norm("norm1")
        self.conv1 = conv("conv1", 2 * width)
        nine = keras.initializers.RandomUniform(-1 / 3, 1 / 3)  # `as_pytorch` for a fan-in of 9
        self.conv2 = weight("conv2_kernel", 3, 3, 2 * width, 1, start=nine), weight("conv2_bias", 2 * width)
        self.sca = conv("sca", width)
        self.conv3 = conv("conv3", width)
        self.beta = weight("beta", width)
        self.norm2 = norm("norm2")
        self.conv4 = conv("conv4", 2 * width)
        self.conv5 = conv("conv5", width)
        self.gamma = weight("gamma", width)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the block's output."""
        kernel, bias = self._cast(*self.conv2)
        x = self._normalised(inputs, self.norm1, self.conv1)
        x = ops.depthwise_conv(x, kernel, padding="same", data_format="channels_last") + bias
        x = _gate(x)
        x = _dense(x * self._attention(x, training), *self._scaled(self.conv3, self.beta))
        x = inputs + self._dropped(x, training)
        y = self._normalised(x, self.norm2, self.conv4)
        y = _dense(_gate(y), *self._scaled(self.conv5, self.gamma))
        return x + self._dropped(y, training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "window": self.window, "dropout": self.dropout}

    def _cast(self, *weights: Any) -> list[Any]:
        return [ops.cast(weight, self.compute_dtype) for weight in weights]

    def _normalised(self, x: Any, norm: tuple[Any, Any], conv: tuple[Any, Any]) -> Any:
        """The 1x1 convolution `conv` of the layer normalisation of `x`."""
        (scale, shift), (kernel, bias) = norm, conv
        bias = bias + ops.matmul(shift[None], kernel)[0]
        return _dense(_standardised(x), *self._cast(scale[:, None] * kernel, bias))

    def _scaled(self, conv: tuple[Any, Any], scale: Any) -> list[Any]:
        """Kernel and bias of the 1x1 convolution whose output is `scale` times that of `conv`."""
        kernel, bias = conv
        return self._cast(kernel * scale, bias * scale)

    def _dropped(self, x: Any, training: bool | None) -> Any:
        return x if self._drop is None else self._drop(x, training=training)

    def _attention(self, x: Any, training: bool | None) -> Any:
        """The factors of the simplified channel attention: for each image, or outside training for each window."""
        if self.window is None or training:
            mean = ops.mean(x, axis=(1, 2), keepdims=True)
        else:
            mean = window_mean(window_mean(x, self.window, axis=1), self.window, axis=2)
        return _dense(mean, *self._cast(*self.sca))


def _gate(x: Any) -> Any:
    """The simple gate: one half of the channels times the other."""
    first, second = ops.split(x, 2, axis=-1)
    return first * second


def _dense(x: Any, kernel: Any, bias: Any) -> Any:
    """Multiply each pixel's channels with a matrix; as one product of two matrices, the fastest form everywhere."""
    rows = ops.matmul(ops.reshape(x, (-1, kernel.shape[0])), kernel) + bias
    return ops.reshape(rows, (*ops.shape(x)[:-1], kernel.shape[1]))


def _standardised(x: Any) -> Any:
    """Subtract from each pixel's channels their mean and divide them by their deviation; computed in float32."""
    dtype = x.dtype
    x = ops.cast(x, keras.backend.result_type(dtype, "float32"))
    x = x - ops.mean(x, axis=-1, keepdims=True)
    x = x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON)
    return ops.cast(x, dtype)


def window_mean(x: Any, window: int, axis: int) -> Any:
    """Return for each position along `axis` the mean of the `window` values around it; the same shape and dtype.

    Of an even number, the middle is the one before the centre. The window is moved to where it fits next to the
    ends, and cut to a shorter axis. Sums are differences of cumulative ones in float32, so that the cost does not
    depend on the window; along one axis at a time they stay short enough to be exact.
    """
    size = ops.shape(x)[axis]
    length = ops.minimum(window, size)
    start = ops.clip(ops.arange(size) - (length - 1) // 2, 0, size - length)
    sums = ops.cumsum(ops.cast(x, "float32"), axis=axis)
    sums = ops.pad(sums, [(int(i == axis), 0) for i in range(len(x.shape))])
    total = ops.take(sums, start + length, axis=axis) - ops.take(sums, start, axis=axis)
    return ops.cast(total / ops.cast(length, "float32"), x.dtype)


class _Shuffle(layers.Layer):
    """What SpaceToDepth and DepthToSpace share: a factor."""

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if type(factor) is not int or factor < 1:
            raise InputError(f"factor: expected a positive int, received {factor!r}")
        self.factor = factor
        self.input_spec = keras.InputSpec(ndim=4)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="deblurgan")
class SpaceToDepth(_Shuffle):
    """Make one pixel of each square of `factor` x `factor`: (batch, f h, f w, c) becomes (batch, h, w, f f c).

    Output channel (i f + j) c + k is channel k of the pixel in row i and column j of the square.
    """

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(growth=1 / self.factor)

    def call(self, inputs: Any) -> Any:
        """Return `inputs` rearranged."""
        batch, height, width, channels = ops.shape(inputs)
        f = self.factor
        x = ops.reshape(inputs, (batch, height // f, f, width // f, f, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (batch, height // f, width // f, f * f * channels))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the output for an input of `input_shape`."""
        batch, height, width, channels = input_shape
        f = self.factor
        return batch, height and height // f, width and width // f, channels * f * f  # type: ignore[operator]


@keras.saving.register_keras_serializable(package="deblurgan")
class DepthToSpace(_Shuffle):
    """The inverse of SpaceToDepth: make a square of `factor` x `factor` pixels of the channels of each pixel."""

    @property
    def needs(self) -> LayerNeeds:
        """What the layer needs when a part of a picture is restored."""
        return LayerNeeds(growth=self.factor)

    def call(self, inputs: Any) -> Any:
        """Return `inputs` rearranged."""
        batch, height, width, _ = ops.shape(inputs)
        f = self.factor
        channels = inputs.shape[-1] // (f * f)
        x = ops.reshape(inputs, (batch, height, width, f, f, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (batch, height * f, width * f, channels))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the output for an input of `input_shape`."""
        batch, height, width, channels = input_shape
        f = self.factor
        return batch, height and height * f, width and width * f, channels // (f * f)  # type: ignore[operator]

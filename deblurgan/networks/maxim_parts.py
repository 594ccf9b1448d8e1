"""What the layers of MAXIM have in common: their arithmetic, their weights, and pixels in the order of mixing.

Each layer is described once, in terms of an `Arithmetic`: that of Keras, for any backend, or a faster one of the same
results.
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
    """What the layers compute with, in `keras.ops`.

    Images are (batch, height, width, channels), rows (pixels, channels): the pixels of images in any order.
    """

    def cast(self, weight: Any, like: Any) -> Any:
        """Return a weight in the dtype of `like`."""
        return ops.cast(weight, like.dtype)

    def dense(self, rows: Any, kernel: Any, bias: Any = None, *, gelu: bool = False) -> Any:
        """Multiply rows with a matrix (in, out), add (out,) if given; GELU in its tanh form if asked."""
        rows = ops.matmul(rows, self.cast(kernel, rows))
        rows = rows if bias is None else rows + self.cast(bias, rows)
        return ops.gelu(rows, approximate=True) if gelu else rows

    def conv(self, x: Any, kernel: Any, bias: Any, *, leaky: bool = False) -> Any:
        """Convolve an image with "same" padding and stride 1; leaky ReLU if asked."""
        kernel, bias = self.cast(kernel, x), self.cast(bias, x)
        x = ops.conv(x, kernel, padding="same", data_format="channels_last") + bias
        return ops.leaky_relu(x, SLOPE) if leaky else x

    def normalised(self, rows: Any, scale: Any = None, shift: Any = None) -> Any:
        """Subtract from each row its mean and divide it by its deviation; computed in float32.

        Then multiply with `scale` and add `shift`, (channels,), where there are such.
        """
        dtype = rows.dtype
        x = ops.cast(rows, keras.backend.result_type(dtype, "float32"))
        x = x - ops.mean(x, axis=-1, keepdims=True)
        x = ops.cast(x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + EPSILON), dtype)
        return x if scale is None else x * self.cast(scale, x) + self.cast(shift, x)

    def mixed(self, x: Any, kernel: Any, bias: Any) -> Any:
        """Mix tokens: (batch, tokens in, values) to (batch, tokens out, values), by a matrix (out, in) and (out,)."""
        return ops.matmul(self.cast(kernel, x), x) + self.cast(bias, x)[:, None]

    def shrunk(self, x: Any, factor: int) -> Any:
        """Make an image smaller by `factor`, as a bilinear resize with antialiasing does."""
        taps = [1 - abs(i + 0.5 - factor) / factor for i in range(2 * factor)]
        total = sum(taps)
        lost = sum(taps[: factor // 2]) / total  # of the weights, for a pixel at an edge
        weights = ops.cast(ops.array([[a * b / total**2 for b in taps] for a in taps]), x.dtype)
        kernel = ops.tile(weights[:, :, None, None], (1, 1, x.shape[-1], 1))
        x = ops.depthwise_conv(x, kernel, strides=factor, padding="same", data_format="channels_last")
        rows, columns = (1 / _kept(side, lost, x.dtype) for side in ops.shape(x)[1:3])
        return x * (rows[:, None, None] * columns[:, None])

    def enlarged(self, x: Any, factor: int) -> Any:
        """Make an image larger by `factor`, bilinearly."""
        _, height, width, channels = ops.shape(x)
        x = ops.reshape(_phases(x, factor, 1), (-1, height * factor, width, channels))
        return ops.reshape(_phases(x, factor, 2), (-1, height * factor, width * factor, channels))


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


@keras.saving.register_keras_serializable(package="deblurgan")
class Given(keras.initializers.Initializer):
    """Starts a weight with values that are at hand, once; a saved model, which holds them, keeps `otherwise` alone.

    Args:
        values: called for them, and let go of.
        otherwise: any initializer.
    """

    def __init__(self, values: Callable[[], Any], otherwise: Any) -> None:
        self.values: Callable[[], Any] | None = values
        self.otherwise = otherwise

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Return the values, given in any shape of that size or as one number."""
        given, self.values = self.values, None
        if given is None:
            return keras.initializers.get(self.otherwise)(shape, dtype)
        return _shaped(given(), shape)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {"otherwise": keras.initializers.serialize(keras.initializers.get(self.otherwise))}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return the other initializer."""
        return keras.initializers.deserialize(config["otherwise"])


def _shaped(values: Any, shape: Sequence[int]) -> np.ndarray:
    values = np.asarray(values)
    return values.reshape(shape) if values.ndim else np.full(shape, values)


def started(initial: Initial, path: str, otherwise: Any) -> Any:
    """Return an initializer with the values that `initial` gives for the weight `path`; `otherwise` without one."""
    return otherwise if initial is None else Given(lambda: initial(path), otherwise)


class Composite(layers.Layer):
    """A layer of several steps, with weights in the layouts (in, out), (height, width, in, out) and (channels,).

    What can be computed from the weights alone, `folded`, stands apart from what becomes of the inputs, `compute`, so
    that it need not be done again and again where the weights stay.

    Args:
        initial: called with the path of each weight for what it starts with; None for flax's ways to start.
        frozen: whether the weights are constants with these values; such a layer restores, and no more.
        kwargs: see `keras.layers.Layer`.
    """

    options: tuple[str, ...] = ()  # arguments of a layer's own, which are its attributes

    def __init__(self, *, initial: Initial = None, frozen: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._initial, self._frozen = initial, frozen

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.make(input_shape)
        self._initial = None  # with all the values that it holds

    def make(self, input_shape: Any) -> None:
        """Make the weights; called once."""
        raise NotImplementedError

    def call(self, inputs: Any) -> Any:
        """Return the layer's output."""
        return self.compute(inputs, self.folded(), KERAS)

    def folded(self) -> Any:
        """Return the weights multiplied into each other, as nested lists and tuples."""
        raise NotImplementedError

    def compute(self, inputs: Any, weights: Any, arithmetic: Arithmetic) -> Any:
        """Return the layer's output for weights from `folded`, computed with `arithmetic`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output, which is that of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again; what its weights started with is none of them."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.options}}

    def weight(self, name: str, *shape: int, start: Any = "zeros") -> Any:
        """Make a weight. It is cast where it is used, after what is multiplied into it: no digits are lost."""
        path = f"{self.name}/{name}"
        if self._frozen and self._initial is not None:
            return _shaped(self._initial(path), shape).astype(np.float32)
        start = started(self._initial, path, start)
        return self.add_weight(name=name, shape=shape, initializer=start, autocast=False)

    def norm(self, name: str, width: int) -> tuple[Any, Any]:
        """Make the scale and the bias of a normalisation."""
        return self.weight(f"{name}.scale", width, start="ones"), self.weight(f"{name}.bias", width)

    def kernel(self, name: str, *shape: int) -> tuple[Any, Any]:
        """Make a kernel, as flax starts it, and a bias."""
        start = keras.initializers.LecunNormal()
        return self.weight(f"{name}.kernel", *shape, start=start), self.weight(f"{name}.bias", shape[-1])


def after_norm(norm: tuple[Any, Any], dense: tuple[Any, Any], parts: int = 1) -> list[Any]:
    """Return matrix and bias that follow a layer normalisation without scale and bias of its own.

    Of those in `dense`, whose output channels come in so many parts.
    """
    (scale, shift), (kernel, bias) = norm, dense
    kernel, bias = scale[:, None] * kernel, bias + ops.matmul(shift[None], kernel)[0]
    width = kernel.shape[1] // parts
    return [(kernel[:, i * width : (i + 1) * width], bias[i * width : (i + 1) * width]) for i in range(parts)]


def of_both(dense: tuple[Any, Any]) -> list[Any]:
    """Return matrix and bias for the first half of the input channels, and the matrix for the second."""
    kernel, bias = dense
    width = kernel.shape[0] // 2
    return [(kernel[:width], bias), (kernel[width:],)]


def of_tokens(dense: tuple[Any, Any], more: float = 0.0) -> tuple[Any, Any]:
    """Return matrix and bias that mix tokens as `Arithmetic.mixed` takes them, with `more` added to the result."""
    kernel, bias = dense
    return ops.transpose(kernel), bias + more


def tokens(rows: Any, size: Size, grid: bool, height: Any, width: Any) -> Any:
    """Return the rows of images in an order in which tokens can be mixed: (strips, tokens, pixels) as rows.

    The tokens are the pixels of a block of `size`, and a strip has a row of blocks. With `grid` the tokens are the
    cells of a grid of `size` cells, and a strip has a row of pixels of each cell. What is mixed is longer than wide,
    and whole rows of pixels move where they can.
    """
    channels = rows.shape[-1]
    if grid:
        x = ops.reshape(rows, (-1, size[0], height // size[0], width, channels))
        x = ops.transpose(x, (0, 2, 1, 3, 4))
    else:
        x = ops.reshape(rows, (-1, size[0], width // size[1], size[1], channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4))
    return ops.reshape(x, (-1, channels))


def images_of(rows: Any, size: Size, grid: bool, height: Any, width: Any) -> Any:
    """Return in the order of images, as rows, what `tokens` returned."""
    channels = rows.shape[-1]
    if grid:
        x = ops.reshape(rows, (-1, height // size[0], size[0], width, channels))
        x = ops.transpose(x, (0, 2, 1, 3, 4))
    else:
        x = ops.reshape(rows, (-1, size[0], size[1], width // size[1], channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4))
    return ops.reshape(x, (-1, channels))


def mixed(rows: Any, size: Size, width: Any, weights: tuple[Any, Any], arithmetic: Arithmetic) -> Any:
    """Mix tokens in the order of `tokens` with a matrix, every channel of every pixel alike."""
    channels = rows.shape[-1]
    x = ops.reshape(rows, (-1, math.prod(size), width // size[1] * channels))
    return ops.reshape(arithmetic.mixed(x, *weights), (-1, channels))


def as_rows(x: Any) -> Any:
    """Return the pixels of images (batch, height, width, channels) as (pixels, channels)."""
    return ops.reshape(x, (-1, x.shape[-1]))


def as_image(rows: Any, height: Any, width: Any) -> Any:
    """Return rows as images."""
    return ops.reshape(rows, (-1, height, width, rows.shape[-1]))

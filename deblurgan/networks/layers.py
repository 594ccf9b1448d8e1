"""The layers that the networks are made of: padding, normalisations, dropout, the ResNet block, a gradient."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from deblurgan.devices import keep_order
from deblurgan.errors import InputError

Pair = tuple[int, int]

STATISTICS = ("image", "noted")
NOTED_SHARE = 0.1  # of each batch in the noted statistics of an instance normalisation: PyTorch's momentum


@keras.saving.register_keras_serializable(package="deblurgan")
class ReflectionPadding2D(layers.Layer):
    """Pad the rows and columns of images by mirroring them, the edge itself not repeated.

    Args:
        padding: rows and columns to add. An int: on all four sides. Two ints: `(height, width)`, each on both of its
            sides. Two pairs: `((top, bottom), (left, right))`.
        data_format: "channels_last" (batch, height, width, channels) or "channels_first" (batch, channels, height,
            width); Keras' configured default when None.

    The output has the input's dtype and rank 4. A side must be longer than the padding next to it: InputError when
    it is not and the shape is known; an unknown one fails in the backend when the data arrive.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.layer_utils import ReflectionPadding2D
        >>> row = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
        >>> ReflectionPadding2D((0, 2))(row).numpy().ravel().tolist()
        [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """

    def __init__(
        self,
        padding: int | Sequence[int] | Sequence[Sequence[int]] = (1, 1),
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.padding = _pairs(padding)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in {"channels_last", "channels_first"}:
            raise InputError(f"data_format: expected 'channels_last' or 'channels_first', received {data_format!r}")
        self.input_spec = keras.InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return `input_shape` with the padding added to its known sides."""
        shape = list(input_shape)
        for axis, (before, after) in zip(self._axes(), self.padding, strict=True):
            size = shape[axis]
            if size is None:
                continue
            if size <= max(before, after):
                raise InputError(
                    f"{self.name}: reflecting {max(before, after)} pixels needs a side of at least "
                    f"{max(before, after) + 1}, received an input of shape {tuple(input_shape)}"
                )
            shape[axis] = size + before + after
        return tuple(shape)

    def call(self, inputs: Any) -> Any:
        """Return `inputs` padded."""
        self.compute_output_shape(inputs.shape)
        widths: list[Pair] = [(0, 0)] * 4
        for axis, pair in zip(self._axes(), self.padding, strict=True):
            widths[axis] = pair
        return ops.pad(inputs, widths, mode="reflect")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "padding": self.padding, "data_format": self.data_format}

    def _axes(self) -> Pair:
        return (1, 2) if self.data_format == "channels_last" else (2, 3)


def _pairs(padding: Any) -> tuple[Pair, Pair]:
    """Spell any accepted `padding` as ((top, bottom), (left, right))."""
    sides = (padding, padding) if isinstance(padding, int) else padding
    try:
        height, width = ((side, side) if isinstance(side, int) else tuple(side) for side in sides)
        if all(len(pair) == 2 and all(type(n) is int and n >= 0 for n in pair) for pair in (height, width)):
            return height, width
    except (TypeError, ValueError):
        pass
    raise InputError(
        "padding: expected a non-negative int, (height, width) or ((top, bottom), (left, right)), "
        f"received {padding!r}"
    )


class _ImageStatistics:
    """What normalisations share that take the statistics of images, and may be handed those of others."""

    affine: bool
    compute_dtype: str
    epsilon: float
    gamma: Any
    beta: Any

    def moments(self, inputs: Any, *, of_all: bool = False) -> tuple[Any, Any]:
        """Return mean and variance of each channel, in float32 or float64.

        Those of each image, (batch, 1, 1, channels), or `of_all`, as if they were one, (1, 1, 1, channels).
        """

        def mean(images: Any) -> Any:
            means = _image_mean(images)
            return ops.mean(means, axis=0, keepdims=True) if of_all else means

        x = ops.cast(inputs, self._statistics_dtype)
        center = mean(x)
        return center, mean(ops.square(x - center))

    def normalised(self, inputs: Any, mean: Any, variance: Any) -> Any:
        """Return `inputs` normalised by these statistics, which take the place of the layer's own."""
        dtype = self._statistics_dtype
        x = ops.cast(inputs, dtype) - ops.cast(mean, dtype)
        x = x * ops.rsqrt(ops.cast(variance, dtype) + self.epsilon)
        if self.affine:
            x = x * ops.cast(self.gamma, dtype) + ops.cast(self.beta, dtype)
        return ops.cast(x, self.compute_dtype)

    @property
    def _statistics_dtype(self) -> str:
        return keras.backend.result_type(self.compute_dtype, "float32")


@keras.saving.register_keras_serializable(package="deblurgan")
class BatchNormalization(_ImageStatistics, layers.BatchNormalization):
    """Keras' BatchNormalization, with TensorFlow's fused kernel for images.

    The mathematics, arguments, variables and results are those of `keras.layers.BatchNormalization`, which does all
    else (masks, other ranks, dtypes and backends). Keras spells the layer as a dozen elementwise operations in
    float32; the fused kernel reads a bfloat16 image once or twice.

    Args:
        legacy: whether a frozen layer (`trainable` False) normalises with the batch's statistics in training, without
            noting them, as Keras 2.1 did. Keras 3's uses the noted ones.
        statistics: those used outside training: "noted", Keras', or "image", each image's own, which are those of a
            batch of one.
        *args: those of `keras.layers.BatchNormalization`.
        **kwargs: the same.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.layer_utils import BatchNormalization
        >>> images = np.array([1.0, 3.0], "float32").reshape(2, 1, 1, 1)
        >>> BatchNormalization()(images, training=True).numpy().round(2).ravel().tolist()
        [-1.0, 1.0]
    """

    affine = True

    def __init__(self, *args: Any, legacy: bool = False, statistics: str = "noted", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _check_statistics(statistics)
        self.legacy = legacy
        self.statistics = statistics

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "legacy": self.legacy, "statistics": self.statistics}

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise with the batch's statistics and note them when training and not frozen, else as `statistics`."""
        if not training and self.statistics == "image":
            return self.normalised(inputs, *self.moments(inputs))
        batch_statistics = bool(training and (self.trainable or self.legacy))
        fused = (
            mask is None
            and keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (3, -1)
            and self.scale
            and self.center
            and not self.synchronized
            and not getattr(self, "renorm", False)  # an argument of newer Keras versions
            and self.variable_dtype == "float32"
            and keras.backend.standardize_dtype(inputs.dtype) == self.compute_dtype
        )
        if not fused and batch_statistics and not self.trainable:
            raise InputError(f"{self.name}: legacy=True needs images, TensorFlow, no mask, and a scale and center")
        if not fused:
            return super().call(inputs, training=training, mask=mask)

        import tensorflow as tf

        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[] if batch_statistics else self.moving_mean,
            variance=[] if batch_statistics else self.moving_variance,
            epsilon=self.epsilon,
            is_training=batch_statistics,
        )
        if batch_statistics and self.trainable:
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), "float32")
            variance *= (count - 1) / count  # the kernel gives the sample variance, Keras notes the population's
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return output


@keras.saving.register_keras_serializable(package="deblurgan")
class InstanceNormalization(_ImageStatistics, layers.Layer):
    """Normalise each channel of each image by a mean and variance over height and width, its own or noted ones.

    Args:
        epsilon: added to the variance.
        affine: whether the result is multiplied by `gamma` and `beta` is added, one value of each for each channel.
        statistics: those used outside training. "image": each image's own. "noted": for each channel a moving mean
            and variance, `moving_mean` and `moving_variance`, which training notes, a tenth of each batch: the mean
            over the images of their means, and of their unbiased variances. Training itself uses each image's own.
            That is PyTorch's `InstanceNorm2d(track_running_stats=True)`, before and after its `eval()`. A layer whose
            `trainable` is False notes nothing.

    Takes images (batch, height, width, channels) and returns the same shape in the compute dtype; the statistics are
    computed in float32, or in float64 by a float64 layer. No weights with the defaults.

    Source: Ulyanov et al., arXiv 1607.08022; the defaults are those of PyTorch's InstanceNorm2d.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.layer_utils import InstanceNormalization
        >>> image = np.array([1.0, 3.0], "float32").reshape(1, 1, 2, 1)
        >>> InstanceNormalization()(image).numpy().round(3).ravel().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, epsilon: float = 1e-5, affine: bool = False, statistics: str = "image", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_statistics(statistics)
        self.epsilon = epsilon
        self.affine = affine
        self.statistics = statistics
        self.input_spec = keras.InputSpec(ndim=4)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Make `gamma` and `beta`, and the noted statistics, where the layer has them."""

        def weight(name: str, start: str, **options: Any) -> Any:
            return self.add_weight(shape=(input_shape[-1],), initializer=start, name=name, **options)

        if self.affine:
            self.gamma = weight("gamma", "ones")
            self.beta = weight("beta", "zeros")
        if self.statistics == "noted":
            self.moving_mean = weight("moving_mean", "zeros", trainable=False, autocast=False)
            self.moving_variance = weight("moving_variance", "ones", trainable=False, autocast=False)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `inputs` normalised."""
        if self.statistics == "noted" and not training:
            return self.normalised(inputs, self.moving_mean, self.moving_variance)
        mean, variance = self.moments(inputs)
        if self.statistics == "noted" and self.trainable:
            pixels = ops.shape(inputs)[1] * ops.shape(inputs)[2]
            self._note(mean, variance, pixels=ops.cast(pixels, self._statistics_dtype))
        return self.normalised(inputs, mean, variance)

    def _note(self, mean: Any, variance: Any, pixels: Any) -> None:
        """Let the batch's share into the noted statistics."""
        unbiased = variance * (pixels / ops.maximum(pixels - 1, 1))
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            moving.assign(moving * (1 - NOTED_SHARE) + ops.mean(batch, axis=(0, 1, 2)) * NOTED_SHARE)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "affine": self.affine,
            "statistics": self.statistics,
        }


def _check_statistics(statistics: Any) -> None:
    if statistics not in STATISTICS:
        raise InputError(f"statistics: expected 'image' or 'noted', received {statistics!r}")


def _image_mean(x: Any) -> Any:
    """The mean of each channel of each image, (batch, 1, 1, channels).

    Of rows, then of their means: one sum over a million pixels is 70 times less exact in float32.
    """
    return ops.mean(ops.mean(x, axis=2, keepdims=True), axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="deblurgan")
class Dropout(layers.Dropout):
    """Keras' Dropout, which can stay on outside training.

    Arguments, result and the state of its random numbers are those of `keras.layers.Dropout`: without a `seed`, they
    follow `keras.utils.set_random_seed`, and each call draws anew.

    Args:
        always: whether it acts outside training too.
        *args: those of `keras.layers.Dropout`.
        **kwargs: the same.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.layer_utils import Dropout
        >>> sorted(set(Dropout(0.5, always=True)(np.ones((1, 100))).numpy().ravel().tolist()))
        [0.0, 2.0]
    """

    def __init__(self, *args: Any, always: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.always = always

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """Return `inputs`, some of them set to 0 and the others scaled up where the layer acts."""
        return super().call(inputs, training=training or self.always)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "always": self.always}


def res_block(
    input: Any,
    filters: int,
    kernel_size: int | Pair = (3, 3),
    strides: int | Pair = (1, 1),
    use_dropout: bool | float = False,
    *,
    name: str | None = None,
    dtype: Any = None,
) -> Any:
    """Apply the tutorial's ResNet block: two reflection-padded convolutions beside a shortcut.

    Pad, convolve, normalise, ReLU, dropout, pad, convolve, normalise; then add `input`.

    Args:
        input: tensor (batch, height, width, filters), every side longer than half the kernel.
        filters: channels of both convolutions; equal to those of `input`, since the two are added.
        kernel_size: one odd side, or (height, width).
        strides: must be 1, or the sum would not fit; kept because the tutorial has it.
        use_dropout: False for none, True for the tutorial's rate of 0.5, or a rate.
        name: prefix of the layers' names; Keras chooses them when None.
        dtype: the layers' dtype policy; Keras' global one when None.

    Returns:
        A tensor of the shape of `input`.

    Raises:
        InputError: a kernel without a centre, strides other than 1, or channels that differ from `filters`.

    Examples:
        >>> from keras import Input, Model
        >>> from deblurgan.layer_utils import res_block
        >>> inputs = Input((16, 16, 8))
        >>> Model(inputs, res_block(inputs, 8, use_dropout=True)).output_shape
        (None, 16, 16, 8)
    """
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(kernel) != 2 or any(side < 1 or side % 2 == 0 for side in kernel):
        raise InputError(f"kernel_size: expected one or two odd sides, received {kernel_size!r}")
    if strides not in (1, (1, 1), [1, 1]):
        raise InputError(f"strides: a block that adds its input needs (1, 1), received {strides!r}")
    if input.shape[-1] != filters:
        raise InputError(f"filters: expected the input's {input.shape[-1]} channels, received {filters}")

    def named(suffix: str) -> dict[str, Any]:
        return {"name": name and f"{name}_{suffix}", "dtype": dtype}

    padding = (kernel[0] // 2, kernel[1] // 2)
    rate = 0.5 if use_dropout is True else float(use_dropout)
    x = ReflectionPadding2D(padding, **named("pad1"))(input)
    x = layers.Conv2D(filters, kernel, **named("conv1"))(x)
    x = BatchNormalization(**named("bn1"))(x)
    x = layers.Activation("relu", **named("relu"))(x)
    if rate:
        x = layers.Dropout(rate, **named("dropout"))(x)
    x = ReflectionPadding2D(padding, **named("pad2"))(x)
    x = layers.Conv2D(filters, kernel, **named("conv2"))(x)
    x = BatchNormalization(**named("bn2"))(x)
    return layers.Add(**named("add"))([input, x])


def input_gradient(critic: Any, images: Any, *, training: bool | None = None) -> Any:
    """Return the gradient of the critic's value of each image with respect to that image.

    Args:
        critic: called as `critic(images, training=training)`, gives (batch, ...). The value of an image is the mean
            of what belongs to it, so that a map of patches counts as in the critic's loss. Samples must not mix: no
            BatchNormalization with the batch's statistics.
        images: (batch, ...), float32 or float64.
        training: what the critic is called with.

    Returns:
        The shape and dtype of `images`, differentiable with respect to the critic's weights. Needs the TensorFlow
        backend.

    Examples:
        >>> import keras
        >>> from deblurgan.layer_utils import input_gradient
        >>> critic = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> input_gradient(critic, keras.ops.zeros((1, 2))).numpy().tolist()
        [[1.0, 1.0]]
    """
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        values = critic(images, training=training)
    # Dividing afterwards, in the images' dtype, keeps the gradients in a float16 critic away from its least numbers.
    return tape.gradient(values, images) / tf.cast(tf.size(values) / tf.shape(values)[0], images.dtype)


@keras.saving.register_keras_serializable(package="deblurgan")
class InputGradient(layers.Layer):
    """The gradient of a critic's value with respect to each image, for `losses.gradient_penalty_loss`.

    Args:
        critic: a model or layer, as in `input_gradient`.

    Takes images (batch, height, width, channels) and returns float32 of the same shape. Needs the TensorFlow backend.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> from deblurgan.layer_utils import InputGradient
        >>> critic = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> InputGradient(critic)(np.zeros((1, 2), "float32")).numpy().tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, critic: Any, **kwargs: Any) -> None:
        keep_order()
        super().__init__(**{"dtype": "float32", **kwargs})
        self.critic = critic

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the gradient at `inputs`."""
        return input_gradient(self.critic, inputs, training=training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """Return `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "critic": keras.saving.serialize_keras_object(self.critic)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "InputGradient":
        """Make the layer from what `get_config` returned."""
        return cls(**{**config, "critic": keras.saving.deserialize_keras_object(config["critic"])})

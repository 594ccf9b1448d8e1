"""What the networks of this folder share: checks of their arguments, and PyTorch's layers spelt in Keras."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import layers

from deblurgan.errors import InputError
from deblurgan.networks.layers import BatchNormalization, InstanceNormalization

Shape = Sequence[int | None]

NORMS = ("instance", "batch", "none")
WIRINGS = ("pytorch", "tensorflow")  # of pix2pix: its authors' code, TensorFlow's tutorial
SLOPES = {"pytorch": 0.2, "tensorflow": 0.3}  # of its LeakyReLU
EPSILON = 1e-5  # PyTorch's, of both normalisations


def checked_shape(
    image_shape: Shape, multiple: int = 1, least: int = 1, reason: str = ""
) -> tuple[int | None, int | None, int]:
    """Return (height, width, channels), or raise InputError.

    A height or width is None, or a multiple of `multiple` that is at least `least`. `reason` says why in the message.
    """
    shape = tuple(image_shape) if isinstance(image_shape, Iterable) else ()
    known = [side for side in shape if side is not None]
    if len(shape) != 3 or shape[2] is None or any(type(side) is not int or side < 1 for side in known):
        raise InputError(
            "image_shape: expected (height, width, channels), height and width positive or None, "
            f"received {image_shape!r}"
        )
    if any(side is not None and (side % multiple or side < least) for side in shape[:2]):
        raise InputError(
            f"image_shape: expected sides that are multiples of {multiple}{reason}"
            f"{f' and at least {least}' if least > multiple else ''} (or None), received {shape}"
        )
    return shape[0], shape[1], shape[2]


def check_counts(least: int = 1, **counts: int) -> None:
    """Raise InputError for one that is not an int of at least `least`."""
    for option, count in counts.items():
        if type(count) is not int or count < least:
            raise InputError(f"{option}: expected an int of at least {least}, received {count!r}")


def check_choice(option: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise InputError for a `value` that is none of `choices`."""
    if value not in choices:
        raise InputError(f"{option}: expected {', '.join(map(repr, choices))}, received {value!r}")


def check_rate(option: str, rate: float) -> None:
    """Raise InputError for a dropout `rate` outside [0, 1)."""
    if type(rate) not in (int, float) or not 0 <= rate < 1:
        raise InputError(f"{option}: expected a rate from 0 to below 1, received {rate!r}")


def check_generator_options(norm: str, dropout: float, residual: bool, channels: int, output_channels: int) -> None:
    """Raise InputError for options that make no generator."""
    check_choice("norm", norm, NORMS)
    check_counts(output_channels=output_channels)
    check_rate("dropout", dropout)
    if residual and output_channels != channels:
        raise InputError(f"output_channels: a residual needs the input's {channels}, received {output_channels}")


def conv(
    x: Any, filters: int, kernel_size: int, *, transposed: bool = False, deviation: float = 0.02, **options: Any
) -> Any:
    """Convolve with weights that start normal, unless told otherwise with the PyTorch code's deviation of 0.02.

    `options` are those of `keras.layers.Conv2D`, or of `Conv2DTranspose` where `transposed`.
    """
    layer = layers.Conv2DTranspose if transposed else layers.Conv2D
    return layer(filters, kernel_size, kernel_initializer=keras.initializers.RandomNormal(0, deviation), **options)(x)


def has_bias(norm: str) -> bool:
    """Whether convolutions before a normalisation have a bias: only before an instance normalisation."""
    return norm == "instance"


def normalise(
    x: Any,
    norm: str,
    *,
    statistics: str = "image",
    batch_statistics: str = "noted",
    wiring: str = "pytorch",
    **options: Any,
) -> Any:
    """Apply the normalisation `norm` with PyTorch's constants; `options` are its name and dtype.

    `statistics` are those of an instance normalisation outside training, `batch_statistics` of a batch normalisation,
    which with the `wiring` "tensorflow" has Keras' constants.
    """
    if norm == "instance":
        return InstanceNormalization(EPSILON, statistics=statistics, **options)(x)
    if norm == "batch":
        start = keras.initializers.RandomNormal(1, 0.02)
        torchs = {"momentum": 0.9, "epsilon": EPSILON, "gamma_initializer": start} if wiring == "pytorch" else {}
        return BatchNormalization(statistics=batch_statistics, **torchs, **options)(x)
    return x


def image_output(x: Any, inputs: Any, residual: bool) -> Any:
    """Return tanh(x), or with `residual` tanh(x) + inputs limited to [-1, 1]; float32.

    bfloat16 cannot tell neighbouring 8-bit values apart, so that these layers never compute in it.
    """
    x = layers.Activation("tanh", name="out_tanh", dtype="float32")(x)
    if residual:
        x = layers.Add(name="out_add", dtype="float32")([x, inputs])
        x = layers.Activation("hard_tanh", name="out_clip", dtype="float32")(x)
    return x

"""What old layers took from `keras.utils.conv_utils`, which Keras 3 keeps to itself."""

from collections.abc import Sequence

import keras

from deblurgan.errors import InputError


def normalize_tuple(value: int | Sequence[int], n: int, name: str) -> tuple[int, ...]:
    """Return `n` ints: `value` repeated if it is one, else `value` itself; InputError, by `name`, for others."""
    values = (value,) * n if isinstance(value, int) else value
    if not isinstance(values, Sequence) or len(values) != n or not all(isinstance(item, int) for item in values):
        raise InputError(f"{name}: expected an int or {n} of them, received {value!r}")
    return tuple(values)


def normalize_data_format(value: str | None) -> str:
    """Return "channels_first" or "channels_last"; Keras' configured one for None; InputError for others."""
    data_format = str(value or keras.config.image_data_format()).lower()
    if data_format not in ("channels_first", "channels_last"):
        raise InputError(f"data_format: expected 'channels_first' or 'channels_last', received {value!r}")
    return data_format


def conv_output_length(
    input_length: int | None, filter_size: int, padding: str, stride: int, dilation: int = 1
) -> int | None:
    """Return the length of one side after a convolution, None for an unknown one.

    The padding is "valid", "same", "causal" or "full"; InputError for another.
    """
    if input_length is None:
        return None
    reach = (filter_size - 1) * dilation
    added = {"valid": -reach, "same": 0, "causal": 0, "full": reach}
    if padding not in added:
        raise InputError(f"padding: expected one of {', '.join(added)}, received {padding!r}")
    return -(-(input_length + added[padding]) // stride)

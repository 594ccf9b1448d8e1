"""Pixel values: uint8, uint16 and [-1, 1]; resized, or side by side.

Outside networks an image is an array of shape (height, width, 3), RGB, upright, uint8 (or uint16 where a file has 16
bits and is to keep them); inside it is float32 in [-1, 1].
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.errors import InputError

Pixels = NDArray[Any]  # uint8 or uint16
Restore = Callable[[Pixels], Pixels]
"""Restores a picture, (height, width, 3) RGB: the same shape and dtype."""


def channels_of(restore: Restore) -> tuple[int, int]:
    """Return how many channels the network takes and gives that restores: 3 and 3, unless it says otherwise.

    Where it takes 1, it is given the grey of the picture; where it gives 1, the result has three equal channels.
    """
    return getattr(restore, "channels", (3, 3))


def to_8_bits(values: Pixels) -> NDArray[np.uint8]:
    """Convert uint16 values 0 to 65535, of any shape, to the nearest uint8 0 to 255; leave uint8 as it is."""
    if values.dtype == np.uint8:
        return values
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def luma(rgb: Pixels) -> Pixels:
    """Return the grey of colours, (height, width): Pillow's weights, 0.299, 0.587 and 0.114, rounded as Pillow does.

    Of three equal channels it is one of them. Floats are not rounded.
    """
    weights = np.array([19595, 38470, 7471], np.uint32)  # of 2**16
    if rgb.dtype.kind == "f":
        return rgb @ (weights / 2**16).astype(rgb.dtype)
    return ((rgb.astype(np.uint32) @ weights + 2**15) >> 16).astype(rgb.dtype)


def with_channels(image: Pixels, channels: int) -> Pixels:
    """Return (height, width, channels) of a picture: of colours their grey for 1.

    Raises:
        InputError: it has another number of channels.
    """
    found = image.shape[2]
    if (found, channels) == (3, 1):
        return luma(image)[:, :, np.newaxis]
    if found != channels:
        raise InputError(f"expected a picture of {channels} channels, found {found}")
    return image


def as_rgb(image: Pixels) -> Pixels:
    """Return an image of 1 or 3 channels as (..., height, width, 3), others as they are."""
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def as_shown(image: Pixels) -> Pixels:
    """Return an image of any channels as RGB to look at: its first three, or of fewer the first."""
    return image[..., :3] if image.shape[-1] >= 3 else as_rgb(image[..., :1])


def grey_of(rgb: Pixels) -> Pixels:
    """Return the mean of the three channels of a restored grey picture: three estimates of one value."""
    return np.rint(rgb.mean(axis=2, dtype=np.float32)).astype(rgb.dtype)


def to_model(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert uint8 values 0 to 255, of any shape, to float32 in [-1, 1].

    Raises:
        InputError: the array is not uint8.
    """
    if image.dtype != np.uint8:
        raise InputError(f"pixel values: expected uint8, got {image.dtype}")
    return image.astype(np.float32) / np.float32(127.5) - np.float32(1)


def from_model(array: np.ndarray) -> NDArray[np.uint8]:
    """Convert floating-point values in [-1, 1], of any shape, to uint8 0 to 255: clipped and rounded.

    Raises:
        InputError: the array holds whole numbers, or values that are not finite.
    """
    array = np.asarray(array)
    if array.dtype.kind in "biu":
        raise InputError(f"network output: expected floating-point values in [-1, 1], got {array.dtype}")
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("network output: expected values in [-1, 1], got NaN or infinity")
    return np.rint((np.clip(values, -1, 1) + 1) * np.float32(127.5)).astype(np.uint8)


def resize(
    image: NDArray[np.uint8], size: tuple[int, int], resample: Image.Resampling = Image.Resampling.BICUBIC
) -> NDArray[np.uint8]:
    """Resize an image; its proportions are not kept.

    The 2018 tutorial called Pillow's `resize` without a filter, which meant NEAREST then and has meant BICUBIC since
    Pillow 7.0: pass `Image.Resampling.NEAREST` for the same pixels as in 2018.

    Args:
        image: uint8 (height, width, 3), or (height, width).
        size: new height and width.
        resample: Pillow's filter.

    Raises:
        InputError: the image or the size does not fit.
    """
    check_image(image, "the image to resize", channels=(None, 3))
    height, width = size
    if height < 1 or width < 1:
        raise InputError(f"size to resize to: expected a height and a width of 1 or more, got {height} x {width}")
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), resample))


def nearest(image: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize an image to (height, width) by taking the pixel nearest to each place, as `tf.image.resize` does.

    Pillow's NEAREST takes the other one here and there, where two are as near.
    """
    rows, columns = (
        np.minimum((np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new), old - 1).astype(int)
        for old, new in zip(image.shape, size, strict=False)
    )
    return image[rows[:, np.newaxis], columns]


def side_by_side(images: Sequence[Pixels], gap: int = 0) -> Pixels:
    """Join images of equal height from left to right, with `gap` white columns between them.

    One or more, all uint8 or all uint16, all (height, width, 3) or all (height, width); widths may differ.

    Raises:
        InputError: no image, different heights, channels or dtypes, or a negative gap.
    """
    if not images:
        raise InputError("images side by side: expected one or more, got none")
    if gap < 0:
        raise InputError(f"gap between images: expected 0 or more, got {gap}")
    for image in images:
        check_image(image, "an image side by side", channels=(None, 3), deep=True)
    first = images[0]
    if any(
        (image.shape[:1], image.shape[2:], image.dtype) != (first.shape[:1], first.shape[2:], first.dtype)
        for image in images
    ):
        shapes = ", ".join(str(image.shape) for image in images)
        raise InputError(f"images side by side: expected equal heights and channels, got shapes {shapes}")
    column = np.full((first.shape[0], gap, *first.shape[2:]), np.iinfo(first.dtype).max, first.dtype)
    parts = [part for image in images for part in (column, image)]
    return np.concatenate(parts[1:], axis=1)


def halves(image: Pixels) -> tuple[Pixels, Pixels]:
    """Part two images of equal size that are side by side; return the left and the right one.

    Raises:
        InputError: the width is odd.
    """
    width = image.shape[1]
    if width % 2:
        raise InputError(f"expected two pictures of one size side by side, an even width, found {width}")
    return image[:, : width // 2], image[:, width // 2 :]


def check_image(array: np.ndarray, what: str, channels: tuple[int | None, ...], deep: bool = False) -> None:
    """Raise `InputError` unless `array` is uint8 with one of these channel counts (None: two axes only).

    `deep`: uint16 will do as well.
    """
    found = array.shape[2] if array.ndim == 3 else None
    known = array.dtype == np.uint8 or (deep and array.dtype == np.uint16)
    if not known or array.ndim not in (2, 3) or found not in channels or 0 in array.shape:
        shapes = " or ".join("(height, width)" if n is None else f"(height, width, {n})" for n in channels)
        raise InputError(f"{what}: expected uint8 {shapes}, got {array.dtype} {array.shape}")

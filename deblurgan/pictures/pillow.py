"""Pillow within a program: images from arrays, no warnings on the screen, and its limits lifted for a while."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

_process_lock = threading.RLock()  # the filters of `warnings`, and Pillow's limit, belong to the whole process


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Keep Pillow's warnings about large or odd files off the screen."""
    with _process_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def without_limits() -> Iterator[int | None]:
    """Lift Pillow's limit on the number of pixels; yield what it is: pixels from which on it would refuse.

    Of texts in a PNG file, each may be as large as all together may be: 64 MB, where Pillow has 1 MB.
    """
    with _process_lock:
        limit, largest_text = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, PngImagePlugin.MAX_TEXT_MEMORY
        try:
            yield None if limit is None else 2 * limit
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = limit, largest_text


def to_pillow(colour: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> Image.Image:
    """Return a Pillow image of grey (height, width) or RGB (height, width, 3) values, with alpha if any."""
    image = Image.fromarray(np.ascontiguousarray(colour))
    if alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return image

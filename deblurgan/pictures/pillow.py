"""Pillow within a program: no warnings on the screen, and its limits lifted for a while."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

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

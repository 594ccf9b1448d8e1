"""Pillow within a program: no warnings on the screen, and its limit on the number of pixels lifted for a while."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

_process_lock = threading.RLock()  # the filters of `warnings`, and Pillow's limit, belong to the whole process


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Keep Pillow's warnings about large or odd files off the screen."""
    with _process_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def without_limit() -> Iterator[int | None]:
    """Lift Pillow's limit on the number of pixels; yield what it is: pixels from which on it would refuse."""
    with _process_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield None if limit is None else 2 * limit
        finally:
            Image.MAX_IMAGE_PIXELS = limit

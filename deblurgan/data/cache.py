"""A bounded memory for pictures."""

import mmap
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

_LARGE = 2**18  # fewer bytes are not worth pages of their own


class Cache:
    """The uint8 arrays used last, as far as they fit into `limit` bytes. Safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._arrays: OrderedDict[Hashable, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: Hashable, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return the array of `key`, not to be written to, made anew where it is not there."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        array = _in_pages(make())
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = array
                self.bytes += array.nbytes
            while self.bytes > self._limit:
                self.bytes -= self._arrays.popitem(last=False)[1].nbytes
        return array


def _in_pages(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Move a large array to memory that goes back to the system at once when the array is gone.

    That of the C library is held on to: after a while of pictures that come and go, half as much again as they need.
    """
    if array.nbytes >= _LARGE:
        pages = np.frombuffer(mmap.mmap(-1, array.nbytes), np.uint8).reshape(array.shape)
        pages[...] = array
        array = pages
    array.flags.writeable = False
    return array

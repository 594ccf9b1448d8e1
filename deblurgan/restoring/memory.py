"""How much memory there is: sizes in words, what this process holds, what is free; and keeping what was freed."""

import ctypes
import os
import re
from pathlib import Path
from typing import Any

from deblurgan.errors import InputError

# Options of `mallopt` in the C library of GNU, and one of `madvise` in Linux, as their headers number them.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
MADV_HUGEPAGE = 14
HUGE_PAGE = 2**21  # bytes
RESERVED = 2**32  # bytes of addresses; they cost nothing until they are used

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def parse_size(size: int | str) -> int:
    """Return a size in bytes, given so or as "2GB", "1.5 G", "800MB", "2GiB"; InputError for others."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMG]I?|)B?\s*", str(size).upper())
    value = int(float(match[1]) * UNITS[match[2]]) if match and not isinstance(size, bool) else 0
    if value <= 0:
        raise InputError(f"memory: expected a size like 2GB or 800MB, received {size!r}")
    return value


def resident() -> int:
    """Return the resident memory of this process in bytes; where the system does not tell, its largest so far."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if os.uname().sysname == "Darwin" else peak * 1024


def available() -> int | None:
    """Return how many bytes this process can still take before memory is short, limits of a container included.

    None where the system does not tell.
    """
    free = []
    try:
        text = Path("/proc/meminfo").read_text()
        free.append(int(re.findall(r"MemAvailable:\s*(\d+) kB", text)[0]) * 1024)
        limit, used = (Path("/sys/fs/cgroup", name).read_text() for name in ("memory.max", "memory.current"))
        free.append(int(limit) - int(used))
    except (OSError, IndexError, ValueError):  # not Linux, no container, or one without a limit ("max")
        pass
    return min(free) if free else None


def keep_freed() -> bool:
    """Let this process keep the memory that it frees, in huge pages, and say whether it does.

    Where TensorFlow has no pool of its own (on a CPU without oneDNN's fast types), it gives the system each layer's
    output back and asks for the next one anew, and the system clears every page before it hands it out: a fifth of
    the time of a training step. What is kept falls into pieces where sizes change from call to call, so that this is
    nothing for pictures of any size.

    It is done where the C library is GNU's, unless the environment tells how memory is to be had.
    """
    chosen = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)
    library = None if chosen else _gnu()
    if library is None:
        return False
    # One heap that does not shrink and that nothing is apart from; each thread would have one of its own.
    done = [library.mallopt(*option) for option in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_ARENA_MAX, 1))]
    start = library.malloc(RESERVED)  # where the heap is going to grow
    if start:
        first = -(-start // HUGE_PAGE) * HUGE_PAGE
        library.madvise(first, start + RESERVED - first, MADV_HUGEPAGE)
        library.free(start)
    return all(done)


def _gnu() -> Any:
    """The C library, if it is GNU's."""
    if os.name != "posix":
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return None
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library

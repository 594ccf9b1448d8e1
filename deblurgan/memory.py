"""How much memory there is: sizes in words, what this process holds, what is free."""

import os
import re
from pathlib import Path

from deblurgan.errors import InputError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def parse_size(size: int | str, name: str = "memory") -> int:
    """Return a size in bytes: a number of them, or a text like "2GB", "1.5 G", "800MB", "2GiB".

    Raises:
        InputError: something else, or not above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMG]I?|)B?\s*", str(size).upper())
    value = int(float(match[1]) * UNITS[match[2]]) if match and not isinstance(size, bool) else 0
    if value <= 0:
        raise InputError(f"{name}: expected a size like 2GB or 800MB, received {size!r}")
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

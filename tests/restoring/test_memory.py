import ctypes
import mmap
import os
import subprocess
import sys

import pytest

from deblurgan.errors import InputError
from deblurgan.restoring.memory import available, parse_size, resident

SIZES = {
    "2GB": 2e9,
    "1.5 G": 1.5e9,
    "800mb": 8e8,
    "2GiB": 2**31,
    "512 KiB": 2**19,
    "1000": 1000,
    ".5g": 5e8,
    12345: 12345,
}


@pytest.mark.parametrize(("text", "size"), SIZES.items(), ids=str)
def test_sizes_in_words(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "two GB", "-1GB", "0", "1TB", "1.2.3GB", True, -5])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="memory: expected a size like 2GB or 800MB, received"):
        parse_size(text)


def test_resident_memory_grows_with_what_is_held():
    before = resident()
    held = mmap.mmap(-1, 50_000_000)
    held.write(bytes(1) * len(held))
    assert 40e6 < resident() - before < 120e6  # the bytes written may stay as well


def test_what_is_available_is_a_number_or_unknown():
    free = available()
    assert free is None or 0 < free < 2**50


KEEPING = """
import numpy as np
from deblurgan.restoring.memory import keep_freed, resident
print(keep_freed())
held = np.ones(200_000_000, np.uint8)
after = np.ones(1000)  # so that what is freed does not lie at the end
print(resident())
del held
print(resident())
"""


def kept(**environment: str) -> tuple[bool, int, int]:
    """Whether a process says that it keeps what it frees, and what it holds with 200 MB more and without them."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", KEEPING]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=variables | environment).stdout
    says, held, freed = output.splitlines()
    return says == "True", int(held), int(freed)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from Linux")
def test_a_process_keeps_what_it_frees_when_it_says_so():
    keeps, held, freed = kept()
    assert keeps == hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    assert freed > held - 10e6 if keeps else freed < held - 190e6


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from Linux")
@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "4"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4")]
)
def test_what_the_environment_says_of_memory_holds(name, value):
    keeps, held, freed = kept(**{name: value})
    assert not keeps
    assert freed < held - 190e6

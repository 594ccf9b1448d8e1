import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.memory import available, parse_size, resident

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
    held = np.ones(50_000_000, np.uint8)
    assert 40e6 < resident() - before < 80e6
    assert held[-1] == 1


def test_what_is_available_is_a_number_or_unknown():
    free = available()
    assert free is None or 0 < free < 2**50

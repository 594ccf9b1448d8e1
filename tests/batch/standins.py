"""Stand-ins for a network, as workers load them."""

import os
import signal

import numpy as np

from tests.jobs.doing import inverted

POISON = (1, 2, 3)  # the colour of pictures that end whoever restores them


def opened():
    return inverted, "stand-in"


def opened_but_killed_once(mark):
    """Load what ends its process, once, at the first picture that it is given; `mark` is a file that remembers."""

    def restore(image):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return inverted(image)

    return restore, "stand-in"


def opened_but_killed_by_poison():
    return killed_by_poison, "stand-in"


def killed_by_poison(image):
    if is_poison(image):
        os.kill(os.getpid(), signal.SIGKILL)
    return inverted(image)


def opened_but_out_of_memory_with_poison():
    return out_of_memory_with_poison, "stand-in"


def out_of_memory_with_poison(image):
    if is_poison(image):
        raise MemoryError("no room for 5 bytes")
    return inverted(image)


def is_poison(image):
    return bool((image == POISON).all())


def poison():
    return np.full((8, 8, 3), POISON, np.uint8)

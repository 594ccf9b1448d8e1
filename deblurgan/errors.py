"""The errors that this package raises for input it cannot work with.

Each message is one line that names the file or option, what was expected and what came. The command line prints
that line and exits with a non-zero code; in a program, catch `DeblurganError`, or `ValueError` and `OSError`.
"""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class DeblurganError(Exception):
    """Base of the errors below.

    Examples:
        >>> import deblurgan
        >>> from deblurgan.errors import DeblurganError
        >>> try:
        ...     deblurgan.load("missing.h5")
        ... except DeblurganError as error:
        ...     print(error)
        missing.h5: expected a weight file, found nothing
    """


class InputError(DeblurganError, ValueError):
    """A value, folder layout or array that does not fit.

    Examples:
        >>> from deblurgan.model import generator_model
        >>> generator_model((30, 30, 3))
        Traceback (most recent call last):
        deblurgan.errors.InputError: image_shape: expected sides that are multiples of 4 and at least 8 (or None), ...
    """


class FileError(DeblurganError, OSError):
    """A file or folder that is missing, unreadable, damaged or not writable.

    Examples:
        >>> from deblurgan.utils import load_image
        >>> load_image("missing.png")
        Traceback (most recent call last):
        deblurgan.errors.FileError: missing.png: not a readable image (No such file or directory)
    """


class WeightsError(DeblurganError, ValueError):
    """A weight file that is not one, or does not fit the network.

    Examples:
        >>> import deblurgan
        >>> from deblurgan.model import discriminator_model
        >>> from deblurgan.weights.hdf5 import save_weights
        >>> save_weights(discriminator_model((32, 32, 3), ndf=4), "critic.weights.h5")
        >>> deblurgan.load("critic.weights.h5")
        Traceback (most recent call last):
        deblurgan.errors.WeightsError: critic.weights.h5: expected a generator's weights, found those of ...
    """


@contextlib.contextmanager
def prefixed(what: str, kind: type[DeblurganError] = DeblurganError) -> Iterator[None]:
    """Let errors of this kind that leave the block say first what they are about."""
    try:
        yield
    except kind as error:
        raise type(error)(f"{what}: {error}") from error


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return "; did you mean X?" for the known name nearest to `name`, or nothing where none is near.

    `cutoff` is how near that must be, from 0 to 1, as `difflib` has it.
    """
    close = difflib.get_close_matches(name, list(known), 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""

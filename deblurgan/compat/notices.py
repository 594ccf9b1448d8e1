"""Saying what is old: a warning, once for each name, or an error where there is nothing to put in its place."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deblurgan.compat.names import REMOVED
from deblurgan.errors import DeblurganError

_noted: set[str] = set()


class OldKerasWarning(FutureWarning):
    """Names an old spelling that was used, and the modern one. Python shows it unless told otherwise.

    Examples:
        >>> import warnings
        >>> from deblurgan.compat import OldKerasWarning
        >>> warnings.simplefilter("ignore", OldKerasWarning)  # in a program that shall say nothing of it
    """


class OldKerasError(DeblurganError, NotImplementedError):
    """An old name that cannot be made to work; the message says what to write instead.

    Examples:
        >>> import deblurgan.compat
        >>> deblurgan.compat.install()
        >>> from keras import backend as K
        >>> try:
        ...     K.placeholder((2, 3))
        ... except deblurgan.compat.OldKerasError as error:
        ...     print(error)
        ... finally:
        ...     deblurgan.compat.uninstall()
        keras.backend.placeholder is gone; write instead: keras.Input(shape=...)
    """


def note(message: str) -> None:
    """Give an `OldKerasWarning` at the line of the caller's program, the first time for each message."""
    if message not in _noted:
        _noted.add(message)
        warnings.warn_explicit(message, OldKerasWarning, *_line_of_program())


def forget() -> None:
    """Let `note` give all its warnings once more."""
    _noted.clear()


def removed(name: str) -> Callable[..., Any]:
    """Return a function to stand where the old `name` stood, which raises OldKerasError when it is called."""

    def raises(*args: Any, **kwargs: Any) -> Any:
        raise OldKerasError(f"{name} is gone; write instead: {REMOVED[name]}")

    return raises


def _line_of_program() -> tuple[str, int]:
    """The file and line, outside of this package, Keras and the import machinery, that is running now."""
    modules = (sys.modules[name] for name in ("deblurgan.compat", "keras", "importlib"))
    passed = [f"{Path(str(module.__file__)).parent}{os.sep}" for module in modules]
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(("<frozen importlib", *passed)):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno

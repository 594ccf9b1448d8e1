"""Stands for `IPython.display` where IPython is not installed: what would be shown is saved."""

import itertools
import sys
from pathlib import Path
from typing import Any

_numbers = itertools.count(1)


def clear_output(wait: bool = False) -> None:
    """Do nothing: there is no cell to clear."""


class Image:
    """A picture in a file or as its bytes."""

    def __init__(self, data: Any = None, filename: Any = None, **others: Any) -> None:
        self.data = Path(filename or data).read_bytes() if not isinstance(data, bytes) else data


def display(*objects: Any, **others: Any) -> None:
    """Save pictures and figures as `display_1.png` and so on in the working folder; write what else there is."""
    for shown in objects:
        save = getattr(shown, "savefig", None) or getattr(shown, "save", None)  # of a figure, of a Pillow image
        path = Path(f"display_{next(_numbers)}.png") if save or isinstance(shown, Image) else None
        if path is None:
            sys.stdout.write(f"{shown!r}\n")
        elif save:
            save(path)
        else:
            path.write_bytes(shown.data)

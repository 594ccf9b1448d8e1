"""Listing the pictures in a folder."""

import os
from collections.abc import Callable
from pathlib import Path

from deblurgan.errors import FileError
from deblurgan.files import reason, shown
from deblurgan.pictures.formats import is_an_image_file


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files directly in `folder`, sorted by name, without hidden files (`.name`) and sub-folders.

    Raises:
        FileError: the folder is missing, is not a folder, or cannot be listed.
    """
    return list_files(folder, is_an_image_file)


def list_files(folder: str | os.PathLike[str], wanted: Callable[[Path], bool] = lambda path: True) -> list[Path]:
    """The files directly in `folder` whose names are `wanted`, as `list_images` sorts them and what it raises."""
    folder = Path(folder)
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError as error:
        raise FileError(f"{shown(folder)}: no such folder") from error
    except NotADirectoryError as error:
        raise FileError(f"{shown(folder)}: expected a folder, found a file") from error
    except OSError as error:
        raise FileError(f"{shown(folder)}: the folder cannot be listed: {reason(error)}") from error
    return sorted(
        (path for path in paths if wanted(path) and not path.name.startswith(".") and not is_odd(path)),
        key=lambda path: path.name,
    )


def list_images_below(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in `folder` and in all folders below it, links included, as `list_images` sorts and chooses.

    A folder comes before those in it; hidden ones (`.name`) are passed over.

    Raises:
        FileError: as `list_images`.
    """
    paths: list[Path] = []
    seen: set[str] = set()
    waiting = [Path(folder)]
    while waiting:
        here = waiting.pop()
        if os.path.realpath(here) in seen:  # a link may lead back up
            continue
        seen.add(os.path.realpath(here))
        paths += list_images(here)
        below = (path for path in here.iterdir() if not path.name.startswith(".") and os.path.isdir(path))
        waiting += sorted(below, key=lambda path: path.name, reverse=True)
    return paths


def is_odd(path: Path) -> bool:
    """Whether something stands there that is no file: a folder or a pipe. Broken links are left to the reader."""
    return os.path.exists(path) and not os.path.isfile(path)

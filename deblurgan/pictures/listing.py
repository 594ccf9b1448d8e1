"""Listing the pictures in a folder."""

import os
from collections.abc import Callable, Iterable, Iterator
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
    return [path for path in _listed(Path(folder)) if wanted(path) and not is_odd(path)]


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, without what is hidden; raises what `list_files` does."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError as error:
        raise FileError(f"{shown(folder)}: no such folder") from error
    except NotADirectoryError as error:
        raise FileError(f"{shown(folder)}: expected a folder, found a file") from error
    except OSError as error:
        raise FileError(f"{shown(folder)}: the folder cannot be listed: {reason(error)}") from error
    return sorted((path for path in paths if not path.name.startswith(".")), key=lambda path: path.name)


def list_images_below(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files in `folder` and in all folders below it; see `list_files_below`."""
    return list_files_below(folder, is_an_image_file)


def list_files_below(
    folder: str | os.PathLike[str],
    wanted: Callable[[Path], bool] = lambda path: True,
    *,
    but_not_in: Iterable[str] = (),
    problems: list[str] | None = None,
) -> list[Path]:
    """The files in `folder` and in all folders below it, links included, as `list_files` sorts and chooses.

    A folder comes before those in it; hidden ones (`.name`) are passed over, and those with the real paths
    `but_not_in`. `problems` gets a line for each folder below that cannot be listed.

    Raises:
        FileError: as `list_images`; without `problems` also for folders below.
    """
    return list(files_below(folder, wanted, but_not_in=but_not_in, problems=problems))


def files_below(
    folder: str | os.PathLike[str],
    wanted: Callable[[Path], bool] = lambda path: True,
    *,
    but_not_in: Iterable[str] = (),
    problems: list[str] | None = None,
) -> Iterator[Path]:
    """Yield what `list_files_below` lists, with the files of one folder at a time in memory."""
    seen = set(but_not_in) - {os.path.realpath(folder)}
    waiting = [Path(folder)]
    while waiting:
        here = waiting.pop()
        if os.path.realpath(here) in seen:  # a link may lead back up
            continue
        seen.add(os.path.realpath(here))
        try:
            found = _listed(here)
        except FileError as error:
            if problems is None or here == Path(folder):
                raise
            problems.append(str(error))
            continue
        yield from (path for path in found if wanted(path) and not is_odd(path))
        waiting += [path for path in reversed(found) if os.path.isdir(path)]


def is_odd(path: Path) -> bool:
    """Whether something stands there that is no file: a folder or a pipe. Broken links are left to the reader."""
    return os.path.exists(path) and not os.path.isfile(path)

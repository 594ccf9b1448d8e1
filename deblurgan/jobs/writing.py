"""Where restored pictures go: a folder, a zip file or standard output; and before and after, to be compared."""

import contextlib
import dataclasses
import html
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, ensure_folder, reason, shown
from deblurgan.jobs.finding import STANDARD, Job, check_originals, is_zip
from deblurgan.pictures.formats import format_to_write
from deblurgan.pictures.html import slider
from deblurgan.pictures.pixels import Pixels, side_by_side
from deblurgan.pictures.reading import Picture
from deblurgan.pictures.writing import encode_picture

T = TypeVar("T")
Write = Callable[[Path, bytes], Path]
Compare = Callable[[Path, Picture, Pixels], None]

_GAP = 8  # columns between before and after
_PAGE_SIDE = 1600  # pixels: pictures on a page are made smaller than that

_PAGE_START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Before and after</title>
<style>
body { font-family: sans-serif; margin: 2rem auto; max-width: 1640px; padding: 0 1rem; background: #222; color: #eee }
h2 { font-size: 1rem; overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>Before (left) and after (right)</h1>
"""
_PAGE_END = "</body>\n</html>\n"


@contextlib.contextmanager
def opened_output(output: str | os.PathLike[str] | None, standard_output: IO[bytes] | None = None) -> Iterator[Write]:
    """Yield a function that writes a file of this name and content, and returns where it is.

    In a folder each file appears whole or not at all, in folders made where missing; a zip file appears when the
    block ends well, or by Ctrl-C, and something was written.

    Args:
        output: a folder; the name of a zip file; or `-` for `standard_output`. None: names are whole paths, in
            folders that are there, and no file is replaced.
        standard_output: what to write to then.

    Raises:
        FileError: the folder, or the zip file, cannot be written to.
    """
    if output is None:

        def write_new(target: Path, content: bytes) -> Path:
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
                require_new(target)
            return target

        yield write_new
        return
    output = Path(output)
    if output == STANDARD:

        def write_out(target: Path, content: bytes) -> Path:
            if standard_output is None:
                raise InputError("standard output: there is none")
            try:
                standard_output.write(content)
                standard_output.flush()
            except OSError as error:
                raise FileError(f"standard output: cannot be written: {reason(error)}") from error
            return STANDARD

        yield write_out
    elif is_zip(output):
        ensure_folder(output.parent)
        with _finished(_opened_zip(output)) as write:
            yield write
    else:
        ensure_folder(output)

        def write_file(target: Path, content: bytes) -> Path:
            path = output / target
            ensure_folder(path.parent)
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            return path

        yield write_file


def require_new(target: Path) -> None:
    """Raise FileError where something is already that a result would replace."""
    if os.path.lexists(target):
        raise FileError(
            f"{shown(target)}: is there already, and a result beside its picture replaces nothing; expected "
            "--skip_existing, another --suffix, or an --output_dir"
        )


@contextlib.contextmanager
def _finished(opened: contextlib.AbstractContextManager[T]) -> Iterator[T]:
    """Let `opened` end well when Ctrl-C ends the block, so that what is in the file is kept."""
    stopped = None
    with opened as value:
        try:
            yield value
        except KeyboardInterrupt as stop:
            stopped = stop
    if stopped is not None:
        raise stopped


@contextlib.contextmanager
def _opened_zip(output: Path) -> Iterator[Write]:
    """As `opened_output`, for a zip file."""
    with contextlib.ExitStack() as stack:
        opened: list[zipfile.ZipFile] = []
        failed: list[FileError] = []

        def write(target: Path, content: bytes) -> Path:
            name = os.fsencode(target.as_posix()).decode("utf-8", "backslashreplace")
            try:
                if failed:
                    raise failed[0]
                if not opened:
                    temporary = stack.enter_context(atomic_path(output))
                    opened.append(stack.enter_context(zipfile.ZipFile(temporary, "w")))
                opened[0].writestr(name, content)
            except OSError as error:
                what = f"{shown(output)}: cannot be written: {reason(error)}"
                failed[:] = [error if isinstance(error, FileError) else FileError(what)]
                raise failed[0] from error
            return output / target

        yield write
        if failed:
            raise failed[0]


@contextlib.contextmanager
def opened_comparison(place: str | os.PathLike[str] | None) -> Iterator[Compare]:
    """Yield a function that adds a picture, before and after, to the folder or HTML page `place`; or does nothing.

    Into a folder it writes the two beside each other, as a file of the result's name. On a page, which is one file
    with all pictures in it, a slider moves between the two.

    Raises:
        FileError: the folder, or the page, cannot be written to.
    """
    if place is None:
        yield lambda target, picture, restored: None
        return
    place = Path(place)
    if not _is_page(place):
        with opened_output(place) as write:

            def add(target: Path, picture: Picture, restored: Pixels) -> None:
                opaque = dataclasses.replace(picture, alpha=None, kind=picture.kind.rstrip("A"))
                both = side_by_side([picture.rgb, restored], _GAP)
                try:
                    content = encode_picture(opaque, both, format_to_write(target))
                except FileError as error:
                    raise FileError(f"{shown(place / target)}: {error}") from error
                write(target, content)

            yield add
        return
    with _finished(_opened_page(place)) as add_to_page:
        yield add_to_page


@contextlib.contextmanager
def _opened_page(place: Path) -> Iterator[Compare]:
    """As `opened_comparison`, for a page."""
    ensure_folder(place.parent)
    with atomic_path(place) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(_PAGE_START)

        def add(target: Path, picture: Picture, restored: Pixels) -> None:
            part = f"<h2>{html.escape(shown(target))}</h2>\n{slider(picture.rgb, restored, _PAGE_SIDE)}"
            try:
                page.write(part)
            except OSError as error:
                raise FileError(f"{shown(place)}: cannot be written: {reason(error)}") from error

        yield add
        page.write(_PAGE_END)


def check_comparison(
    jobs: Sequence[Job], output: str | os.PathLike[str] | None, place: str | os.PathLike[str]
) -> None:
    """Raise `InputError` where before and after would go into a folder of inputs or results."""
    if _is_page(place):
        return
    if output is not None and os.path.realpath(place) == os.path.realpath(output):
        raise InputError(f"{shown(place)}: results go there; choose another folder for before and after")
    check_originals(jobs, Path(place), overwrite=False)


def _is_page(place: str | os.PathLike[str]) -> bool:
    return Path(place).suffix.lower() in (".html", ".htm")

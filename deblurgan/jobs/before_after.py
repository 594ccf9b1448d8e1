"""Before and after beside each other: as pictures in a folder, or on a page with sliders."""

import contextlib
import dataclasses
import html
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import atomic_path, ensure_folder, shown, written
from deblurgan.jobs.planning import Job, check_originals
from deblurgan.jobs.writing import finished, opened_output
from deblurgan.pictures.formats import format_to_write
from deblurgan.pictures.html import slider
from deblurgan.pictures.pixels import Pixels, side_by_side
from deblurgan.pictures.reading import Picture
from deblurgan.pictures.writing import encode_picture

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
    if not is_page(place):
        with opened_output(place) as write:

            def add(target: Path, picture: Picture, restored: Pixels) -> None:
                opaque = dataclasses.replace(picture, alpha=None, kind=picture.kind.rstrip("A"))
                both = side_by_side([picture.rgb, restored], _GAP)
                with prefixed(shown(place / target), FileError):
                    content = encode_picture(opaque, both, format_to_write(target))
                write(target, content)

            yield add
        return
    with finished(_opened_page(place)) as add_to_page:
        yield add_to_page


@contextlib.contextmanager
def _opened_page(place: Path) -> Iterator[Compare]:
    """As `opened_comparison`, for a page."""
    ensure_folder(place.parent)
    with atomic_path(place) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(_PAGE_START)

        def add(target: Path, picture: Picture, restored: Pixels) -> None:
            part = f"<h2>{html.escape(shown(target))}</h2>\n{slider(picture.rgb, restored, _PAGE_SIDE)}"
            with written(place):
                page.write(part)

        yield add
        page.write(_PAGE_END)


def check_comparison(
    jobs: Sequence[Job], output: str | os.PathLike[str] | None, place: str | os.PathLike[str]
) -> None:
    """Raise `InputError` where before and after would go into a folder of inputs or results."""
    if is_page(place):
        return
    if output is not None and os.path.realpath(place) == os.path.realpath(output):
        raise InputError(f"{shown(place)}: results go there; choose another folder for before and after")
    check_originals(jobs, Path(place), overwrite=False)


def is_page(place: str | os.PathLike[str]) -> bool:
    """Whether before and after go onto an HTML page of that name, and not into a folder."""
    return Path(place).suffix.lower() in (".html", ".htm")

"""Where restored pictures go: a folder, a zip file or standard output."""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, ensure_folder, shown, written
from deblurgan.jobs.finding import STANDARD, is_zip

T = TypeVar("T")
Write = Callable[[Path, bytes], Path]


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
            with written("standard output"):
                standard_output.write(content)
                standard_output.flush()
            return STANDARD

        yield write_out
    elif is_zip(output):
        ensure_folder(output.parent)
        with finished(_opened_zip(output)) as write:
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
def finished(opened: contextlib.AbstractContextManager[T]) -> Iterator[T]:
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
                with written(output):
                    if not opened:
                        temporary = stack.enter_context(atomic_path(output))
                        opened.append(stack.enter_context(zipfile.ZipFile(temporary, "w")))
                    opened[0].writestr(name, content)
            except FileError as error:
                failed[:] = [error]
                raise
            return output / target

        yield write
        if failed:
            raise failed[0]

"""Which pictures and videos to restore."""

import glob
import lzma
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deblurgan.errors import FileError, InputError
from deblurgan.files import check_no_address, reason, shown
from deblurgan.pictures.formats import IMAGE_EXTENSIONS, is_an_image_file
from deblurgan.pictures.listing import list_files, list_files_below
from deblurgan.pictures.metadata import DECODING_ERRORS
from deblurgan.untrusted import unpacked
from deblurgan.video.containers import is_a_video_file

STANDARD = Path("-")  # standard input, or output
_KINDS = " ".join(sorted(IMAGE_EXTENSIONS))
_MEMBER_BYTES = 1 << 30  # of the largest picture in a zip file


@dataclass(frozen=True)
class Input:
    """A picture or video to restore.

    Attributes:
        path: the file; the zip file that holds it; or `STANDARD`.
        relative: its name, with the folders it lies in below the folder or zip file that was asked for.
        archive: the zip file, opened.
        member: which file in it.
    """

    path: Path
    relative: Path
    archive: zipfile.ZipFile | None = field(default=None, compare=False)
    member: zipfile.ZipInfo | None = field(default=None, compare=False)

    @property
    def name(self) -> Path:
        """What to call it in messages."""
        return self.path / self.member.filename.lstrip("/") if self.member else self.path

    @property
    def is_video(self) -> bool:
        """Whether it has the name of a video."""
        return self.member is None and is_a_video_file(self.path)

    def content(self, standard_input: Callable[[], bytes]) -> bytes | None:
        """Return what it holds; None where it is a file to be read by its path.

        Raises:
            FileError: the zip file is damaged or needs a password, or the picture in it is very large.
        """
        if self.archive is None or self.member is None:
            return standard_input() if self.path == STANDARD else None
        if self.member.file_size > _MEMBER_BYTES:
            raise FileError(
                f"{shown(self.name)}: expected at most {_MEMBER_BYTES} bytes, found {self.member.file_size}"
            )
        try:
            return unpacked(self.archive, self.member)
        except (zipfile.BadZipFile, lzma.LZMAError, *DECODING_ERRORS) as error:
            raise FileError(f"{shown(self.name)}: cannot be read from the zip file: {reason(error)}") from error


def find_inputs(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    but_not_in: Iterable[str | os.PathLike[str]] = (),
    may_be_empty: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> tuple[list[Input], list[str]]:
    """Return the pictures that `inputs` name, in this order, each once; and a line for each that cannot be looked at.

    Args:
        inputs: files, folders, zip files (of pictures), patterns such as `photos/*.jpg`, or `-` for standard input.
        recursive: look into folders below folders as well.
        but_not_in: folders below those that are not looked into, where results go.
        may_be_empty: a folder without pictures is no error.
        tell: called with a line about what is left out of a folder or zip file: neither pictures nor videos.

    Raises:
        FileError: there is nothing of the first name, nor a picture under any other.
        InputError: there are no pictures in the first folder or zip file, nor elsewhere.
    """
    hidden = {os.path.realpath(folder) for folder in but_not_in}
    sources: dict[tuple[str, str], Input] = {}
    problems: list[str] = []
    errors: list[FileError | InputError] = []
    for name in inputs:
        try:
            found = _found(name, recursive, hidden, may_be_empty, problems, tell)
        except (FileError, InputError) as error:
            errors.append(error)
            problems.append(str(error))
            continue
        for source in found:
            member = source.member.filename if source.member else ""
            sources.setdefault((os.path.abspath(source.path), member), source)
    if errors and not sources:
        raise errors[0]
    return list(sources.values()), problems


def _found(
    name: str | os.PathLike[str],
    recursive: bool,
    hidden: set[str],
    may_be_empty: bool,
    problems: list[str],
    tell: Callable[[str], object],
) -> list[Input]:
    """The pictures that one of the inputs names."""
    check_no_address(name)
    path = Path(name)
    if os.fspath(name) == "-":
        return [Input(STANDARD, Path("stdin"))]
    if os.path.isdir(path):
        files = list_files_below(path, but_not_in=hidden, problems=problems) if recursive else list_files(path)
        found = [Input(file, file.relative_to(path)) for file in files if _is_wanted(file)]
        if found:
            _tell_left_out(path, [file for file in files if not _is_wanted(file)], tell)
        if not found and not problems and not may_be_empty:
            where = "in this folder" if recursive else "directly in this folder"
            instead = f"; what is there: {_extensions(files)}" if files else ""
            raise InputError(f"{shown(path)}: expected pictures ({_KINDS}) or videos {where}, found none{instead}")
        return found
    if os.path.lexists(path):
        return _in_file(path, problems, tell)
    if glob.has_magic(os.fspath(name)):
        files = [match for match in _matches(path) if os.path.isfile(match) and (_is_wanted(match) or is_zip(match))]
        if not files:
            raise FileError(f"{shown(path)}: no picture, video or zip file matches this pattern")
        return [source for file in files for source in _in_file(file, problems, tell)]
    raise FileError(f"{shown(path)}: expected a picture or a folder of pictures, found nothing")


def _matches(pattern: Path) -> list[Path]:
    """What a pattern matches, sorted; a folder in it that is there stands for itself, whatever its name."""
    here = pattern
    while not os.path.lexists(here):
        here = here.parent
    names = pattern.relative_to(here)
    return [Path(match) for match in sorted(glob.glob(str(Path(glob.escape(str(here)), names)), recursive=True))]


def _in_file(path: Path, problems: list[str], tell: Callable[[str], object]) -> list[Input]:
    """The picture or video in a file, or the pictures in a zip file."""
    return _members(path, problems, tell) if path.suffix.lower() == ".zip" else [Input(path, Path(path.name))]


def _tell_left_out(place: Path, others: Sequence[Path], tell: Callable[[str], object]) -> None:
    """Say what a folder or zip file holds besides pictures and videos."""
    if others:
        tell(f"{shown(place)}: files of other kinds left out: {len(others)} ({_extensions(others)})")


def _extensions(files: Iterable[Path]) -> str:
    """The extensions of files, up to ten."""
    found = sorted({file.suffix.lower() or "without extension" for file in files})
    return shown(" ".join(found[:10]) + (" ..." if found[10:] else ""))


def _is_wanted(path: Path) -> bool:
    return is_an_image_file(path) or is_a_video_file(path)


def _members(path: Path, problems: list[str], tell: Callable[[str], object]) -> list[Input]:
    """The pictures in a zip file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileError("not a file")
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        problems.append(f"{shown(path)}: not a readable zip file ({reason(error)})")
        return []
    found, others = [], []
    for member in archive.infolist():
        names = member.filename.replace("\\", "/").split("/")  # not a path's parts: one of them may be "//"
        parts = [part for name in names if (part := os.path.splitdrive(name)[1]) not in ("", ".", "..")]
        if member.is_dir() or not parts or any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        if is_an_image_file(parts[-1]) and "\0" not in member.filename:
            found.append(Input(path, Path(*parts), archive, member))
        else:
            others.append(Path(parts[-1]))
    if not found:
        raise InputError(f"{shown(path)}: expected pictures ({_KINDS}) in this zip file, found none")
    _tell_left_out(path, others, tell)
    return found


def is_zip(output: str | os.PathLike[str]) -> bool:
    """Whether results go into a zip file of that name. A folder may be named so, too."""
    return Path(output).suffix.lower() == ".zip" and not os.path.isdir(output)

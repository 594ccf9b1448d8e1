"""Which pictures and videos to restore, and where each result goes: decided before any of them is read."""

import glob
import lzma
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from deblurgan.errors import FileError, InputError
from deblurgan.files import check_no_address, reason, shown
from deblurgan.pictures.formats import (
    EXTENSIONS,
    IMAGE_EXTENSIONS,
    WRITABLE,
    is_an_image_file,
    named_format,
)
from deblurgan.pictures.listing import list_files
from deblurgan.pictures.metadata import DECODING_ERRORS
from deblurgan.video.containers import CONTAINERS, INSTEAD, is_a_video_file

BESIDE_SUFFIX = "_deblurred"
STANDARD = Path("-")  # standard input, or output
_MEMBER_BYTES = 1 << 30  # of the largest picture in a zip file


@dataclass(frozen=True)
class Source:
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
            return self.archive.read(self.member)
        except (zipfile.BadZipFile, lzma.LZMAError, *DECODING_ERRORS) as error:
            raise FileError(f"{shown(self.name)}: cannot be read from the zip file: {reason(error)}") from error


@dataclass(frozen=True)
class Job:
    """A picture to restore and where to.

    Attributes:
        source: the picture.
        target: name of the result, with its folders, below the output folder or in the output zip file.
        exists: there is one already, which is to be left alone.
        as_it_came: write it in the format of the source, which has no name to tell it, and not in the target's.
        beside: where the result goes instead, next to its picture.
    """

    source: Source
    target: Path
    exists: bool = False
    as_it_came: bool = False
    beside: Path | None = None

    @property
    def place(self) -> Path:
        """Where the result goes, in the output or beside its picture."""
        return self.beside or self.target


def find_sources(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    but_not_in: Iterable[str | os.PathLike[str]] = (),
    may_be_empty: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> tuple[list[Source], list[str]]:
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
    sources: dict[tuple[str, str], Source] = {}
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
) -> list[Source]:
    """The pictures that one of the inputs names."""
    check_no_address(name)
    path = Path(name)
    if os.fspath(name) == "-":
        return [Source(STANDARD, Path("stdin"))]
    if os.path.isdir(path):
        files = _files(path, recursive, hidden, problems)
        found = [Source(file, file.relative_to(path)) for file in files if _is_wanted(file)]
        if found:
            _tell_left_out(path, [file for file in files if not _is_wanted(file)], tell)
        if not found and not problems and not may_be_empty:
            where = "in this folder" if recursive else "directly in this folder"
            instead = f"; what is there: {_extensions(files)}" if files else ""
            raise InputError(f"{shown(path)}: expected pictures ({_kinds()}) or videos {where}, found none{instead}")
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


def _in_file(path: Path, problems: list[str], tell: Callable[[str], object]) -> list[Source]:
    """The picture or video in a file, or the pictures in a zip file."""
    return _members(path, problems, tell) if path.suffix.lower() == ".zip" else [Source(path, Path(path.name))]


def _tell_left_out(place: Path, others: Sequence[Path], tell: Callable[[str], object]) -> None:
    """Say what a folder or zip file holds besides pictures and videos."""
    if others:
        tell(f"{shown(place)}: files of other kinds left out: {len(others)} ({_extensions(others)})")


def _extensions(files: Iterable[Path]) -> str:
    """The extensions of files, up to ten."""
    found = sorted({file.suffix.lower() or "without extension" for file in files})
    return shown(" ".join(found[:10]) + (" ..." if found[10:] else ""))


def _kinds() -> str:
    return " ".join(sorted(IMAGE_EXTENSIONS))


def _is_wanted(path: Path) -> bool:
    return is_an_image_file(path) or is_a_video_file(path)


def _files(folder: Path, recursive: bool, hidden: set[str], problems: list[str]) -> list[Path]:
    """The files in a folder and, where asked, below it: each folder after the files beside it, once."""
    paths = list_files(folder)
    seen = {os.path.realpath(folder), *hidden}
    waiting = _folders(folder) if recursive else []
    while waiting:
        here = waiting.pop()
        if os.path.realpath(here) in seen:  # a link may lead back up
            continue
        seen.add(os.path.realpath(here))
        try:
            paths += list_files(here)
            waiting += _folders(here)
        except FileError as error:
            problems.append(str(error))
    return paths


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, the last one first, without hidden ones."""
    below = [path for path in folder.iterdir() if not path.name.startswith(".") and os.path.isdir(path)]
    return sorted(below, key=lambda path: path.name, reverse=True)


def _members(path: Path, problems: list[str], tell: Callable[[str], object]) -> list[Source]:
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
        parts = [part for part in PurePosixPath(member.filename.replace("\\", "/")).parts if part not in ("/", "..")]
        if member.is_dir() or not parts or any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        if is_an_image_file(parts[-1]) and "\0" not in member.filename:
            found.append(Source(path, Path(*parts), archive, member))
        else:
            others.append(Path(parts[-1]))
    if not found:
        raise InputError(f"{shown(path)}: expected pictures ({_kinds()}) in this zip file, found none")
    _tell_left_out(path, others, tell)
    return found


def plan(
    sources: Sequence[Source],
    output: str | os.PathLike[str] | None,
    *,
    file_format: str | None = None,
    suffix: str = "",
    skip_existing: bool = False,
    overwrite: bool = False,
    exists: Callable[[Path], bool] = os.path.lexists,
    real: Callable[[Path], str] = os.path.realpath,
) -> list[Job]:
    """Return what is to be written where.

    A result has the name of its picture, and an extension of a format that can be written: the picture's own unless
    `file_format` says otherwise, `.png` added where the name has none of a picture, and `.png` in place of one that
    can only be read. A video keeps its own extension, or has `.mkv` in place of one that can only be read. What comes
    from standard input and goes to standard output has the format that it came in.

    Args:
        sources: from `find_sources`.
        output: a folder; the name of a zip file; or `-` for standard output. None: beside each picture (of a zip
            file, beside that); results of earlier runs among the sources are left out then, and nothing is replaced.
        file_format: one of `formats.EXTENSIONS`.
        suffix: what to add to the names, before the extension; `BESIDE_SUFFIX` for results beside their pictures
            when empty.
        skip_existing: mark those whose result is there.
        overwrite: allow that pictures are replaced by their own results.
        exists: whether a file is there.
        real: a path without links.

    Raises:
        InputError: two pictures have the same result, a result might replace a picture, or a video is to go elsewhere
            than into a folder.
    """
    if any(character in suffix for character in ("/", "\0", os.sep)):
        raise InputError(f"suffix: expected a part of a file's name, received {suffix!r}")
    if output is None:
        return _planned_beside(sources, file_format, suffix or BESIDE_SUFFIX, skip_existing, exists)
    output = Path(output)
    jobs = [Job(source, _target(source.relative, file_format, suffix, source.is_video)) for source in sources]
    videos = [source for source in sources if source.is_video]
    if videos and (output == STANDARD or is_zip(output)):
        raise InputError(f"{shown(videos[0].name)}: a video goes into a folder, received {shown(output)} for output")
    if output == STANDARD:
        if len(jobs) > 1:
            raise InputError(f"standard output takes one picture, received {len(jobs)}")
        return [replace(job, as_it_came=file_format is None and job.source.path == STANDARD) for job in jobs]
    first: dict[Path, Source] = {}
    for job in jobs:
        other = first.setdefault(job.target, job.source)
        if other is not job.source:
            raise same_result(output / job.target, other, job.source)
    if is_zip(output):
        if skip_existing:
            raise InputError(f"{shown(output)}: a zip file is written anew; to skip what exists, name a folder")
        originals = [source for source in sources if real(source.path) == real(output)]
        if originals and not overwrite:
            raise InputError(f"{shown(output)}: is an input, and would be replaced; choose another name")
        return jobs
    check_originals(jobs, output, overwrite, real)
    if not skip_existing:
        return jobs
    return [Job(job.source, job.target, exists(output / job.target)) for job in jobs]


def _planned_beside(
    sources: Sequence[Source],
    file_format: str | None,
    suffix: str,
    skip_existing: bool,
    exists: Callable[[Path], bool],
) -> list[Job]:
    """As `plan`, for results beside their pictures."""
    jobs: dict[Path, Job] = {}
    for source in sources:
        target = _target(source.relative, file_format, suffix, source.is_video)
        beside = source.path.parent / target.name
        if beside in jobs:
            raise same_result(beside, jobs[beside].source, source)
        jobs[beside] = Job(source, target, skip_existing and exists(beside), beside=beside)
    return [job for job in jobs.values() if job.source.path not in jobs]


def same_result(result: Path, first: Source, second: Source) -> InputError:
    """Return the error that two pictures would have one result."""
    names = f"{shown(first.name)} and {shown(second.name)}"
    return InputError(f"{shown(result)}: would be the result of two pictures, {names}")


def is_zip(output: str | os.PathLike[str]) -> bool:
    """Whether results go into a zip file of that name. A folder may be named so, too."""
    return Path(output).suffix.lower() == ".zip" and not os.path.isdir(output)


def check_originals(
    jobs: Sequence[Job], output: Path, overwrite: bool, real: Callable[[Path], str] = os.path.realpath
) -> None:
    """Raise `InputError` where results go into a folder that pictures come from, or one would replace another's."""
    folders: dict[Path, str] = {}
    files = [job for job in jobs if job.source.path != STANDARD and job.source.member is None]
    homes: dict[str, Source] = {}
    originals: dict[str, Source] = {}
    for job in files:
        path = job.source.path
        if path.parent not in folders:
            folders[path.parent] = real(path.parent)
        original = real(path)
        homes.setdefault(folders[path.parent], job.source)
        homes.setdefault(os.path.dirname(original), job.source)
        originals.setdefault(original, job.source)
        originals.setdefault(os.path.join(folders[path.parent], path.name), job.source)
    places = {job.target.parent: real(output / job.target.parent) for job in jobs}
    for job in jobs:
        place = places[job.target.parent]
        if place in homes and not overwrite:
            raise InputError(
                f"{shown(output)}: holds the input {shown(homes[place].name)}, which could be replaced; "
                "choose another folder, or allow it with --overwrite"
            )
        replaced = originals.get(os.path.join(place, job.target.name), job.source)
        if replaced is not job.source:
            raise InputError(
                f"{shown(output / job.target)}: the result of {shown(job.source.name)} would replace the input "
                f"{shown(replaced.name)}"
            )


def _target(relative: Path, file_format: str | None, suffix: str, is_video: bool) -> Path:
    """The name of the result of the picture or video `relative`."""
    if is_video:
        extension = relative.suffix if relative.suffix.lower() in CONTAINERS else INSTEAD
        return relative.with_name(f"{relative.stem}{suffix}{extension}")
    named = named_format(relative)
    stem, extension = (relative.name, "") if named is None else (relative.stem, relative.suffix)
    if file_format is not None:
        wanted = EXTENSIONS[file_format]
        extension = extension if named == named_format(f"x{wanted}") else wanted  # .jpeg is a .jpg
    elif named not in WRITABLE:
        extension = ".png"
    return relative.with_name(f"{stem}{suffix}{extension}")

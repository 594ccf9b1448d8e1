"""Where each result goes, decided before any picture is read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deblurgan.errors import InputError
from deblurgan.files import shown
from deblurgan.jobs.finding import STANDARD, Input, is_zip
from deblurgan.pictures.formats import EXTENSIONS, INSTEAD, WRITABLE, named_format
from deblurgan.video.containers import CONTAINERS
from deblurgan.video.containers import INSTEAD as VIDEO_INSTEAD

BESIDE_SUFFIX = "_deblurred"


@dataclass(frozen=True)
class Where:
    """Where results go, and what they are called.

    Attributes:
        output_dir: a folder; the name of a zip file; or `-` for standard output. None: beside each picture (of a zip
            file, beside that); results of earlier runs among the inputs are left out then, and nothing is replaced.
        file_format: of pictures, one of `formats.EXTENSIONS`; None: as they are.
        suffix: what to add to the names, before the extension; None: nothing, or `BESIDE_SUFFIX` for results beside
            their pictures.
        skip_existing: whether those whose result is there are left out.
        overwrite: whether pictures may be replaced by their own results.
        compare: a folder, or the name of an HTML page, for pictures of before and after; None: for neither.
    """

    output_dir: Path | None = None
    file_format: str | None = None
    suffix: str | None = None
    skip_existing: bool = False
    overwrite: bool = False
    compare: Path | None = None

    def __post_init__(self) -> None:
        suffix = self.suffix or ""
        if any(character in suffix for character in ("/", "\0", os.sep)):
            raise InputError(f"suffix: expected a part of a file's name, received {suffix!r}")


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

    source: Input
    target: Path
    exists: bool = False
    as_it_came: bool = False
    beside: Path | None = None

    @property
    def is_refused(self) -> bool:
        """Whether something is there that its result, beside its picture, would replace."""
        return self.beside is not None and not self.exists and os.path.lexists(self.beside)

    @property
    def is_due(self) -> bool:
        """Whether there is something to restore."""
        return not (self.exists or self.is_refused)

    @property
    def place(self) -> Path:
        """Where the result goes, in the output or beside its picture."""
        return self.beside or self.target


def plan(inputs: Sequence[Input], where: Where) -> list[Job]:
    """Return what is to be written where.

    A result has the name of its picture, and an extension of a format that can be written: the picture's own unless
    a format is asked for, `.png` added where the name has none of a picture, and `.png` in place of one that can only
    be read, of raw camera data `.tif`. A video keeps its own extension, or has `.mkv` in place of one that can only
    be read. What comes from standard input and goes to standard output has the format that it came in.

    Raises:
        InputError: two pictures have the same result, a result might replace a picture, or a video is to go elsewhere
            than into a folder.
    """
    if where.output_dir is None:
        return _planned_beside(inputs, where)
    output = where.output_dir
    jobs = [Job(source, target_of(source, where.file_format, where.suffix or "")) for source in inputs]
    videos = [source for source in inputs if source.is_video]
    if videos and (output == STANDARD or is_zip(output)):
        raise InputError(f"{shown(videos[0].name)}: a video goes into a folder, received {shown(output)} for output")
    if output == STANDARD:
        if len(jobs) > 1:
            raise InputError(f"standard output takes one picture, received {len(jobs)}")
        return [replace(job, as_it_came=where.file_format is None and job.source.path == STANDARD) for job in jobs]
    first: dict[Path, Input] = {}
    for job in jobs:
        other = first.setdefault(job.target, job.source)
        if other is not job.source:
            raise same_result(output / job.target, other, job.source)
    if is_zip(output):
        if where.skip_existing:
            raise InputError(f"{shown(output)}: a zip file is written anew; to skip what exists, name a folder")
        originals = [source for source in inputs if os.path.realpath(source.path) == os.path.realpath(output)]
        if originals and not where.overwrite:
            raise InputError(f"{shown(output)}: is an input, and would be replaced; choose another name")
        return jobs
    check_originals(jobs, output, where.overwrite)
    if not where.skip_existing:
        return jobs
    return [Job(job.source, job.target, os.path.lexists(output / job.target)) for job in jobs]


def _planned_beside(inputs: Sequence[Input], where: Where) -> list[Job]:
    """As `plan`, for results beside their pictures."""
    jobs: dict[Path, Job] = {}
    for source in inputs:
        target = target_of(source, where.file_format, where.suffix or BESIDE_SUFFIX)
        beside = source.path.parent / target.name
        if beside in jobs:
            raise same_result(beside, jobs[beside].source, source)
        jobs[beside] = Job(source, target, where.skip_existing and os.path.lexists(beside), beside=beside)
    return [job for job in jobs.values() if job.source.path not in jobs]


def same_result(result: Path, first: Input, second: Input) -> InputError:
    """Return the error that two pictures would have one result."""
    names = f"{shown(first.name)} and {shown(second.name)}"
    return InputError(f"{shown(result)}: would be the result of two pictures, {names}")


def check_originals(jobs: Sequence[Job], output: Path, overwrite: bool) -> None:
    """Raise `InputError` where results go into a folder that pictures come from, or one would replace another's."""
    folders: dict[Path, str] = {}
    files = [job for job in jobs if job.source.path != STANDARD and job.source.member is None]
    homes: dict[str, Input] = {}
    originals: dict[str, Input] = {}
    for job in files:
        path = job.source.path
        if path.parent not in folders:
            folders[path.parent] = os.path.realpath(path.parent)
        original = os.path.realpath(path)
        homes.setdefault(folders[path.parent], job.source)
        homes.setdefault(os.path.dirname(original), job.source)
        originals.setdefault(original, job.source)
        originals.setdefault(os.path.join(folders[path.parent], path.name), job.source)
    places = {job.target.parent: os.path.realpath(output / job.target.parent) for job in jobs}
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


def target_of(source: Input, file_format: str | None, suffix: str) -> Path:
    """Return the name of the result of a picture or video, with its folders; see `plan`."""
    relative = source.relative
    if source.is_video:
        extension = relative.suffix if relative.suffix.lower() in CONTAINERS else VIDEO_INSTEAD
        return relative.with_name(f"{relative.stem}{suffix}{extension}")
    named = named_format(relative)
    stem, extension = (relative.name, "") if named is None else (relative.stem, relative.suffix)
    if file_format is not None:
        wanted = EXTENSIONS[file_format]
        extension = extension if named == named_format(f"x{wanted}") else wanted  # .jpeg is a .jpg
    elif named not in WRITABLE:
        extension = INSTEAD.get(named or "", ".png")
    return relative.with_name(f"{stem}{suffix}{extension}")

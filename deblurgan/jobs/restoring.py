"""Restoring pictures, wherever they are and go, and the tutorial's strips to compare by eye."""

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from deblurgan.data.pairs import Pair
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, shown
from deblurgan.jobs.finding import Job, Source, plan
from deblurgan.jobs.writing import Compare, Write, check_comparison, opened_comparison, opened_output, require_new
from deblurgan.pictures.ahead import ahead
from deblurgan.pictures.formats import IMAGE_EXTENSIONS, WRITABLE, format_to_write
from deblurgan.pictures.listing import list_images
from deblurgan.pictures.pixels import Pixels, Restore, resize, side_by_side, to_8_bits
from deblurgan.pictures.reading import Picture, read_picture
from deblurgan.pictures.writing import encode_picture, not_kept, write_image
from deblurgan.restoring.alpha import restore_with_alpha
from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import restore_video

PIXELS_TOGETHER = 2**20  # how many are restored at once when pictures are small


@dataclass
class Report:
    """What became of the pictures.

    Attributes:
        written: the files written.
        failed: for each picture that could not be restored, one line that names it and says why.
        notices: for each picture of which something was not kept as it was, one line that says what.
        skipped: the results that were there already.
    """

    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)


def find_pictures(path: str | os.PathLike[str]) -> list[Path]:
    """Return the image files in the folder `path`, or `path` itself when it is a file.

    Raises:
        FileError: there is nothing at `path`.
        InputError: the folder has no image files.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise FileError(f"{shown(path)}: expected a picture or a folder of pictures, found nothing")
    if not os.path.isdir(path):
        return [path]
    pictures = list_images(path)
    if not pictures:
        kinds = " ".join(sorted(IMAGE_EXTENSIONS))
        raise InputError(f"{shown(path)}: expected pictures ({kinds}) directly in this folder, found none")
    return pictures


def deblur_pictures(
    restore: Restore,
    pictures: Sequence[Path],
    output_dir: str | os.PathLike[str],
    *,
    squash: int | None = None,
    beside_input: bool = False,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Restore `pictures` into the folder `output_dir`, each under its own name and in its own format.

    Args:
        restore: as for `restore_jobs`, as are the others.
        pictures: from `find_pictures`.
        output_dir: created where missing.
        squash: squash each picture to a square of this many pixels first, as the tutorial did with 256.
        beside_input: write the input and the result side by side instead, as the tutorial did.
        progress: called with each picture when it is done.

    Raises:
        InputError: `output_dir` is the folder of one of the pictures, or of a file that one is a link to; or two of
            them have the same name.
        FileError: `output_dir` cannot be written to.
    """
    jobs = plan([Source(Path(path), Path(path.name)) for path in pictures], output_dir)
    return restore_jobs(restore, jobs, output_dir, squash=squash, beside_input=beside_input, progress=progress)


def restore_jobs(
    restore: Restore,
    jobs: Sequence[Job],
    output: str | os.PathLike[str] | None,
    *,
    squash: int | None = None,
    beside_input: bool = False,
    quality: int | None = None,
    compare: str | os.PathLike[str] | None = None,
    max_pixels: int | None = None,
    video: VideoOptions | None = None,
    standard_input: Callable[[], bytes] = lambda: b"",
    standard_output: IO[bytes] | None = None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Restore pictures and videos and write each where `finding.plan` has decided.

    Size, orientation, alpha, grey, 16 bits, EXIF, colour profile and resolution stay as they were, as far as the
    format holds them. A picture that cannot be read, restored or written is reported and the others are still done.
    While one is restored, the next is read and the one before written.

    Args:
        restore: (height, width, 3) RGB, uint8 or uint16 -> the same, restored; for example a `restorer.Restorer`.
            If it has a method `batch` as that has, small pictures of one size in a row are restored together.
        jobs: from `finding.plan`.
        output: the same as for that.
        squash: squash each picture to a square of this many pixels first, in 8 bits, as the tutorial did with 256.
        beside_input: write the input and the result side by side instead, without alpha, as the tutorial did.
        quality: of JPEG, WebP, AVIF and HEIC; see `writing.encode_picture`.
        compare: a folder, or the name of an HTML page, for pictures of before and after.
        max_pixels: refuse larger pictures; see `reading.read_picture`.
        video: how to restore videos, which `squash` and `beside_input` are not for; they are not compared.
        standard_input: called for the content of the picture that is to come from there.
        standard_output: where the picture goes that is to go there.
        progress: called with the name of each picture when it is done, in their order.

    Raises:
        InputError: `compare` is a folder that inputs come from or results go to.
        FileError: `output` or `compare` cannot be written to.
        Interrupted: Ctrl-C while a video is restored; see `video.restoring.restore_video`.
    """
    if compare is not None:
        check_comparison(jobs, output, compare)

    def read(job: Job) -> Picture:
        if job.beside:
            require_new(job.beside)  # before the work
        content = job.source.content(standard_input)
        picture = read_picture(job.source.name, content=content, max_pixels=max_pixels)
        return picture if squash is None else _squashed(picture, squash)

    def restored_video(job: Job) -> "_Saved | InputError | FileError":
        name, target = shown(job.source.name), job.beside or Path(output or "") / job.target
        if squash is not None or beside_input:
            return InputError(
                f"{name}: a video is restored at its own size, alone; expected neither of these options"
            )
        try:
            if job.beside:
                require_new(target)
            notices = restore_video(restore, job.source.path, target, video)
        except (InputError, FileError) as error:
            return error
        return _Saved(target, notices + (("a video: not compared",) if compare is not None else ()))

    report = Report()
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(opened_output(output, standard_output))
        add = stack.enter_context(opened_comparison(compare))
        writer = stack.enter_context(ThreadPoolExecutor(1))
        saving: collections.deque[tuple[Job, Future[_Saved]]] = collections.deque()
        found = ((job, _read(read, job)) for job in jobs)
        groups = _groups(found) if hasattr(restore, "batch") else ([one] for one in found)
        for group in stack.enter_context(ahead(groups)):
            while len(saving) > 1:
                _settle(*saving.popleft(), report, progress)
            for job, restored in _restored(restore, group, beside_input):
                if isinstance(restored, Job):
                    saving.append((job, _done(restored_video(job))))
                elif isinstance(restored, tuple):
                    saving.append((job, writer.submit(_save, job, *restored, quality, write, add)))
                else:
                    saving.append((job, _done(restored)))
            del group, restored
        while saving:
            _settle(*saving.popleft(), report, progress)
    return report


@dataclass(frozen=True)
class _Saved:
    """Where a result has been written (None: it was there), and what was not kept."""

    path: Path | None
    notices: tuple[str, ...]


_Found = Picture | Job | _Saved | InputError | FileError  # a job: its video, which is read bit by bit
_Outcome = tuple[Picture, Pixels] | Job | _Saved | InputError | FileError  # the first: what is to be written


def _read(read: Callable[[Job], Picture], job: Job) -> _Found:
    """The picture of a job, or what became of the job without one."""
    if job.exists:
        return _Saved(None, ())
    if job.source.is_video:
        return job
    try:
        return read(job)
    except (InputError, FileError) as error:
        return error


def _groups(found: Iterable[tuple[Job, _Found]]) -> Iterator[list[tuple[Job, _Found]]]:
    """Small pictures of one size in a row together, everything else on its own, as soon as it is found."""
    group: list[tuple[Job, _Found]] = []
    for job, picture in found:
        most = _most_together(picture)
        if group and (len(group) >= most or not _alike(picture, group[0][1])):
            yield group
            group = []
        group.append((job, picture))
        if most == 1:
            del picture
            yield group
            group = []
    if group:
        yield group


def _most_together(picture: _Found) -> int:
    """How many pictures like this one are restored together."""
    if not isinstance(picture, Picture) or picture.alpha is not None:
        return 1
    return max(1, PIXELS_TOGETHER // picture.rgb[..., 0].size)


def _alike(*pictures: _Found) -> bool:
    kinds = {(p.rgb.shape, p.rgb.dtype) for p in pictures if isinstance(p, Picture)}
    return len(kinds) == 1


def _done(result: "_Saved | Exception") -> "Future[_Saved]":
    """A future that is settled already."""
    future: Future[_Saved] = Future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


def _squashed(picture: Picture, side: int) -> Picture:
    """A picture, in 8 bits, that has been made square."""
    rgb, *alpha = (resize(to_8_bits(part), (side, side)) for part in (picture.rgb, picture.alpha) if part is not None)
    deep = ("16-bit input is squashed with 8 bits",) if picture.rgb.dtype == np.uint16 else ()
    return dataclasses.replace(picture, rgb=rgb, alpha=alpha[0] if alpha else None, notices=picture.notices + deep)


def _restored(
    restore: Restore, group: Sequence[tuple[Job, _Found]], beside_input: bool
) -> Iterator[tuple[Job, _Outcome]]:
    """Restore the pictures of a group; whoever takes one lets it go before asking for the next."""
    batch = _batch(restore, group)
    for job, picture in group:
        if not isinstance(picture, Picture):
            yield job, picture
            continue
        alpha = None
        try:
            if batch is not None:
                rgb = next(batch)
            elif beside_input:
                rgb = restore(picture.rgb)
            else:
                rgb, alpha = restore_with_alpha(restore, picture.rgb, picture.alpha)
        except InputError as error:
            yield job, InputError(f"{shown(job.source.name)}: {error}")
            continue
        kind = picture.kind
        if beside_input:
            kind, rgb = kind.rstrip("A"), side_by_side([picture.rgb, rgb])
        yield job, (dataclasses.replace(picture, alpha=alpha, kind=kind), rgb)


def _batch(restore: Restore, group: Sequence[tuple[Job, _Found]]) -> Iterator[Pixels] | None:
    """The results for several pictures, or None where each has to be restored on its own."""
    if len(group) == 1:
        return None
    try:
        return iter(restore.batch([picture.rgb for _, picture in group]))  # type: ignore[attr-defined, union-attr]
    except InputError:  # what the network refuses is then reported for each
        return None


def _save(job: Job, picture: Picture, rgb: Pixels, quality: int | None, write: Write, add: Compare) -> _Saved:
    """Write a result, and before and after."""
    as_it_came = job.as_it_came and picture.format in WRITABLE
    file_format = picture.format if as_it_came else format_to_write(job.target)
    try:
        content = encode_picture(picture, rgb, file_format, quality=quality)
    except FileError as error:
        raise FileError(f"{shown(job.source.name)}: {error}") from error
    path = write(job.place, content)
    add(job.target, picture, rgb)
    return _Saved(path, picture.notices + tuple(not_kept(picture, file_format)))


def _settle(job: Job, saving: "Future[_Saved]", report: Report, progress: Callable[[Path], None]) -> None:
    """Wait until a picture is done, and report it."""
    try:
        saved = saving.result()
    except (InputError, FileError) as error:
        report.failed.append(str(error))
    else:
        if saved.path is None:
            report.skipped.append(job.place)
        else:
            report.written.append(saved.path)
        if saved.notices:
            report.notices.append(f"{shown(job.source.name)}: {'; '.join(saved.notices)}")
    progress(job.source.name)


def watched(
    find: Callable[[], Sequence[Source]], pause: Callable[[], None] = lambda: time.sleep(1)
) -> Iterator[list[Source]]:
    """Yield, again and again, the pictures that are new or have changed and are no longer being written.

    A file is taken when its size and time are those that they were a pause before.

    Args:
        find: returns all pictures that are there now.
        pause: called between two looks.
    """
    before: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        now: dict[Path, tuple[int, int]] = {}
        settled = []
        for source in find():
            try:
                found = os.stat(source.path)
            except OSError:  # gone again, or a link to what is not there yet
                continue
            state = now[source.path] = (found.st_size, found.st_mtime_ns)
            if before.get(source.path) == state != done.get(source.path):
                done[source.path] = state
                settled.append(source)
        yield settled
        before = now
        pause()


def write_strips(
    restore: Restore,
    pairs: Sequence[Pair],
    output_dir: str | os.PathLike[str],
    *,
    squash: int | None = None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Write `results0.png`, `results1.png`, ...: sharp, blurred and restored side by side, as in the tutorial.

    Arguments, report and errors are those of `deblur_pictures`.
    """
    output_dir = ensure_folder(output_dir)
    report = Report()
    for number, pair in enumerate(pairs):
        try:
            blurred, sharp = pair.read()
            if squash is not None:
                blurred, sharp = (resize(image, (squash, squash)) for image in (blurred, sharp))
            strip = side_by_side([sharp, blurred, restore(blurred)])
            target = output_dir / f"results{number}.png"
            write_image(target, strip)
        except (InputError, FileError) as error:
            report.failed.append(f"{shown(pair.name)}: {error}")
        else:
            report.written.append(target)
        progress(pair.blurred)
    return report

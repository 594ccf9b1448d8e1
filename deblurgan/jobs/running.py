"""Restoring pictures and videos, wherever they are and go: while one is restored, others are read and written."""

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import shown
from deblurgan.jobs.before_after import Compare, check_comparison, opened_comparison
from deblurgan.jobs.planning import Job, Where
from deblurgan.jobs.report import Report
from deblurgan.jobs.writing import Write, opened_output, require_new
from deblurgan.pictures.ahead import ahead, one_thread
from deblurgan.pictures.formats import WRITABLE, format_to_write
from deblurgan.pictures.pixels import Pixels, Restore, channels_of, resize, side_by_side, to_8_bits
from deblurgan.pictures.reading import Picture, read_picture
from deblurgan.pictures.writing import encode_picture, not_kept
from deblurgan.restoring.alpha import restore_with_alpha
from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import restore_video

PIXELS_TOGETHER = 2**20  # how many are restored at once when pictures are small


@dataclass(frozen=True)
class PictureOptions:
    """How pictures are read, restored and written.

    Attributes:
        resize: squash each picture to a square of this many pixels first, in 8 bits, as the tutorial did with 256.
        side_by_side: write input and result beside each other instead, without alpha, as the tutorial did.
        jpeg_quality: of JPEG, WebP, AVIF and HEIC; see `writing.encode_picture`.
        max_pixels: refuse larger pictures; see `reading.read_picture`.
    """

    resize: int | None = None
    side_by_side: bool = False
    jpeg_quality: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True)
class Streams:
    """Standard input, as a function that reads it, and standard output."""

    read: Callable[[], bytes] = lambda: b""
    output: IO[bytes] | None = None


def restore_jobs(
    restore: Restore,
    jobs: Sequence[Job],
    where: Where,
    pictures: PictureOptions | None = None,
    videos: VideoOptions | None = None,
    *,
    streams: Streams | None = None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Restore pictures and videos and write each where `planning.plan` has decided.

    Size, orientation, alpha, grey, 16 bits, EXIF, colour profile and resolution stay as they were, as far as the
    format holds them. A picture that cannot be read, restored or written is reported and the others are still done.

    Args:
        restore: (height, width, 3) RGB, uint8 or uint16 -> the same, restored; for example a `restorer.Restorer`.
            If it has a method `batch` as that has, small pictures of one size in a row are restored together.
        jobs: from `planning.plan`.
        where: the same as for that.
        pictures: how to restore pictures.
        videos: how to restore videos, which are neither resized nor compared nor written beside their input.
        streams: for a picture that comes from standard input or goes to standard output.
        progress: called with the name of each picture when it is done, in their order.

    Raises:
        InputError: before and after would go into a folder that inputs come from or results go to.
        FileError: a place of `where` cannot be written to.
        Interrupted: Ctrl-C while a video is restored; see `video.restoring.restore_video`.
    """
    if where.compare is not None:
        check_comparison(jobs, where.output_dir, where.compare)
    streams = streams or Streams()
    report = Report()
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(opened_output(where.output_dir, streams.output))
        add = stack.enter_context(opened_comparison(where.compare))
        work = Work(restore, write, pictures or PictureOptions(), where, videos, streams, add)
        for job, outcome in stack.enter_context(contextlib.closing(work.done(jobs))):
            _report(job, outcome, report)
            progress(job.source.name)
    return report


@dataclass(frozen=True)
class Saved:
    """Where a result has been written (None: it was there), what was not kept, and (height, width) of a picture."""

    path: Path | None
    notices: tuple[str, ...] = ()
    size: tuple[int, int] | None = None


Outcome = Saved | InputError | FileError
_Found = Picture | Job | Outcome  # a job: its video, which is read bit by bit
_Restored = tuple[Picture, Pixels] | Outcome  # the first: what is to be written


@dataclass(frozen=True)
class Work:
    """What is done with each job: `read` in one thread, `restored` in the main one, `saved` in a third."""

    restore: Restore
    write: Write
    pictures: PictureOptions
    where: Where = field(default_factory=Where)
    videos: VideoOptions | None = None
    streams: Streams = field(default_factory=Streams)
    add: Compare = lambda name, picture, rgb: None

    def done(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Outcome], None, None]:
        """Yield each job, in their order, with what became of it; `jobs` is gone through in the reading thread."""
        with one_thread() as writer:
            saving: collections.deque[tuple[Job, Future[Saved]]] = collections.deque()
            found = ((job, self.read(job)) for job in jobs)
            groups = _groups(found) if hasattr(self.restore, "batch") else ([one] for one in found)
            with ahead(groups) as following:
                for group in following:
                    while len(saving) > 1:
                        yield _settled(*saving.popleft())
                    for job, restored in self.restored(group):
                        saving.append((job, writer.submit(self.saved, job, restored)))
                    del group, restored
                while saving:
                    yield _settled(*saving.popleft())

    def read(self, job: Job) -> _Found:
        """The picture of a job, or what became of the job without one."""
        if job.exists:
            return Saved(None)
        if job.source.is_video:
            return job
        try:
            if job.beside:
                require_new(job.beside)  # before the work
            content = job.source.content(self.streams.read)
            picture = read_picture(job.source.name, content=content, max_pixels=self.pictures.max_pixels)
        except (InputError, FileError) as error:
            return error
        return picture if self.pictures.resize is None else _squashed(picture, self.pictures.resize)

    def restored(self, group: Sequence[tuple[Job, _Found]]) -> Iterator[tuple[Job, _Restored]]:
        """Restore what has been found; whoever takes a result lets it go before asking for the next."""
        batch = _batch(self.restore, group)
        for job, found in group:
            if isinstance(found, Job):
                yield job, self._video(job)
            elif not isinstance(found, Picture):
                yield job, found
            else:
                yield job, self._picture(job, found, batch)

    def _picture(self, job: Job, picture: Picture, batch: Iterator[Pixels] | None) -> _Restored:
        """Restore a picture, or take it from the `batch`."""
        alpha = None
        try:
            if batch is not None:
                rgb = next(batch)
            elif self.pictures.side_by_side:
                rgb = self.restore(picture.rgb)
            else:
                rgb, alpha = restore_with_alpha(self.restore, picture.rgb, picture.alpha)
        except InputError as error:
            return InputError(f"{shown(job.source.name)}: {error}")
        picture = picture.made_by(channels_of(self.restore))
        kind = picture.kind
        if self.pictures.side_by_side:
            kind, rgb = kind.rstrip("A"), side_by_side([picture.rgb, rgb])
        return dataclasses.replace(picture, alpha=alpha, kind=kind), rgb

    def _video(self, job: Job) -> _Restored:
        """Restore a video into its file."""
        if self.pictures.resize is not None or self.pictures.side_by_side:
            return InputError(
                f"{shown(job.source.name)}: a video is restored at its own size, alone; expected neither of these "
                "options"
            )
        target = job.beside or Path(self.where.output_dir or "") / job.target
        try:
            if job.beside:
                require_new(target)
            notices = restore_video(self.restore, job.source.path, target, self.videos)
        except (InputError, FileError) as error:
            return error
        return Saved(target, notices + (("a video: not compared",) if self.where.compare is not None else ()))

    def saved(self, job: Job, outcome: _Restored) -> Saved:
        """Write a result, and before and after; or tell what else became of the job."""
        if isinstance(outcome, Saved):
            return outcome
        if isinstance(outcome, Exception):
            raise outcome
        picture, rgb = outcome
        as_it_came = job.as_it_came and picture.format in WRITABLE
        file_format = picture.format if as_it_came else format_to_write(job.target)
        with prefixed(shown(job.source.name), FileError):
            content = encode_picture(picture, rgb, file_format, quality=self.pictures.jpeg_quality)
        path = self.write(job.place, content)
        self.add(job.target, picture, rgb)
        return Saved(path, picture.notices + tuple(not_kept(picture, file_format)), picture.rgb.shape[:2])


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


def _batch(restore: Restore, group: Sequence[tuple[Job, _Found]]) -> Iterator[Pixels] | None:
    """The results for several pictures, or None where each has to be restored on its own."""
    if len(group) == 1:
        return None
    try:
        return iter(restore.batch([picture.rgb for _, picture in group]))  # type: ignore[attr-defined, union-attr]
    except InputError:  # what the network refuses is then reported for each
        return None


def _squashed(picture: Picture, side: int) -> Picture:
    """A picture, in 8 bits, that has been made square."""
    rgb, *alpha = (resize(to_8_bits(part), (side, side)) for part in (picture.rgb, picture.alpha) if part is not None)
    deep = ("16-bit input is squashed with 8 bits",) if picture.rgb.dtype == np.uint16 else ()
    return dataclasses.replace(picture, rgb=rgb, alpha=alpha[0] if alpha else None, notices=picture.notices + deep)


def _settled(job: Job, saving: "Future[Saved]") -> tuple[Job, Outcome]:
    """Wait until a picture is done."""
    try:
        return job, saving.result()
    except (InputError, FileError) as error:
        return job, error


def _report(job: Job, outcome: Outcome, report: Report) -> None:
    if not isinstance(outcome, Saved):
        report.failed.append(str(outcome))
        return
    if outcome.path is None:
        report.skipped.append(job.place)
    else:
        report.written.append(outcome.path)
    if outcome.notices:
        report.notices.append(f"{shown(job.source.name)}: {'; '.join(outcome.notices)}")

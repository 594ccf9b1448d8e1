"""What `deblurgan deblur` does once it knows what: restore with a bar or what appears, or show what it would."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import click

from deblurgan.cli.common import INTERRUPTED, Weights, finish, notice, one_line
from deblurgan.cli.progress import frames_bar, pictures_bar
from deblurgan.errors import DeblurganError, InputError
from deblurgan.jobs.before_after import is_page
from deblurgan.jobs.finding import STANDARD, Input, is_zip
from deblurgan.jobs.planning import Job, Where, plan, same_result
from deblurgan.jobs.report import Report
from deblurgan.jobs.running import PictureOptions, Streams, restore_jobs
from deblurgan.jobs.watching import Find, watched
from deblurgan.pictures.formats import is_an_image_file
from deblurgan.pictures.pixels import Pixels
from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import Interrupted


@dataclass(frozen=True)
class Restoring:
    """Weights, and what to do with them: with jobs that are known, or that appear."""

    weights: Weights
    where: Where
    pictures: PictureOptions
    videos: VideoOptions

    def restore(self, jobs: Sequence[Job], problems: list[str]) -> None:
        """Restore with a bar, and tell how many it were; `problems` are inputs that there are not.

        Nothing is loaded where no picture is left to be restored.
        """
        to_standard = self.where.output_dir == STANDARD
        streams = Streams(
            lambda: sys.stdin.buffer.read() if sys.stdin else b"", _standard_output() if to_standard else None
        )
        network = self.weights.opened() if any(job.is_due for job in jobs) else None
        shown = pictures_bar(len(jobs), network) if network else contextlib.nullcontext(lambda picture: None)
        try:
            with shown as progress:
                report = self._restored(network, jobs, streams, progress)
        except Interrupted as stop:
            click.echo(one_line(str(stop)), err=True)
            click.get_current_context().exit(INTERRUPTED)
        skipped = f" ({len(report.skipped)} were there already)" if report.skipped else ""
        total = len(jobs) + len(problems)
        what = "pictures and videos" if any(job.source.is_video for job in jobs) else "pictures"
        output_dir = self.where.output_dir
        into = f" into {output_dir}" if output_dir else f": {report.written[0]}" if len(report.written) == 1 else ""
        summary = f"{len(report.written)} of {total} {what} restored{into}{skipped}"
        click.echo(one_line(summary), err=to_standard)
        finish(problems + report.failed, f"{total} {what}")

    def watch(self, find: Find) -> None:
        """Restore what appears, and say so, until Ctrl-C; exit with an error where pictures are left that failed."""
        network = self.weights.opened()
        output_dir = Path(self.where.output_dir or "")
        written = 0
        failed: set[Path] = set()
        results: dict[Path, Input] = {}
        notice("Watching; Ctrl-C ends it.")
        try:
            for look in watched(find):
                for problem in look.problems:
                    notice(problem)
                results = {target: source for target, source in results.items() if source.path in look.there}
                failed &= look.there
                for source in look.settled:  # one by one, so that each is told as soon as it is done
                    try:
                        (job,) = plan([source], self.where)
                        first = results.setdefault(job.target, source)
                        if first.path != source.path:
                            raise same_result(output_dir / job.target, first, source)
                        report = self._restored(network, [job], Streams(), lambda path: None)
                    except DeblurganError as error:
                        report = Report(failed=[str(error)])
                    written += len(report.written)
                    failed.discard(source.path)
                    for path in report.written:
                        click.echo(one_line(str(path)))
                    for failure in report.failed:
                        failed.add(source.path)
                        notice(f"failed: {failure}")
        except KeyboardInterrupt as stop:
            if str(stop):  # from a video
                click.echo(one_line(str(stop)), err=True)
            click.echo(one_line(f"{written} pictures restored into {output_dir}"))
        if failed:
            raise click.ClickException(f"{len(failed)} pictures failed")

    def _restored(
        self, network: Any, jobs: Sequence[Job], streams: Streams, progress: Callable[[Path], None]
    ) -> Report:
        """Restore, and print what was not kept."""
        restore, videos = _not_loaded, self.videos
        if network is not None:
            restore = network
            settings, bar = self.weights.settings(network), partial(frames_bar, network)
            videos = replace(videos, settings=settings, progress=bar)
        report = restore_jobs(restore, jobs, self.where, self.pictures, videos, streams=streams, progress=progress)
        for line in report.notices:
            notice(line)
        return report


def _not_loaded(image: Pixels) -> Pixels:
    """Stand for a network where every result was there."""
    raise InputError("its result was there, and is gone now; start again")


def check(where: Where, pictures: PictureOptions) -> None:
    """Raise `InputError` for options that do not go together, before any file is looked at."""
    output_dir = where.output_dir
    if output_dir and is_an_image_file(output_dir) and not os.path.isdir(output_dir):
        raise InputError(
            f"--output_dir {output_dir}: expected a folder, where results get the names of their inputs, received "
            "the name of a picture"
        )
    if where.compare and pictures.side_by_side:
        raise InputError("--compare: has input and result beside each other; expected no --side_by_side with it")


def check_watched(inputs: Sequence[Path], where: Where, dry_run: bool) -> None:
    """Raise `InputError` unless all that is watched is a folder, and results go into one."""
    output_dir, compare = where.output_dir, where.compare
    if output_dir is None:
        raise click.UsageError("Missing option '--output_dir', which --watch needs.")
    for path in inputs:
        if not os.path.isdir(path):
            raise InputError(f"--watch: expected folders to watch, received {path}")
    if output_dir == STANDARD or is_zip(output_dir):
        raise InputError(f"--watch: expected a folder for the results, received {output_dir}")
    watched = {os.path.realpath(path) for path in inputs}
    for place in (output_dir, compare):
        if place and os.path.realpath(place) in watched:  # each result would be taken for a new picture
            raise InputError(f"--watch: expected folders for what is written that are not watched, received {place}")
    if dry_run or (compare and is_page(compare)):
        raise InputError("--watch: expected neither --dry_run nor a page for --compare with it")


def show_plan(jobs: Sequence[Job], where: Where) -> None:
    """Print what would be written where."""
    for job in jobs:
        to_standard = where.output_dir == STANDARD
        target = STANDARD if to_standard else job.beside or Path(where.output_dir or "") / job.target
        there = " (exists: skipped)" if job.exists else " (exists: refused)" if job.is_refused else ""
        click.echo(f"{one_line(str(job.source.name))} -> {one_line(str(target))}{there}")


def _standard_output() -> IO[bytes]:
    """Standard output for a picture; raise `InputError` where that cannot be."""
    if sys.stdout is None:
        raise InputError("--output_dir -: expected a file or a pipe as standard output, which is closed")
    if sys.stdout.buffer.isatty():
        raise InputError("--output_dir -: a picture does not go to a terminal; expected a file or a pipe behind it")
    return sys.stdout.buffer

"""`deblurgan deblur` and `test`: using a trained generator."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from tqdm import tqdm

from deblurgan.cli.common import (
    INTERRUPTED,
    Weights,
    assume_option,
    command,
    engine_option,
    finish,
    gathered,
    notice,
    one_line,
    pairs_dir_option,
    path_type,
    precision_option,
    quality_option,
    resize_option,
    tiles_bar,
    weight_path_option,
)
from deblurgan.errors import InputError
from deblurgan.pictures.formats import EXTENSIONS, is_an_image_file

if TYPE_CHECKING:
    from deblurgan.jobs.finding import Source
    from deblurgan.jobs.planning import Job, Where
    from deblurgan.jobs.report import Report
    from deblurgan.jobs.running import PictureOptions
    from deblurgan.video.options import VideoOptions


@command("deblur", "Restore pictures and videos.")
@click.argument("inputs", nargs=-1, type=path_type)
@weight_path_option
@quality_option
@click.option("--input_dir", type=path_type, help="Folder of pictures, or one picture; one more of the INPUTS.")
@click.option(
    "--output_dir",
    type=path_type,
    metavar="FOLDER",
    help="Folder for the restored pictures, made where missing; a name ending in .zip; or - for standard output.  "
    "[default: beside each picture, as NAME_deblurred]",
)
@click.option("--recursive", is_flag=True, help="Look into folders below folders, too, and keep them apart.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(list(EXTENSIONS)),
    help="Write pictures in this format.  [default: the input's]",
)
@click.option(
    "--jpeg_quality",
    type=click.IntRange(1, 100),
    help="Quality of JPEG, WebP, AVIF and HEIC files that are written.  [default: JPEG: the input's; else 95]",
)
@click.option(
    "--suffix",
    metavar="TEXT",
    help="Add this to the names of results, before the extension.  [default: _deblurred without --output_dir, else "
    "nothing]",
)
@click.option("--skip_existing", is_flag=True, help="Leave out pictures whose result is there.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Allow --output_dir to be the folder of the pictures, which their results then replace.",
)
@click.option("--dry_run", is_flag=True, help="Only list what would be written where.")
@click.option(
    "--watch",
    is_flag=True,
    help="Go on with what appears in the folders, until Ctrl-C; needs another folder for --output_dir.",
)
@click.option(
    "--compare",
    type=path_type,
    metavar="PLACE",
    help="Also write before and after beside each other: into a folder, or onto a page with sliders when the name "
    "ends in .html.",
)
@click.option(
    "--max_pixels",
    type=click.IntRange(min=1),
    help="Refuse pictures of more pixels, which may be made to fill the memory.  [default: 178956970]",
)
@click.option(
    "--start",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Take videos from there on.  [default: the beginning]",
)
@click.option(
    "--end", type=click.FloatRange(min=0), metavar="SECONDS", help="Take videos up to there.  [default: the end]"
)
@click.option(
    "--crf",
    type=click.IntRange(0, 63),
    help="Quality of videos, as the encoder counts it: less is better and larger.  [default: 17; WebM: 20]",
)
@click.option("--tta", is_flag=True, help="Average over 8 flips and turns of each picture: slower, a little better.")
@click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    help="How much of the result to take: 0 leaves the picture as it is, 0.5 goes half of the way.  [default: 1]",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="What the program may take, such as 1.5GB; large pictures are restored in tiles.  [default: a safe share]",
)
@click.option("--side_by_side", is_flag=True, help="Write input and result beside each other, as the tutorial did.")
@resize_option
@precision_option
@engine_option
@assume_option
def deblur(
    inputs: tuple[Path, ...], input_dir: Path | None, recursive: bool, dry_run: bool, watch: bool, **options: Any
) -> None:
    """Restore pictures at their own size: photo.jpg becomes photo_deblurred.jpg beside it, or OUTPUT_DIR/photo.jpg.

    Nothing else is needed: the weights are in the package. INPUTS are files, folders, zip files, patterns such as
    "photos/*.jpg", or - for standard input. A picture that cannot be read is reported, and the others are still done.

    Videos (mp4, m4v, mov, mkv, webm, ts, mts, m2ts, 3gp, 3g2) are restored frame by frame into the same container,
    others (avi, wmv, mpg, flv, ogv ...) into mkv, with sound and all else copied; that needs PyAV: pip install
    'deblurgan[video]'. After Ctrl-C the same command goes on where it stopped.
    --format, --jpeg_quality, --compare and --max_pixels are for pictures only, and with --side_by_side or --resize
    videos are refused.
    """
    from deblurgan.jobs.finding import STANDARD, find_sources
    from deblurgan.jobs.planning import Where, plan
    from deblurgan.jobs.running import PictureOptions
    from deblurgan.video.options import VideoOptions

    inputs += () if input_dir is None else (input_dir,)
    if not inputs:
        raise click.UsageError("Missing INPUTS or option '--input_dir'.")
    where = gathered(Where, options)
    if where.output_dir is None and STANDARD in inputs:
        if inputs != (STANDARD,):
            raise click.UsageError("Missing option '--output_dir', which standard input beside other inputs needs.")
        where = replace(where, output_dir=STANDARD)
    pictures, videos = gathered(PictureOptions, options), gathered(VideoOptions, options)
    weights = gathered(Weights, options)
    _check(where, pictures)

    def find() -> "tuple[list[Source], list[str]]":
        places = [place for place in (where.output_dir, where.compare) if place]
        told = {} if watch else {"tell": notice}
        return find_sources(inputs, recursive=recursive, but_not_in=places, may_be_empty=watch, **told)

    if watch:
        _check_watched(inputs, where, dry_run)
        _Restoring(weights, where, pictures, videos).watch(lambda: find()[0])
        return
    sources, problems = find()
    jobs = plan(sources, where)
    if dry_run:
        _show_plan(jobs, where)
        finish(problems, f"{len(inputs)} inputs")
        return
    _Restoring(weights, where, pictures, videos).restore(jobs, problems)


def _check(where: "Where", pictures: "PictureOptions") -> None:
    """Raise `InputError` for options that do not go together, before any file is looked at."""
    output_dir = where.output_dir
    if output_dir and is_an_image_file(output_dir) and not os.path.isdir(output_dir):
        raise InputError(
            f"--output_dir {output_dir}: expected a folder, where results get the names of their inputs, received "
            "the name of a picture"
        )
    if where.compare and pictures.side_by_side:
        raise InputError("--compare: has input and result beside each other; expected no --side_by_side with it")


def _show_plan(jobs: "Sequence[Job]", where: "Where") -> None:
    """Print what would be written where."""
    from deblurgan.jobs.finding import STANDARD

    for job in jobs:
        to_standard = where.output_dir == STANDARD
        target = STANDARD if to_standard else job.beside or Path(where.output_dir or "") / job.target
        refused = job.beside is not None and os.path.lexists(job.beside)
        there = " (exists: skipped)" if job.exists else " (exists: refused)" if refused else ""
        click.echo(f"{one_line(str(job.source.name))} -> {one_line(str(target))}{there}")


def _standard_output() -> IO[bytes]:
    """Standard output for a picture; raise `InputError` where that cannot be."""
    if sys.stdout is None:
        raise InputError("--output_dir -: expected a file or a pipe as standard output, which is closed")
    if sys.stdout.buffer.isatty():
        raise InputError("--output_dir -: a picture does not go to a terminal; expected a file or a pipe behind it")
    return sys.stdout.buffer


class _Restoring:
    """Loaded weights, and what to do with them: with jobs that are known, or with what appears."""

    def __init__(self, weights: Weights, where: "Where", pictures: "PictureOptions", videos: "VideoOptions") -> None:
        from deblurgan.jobs.finding import STANDARD
        from deblurgan.jobs.running import Streams

        self._to_standard = where.output_dir == STANDARD
        self._streams = Streams(
            lambda: sys.stdin.buffer.read() if sys.stdin else b"", _standard_output() if self._to_standard else None
        )
        self._network = weights.opened()
        self._where, self._pictures = where, pictures
        self._videos = replace(videos, settings=weights.settings(self._network), progress=_frames_bar)

    def _restored(self, jobs: "Sequence[Job]", progress: Callable[[Path], None]) -> "Report":
        """Restore, and print what was not kept."""
        from deblurgan.jobs.running import restore_jobs

        report = restore_jobs(
            self._network, jobs, self._where, self._pictures, self._videos, streams=self._streams, progress=progress
        )
        for line in report.notices:
            click.echo(line, err=True)
        return report

    def restore(self, jobs: "Sequence[Job]", problems: list[str]) -> None:
        """Restore with a bar, and tell how many it were; `problems` are inputs that there are not."""
        from deblurgan.video.restoring import Interrupted

        try:
            with tqdm(total=len(jobs), unit="picture", disable=None) as bar, tiles_bar(self._network):
                report = self._restored(jobs, lambda path: bar.update())
        except Interrupted as stop:
            click.echo(one_line(str(stop)), err=True)
            click.get_current_context().exit(INTERRUPTED)
        skipped = f" ({len(report.skipped)} were there already)" if report.skipped else ""
        total = len(jobs) + len(problems)
        what = "pictures and videos" if any(job.source.is_video for job in jobs) else "pictures"
        output_dir = self._where.output_dir
        into = f" into {output_dir}" if output_dir else f": {report.written[0]}" if len(report.written) == 1 else ""
        summary = f"{len(report.written)} of {total} {what} restored{into}{skipped}"
        click.echo(one_line(summary), err=self._to_standard)
        finish(problems + report.failed, f"{total} {what}")

    def watch(self, find: "Callable[[], list[Source]]") -> None:
        """Restore what appears, and say so, until Ctrl-C."""
        from deblurgan.jobs.planning import plan, same_result
        from deblurgan.jobs.report import Report
        from deblurgan.jobs.watching import watched

        output_dir = Path(self._where.output_dir or "")
        written = 0
        failed: list[str] = []
        results: dict[Path, Source] = {}
        click.echo("Watching; Ctrl-C ends it.", err=True)
        try:
            for sources in watched(find):
                for source in sources:  # one by one, so that each is told as soon as it is done
                    try:
                        (job,) = plan([source], self._where)
                        first = results.setdefault(job.target, source)
                        if first.path != source.path:
                            raise same_result(output_dir / job.target, first, source)
                        report = self._restored([job], lambda path: None)
                    except InputError as error:
                        report = Report(failed=[str(error)])
                    written += len(report.written)
                    failed += report.failed
                    for path in report.written:
                        click.echo(one_line(str(path)))
                    for failure in report.failed:
                        click.echo(f"failed: {failure}", err=True)
        except KeyboardInterrupt as stop:
            if str(stop):  # from a video
                click.echo(one_line(str(stop)), err=True)
            click.echo(one_line(f"{written} pictures restored into {output_dir}"))
        if failed:
            raise click.ClickException(f"{len(failed)} pictures failed")


@contextlib.contextmanager
def _frames_bar(path: Path, done: int, total: int) -> Iterator[Callable[[int], object]]:
    """Show how many frames of a video are done; yield what adds some."""
    name, total = one_line(path.name), max(done, total)
    with tqdm(desc=name, initial=done, total=total or None, unit="frame", disable=None, leave=False) as bar:
        yield bar.update


def _check_watched(inputs: Sequence[Path], where: "Where", dry_run: bool) -> None:
    """Raise `InputError` unless all that is watched is a folder, and results go into one."""
    from deblurgan.jobs.finding import STANDARD, is_zip

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
    if dry_run or (compare and compare.suffix.lower() in (".html", ".htm")):
        raise InputError("--watch: expected neither --dry_run nor a page for --compare with it")


@command("test", "Write sharp, blurred and restored pictures side by side.")
@weight_path_option
@quality_option
@pairs_dir_option
@click.option(
    "--output_dir",
    type=path_type,
    metavar="FOLDER",
    default=".",
    help="Folder for results0.png, results1.png and so on; those that are there are replaced.",
)
@click.option("--n_images", "--batch_size", default=4, help="So many pairs, the first ones; -1 for all.")
@click.option("--seed", type=int, help="Draw the pairs with this seed instead.  [default: none]")
@resize_option
@precision_option
@engine_option
@assume_option
def test(
    input_dir: Path, output_dir: Path, n_images: int, seed: int | None, resize: int | None, **options: Any
) -> None:
    """Write sharp, blurred and restored pictures beside each other, as the tutorial's test script did.

    For pairs of pictures; to see before and after of any others, use `deblur --compare`.
    """
    from deblurgan.data.pairs import choose_pairs, match_pairs
    from deblurgan.jobs.strips import write_strips

    pairs = match_pairs(input_dir)
    chosen = choose_pairs(pairs, n_images, seed or 0)
    pairs = pairs[: len(chosen)] if seed is None else chosen
    restore = Weights(**options).opened()
    with tqdm(total=len(pairs), unit="picture", disable=None) as bar, tiles_bar(restore):
        report = write_strips(restore, pairs, output_dir, squash=resize, progress=lambda path: bar.update())
    for path in report.written:
        click.echo(one_line(str(path)))
    finish(report.failed, f"{len(pairs)} pairs")

"""`deblurgan deblur` and `test`: using a trained generator."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from deblurgan.cli.common import (
    INTERRUPTED,
    assume_option,
    command,
    engine_option,
    finish,
    located,
    notice,
    one_line,
    pairs_dir_option,
    path_type,
    precision_option,
    quality_option,
    resize_option,
    restorer,
    tiles_bar,
    weight_path_option,
)
from deblurgan.errors import InputError
from deblurgan.pictures.formats import EXTENSIONS, is_an_image_file

if TYPE_CHECKING:
    from deblurgan.jobs.finding import Job, Source
    from deblurgan.jobs.restoring import Report


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
    "--end",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Take videos up to there.  [default: the end]",
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
    inputs: tuple[Path, ...],
    weight_path: Path | None,
    quality: str | None,
    input_dir: Path | None,
    output_dir: Path | None,
    recursive: bool,
    file_format: str | None,
    jpeg_quality: int | None,
    suffix: str | None,
    skip_existing: bool,
    overwrite: bool,
    dry_run: bool,
    watch: bool,
    compare: Path | None,
    max_pixels: int | None,
    start: float | None,
    end: float | None,
    crf: int | None,
    tta: bool,
    strength: float | None,
    memory: str | None,
    side_by_side: bool,
    resize: int | None,
    precision: str,
    engine: str | None,
    assume: dict[str, Any],
) -> None:
    """Restore pictures at their own size: photo.jpg becomes photo_deblurred.jpg beside it, or OUTPUT_DIR/photo.jpg.

    Nothing else is needed: the weights are in the package. INPUTS are files, folders, zip files, patterns such as
    "photos/*.jpg", or - for standard input. A picture that cannot be read is reported, and the others are still done.

    Videos (mp4, m4v, mov, mkv, webm, ts, mts, 3gp) are restored frame by frame into the same container, others (avi,
    wmv, mpg, flv, ogv ...) into mkv, with sound and all else copied; that needs PyAV: pip install 'deblurgan[video]'.
    After Ctrl-C the same command goes on where it stopped.
    --format, --jpeg_quality, --compare and --max_pixels are for pictures only, and with --side_by_side or --resize
    videos are refused.
    """
    from deblurgan.jobs.finding import STANDARD, find_sources, plan
    from deblurgan.jobs.restoring import restore_jobs
    from deblurgan.video.options import VideoOptions
    from deblurgan.video.restoring import Interrupted

    videos = VideoOptions(start=start, end=end, crf=crf)
    inputs += () if input_dir is None else (input_dir,)
    if not inputs:
        raise click.UsageError("Missing INPUTS or option '--input_dir'.")
    if output_dir is None and STANDARD in inputs:
        if inputs != (STANDARD,):
            raise click.UsageError("Missing option '--output_dir', which standard input beside other inputs needs.")
        output_dir = STANDARD
    if output_dir and is_an_image_file(output_dir) and not os.path.isdir(output_dir):
        raise InputError(
            f"--output_dir {output_dir}: expected a folder, where results get the names of their inputs, received "
            "the name of a picture"
        )
    if compare and side_by_side:
        raise InputError("--compare: has input and result beside each other; expected no --side_by_side with it")

    def find() -> "tuple[list[Source], list[str]]":
        places = [place for place in (output_dir, compare) if place]
        told = {} if watch else {"tell": notice}
        return find_sources(inputs, recursive=recursive, but_not_in=places, may_be_empty=watch, **told)

    def planned(sources: "Sequence[Source]") -> "list[Job]":
        return plan(
            sources,
            output_dir,
            file_format=file_format,
            suffix=suffix or "",
            skip_existing=skip_existing,
            overwrite=overwrite,
        )

    if watch:
        if output_dir is None:
            raise click.UsageError("Missing option '--output_dir', which --watch needs.")
        _check_watched(inputs, output_dir, compare, dry_run)
        problems: list[str] = []
        jobs: list[Job] = []
    else:
        sources, problems = find()
        jobs = planned(sources)
    to_standard = output_dir == STANDARD
    if dry_run:
        for job in jobs:
            where = STANDARD if to_standard else job.beside or Path(output_dir or "") / job.target
            refused = job.beside is not None and os.path.lexists(job.beside)
            there = " (exists: skipped)" if job.exists else " (exists: refused)" if refused else ""
            click.echo(f"{one_line(str(job.source.name))} -> {one_line(str(where))}{there}")
        finish(problems, f"{len(inputs)} inputs")
        return
    standard_output = None
    if to_standard:
        if sys.stdout is None:
            raise InputError("--output_dir -: expected a file or a pipe as standard output, which is closed")
        standard_output = sys.stdout.buffer
        if standard_output.isatty():
            raise InputError(
                "--output_dir -: a picture does not go to a terminal; expected a file or a pipe behind it"
            )
    given = {"tta": tta or None, "strength": strength, "memory": memory}
    options = {**assume, **{name: value for name, value in given.items() if value is not None}}
    weight_path = located(weight_path)
    restore = restorer(weight_path, precision, options, engine, quality)
    weights = os.stat(weight_path) if os.path.exists(weight_path) else None  # none: a checkpoint of several files
    state = weights and (weights.st_size, weights.st_mtime_ns)
    videos = dataclasses.replace(
        videos,
        settings=repr(
            (os.path.abspath(weight_path), state, restore.quality, precision, engine, given, sorted(assume.items()))
        ),
        progress=_frames_bar,
    )

    def restored(jobs: "Sequence[Job]", progress: Callable[[Path], None]) -> "Report":
        report = restore_jobs(
            restore,
            jobs,
            output_dir,
            squash=resize,
            beside_input=side_by_side,
            quality=jpeg_quality,
            compare=compare,
            max_pixels=max_pixels,
            video=videos,
            standard_input=lambda: sys.stdin.buffer.read() if sys.stdin else b"",
            standard_output=standard_output,
            progress=progress,
        )
        for line in report.notices:
            click.echo(line, err=True)
        return report

    if watch:
        _watch(lambda: find()[0], planned, restored, Path(output_dir or ""))
        return
    try:
        with tqdm(total=len(jobs), unit="picture", disable=None) as bar, tiles_bar(restore):
            report = restored(jobs, lambda path: bar.update())
    except Interrupted as stop:
        click.echo(one_line(str(stop)), err=True)
        click.get_current_context().exit(INTERRUPTED)
    skipped = f" ({len(report.skipped)} were there already)" if report.skipped else ""
    total = len(jobs) + len(problems)
    what = "pictures and videos" if any(job.source.is_video for job in jobs) else "pictures"
    into = f" into {output_dir}" if output_dir else f": {report.written[0]}" if len(report.written) == 1 else ""
    summary = f"{len(report.written)} of {total} {what} restored{into}{skipped}"
    click.echo(one_line(summary), err=to_standard)
    finish(problems + report.failed, f"{total} {what}")


@contextlib.contextmanager
def _frames_bar(path: Path, done: int, total: int) -> Iterator[Callable[[int], object]]:
    """Show how many frames of a video are done; yield what adds some."""
    name, total = one_line(path.name), max(done, total)
    with tqdm(desc=name, initial=done, total=total or None, unit="frame", disable=None, leave=False) as bar:
        yield bar.update


def _check_watched(inputs: Sequence[Path], output_dir: Path, compare: Path | None, dry_run: bool) -> None:
    """Raise `InputError` unless all that is watched is a folder, and results go into one."""
    from deblurgan.jobs.finding import STANDARD, is_zip

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


def _watch(
    find: "Callable[[], list[Source]]",
    planned: "Callable[[Sequence[Source]], list[Job]]",
    restored: "Callable[[Sequence[Job], Callable[[Path], None]], Report]",
    output_dir: Path,
) -> None:
    """Restore what appears, and say so, until Ctrl-C."""
    from deblurgan.jobs.finding import same_result
    from deblurgan.jobs.restoring import Report, watched

    written = 0
    failed: list[str] = []
    results: dict[Path, Source] = {}
    click.echo("Watching; Ctrl-C ends it.", err=True)
    try:
        for sources in watched(find):
            for source in sources:  # one by one, so that each is told as soon as it is done
                try:
                    (job,) = planned([source])
                    first = results.setdefault(job.target, source)
                    if first.path != source.path:
                        raise same_result(output_dir / job.target, first, source)
                    report = restored([job], lambda path: None)
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
    weight_path: Path | None,
    quality: str | None,
    input_dir: Path,
    output_dir: Path,
    n_images: int,
    seed: int | None,
    resize: int | None,
    precision: str,
    engine: str | None,
    assume: dict[str, Any],
) -> None:
    """Write sharp, blurred and restored pictures beside each other, as the tutorial's test script did.

    For pairs of pictures; to see before and after of any others, use `deblur --compare`.
    """
    from deblurgan.data.pairs import choose_pairs, match_pairs
    from deblurgan.jobs.restoring import write_strips

    pairs = match_pairs(input_dir)
    chosen = choose_pairs(pairs, n_images, seed or 0)
    pairs = pairs[: len(chosen)] if seed is None else chosen
    weight_path = located(weight_path)
    restore = restorer(weight_path, precision, assume, engine, quality)
    with tqdm(total=len(pairs), unit="picture", disable=None) as bar, tiles_bar(restore):
        report = write_strips(restore, pairs, output_dir, squash=resize, progress=lambda path: bar.update())
    for path in report.written:
        click.echo(one_line(str(path)))
    finish(report.failed, f"{len(pairs)} pairs")

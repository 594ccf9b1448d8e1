"""`deblurgan deblur`: restoring pictures and videos."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import (
    Weights,
    assume_option,
    command,
    engine_option,
    finish,
    format_option,
    gathered,
    jpeg_quality_option,
    max_pixels_option,
    memory_option,
    notice,
    path_type,
    precision_option,
    quality_option,
    resize_option,
    strength_option,
    tta_option,
    weight_path_option,
)


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
@format_option
@jpeg_quality_option
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
@max_pixels_option
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
@tta_option
@strength_option
@memory_option
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
    from deblurgan.cli import running
    from deblurgan.jobs.finding import STANDARD, Input, find_inputs
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
    restoring = running.Restoring(gathered(Weights, options), where, pictures, videos)
    running.check(where, pictures)

    def find() -> tuple[list[Input], list[str]]:
        places = [place for place in (where.output_dir, where.compare) if place]
        told = {} if watch else {"tell": notice}
        return find_inputs(inputs, recursive=recursive, but_not_in=places, may_be_empty=watch, **told)

    if watch:
        running.check_watched(inputs, where, dry_run)
        restoring.watch(find)
        return
    found, problems = find()
    jobs = plan(found, where)
    if dry_run:
        running.show_plan(jobs, where)
        finish(problems, f"{len(inputs)} inputs")
        return
    restoring.restore(jobs, problems)

"""`deblurgan organize`, `synthesize`, `combine` and `split`: pairs of pictures to train on."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import OneOf, command, finish, notice, one_line, path_type
from deblurgan.cli.progress import bar
from deblurgan.data import gopro
from deblurgan.data.synthetic import EXTENSIONS, KERNELS, LENGTH, SIDES


@command("organize", "Sort the GOPRO dataset into pairs to train on.")
@click.option(
    "--dir_in",
    type=path_type,
    default="GOPRO_Large",
    help="The GOPRO dataset: the folder with train and test, or the downloaded zip.",
)
@click.option(
    "--dir_out",
    type=path_type,
    metavar="FOLDER",
    required=True,
    help="Folder to write to; `train` looks in images unless told otherwise.",
)
@click.option(
    "--blur",
    type=OneOf(gopro.BLURS),
    default="blur",
    help="Which of GOPRO's blurred frames to take: made without or with gamma correction.",
)
@click.option(
    "--link",
    type=OneOf(gopro.LINKS),
    default="copy",
    help="Copy the files, or save the disk space with hard or symbolic links to them.",
)
def organize(dir_in: Path, dir_out: Path, blur: str, link: str) -> None:
    """Sort the GOPRO dataset into DIR_OUT/{train,test}/{A,B}: A blurred, B sharp.

    Running it again does only what is missing.
    """
    plan = gopro.plan(dir_in, dir_out, blur)
    total = sum(len(split.copies) for split in plan.splits)
    with bar(total=total, unit="file") as files:
        summary = gopro.apply(plan, link, progress=lambda done, total, path: files.update())
    failed = 0
    for split in summary.splits:
        click.echo(f"{split.name}: {split.pairs} pairs; {split.copied} files written, {split.present} already there")
        for scene in split.incomplete:
            click.echo(one_line(f"left out: {scene}"), err=True)
        for frame in split.unpaired:
            click.echo(one_line(f"left out, has no partner: {frame}"), err=True)
        for failure in split.failed:
            click.echo(one_line(f"failed: {failure.source}: {failure.reason}"), err=True)
        failed += len(split.failed)
    if failed:
        raise click.ClickException(f"{failed} of {total} files could not be read")


def _span(text: str) -> tuple[float, float]:
    """Read LOW-HIGH, or one number for both."""
    low, dash, high = text.partition("-")
    try:
        return float(low), float(high) if dash else float(low)
    except ValueError:
        raise click.BadParameter(f"expected LOW-HIGH, two numbers, received {text}") from None


@command("synthesize", "Make pairs to train on from sharp pictures.")
@click.option("--input_dir", type=path_type, metavar="FOLDER", required=True, help="Folder of sharp pictures.")
@click.option(
    "--output_dir",
    type=path_type,
    metavar="FOLDER",
    required=True,
    help="Folder for A (blurred) and B (sharp), and for kernels.png, which shows the kernels.",
)
@click.option(
    "--kernel",
    type=OneOf(KERNELS),
    default="paper",
    help="Motion of the camera: the random trajectories of the DeblurGAN paper, straight lines, or both.",
)
@click.option("--length", default=LENGTH, help="Length of a trajectory, or the longest line, in pixels.")
@click.option(
    "--gamma",
    type=float,
    metavar="GAMMA",
    help="Blur in linear light, e.g. 2.2.  [default: pixel values as they are]",
)
@click.option(
    "--noise",
    metavar="LOW-HIGH",
    callback=lambda ctx, param, text: text and _span(text),
    help="Add gaussian noise of a deviation drawn from this range, in grey levels of 255.  [default: none]",
)
@click.option(
    "--jpeg",
    metavar="LOW-HIGH",
    callback=lambda ctx, param, text: text and _span(text),
    help="Compress the blurred picture with a JPEG quality drawn from this range, e.g. 60-95.  [default: none]",
)
@click.option("--count", default=1, help="Pairs to make of each picture, each with its own kernel.")
@click.option("--seed", default=0, help="Seed of all that is random; each pair's depends on its name, too.")
@click.option("--recursive", is_flag=True, help="Take the pictures in folders below, too.")
@click.option(
    "--extension",
    type=OneOf(EXTENSIONS),
    default=".png",
    help="Kind of the files to write; .png loses nothing.",
)
@click.option("--overwrite", is_flag=True, help="Replace pairs that are there already.")
def synthesize(
    input_dir: Path,
    output_dir: Path,
    kernel: str,
    length: float,
    gamma: float | None,
    noise: tuple[float, float] | None,
    jpeg: tuple[float, float] | None,
    count: int,
    seed: int,
    recursive: bool,
    extension: str,
    overwrite: bool,
) -> None:
    """Blur the sharp pictures in INPUT_DIR synthetically: OUTPUT_DIR/A blurred, OUTPUT_DIR/B as they were.

    Pictures may have any size. The same seed gives the same pairs; what is there already is left as it is.
    """
    from deblurgan.data.blur import SyntheticBlur
    from deblurgan.jobs.synthesizing import synthesize as synthesize_pairs

    qualities = None if jpeg is None else (int(jpeg[0]), int(jpeg[1]))
    blur = SyntheticBlur(kernel=kernel, length=length, gamma=gamma, noise=noise, jpeg=qualities)
    with bar(unit="picture") as pictures:

        def progress(done: int, total: int, picture: Path) -> None:
            pictures.total = total
            pictures.update()

        report = synthesize_pairs(
            input_dir,
            output_dir,
            blur=blur,
            count=count,
            seed=seed,
            recursive=recursive,
            extension=extension,
            overwrite=overwrite,
            progress=progress,
        )
    pairs = sum(path.parent.name == "A" for path in report.written)
    click.echo(one_line(f"{pairs} pairs written into {output_dir}, {len(report.skipped) // 2} already there"))
    finish(report.failed, "the pictures")


_extension = click.option(
    "--extension",
    type=OneOf(EXTENSIONS),
    default=".png",
    help="Kind of the files to write; .png loses nothing, .jpg does.",
)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
_output_dir = functools.partial(click.option, "--output_dir", type=path_type, metavar="FOLDER", required=True)


@command("combine", "Put pairs of pictures side by side into one file each.")
@click.argument("first", metavar="FOLDER_A", type=path_type)
@click.argument("second", metavar="FOLDER_B", type=path_type)
@_output_dir(help="Folder for the files.")
@_extension
@_overwrite
def combine(first: Path, second: Path, output_dir: Path, extension: str, overwrite: bool) -> None:
    """Put the pictures of FOLDER_A, left, and those of the same names in FOLDER_B, right, side by side.

    That is how pix2pix's data sets are stored. `train --source combined=FOLDER` takes them, and `split` parts them
    again. What is there already is left as it is.
    """
    from deblurgan.jobs import combining

    _run(combining.combine, first, second, output_dir, extension=extension, overwrite=overwrite)


@command("split", "Part files of two pictures side by side.")
@click.argument("input_dir", metavar="FOLDER", type=path_type)
@_output_dir(help="Folder for A and B.")
@click.option(
    "--input",
    "half",
    type=OneOf(SIDES),
    default=SIDES[0],
    help="The half that goes into A, the others into B.",
)
@_extension
@_overwrite
def split(input_dir: Path, output_dir: Path, half: str, extension: str, overwrite: bool) -> None:
    """Part the pictures in FOLDER, each two of one size side by side, into OUTPUT_DIR/A and OUTPUT_DIR/B.

    A is what a network is given and B what it is to make of it. What is there already is left as it is.
    """
    from deblurgan.jobs import combining

    _run(combining.split, input_dir, output_dir, input=half, extension=extension, overwrite=overwrite)


def _run(job: Callable[..., Any], *folders: Path, extension: str, **options: Any) -> None:
    """Combine or split with a bar, and say what became of the files."""
    if extension == ".jpg":
        notice("JPEG is lossy: the pixels of these files are not quite those of the pictures; .png keeps them")
    with bar(unit="picture") as pictures:

        def progress(done: int, total: int, picture: Path) -> None:
            pictures.total = total
            pictures.update()

        report = job(*folders, extension=extension, progress=progress, **options)
    for line in report.notices:
        notice(line)
    click.echo(
        one_line(f"{len(report.written)} files written into {folders[-1]}, {len(report.skipped)} already there")
    )
    finish(report.failed, "the pictures")

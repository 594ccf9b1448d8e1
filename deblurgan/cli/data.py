"""`deblurgan organize` and `synthesize`: pairs of pictures to train on."""

from pathlib import Path

import click
from tqdm import tqdm

from deblurgan import gopro
from deblurgan.cli.common import command, one_line, path_type


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
    type=click.Choice(gopro.BLURS),
    default="blur",
    help="Which of GOPRO's blurred frames to take: made without or with gamma correction.",
)
@click.option(
    "--link",
    type=click.Choice(gopro.LINKS),
    default="copy",
    help="Copy the files, or save the disk space with hard or symbolic links to them.",
)
def organize(dir_in: Path, dir_out: Path, blur: str, link: str) -> None:
    """Sort the GOPRO dataset into DIR_OUT/{train,test}/{A,B}: A blurred, B sharp.

    Running it again does only what is missing.
    """
    plan = gopro.plan(dir_in, dir_out, blur)
    total = sum(len(split.copies) for split in plan.splits)
    with tqdm(total=total, unit="file", disable=None) as bar:
        summary = gopro.apply(plan, link, progress=lambda done, total, path: bar.update())
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

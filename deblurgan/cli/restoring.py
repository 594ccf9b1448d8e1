"""`deblurgan deblur` and `test`: using a trained generator."""

from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from deblurgan.cli.common import (
    assume_option,
    command,
    finish,
    one_line,
    pairs_dir_option,
    path_type,
    precision_option,
    resize_option,
    restorer,
    weight_path_option,
)


@command("deblur", "Restore pictures.")
@weight_path_option
@click.option("--input_dir", type=path_type, required=True, help="Folder of pictures, or one picture.")
@click.option(
    "--output_dir",
    type=path_type,
    metavar="FOLDER",
    required=True,
    help="Folder for the restored pictures, made where missing; another than theirs.",
)
@click.option("--side_by_side", is_flag=True, help="Write input and result beside each other, as the tutorial did.")
@resize_option
@precision_option
@assume_option
def deblur(
    weight_path: Path,
    input_dir: Path,
    output_dir: Path,
    side_by_side: bool,
    resize: int | None,
    precision: str,
    assume: dict[str, Any],
) -> None:
    """Restore the pictures in INPUT_DIR at their own size, under their own names, into OUTPUT_DIR.

    A picture that cannot be read is reported, and the others are still done.
    """
    from deblurgan.deblurring import deblur_pictures, find_pictures

    pictures = find_pictures(input_dir)
    restore = restorer(weight_path, precision, assume)
    with tqdm(total=len(pictures), unit="picture", disable=None) as bar:
        report = deblur_pictures(
            restore,
            pictures,
            output_dir,
            squash=resize,
            beside_input=side_by_side,
            progress=lambda path: bar.update(),
        )
    for notice in report.notices:
        click.echo(notice, err=True)
    click.echo(one_line(f"{len(report.written)} of {len(pictures)} pictures restored into {output_dir}"))
    finish(report.failed, f"{len(pictures)} pictures")


@command("test", "Write sharp, blurred and restored pictures side by side.")
@weight_path_option
@pairs_dir_option
@click.option(
    "--output_dir",
    type=path_type,
    metavar="FOLDER",
    default=".",
    help="Folder for results0.png, results1.png and so on.",
)
@click.option("--n_images", "--batch_size", default=4, help="Pairs to use, the first ones; -1 for all.")
@click.option("--seed", type=int, help="Draw the pairs with this seed instead.  [default: none]")
@resize_option
@precision_option
@assume_option
def test(
    weight_path: Path,
    input_dir: Path,
    output_dir: Path,
    n_images: int,
    seed: int | None,
    resize: int | None,
    precision: str,
    assume: dict[str, Any],
) -> None:
    """Write strips of a sharp picture, the blurred one and the restored one, as the tutorial's test script did."""
    from deblurgan.data import choose_pairs, match_pairs
    from deblurgan.deblurring import write_strips

    pairs = match_pairs(input_dir)
    chosen = choose_pairs(pairs, n_images, seed or 0)
    pairs = pairs[: len(chosen)] if seed is None else chosen
    restore = restorer(weight_path, precision, assume)
    with tqdm(total=len(pairs), unit="picture", disable=None) as bar:
        report = write_strips(restore, pairs, output_dir, squash=resize, progress=lambda path: bar.update())
    for path in report.written:
        click.echo(one_line(str(path)))
    finish(report.failed, f"{len(pairs)} pairs")

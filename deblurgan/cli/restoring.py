"""`deblurgan deblur`, `test` and `evaluate`: using a trained generator."""

import os
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from deblurgan.cli.common import (
    assume_option,
    command,
    finish,
    new_file_type,
    one_line,
    pairs_dir_option,
    path_type,
    precision_option,
    resize_option,
    restorer,
    weight_path_option,
)
from deblurgan.devices import resolve_precision
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder


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


@command("evaluate", "Score restored pictures: PSNR and SSIM.")
@weight_path_option
@pairs_dir_option
@click.option("--n_images", default=-1, help="Pairs to use, drawn with --seed; -1 for all.")
@click.option("--seed", default=0, help="Seed of the choice of pairs.")
@click.option(
    "--csv", "csv_path", type=new_file_type, metavar="FILE", help="Write the scores of each pair to this file."
)
@click.option(
    "--json", "json_path", type=new_file_type, metavar="FILE", help="Write scores, means and settings to this file."
)
@resize_option
@precision_option
@assume_option
def evaluate(
    weight_path: Path,
    input_dir: Path,
    n_images: int,
    seed: int,
    csv_path: Path | None,
    json_path: Path | None,
    resize: int | None,
    precision: str,
    assume: dict[str, Any],
) -> None:
    """Score the restored pictures, and the blurred ones, against the sharp ones: PSNR and SSIM, each and mean.

    Scores are printed with the protocol that makes them comparable. Higher is better.
    """
    from deblurgan import evaluation
    from deblurgan.data import choose_pairs, match_pairs

    pairs = choose_pairs(match_pairs(input_dir), n_images, seed)
    if csv_path and csv_path == json_path:
        raise InputError(f"--json {json_path}: expected another file than --csv")
    for path in (csv_path, json_path):
        if path:
            require_replaceable(path)
    restore = restorer(weight_path, precision, assume)
    with tqdm(total=len(pairs), unit="picture", disable=None) as bar:
        scores = evaluation.evaluate(restore, pairs, squash=resize, progress=lambda path: bar.update())
    click.echo(evaluation.table(scores))
    if csv_path:
        evaluation.write_scores_csv(scores, csv_path)
    if json_path:
        about = {
            "weights": str(weight_path),
            "input_dir": str(input_dir),
            "resize": resize,
            "precision": resolve_precision(precision),
        }
        evaluation.write_scores_json(scores, json_path, about)
    finish(scores.failed, f"{len(pairs)} pairs")


def require_replaceable(path: Path) -> None:
    """Make the folder of `path` where missing; refuse what writing, which replaces, would destroy: /dev/stdout."""
    if os.path.lexists(path) and (path.is_symlink() or not os.path.isfile(path)):
        raise FileError(f"{path}: expected the name of a file, found a link, a device or a pipe")
    ensure_folder(path.parent)

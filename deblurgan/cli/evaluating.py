"""`deblurgan evaluate` and `test`: what a trained generator makes of pairs, scored or to look at."""

import gc
import itertools
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import (
    Weights,
    assume_option,
    command,
    engine_option,
    finish,
    new_file_type,
    notice,
    one_line,
    pairs_dir_option,
    path_type,
    precision_option,
    qualities_option,
    quality_option,
    resize_option,
    weight_path_option,
    weight_paths_option,
)
from deblurgan.cli.progress import pictures_bar
from deblurgan.devices import resolve_precision, start_quietly
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, shown
from deblurgan.weights import catalogue

METRICS = ("psnr", "ssim", "ssim3d", "cwssim", "lpips", "detection")


@command("evaluate", "Score restored pictures: PSNR, SSIM, LPIPS.")
@weight_paths_option
@qualities_option
@pairs_dir_option
@click.option("--n_images", default=-1, help="Pairs to use, drawn with --seed; -1 for all.")
@click.option("--seed", default=0, help="Seed of the choice of pairs.")
@click.option(
    "--metrics",
    default="psnr,ssim",
    metavar="NAMES",
    help=f"What to compute, of {','.join(METRICS)}; ssim3d is MATLAB's SSIM of RGB, cwssim the DeblurGAN paper's, "
    "detection precision, recall and F1 of what a detector finds. With the package pyiqa also its names: niqe ...",
)
@click.option(
    "--lpips_weights",
    type=path_type,
    metavar="FILE",
    help="State dict of lpips.LPIPS(net='alex'), .pth or .safetensors.  [default: the package lpips gets them]",
)
@click.option(
    "--detector",
    "detector_path",
    type=path_type,
    metavar="FILE",
    help="For detection: a YOLO or SSD, .onnx or .tflite.  [default: NanoDet-g, which is in the package]",
)
@click.option(
    "--detector_score",
    default=0.3,
    help="For detection: the score from which a box counts.",
)
@click.option(
    "--csv", "csv_path", type=new_file_type, metavar="FILE", help="Write the scores of each pair to this file."
)
@click.option(
    "--json", "json_path", type=new_file_type, metavar="FILE", help="Write scores, means and settings to this file."
)
@click.option(
    "--table",
    "table_path",
    type=new_file_type,
    metavar="FILE",
    help="Write the means as a table, of Markdown, LaTeX or numbers: FILE ends in .md, .tex or .csv.",
)
@click.option(
    "--html",
    "html_path",
    type=new_file_type,
    metavar="FILE",
    help="Write a page with means, protocols, and the worst and the best pictures beside the sharp ones.",
)
@click.option(
    "--html_pictures",
    default=3,
    help="Worst and best pictures on that page, so many of each, by the gain of the first of --metrics.",
)
@resize_option
@precision_option
@engine_option
@assume_option
def evaluate(
    weight_path: tuple[Path, ...],
    quality: tuple[str, ...],
    input_dir: Path,
    n_images: int,
    seed: int,
    metrics: str,
    lpips_weights: Path | None,
    detector_path: Path | None,
    detector_score: float,
    csv_path: Path | None,
    json_path: Path | None,
    table_path: Path | None,
    html_path: Path | None,
    html_pictures: int,
    resize: int | None,
    **options: Any,
) -> None:
    """Restore the blurred picture of each pair, and score it, and the blurred one, against the sharp one.

    Printed are both scores of each pair, the gain, their means, and the protocol of each score with what it can be
    compared with. Higher is better, except for LPIPS, which is a distance. No restored picture is written: for that
    there are `deblur` and `test`.

    With metrics that need no sharp picture, such as niqe, --input_dir may be a folder of pictures without A and B.

    Several --weight_path or --quality are compared, each weights in each quality, one after the other, on the pairs
    that all of them can restore.
    """
    from deblurgan.data.opening import open_pairs
    from deblurgan.data.pairs import LonePicture, choose_pairs
    from deblurgan.pictures.listing import list_images
    from deblurgan.pictures.pixels import channels_of
    from deblurgan.scoring import evaluation
    from deblurgan.scoring.page import Gallery, write_report
    from deblurgan.scoring.tables import check_table, write_table

    names = _metric_names(metrics)
    without = input_dir.is_dir() and not any((input_dir / side).is_dir() for side in "AB")
    alone = list_images(input_dir) if without and not set(names) <= set(METRICS) else []
    found: Sequence[Any] = list(map(LonePicture, alone)) or open_pairs(str(input_dir))
    pairs = choose_pairs(found, n_images, seed)
    if table_path:
        check_table(table_path)
    _require_writable({"--csv": csv_path, "--json": json_path, "--table": table_path, "--html": html_path})
    if lpips_weights and "lpips" not in names:
        raise InputError(f"--lpips_weights {lpips_weights}: expected lpips among --metrics")
    if detector_path and "detection" not in names:
        raise InputError(f"--detector {detector_path}: expected detection among --metrics")
    known = {name: (metric,) for name, metric in evaluation.METRICS.items()}
    draw = None
    if "lpips" in names:
        start_quietly()
        from deblurgan.scoring.lpips import lpips_metric

        known["lpips"] = (lpips_metric(lpips_weights),)
    if "detection" in names:
        judge = _judge(detector_path, detector_score)
        known["detection"], draw = judge.metrics, judge.drawn
    if others := [name for name in names if name not in METRICS]:
        from deblurgan.scoring.iqa import Server

        known |= {metric.name: (metric,) for metric in Server(others).metrics}
    chosen = [metric for name in names for metric in known[name]]
    if alone and (needy := [metric.name for metric in chosen if metric.reference]):
        raise InputError(f"--metrics: {', '.join(needy)} need sharp pictures; {input_dir} has no folders A and B")
    networks = _networks(weight_path, quality, options)
    restored = list(networks) if len(networks) > 1 else [evaluation.RESTORED]
    gallery = Gallery(chosen[0], html_pictures if html_path else 0, restored[0], sharp=not alone, draw=draw)
    if len(networks) > 1:  # what cannot be loaded or compared is told before anything is computed
        channels = {channels_of(weights.restorer()) for weights in networks.values()}
        if len(channels) > 1:
            raise InputError(f"--weight_path: expected networks of the same channels to compare, found {channels}")
    scores: Any = None
    abouts: list[dict[str, Any]] = []
    left = pairs
    for name, weights in zip(restored, networks.values(), strict=True):
        show = gallery.add_beside if scores else gallery.add
        of_network, about = _scored(weights, left, metrics=chosen, squash=resize, name=name, show=show)
        gc.collect()  # one network in memory at a time
        scores = scores.beside(of_network) if scores else of_network
        abouts.append(about)
        done = {row["name"] for row in of_network.rows}
        left = [pair for pair in left if pair.name in done]
    click.echo(evaluation.table(scores))
    about = {"weights": None, "input_dir": str(input_dir), "resize": resize}  # in this order
    about |= abouts[0] if len(abouts) == 1 else {key: [each[key] for each in abouts] for key in abouts[0]}
    if csv_path:
        evaluation.write_scores_csv(scores, csv_path)
    if json_path:
        evaluation.write_scores_json(scores, json_path, about)
    if table_path:
        write_table(scores, table_path, list(networks))
    if html_path:
        write_report(scores, gallery, html_path, about)
        click.echo("\n" + one_line(f"Report: {html_path}"))
    finish(scores.failed, f"{len(pairs)} {'pictures' if alone else 'pairs'}")


def _judge(path: Path | None, score: float) -> Any:
    """Return what compares detections, with the detector in a file, or the one in the package."""
    if not 0 <= score <= 1:
        raise InputError(f"--detector_score: expected a number from 0 to 1, received {score:g}")
    start_quietly()
    from deblurgan.scoring.detections import Judge

    if path:
        from deblurgan.runtimes.detectors import FileDetector

        return Judge(FileDetector(path, score), f"{shown(path.name)} with a score from {score:g}")
    from deblurgan.scoring.nanodet import NanoDet

    return Judge(NanoDet(score), f"NanoDet-g 416 with a score from {score:g}")


def _networks(paths: Sequence[Path], qualities: Sequence[str], options: dict[str, Any]) -> dict[str, Weights]:
    """Return what to restore with, each weights in each quality, by a name of its own."""
    networks: dict[str, Weights] = {}
    for path, quality in itertools.product(paths or (None,), qualities or (None,)):
        weights = Weights(weight_path=path, quality=quality, **options)
        name = " ".join([catalogue.called(weights.path), *([quality] if quality and len(qualities) > 1 else [])])
        if name in networks:
            raise InputError(f"--weight_path, --quality: expected different ones to compare, received {name} twice")
        networks[name] = weights
    return networks


def _scored(weights: Weights, pairs: Sequence[Any], **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return what `evaluation.evaluate` does with a network, and its settings."""
    from deblurgan.data.pairs import PreparedPair
    from deblurgan.pictures.pixels import channels_of
    from deblurgan.scoring.evaluation import evaluate

    restore = weights.opened()
    channels = channels_of(restore)
    if channels != (3, 3):
        kinds = [{1: "grey", 3: "RGB"}.get(count, f"{count} channels") for count in channels]
        notice("Pictures are compared as {} (blurred) and {} (sharp), as the network has them".format(*kinds))
        pairs = [PreparedPair(pair, channels) for pair in pairs]
    with pictures_bar(len(pairs), restore) as progress:
        scores = evaluate(restore, pairs, progress=progress, **options)
    about = {
        "weights": catalogue.called(weights.path),
        "quality": restore.quality,
        "engine": restore.engine,
        "precision": restore.engine_precision or resolve_precision(weights.precision),
    }
    return scores, about


def _metric_names(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",")]
    known = ", ".join(METRICS)
    if len(set(names)) < len(names) or "" in names:
        raise InputError(f"--metrics: expected some of {known}, each once, with commas between, received {text}")
    if not set(names) <= set(METRICS) and not find_spec("pyiqa"):
        others = "; those of pyiqa, such as niqe, need pip install 'deblurgan[iqa]'"
        raise InputError(f"--metrics: expected some of {known}, with commas between, received {text}{others}")
    return names


def _require_writable(paths: dict[str, Path | None]) -> None:
    """Refuse two options with one file, and what writing would destroy; make folders where missing."""
    given = {option: path for option, path in paths.items() if path}
    for (first, path), (second, other) in itertools.combinations(given.items(), 2):
        if path == other:
            raise InputError(f"{second} {path}: expected another file than {first}")
    for path in given.values():
        require_replaceable(path)


def require_replaceable(path: Path) -> None:
    """Make the folder of `path` where missing; refuse what writing, which replaces, would destroy: /dev/stdout."""
    if os.path.lexists(path) and (path.is_symlink() or not os.path.isfile(path)):
        raise FileError(f"{path}: expected the name of a file, found a link, a device or a pipe")
    ensure_folder(path.parent)


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
    from deblurgan.data.opening import open_pairs
    from deblurgan.data.pairs import choose_pairs
    from deblurgan.jobs.strips import write_strips

    pairs = open_pairs(str(input_dir))
    chosen = choose_pairs(pairs, n_images, seed or 0)
    pairs = pairs[: len(chosen)] if seed is None else chosen
    restore = Weights(**options).opened()
    with pictures_bar(len(pairs), restore) as progress:
        report = write_strips(restore, pairs, output_dir, squash=resize, progress=progress)
    for path in report.written:
        click.echo(one_line(str(path)))
    finish(report.failed, f"{len(pairs)} pairs")

"""`deblurgan batch`: very many pictures, on one machine or several."""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deblurgan.cli.common import (
    INTERRUPTED,
    Weights,
    assume_option,
    command,
    engine_option,
    format_option,
    gathered,
    jpeg_quality_option,
    max_pixels_option,
    memory_option,
    notice,
    one_line,
    precision_option,
    quality_option,
    strength_option,
    tta_option,
    weight_path_option,
)
from deblurgan.cli.progress import bar
from deblurgan.errors import InputError
from deblurgan.weights import catalogue

if TYPE_CHECKING:
    from deblurgan.batch.running import Summary


@command("batch", "Restore very many pictures, on one machine or several.")
@click.argument("source", metavar="INPUT")
@click.argument("output", metavar="OUTPUT")
@weight_path_option
@quality_option
@click.option(
    "--actors",
    type=click.IntRange(min=1),
    help="How many networks are loaded, each in a process of its own.  [default: one for each GPU, or one for each "
    "machine without]",
)
@click.option(
    "--gpus_per_actor",
    type=click.FloatRange(min=0),
    help="GPUs for each; 0.5 lets two share one.  [default: 1 where there are any]",
)
@click.option(
    "--ray_address",
    metavar="ADDRESS",
    help="The Ray cluster to compute on: auto on one of its machines, or HOST:PORT.  [default: this machine, where "
    "Ray is started and ended]",
)
@click.option("--retry_failed", is_flag=True, help="Also take up pictures that failed in an earlier run.")
@format_option
@jpeg_quality_option
@click.option("--suffix", metavar="TEXT", help="Add this to the names of results, before the extension.")
@max_pixels_option
@tta_option
@strength_option
@memory_option
@precision_option
@engine_option
@assume_option
def batch(source: str, output: str, retry_failed: bool, **options: Any) -> None:
    """Restore the pictures that INPUT names into the folder OUTPUT, and keep a manifest of them there.

    INPUT is a folder, which is searched with all below it; a list, .txt, of a path a line; or .parquet files with a
    column path. INPUT, OUTPUT and paths may be addresses that fsspec knows, such as s3://bucket/photos. It needs Ray:
    pip install 'deblurgan[ray]'.

    However it ends, the same command goes on with what is left. A picture that ends its process is tried again alone,
    then reported, and the others are still done. OUTPUT/manifest.parquet has a row for each: path, output, status,
    error, size, checksum, seconds. Videos and zip files are for `deblur`.
    """
    if not all(map(importlib.util.find_spec, ("ray", "pyarrow", "fsspec"))):  # of them `pip install ray` brings one
        raise InputError("batch needs Ray: pip install 'deblurgan[ray]'")
    from deblurgan.batch.cluster import Cluster
    from deblurgan.batch.running import restore_all
    from deblurgan.jobs.planning import Where
    from deblurgan.jobs.running import PictureOptions

    cluster = Cluster(options.pop("ray_address"), options.pop("actors"), options.pop("gpus_per_actor"))
    where, pictures = gathered(Where, options), gathered(PictureOptions, options)
    weights = _for_all_machines(gathered(Weights, options))
    notice(f"Weights: {catalogue.called(weights.path)}")
    try:
        with _shown() as progress:
            summary = restore_all(
                source,
                output,
                partial(_opened, weights),
                settings=_settings(weights, where, pictures),
                pictures=pictures,
                where=where,
                cluster=cluster,
                retry_failed=retry_failed,
                tell=notice,
                progress=progress,
            )
    except KeyboardInterrupt:
        notice("Interrupted; the same command goes on from here.")
        click.get_current_context().exit(INTERRUPTED)
    _report(summary, output)


def _opened(weights: Weights) -> tuple[Any, str]:
    """Load the network; in a worker."""
    restorer = weights.restorer()
    return restorer, weights.device(restorer)


def _for_all_machines(weights: Weights) -> Weights:
    """The same weights, called so that a worker with another working folder finds them."""
    weights.check()
    path = weights.path
    name = catalogue.called(path)
    return replace(weights, weight_path=Path(name) if name in catalogue.KNOWN else path.absolute())


def _settings(weights: Weights, where: Any, pictures: Any) -> dict[str, Any]:
    """What results depend on."""
    path = weights.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if os.path.isfile(path) else None
    chosen = {**asdict(weights), "weight_path": catalogue.called(path), "weights_sha256": digest}
    chosen |= {"format": where.file_format, "suffix": where.suffix, "jpeg_quality": pictures.jpeg_quality}
    del chosen["memory"]
    return chosen


@contextlib.contextmanager
def _shown() -> Iterator[Callable[["Summary"], None]]:
    """Show how many pictures are done, how fast, and the time that is left; tell of each kind of device."""
    with contextlib.ExitStack() as stack:
        pictures: Any = None
        told: set[str] = set()

        def progress(summary: "Summary") -> None:
            nonlocal pictures
            done = summary.restored + summary.failed + summary.at_hand
            if pictures is None:
                pictures = stack.enter_context(bar(total=summary.total, initial=done, unit="picture"))
            for device in summary.devices - told:
                told.add(device)
                pictures.clear()
                notice(f"Device: {device}")
            speed = summary.pixels / 1e6 / max(pictures.format_dict["elapsed"], 1e-3)
            pictures.set_postfix_str(f"{speed:.2f} MP/s", refresh=False)
            pictures.update(done - pictures.n)

        yield progress


def _report(summary: "Summary", output: str) -> None:
    """Say how many pictures have been restored, and end with an error where some have not."""
    before = f" ({summary.before} before)" if summary.before else ""
    click.echo(one_line(f"{summary.restored} of {summary.total} pictures restored into {output}{before}"))
    for line in (*summary.problems, *summary.failures):
        notice(f"failed: {line}")
    if failed := summary.failed + len(summary.problems):
        kept = f"{summary.failed} of them" if summary.problems else "all of them"
        raise click.ClickException(
            f"{failed} of {summary.total + len(summary.problems)} pictures failed; the manifest has {kept}, and "
            "--retry_failed tries them again"
        )

"""`deblurgan weights`, `inspect`, `convert` and `export`: weights by name, weight files, files for other runtimes."""

from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import (
    Command,
    Group,
    assume_option,
    check_quality,
    command,
    located,
    notice,
    one_line,
    path_type,
)
from deblurgan.devices import start_quietly
from deblurgan.errors import InputError
from deblurgan.weights import catalogue


@click.group(
    "weights",
    cls=Group,
    invoke_without_command=True,
    short_help="List the weights that have a name, and download them.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.pass_context
def named_weights(context: click.Context) -> None:
    """List the weights that have a name, with what is known of them.

    A name serves wherever weights are asked for: deblur --weight_path NAME. What is not here yet is downloaded then,
    into the user's cache folder, or into the folder that the environment variable DEBLURGAN_CACHE names. The PSNR is
    what the authors published for the test pictures in brackets.
    """
    if context.invoked_subcommand is None:
        click.echo(_table())
        click.echo(f"`deblurgan weights get NAME` downloads into {catalogue.cache_folder()}")


@named_weights.command("get", cls=Command, short_help="Download weights, and print where they are.")
@click.argument("name")
def get(name: str) -> None:
    """Download the weights NAME where they are not here yet, and print where they are."""
    click.echo(catalogue.get(name, notice))


@named_weights.command("path", cls=Command, short_help="Print where weights are.")
@click.argument("name")
def path(name: str) -> None:
    """Print where the weights NAME are; an error where they are not here yet."""
    click.echo(catalogue.path(name, notice))


def _table() -> str:
    rows = [("name", "network", "trained on", "published PSNR", "licence", "size", "state")]
    for name, entry in catalogue.KNOWN.items():
        psnr = "none" if entry.psnr is None else f"{entry.psnr:.2f} dB ({entry.test_set})"
        size = catalogue.size(name)
        megabytes = "unknown" if size is None else f"{size / 1e6:.0f} MB"
        rows.append((name, entry.kind, entry.data, psnr, entry.licence, megabytes, catalogue.state(name)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


@command("inspect", "Say what a weight file holds.")
@click.argument("file", type=path_type)
def inspect(file: Path) -> None:
    """Say what the weight FILE is, for which network, and what tensors it holds.

    FILE may be whatever --weight_path of `deblur` takes, also a name or a run, but files of `export`.
    """
    file = located(file)
    start_quietly()
    from deblurgan.weights.any_file import read

    content = read(file)
    click.echo(one_line(f"{file}: {content.format}, {content.network}, {content.parameters:,} values"))
    for title, options in (("read from the file", content.options), ("assumed (--assume)", content.assumed)):
        if options:
            click.echo(one_line(f"{title}: {', '.join(f'{name}={value}' for name, value in options.items())}"))
    click.echo(_takes(content.entry.role, {**content.entry.defaults, **content.options, **content.assumed}))
    named = [(one_line(name), tensor) for name, tensor in content.tensors]
    width = max(len(name) for name, _ in named)
    for name, tensor in named:
        values = f"{tensor.min():10.4g} to {tensor.max():.4g}" if tensor.size else ""
        click.echo(f"  {name:{width}}  {'x'.join(map(str, tensor.shape)) or 'scalar':16} {tensor.dtype}  {values}")


def _takes(role: str, options: dict[str, Any]) -> str:
    """Say what a network with these options takes and gives."""
    if role == "sampler":
        return "takes float32 noise, normal with deviation 1, and gives images in [-1, 1]"
    channels = options.get("channels", options["image_shape"][2])  # the former of an old file of the configurable GAN
    taken, given = (
        {1: "grey", 3: "RGB"}.get(number, f"of {number} channels")
        for number in (channels, options.get("output_channels") or channels)
    )
    if role == "critic":
        return f"takes images as float32 {taken} in [-1, 1]"
    return f"takes images as float32 {taken} in [-1, 1] and gives {'the same' if given == taken else given}"


@command("convert", "Write a weight file as another kind.")
@click.argument("source", type=path_type)
@click.argument("target", type=path_type)
@assume_option
def convert(source: Path, target: Path, assume: dict[str, Any]) -> None:
    """Write the weight file SOURCE as TARGET, whose name decides how.

    .keras: network and weights. .weights.h5: weights that say which network they are of; not for PyTorch's files. For
    the tutorial's networks also .h5 (Keras 2, for old code), .ckpt (TensorFlow), or a SavedModel folder for a name
    without extension.

    SOURCE may be whatever --weight_path of `deblur` takes, also a name or a run, but files of `export`.
    """
    source = located(source)
    start_quietly()
    from deblurgan.weights.any_file import convert as convert_file

    content = convert_file(source, target, **assume)
    click.echo(f"{content.network} of {catalogue.called(source)} ({content.format}) written to {target}")


@command("export", "Write a generator for other programs: ONNX and others.")
@click.argument("source", type=path_type, required=False)
@click.argument("target", type=path_type, required=False, metavar="TARGET")
@click.option(
    "--quality",
    metavar="fast|balanced|best",
    callback=check_quality,
    help="Of weights in stages such as maxim-gopro: one, two or three.  [default: best on a GPU, fast on a CPU]",
)
@click.option(
    "--int8", is_flag=True, help="Compute in 8-bit integers, with ranges as on the pictures of --calibrate."
)
@click.option(
    "--calibrate",
    type=path_type,
    metavar="FOLDER",
    help="Blurred pictures for --int8, or a folder with A (blurred) and B (sharp), to measure its cost against.",
)
@click.option("--max_cost", default=0.2, help="Write nothing when --int8 costs so many dB of PSNR or more.")
@assume_option
def export(
    source: Path | None,
    target: Path | None,
    quality: str | None,
    int8: bool,
    calibrate: Path | None,
    max_cost: float,
    assume: dict[str, Any],
) -> None:
    """Write the generator in the weight file SOURCE as TARGET, whose name decides how.

    .onnx; .xml with a .bin (OpenVINO); .tflite (LiteRT); or a SavedModel folder for a name without extension.

    SOURCE may be whatever --weight_path of `deblur` takes, also a name or a run, but files of `export`. Without it,
    the weights are generator.h5 in the working folder, or else maxim-gopro, which is in the package.

    Each takes and gives float32 (count, height, width, 3) RGB in [0, 1], height and width multiples of what is
    printed. The file is run in its own runtime and compared with Keras; it stays only if both agree.
    """
    if target is None:
        source, target = None, source
        if target is None or str(target) in catalogue.KNOWN:
            raise click.UsageError("Missing argument 'TARGET'.")
    if int8 != (calibrate is not None):
        raise InputError("--int8: expected --calibrate FOLDER with it, and only with it")
    source = located(source)
    start_quietly()
    from deblurgan.runtimes.exporting import export as export_file

    done = export_file(source, target, quality=quality, calibrate=calibrate, max_cost=max_cost, **assume)
    chosen = f", quality {done.quality}," if done.quality else ""
    whose = f"{done.about.network} of {catalogue.called(source)}{chosen}"
    click.echo(f"{whose} written to {target}: {done.kind}, {done.about.precision}")
    click.echo(f"takes {done.about.contract}")
    sizes = " and ".join(f"{width}x{height}" for height, width in done.sizes)
    click.echo(f"largest difference from Keras at {sizes}: {done.difference:.2g}")
    if done.cost is not None:
        against = "on the pairs" if done.paired else "of a restored picture of 30 dB"
        click.echo(f"8-bit integers cost {done.cost:.3f} dB {against}")
    click.echo(f"In Python:\n{done.example}")

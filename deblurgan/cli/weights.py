"""`deblurgan inspect` and `convert`: weight files of any kind."""

from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import assume_option, command, path_type
from deblurgan.devices import start_quietly


@command("inspect", "Say what a weight file holds.")
@click.argument("file", type=path_type)
def inspect(file: Path) -> None:
    """Say what the weight FILE is, for which network, and what tensors it holds."""
    start_quietly()
    from deblurgan.weight_files import read

    content = read(file)
    click.echo(f"{file}: {content.format}, {content.network}, {content.parameters:,} values")
    for title, options in (("read from the file", content.options), ("assumed (--assume)", content.assumed)):
        if options:
            click.echo(f"{title}: {', '.join(f'{name}={value}' for name, value in options.items())}")
    click.echo("takes images as float32 RGB in [-1, 1]" + (" and gives the same" if content.is_generator else ""))
    width = max(len(name) for name, _ in content.tensors)
    for name, tensor in content.tensors:
        values = f"{tensor.min():10.4g} to {tensor.max():.4g}" if tensor.size else ""
        click.echo(f"  {name:{width}}  {'x'.join(map(str, tensor.shape)) or 'scalar':16} {tensor.dtype}  {values}")


@command("convert", "Write a weight file as another kind.")
@click.argument("source", type=path_type)
@click.argument("target", type=path_type)
@assume_option
def convert(source: Path, target: Path, assume: dict[str, Any]) -> None:
    """Write the weight file SOURCE as TARGET, whose name decides how.

    .keras: network and weights. For the tutorial's networks also .weights.h5 (Keras 3), .h5 (Keras 2, for old code),
    .ckpt (TensorFlow), or a SavedModel folder for a name without extension.

    SOURCE may be of any kind that --weight_path takes.
    """
    start_quietly()
    from deblurgan.weight_files import convert as convert_file

    content = convert_file(source, target, **assume)
    click.echo(f"{content.network} of {source} ({content.format}) written to {target}")

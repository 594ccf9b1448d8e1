"""What the commands share: the program `main`, how its commands behave, options that several have."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from deblurgan import __version__, catalogue
from deblurgan.devices import ENGINES, PRECISIONS, describe, start_quietly
from deblurgan.errors import DeblurganError, FileError

INTERRUPTED = 130


class Command(click.Command):
    """A command whose options may be spelled with dashes or underscores, and whose errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {
            "token_normalize_func": lambda token: token.replace("-", "_"),
            "show_default": True,
            "help_option_names": ["-h", "--help"],
            "max_content_width": 110,
        }
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; refuse arguments that are empty."""
        for argument in args:
            if not argument or (argument.startswith("--") and argument.endswith("=")):
                raise click.UsageError("an argument is empty; is a variable of the shell unset?", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of this package becomes one line."""
        try:
            return super().invoke(ctx)
        except DeblurganError as error:
            raise click.ClickException(one_line(str(error))) from error


class Group(click.Group):
    """Commands in the order in which one uses them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the commands were added."""
        return list(self.commands)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Remove motion blur from photographs, and train the networks that do it.

    `deblurgan COMMAND --help` explains each command. Dashes and underscores in options are the same: --input-dir is
    --input_dir.
    """


def command(name: str, short_help: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command of that name; `deblurgan.cli` adds it to `main`."""
    return click.command(name, cls=Command, short_help=short_help)


def _assumption(pair: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value may be true, false, a number or a word."""
    name, equals, value = pair.partition("=")
    if not (name and equals and value) or name in ("dtype", "name"):
        raise click.BadParameter(f"expected NAME=VALUE with a name that `deblurgan inspect` shows, received {pair}")
    try:
        return name, json.loads(value.lower())
    except ValueError:
        return name, value


def one_line(text: str) -> str:
    """Escape what is unprintable in `text`, such as the line break in a file's name."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def notice(line: str) -> None:
    """Print a line on standard error, for the user to see."""
    click.echo(one_line(line), err=True)


path_type = click.Path(readable=False, path_type=Path)  # what is not readable is reported by what reads it
new_file_type = click.Path(dir_okay=False, path_type=Path)
weight_path_option = click.option(
    "--weight_path",
    type=path_type,
    metavar="FILE",
    default="generator.h5",
    help="Generator weights: those of `train` (.weights.h5, or the folder or name of a run for its best), a name "
    "that `deblurgan weights` lists, a file of `export` (.onnx, .xml), or another kind that the README lists (.h5, "
    ".pth ...).",
)
assume_option = click.option(
    "--assume",
    metavar="NAME=VALUE",
    multiple=True,
    callback=lambda ctx, param, pairs: dict(map(_assumption, pairs)),
    help="What a PyTorch file leaves open, e.g. residual=false; `deblurgan inspect` tells. May be repeated.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    help="Number format to compute in; auto takes the fastest that the device has and that shows no loss.",
)
engine_option = click.option(
    "--engine",
    type=click.Choice(ENGINES),
    help="What computes; others than tensorflow need the extra [export].  [default: tensorflow, or what an exported "
    "--weight_path is for]",
)
resize_option = click.option(
    "--resize",
    type=click.IntRange(min=16),
    metavar="SIDE",
    help="First squash each picture to SIDE x SIDE pixels, as the tutorial did with 256.  [default: full size]",
)
pairs_dir_option = click.option(
    "--input_dir",
    type=path_type,
    metavar="FOLDER",
    default="images/test",
    help="Folder with A (blurred) and B (sharp), paired by name.",
)


def located(path: Path) -> Path:
    """Return the weights that an option or argument names, as `catalogue.resolve` does; tell of a download."""
    return catalogue.resolve(path, notice)


def restorer(weight_path: Path, precision: str, assumed: Mapping[str, Any], engine: str | None = None) -> Any:
    """Load the weights, from `located`, and say on which device they will run."""
    if not (os.path.exists(weight_path) or os.path.exists(f"{weight_path}.index")):  # the latter: a checkpoint
        raise FileError(f"--weight_path {weight_path}: no such file{catalogue.hint(weight_path)}")
    start_quietly()
    from deblurgan import engines
    from deblurgan.inference import open_restorer

    engine = engines.choose(weight_path, engine)
    restorer = open_restorer(weight_path, precision=precision, engine=engine, **assumed)
    other = restorer.engine_precision
    device = f"CPU ({platform.machine()}), {engine}, {other}" if other else describe(precision)
    click.echo(f"Device: {device}", err=True)
    return restorer


def finish(failed: list[str], of: str) -> None:
    """Print each failure; exit with an error, that so many `of` them failed, when there is one."""
    for failure in failed:
        click.echo(f"failed: {failure}", err=True)
    if failed:
        raise click.ClickException(f"{len(failed)} of {of} failed")

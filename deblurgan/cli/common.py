"""What the commands share: the program `main`, how its commands behave, options that several have."""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from deblurgan import __version__
from deblurgan.devices import PRECISIONS, describe, start_quietly
from deblurgan.errors import DeblurganError, FileError, InputError, nearest
from deblurgan.files import reason, shown
from deblurgan.pictures.formats import EXTENSIONS
from deblurgan.runtimes import AUTO, ENGINES
from deblurgan.weights import catalogue
from deblurgan.weights.qualities import QUALITIES

T = TypeVar("T")
INTERRUPTED = 130
TUTORIAL_WEIGHTS = Path("generator.h5")


class Program(click.Command):
    """What can be started from the shell: there need not be all streams, and an end that is asked for is orderly."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; where standard input, output or error are closed, no file that is opened takes their number."""
        while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(opened)
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115 (to the end of the process)
        with ended_as_by_ctrl_c(), told_of_full_disks():
            return super().main(*args, **kwargs)


@contextlib.contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, unless they are ignored or handled, end the block as Ctrl-C does: no debris is left."""
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        numbers = []
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def told_of_full_disks() -> Iterator[None]:
    """End the program with one line where what it says, or something temporary, does not fit on a disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
            raise
        where = shown(error.filename) if isinstance(error.filename, str) else "standard output"
        with contextlib.suppress(OSError):  # where nothing can be said, either
            click.echo(f"Error: {where}: cannot be written: {reason(error)}", err=True)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (Python would try once more at its end)
        sys.exit(1)


class OneOf(click.Choice):
    """A choice of words; the message names the nearest to another."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word of these that is meant."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            hint = nearest(str(value), self.choices)
            self.fail(f"expected one of {', '.join(self.choices)}, received {value!r}{hint}", param, ctx)


class Command(Program):
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


class Group(Program, click.Group):
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


def _assumptions(ctx: click.Context, param: click.Parameter, pairs: Sequence[str]) -> dict[str, Any]:
    """Split each NAME=VALUE; a value may be true, false, a number or a word.

    How to restore is nothing that weights leave open; the commands have options for it, or do not let it be chosen.
    """
    others = NOT_ASSUMED.union(option.name for option in ctx.command.params)
    assumed = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value) or name in others:
            expected = "expected NAME=VALUE with a name that `deblurgan inspect` shows"
            raise click.BadParameter(f"{expected}, received {pair}")
        try:
            assumed[name] = json.loads(value.lower())
        except ValueError:
            assumed[name] = value
    return assumed


def one_line(text: str) -> str:
    """Escape what is unprintable in `text`, such as the line break in a file's name."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def notice(line: str) -> None:
    """Print a line on standard error, for the user to see."""
    click.echo(one_line(line), err=True)


# What builders and `open_restorer` take besides, whatever the network.
NOT_ASSUMED = frozenset({"dtype", "engine", "memory", "name", "path", "precision", "quality", "strength", "tta"})

path_type = click.Path(readable=False, path_type=Path)  # what is not readable is reported by what reads it
new_file_type = click.Path(dir_okay=False, path_type=Path)
_WEIGHT_PATH = (
    "Weights to restore with: a name that `deblurgan weights` lists; a run of `train`, by its folder or name, for "
    "its best; or a file, of `train` (.weights.h5), of `export` (.onnx, .xml) or another that the manual lists "
    "(.h5, .pth ...).{}  [default: generator.h5 in the working folder, as in the tutorial, or else maxim-gopro, "
    "which is in the package]"
)
weight_path_option = click.option("--weight_path", type=path_type, metavar="FILE", help=_WEIGHT_PATH.format(""))
weight_paths_option = click.option(
    "--weight_path",
    type=path_type,
    metavar="FILE",
    multiple=True,
    help=_WEIGHT_PATH.format(" Repeated, all are compared."),
)


def check_quality(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check a quality; a number is probably meant for the files."""
    if value is not None and value not in QUALITIES:
        meant = "; the quality of JPEG files is --jpeg_quality" if value.isdecimal() else nearest(value, QUALITIES)
        raise click.BadParameter(f"expected one of {', '.join(QUALITIES)}, received {value}{meant}")
    return value


def check_qualities(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str | None, ...]:
    """Check each of them."""
    return tuple(check_quality(ctx, param, value) for value in values)


_QUALITY = (
    "Better or faster, with weights in stages such as maxim-gopro: one stage at half the size, or one, two or "
    "three at full size.{}  [default: best on a GPU, fast on a CPU]"
)
quality_option = click.option(
    "--quality", metavar="|".join(QUALITIES), callback=check_quality, help=_QUALITY.format("")
)
qualities_option = click.option(
    "--quality",
    metavar="|".join(QUALITIES),
    callback=check_qualities,
    multiple=True,
    help=_QUALITY.format(" Repeated, all are compared."),
)
assume_option = click.option(
    "--assume",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_assumptions,
    help="What the weights leave open, e.g. residual=false for some of PyTorch; `deblurgan inspect` tells. May be "
    "repeated.",
)
precision_option = click.option(
    "--precision",
    type=OneOf(PRECISIONS),
    default="auto",
    help="Number format to compute in; auto takes the fastest that the device has and that shows no loss.",
)
engine_option = click.option(
    "--engine",
    type=OneOf([*ENGINES, AUTO]),
    help="What computes; auto is the fastest that is installed; for openvino and onnxruntime: pip install "
    "'deblurgan[export]'.  [default: tensorflow, or what an exported --weight_path is for]",
)
resize_option = click.option(
    "--resize",
    type=click.IntRange(min=16),
    metavar="SIDE",
    help="First squash each picture to SIDE x SIDE pixels, as the tutorial did with 256.  [default: full size]",
)
format_option = click.option(
    "--format",
    "file_format",
    type=OneOf(list(EXTENSIONS)),
    help="Write pictures in this format.  [default: the input's]",
)
jpeg_quality_option = click.option(
    "--jpeg_quality",
    type=click.IntRange(1, 100),
    help="Quality of JPEG, WebP, AVIF and HEIC files that are written.  [default: JPEG: the input's; else 95]",
)
max_pixels_option = click.option(
    "--max_pixels",
    type=click.IntRange(min=1),
    help="Refuse pictures of more pixels, which may be made to fill the memory.  [default: 178956970]",
)
tta_option = click.option(
    "--tta", is_flag=True, help="Average over 8 flips and turns of each picture: slower, a little better."
)
strength_option = click.option(
    "--strength",
    type=click.FloatRange(0, 1),
    help="How much of the result to take: 0 leaves the picture as it is, 0.5 goes half of the way.  [default: 1]",
)
memory_option = click.option(
    "--memory",
    metavar="SIZE",
    help="What the program may take, such as 1.5GB; large pictures are restored in tiles.  [default: a safe share]",
)
pairs_dir_option = click.option(
    "--input_dir",
    type=path_type,
    metavar="[KIND=]FOLDER",
    default="images/test",
    help="Folder with A (blurred) and B (sharp), paired by name; or gopro, combined or colourise=FOLDER as for the "
    "--source of `train`.",
)


def located(path: Path | None) -> Path:
    """Return the weights that an option or argument names, as `catalogue.resolve` does; tell of a download.

    None stands for the tutorial's `generator.h5` in the working folder, or for the weights in the package.
    """
    if path is None and not os.path.exists(TUTORIAL_WEIGHTS):
        return catalogue.path(catalogue.DEFAULT)  # whatever else may have that name in the working folder
    return catalogue.resolve(path or TUTORIAL_WEIGHTS, notice)


def gathered(kind: type[T], options: dict[str, Any]) -> T:
    """Return an object of a data class, made of the options that are its fields, which `options` loses."""
    names = [field.name for field in dataclasses.fields(kind) if field.name in options]  # type: ignore[arg-type]
    return kind(**{name: options.pop(name) for name in names})


@dataclass(frozen=True)
class Weights:
    """The weights that options name, and how to restore with them; see `deblurgan.load`."""

    weight_path: Path | None = None
    quality: str | None = None
    precision: str = "auto"
    engine: str | None = None
    assume: Mapping[str, Any] = field(default_factory=dict)
    tta: bool = False
    strength: float | None = None
    memory: str | None = None

    @functools.cached_property
    def path(self) -> Path:
        """Where they are; see `located`."""
        return located(self.weight_path)

    def check(self) -> None:
        """Raise FileError where there are none."""
        if not (os.path.exists(self.path) or os.path.exists(f"{self.path}.index")):  # the latter: a checkpoint
            raise FileError(f"--weight_path {self.path}: no such file{catalogue.hint(self.path)}")

    def restorer(self) -> Any:
        """Load them; raise InputError where they are not for photographs."""
        path = self.path
        self.check()
        start_quietly()
        from deblurgan.pictures.pixels import channels_of
        from deblurgan.restoring.opening import open_restorer

        restorer = open_restorer(
            path,
            quality=self.quality,
            precision=self.precision,
            engine=self.engine,
            tta=self.tta,
            strength=1.0 if self.strength is None else self.strength,
            memory=self.memory,
            **self.assume,
        )
        if not {1, 3}.issuperset(channels_of(restorer)):
            raise InputError(
                f"{shown(path)}: expected a network for photographs, from 1 or 3 channels to 1 or 3, found one of "
                f"{channels_of(restorer)}; deblurgan.load(...).restore takes its arrays"
            )
        return restorer

    def opened(self) -> Any:
        """Load them, and say which they are and on which device they will run."""
        restorer = self.restorer()
        chosen = f", quality {restorer.quality}" if restorer.quality else ""
        notice(f"Weights: {catalogue.called(self.path)}{chosen}")
        notice(f"Device: {self.device(restorer)}")
        return restorer

    def device(self, restorer: Any) -> str:
        """Return in words on which device what has been loaded runs."""
        other = restorer.engine_precision
        return f"CPU ({platform.machine()}), {restorer.engine}, {other}" if other else describe(self.precision)

    def settings(self, restorer: Any) -> str:
        """Return a text that differs where what is restored would."""
        state = os.stat(self.path) if os.path.exists(self.path) else None  # none: a checkpoint of several files
        file = (os.path.abspath(self.path), state and (state.st_size, state.st_mtime_ns))
        how = (restorer.quality, self.precision, self.engine, self.tta, self.strength, self.memory)
        return repr((file, how, sorted(self.assume.items())))


def finish(failed: list[str], of: str) -> None:
    """Print each failure; exit with an error, that so many `of` them failed, when there is one."""
    for failure in failed:
        notice(f"failed: {failure}")
    if failed:
        raise click.ClickException(f"{len(failed)} of {of} failed")

"""The command line: each command parses, makes one library call, and reports.

`main` is the `deblurgan` program; `organize`, `train` and `deblur` are also the top-level scripts of the tutorial.
TensorFlow is imported only when a command starts its work.
"""

import dataclasses
import json
import os
import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from tqdm import tqdm

from deblurgan import __version__, gopro
from deblurgan.devices import PRECISIONS, describe, resolve_precision, start_quietly
from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.files import ensure_folder
from deblurgan.training.progress import Progress
from deblurgan.training.settings import Settings, read_settings

INTERRUPTED = 130
_DEFAULTS = Settings()


class _Command(click.Command):
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
        for argument in args:
            if not argument or (argument.startswith("--") and argument.endswith("=")):
                raise click.UsageError("an argument is empty; is a variable of the shell unset?", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeblurganError as error:
            raise click.ClickException(_one_line(str(error))) from error


class _Group(click.Group):
    """Commands in the order in which one uses them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Remove motion blur from photographs, and train the networks that do it.

    `deblurgan COMMAND --help` explains each command. Dashes and underscores in options are the same: --input-dir is
    --input_dir.
    """


def _command(name: str, short_help: str) -> Callable[[Callable[..., Any]], _Command]:
    def decorate(function: Callable[..., Any]) -> _Command:
        command = click.command(name, cls=_Command, short_help=short_help)(function)
        main.add_command(command)
        return command

    return decorate


_path = click.Path(readable=False, path_type=Path)  # what is not readable is reported by what reads it
_new_file = click.Path(dir_okay=False, path_type=Path)
_weight_path = click.option(
    "--weight_path",
    type=_path,
    metavar="FILE",
    default="generator.h5",
    help="Generator weights: those of `train` (.weights.h5), or another kind that the README lists (.h5, .pth ...).",
)
_assume = click.option(
    "--assume",
    metavar="NAME=VALUE",
    multiple=True,
    callback=lambda ctx, param, pairs: dict(map(_assumption, pairs)),
    help="What a PyTorch file leaves open, e.g. residual=false; `deblurgan inspect` tells. May be repeated.",
)
_precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    help="Number format to compute in; auto takes the fastest that the device has and that shows no loss.",
)
_resize = click.option(
    "--resize",
    type=click.IntRange(min=16),
    metavar="SIDE",
    help="First squash each picture to SIDE x SIDE pixels, as the tutorial did with 256.  [default: full size]",
)
_pairs_dir = click.option(
    "--input_dir",
    type=_path,
    metavar="FOLDER",
    default="images/test",
    help="Folder with A (blurred) and B (sharp), paired by name.",
)


@_command("organize", "Sort the GOPRO dataset into pairs to train on.")
@click.option(
    "--dir_in",
    type=_path,
    default="GOPRO_Large",
    help="The GOPRO dataset: the folder with train and test, or the downloaded zip.",
)
@click.option(
    "--dir_out",
    type=_path,
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
            click.echo(_one_line(f"left out: {scene}"), err=True)
        for frame in split.unpaired:
            click.echo(_one_line(f"left out, has no partner: {frame}"), err=True)
        for failure in split.failed:
            click.echo(_one_line(f"failed: {failure.source}: {failure.reason}"), err=True)
        failed += len(split.failed)
    if failed:
        raise click.ClickException(f"{failed} of {total} files could not be read")


@_command("train", "Train the tutorial's networks on pairs of pictures.")
@click.option("--n_images", default=_DEFAULTS.n_images, help="Pairs to train on, drawn with --seed; -1 for all.")
@click.option("--batch_size", default=_DEFAULTS.batch_size, help="Pairs in a batch; lower it when memory runs out.")
@click.option(
    "--log_dir", metavar="FOLDER", help="Folder for TensorBoard's events.  [default: logs in the run's folder]"
)
@click.option("--epoch_num", default=_DEFAULTS.epoch_num, help="Epochs in all, those before --resume included.")
@click.option("--critic_updates", default=_DEFAULTS.critic_updates, help="Critic updates per generator update.")
@click.option(
    "--input_dir",
    metavar="FOLDER",
    default=_DEFAULTS.input_dir,
    help="Folder with A (blurred) and B (sharp), paired by name.",
)
@click.option(
    "--val_dir",
    metavar="FOLDER",
    help="Folder with A and B to validate on.  [default: the folder test beside --input_dir, if any]",
)
@click.option("--n_val", default=_DEFAULTS.n_val, help="Validation pairs to use; 0 for none, -1 for all.")
@click.option(
    "--output_dir",
    type=_path,
    metavar="FOLDER",
    default="weights",
    help="Folder in which each run gets its own.",
)
@click.option("--run", metavar="NAME", help="Name of the run's own folder.  [default: date and time]")
@click.option("--resume", is_flag=True, help="Go on with the run named by --run, or else the latest one.")
@click.option(
    "--image_size", default=_DEFAULTS.image_size, help="Side of the training images in pixels, a multiple of 4."
)
@click.option(
    "--preprocess",
    type=click.Choice(["crop", "resize"]),
    default=_DEFAULTS.preprocess,
    help="crop: cut random squares out of the pictures; resize: squash them whole, as the tutorial did.",
)
@click.option("--learning_rate", default=_DEFAULTS.learning_rate, help="Learning rate of both Adam optimizers.")
@click.option(
    "--upsampling",
    type=click.Choice(["transpose", "resize"]),
    default=_DEFAULTS.upsampling,
    help="transpose: the generator of the tutorial's text; resize: that of its repository since June 2018.",
)
@_precision
@click.option(
    "--legacy_batchnorm",
    is_flag=True,
    help="Let the frozen critic normalise with the batch's statistics, as Keras 2.1.",
)
@click.option("--seed", default=_DEFAULTS.seed, help="Seed of initial weights, dropout, order and crops.")
@click.option("--save_every", default=_DEFAULTS.save_every, help="Epochs between two kept weight files.")
@click.pass_context
def train(ctx: click.Context, output_dir: Path, run: str | None, resume: bool, **values: Any) -> None:
    """Train the tutorial's generator and critic on pairs of a blurred and a sharp picture.

    Weights, losses, scores and sample pictures go to OUTPUT_DIR/RUN after each epoch. Ctrl-C saves and stops;
    --resume goes on from there.
    """
    if run and (Path(run).name != run or run == ".."):
        raise InputError(f"--run {run}: expected the name of a folder in {output_dir}, without a path")
    if resume:
        folder = output_dir / run if run else _latest_run(output_dir)
        settings = _resumed_settings(ctx, folder, values)
    else:
        folder = output_dir / (run or datetime.now().strftime("%Y%m%d-%H%M%S"))
        settings = Settings(**values)
    if settings.val_dir is None and (Path(settings.input_dir).parent / "test" / "A").is_dir():
        settings = dataclasses.replace(settings, val_dir=str(Path(settings.input_dir).parent / "test"))

    start_quietly()
    from deblurgan.training.run import train as train_run

    with _TrainingBars() as progress:
        result = train_run(settings, folder, resume=resume, progress=progress)
    program = "python train.py" if ctx.info_name == "train.py" else "deblurgan train"
    if result.interrupted:
        again = [*shlex.split(program), "--resume", "--output_dir", str(output_dir), "--run", folder.name]
        click.echo(f"\nStopped. Weights so far: {result.run / 'generator_last.weights.h5'}\nGo on with:")
        click.echo(f"  {shlex.join(again)}")
        ctx.exit(INTERRUPTED)
    deblur_program = "python deblur.py" if ctx.info_name == "train.py" else "deblurgan deblur"
    pictures = str(Path(settings.val_dir) / "A") if settings.val_dir else "YOUR_PICTURES"
    options = ["--weight_path", str(result.weights), "--input_dir", pictures, "--output_dir", "out"]
    click.echo(f"\nPictures of each epoch: {result.run / 'samples'}\nLosses and scores: {result.run / 'log.csv'}")
    click.echo(f"Deblur with the result:\n  {deblur_program} {shlex.join(options)}")
    if result.bad:
        raise click.ClickException(f"{len(result.bad)} pairs were left out: {'; '.join(result.bad.values())}")


def _latest_run(output_dir: Path) -> Path:
    checkpoints = sorted(output_dir.glob("*/checkpoint.h5"), key=lambda path: path.stat().st_mtime)
    if not checkpoints:
        raise InputError(f"--resume: no run with a checkpoint in {output_dir}")
    return checkpoints[-1].parent


def _resumed_settings(ctx: click.Context, folder: Path, values: Mapping[str, Any]) -> Settings:
    """Return the run's own settings, with those changed that are given on the command line and may change."""
    settings = read_settings(folder)
    for name, value in values.items():
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE or value == getattr(settings, name):
            continue
        if name not in Settings.FREE:
            raise InputError(
                f"--{name} {value}: the run {folder} was started with {getattr(settings, name)} and keeps it"
            )
        settings = dataclasses.replace(settings, **{name: value})
    return settings


@_command("deblur", "Restore pictures.")
@_weight_path
@click.option("--input_dir", type=_path, required=True, help="Folder of pictures, or one picture.")
@click.option(
    "--output_dir",
    type=_path,
    metavar="FOLDER",
    required=True,
    help="Folder for the restored pictures, made where missing; another than theirs.",
)
@click.option("--side_by_side", is_flag=True, help="Write input and result beside each other, as the tutorial did.")
@_resize
@_precision
@_assume
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
    restore = _restorer(weight_path, precision, assume)
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
    click.echo(_one_line(f"{len(report.written)} of {len(pictures)} pictures restored into {output_dir}"))
    _finish(report.failed, f"{len(pictures)} pictures")


@_command("test", "Write sharp, blurred and restored pictures side by side.")
@_weight_path
@_pairs_dir
@click.option(
    "--output_dir",
    type=_path,
    metavar="FOLDER",
    default=".",
    help="Folder for results0.png, results1.png and so on.",
)
@click.option("--n_images", "--batch_size", default=4, help="Pairs to use, the first ones; -1 for all.")
@click.option("--seed", type=int, help="Draw the pairs with this seed instead.  [default: none]")
@_resize
@_precision
@_assume
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
    restore = _restorer(weight_path, precision, assume)
    with tqdm(total=len(pairs), unit="picture", disable=None) as bar:
        report = write_strips(restore, pairs, output_dir, squash=resize, progress=lambda path: bar.update())
    for path in report.written:
        click.echo(_one_line(str(path)))
    _finish(report.failed, f"{len(pairs)} pairs")


@_command("evaluate", "Score restored pictures: PSNR and SSIM.")
@_weight_path
@_pairs_dir
@click.option("--n_images", default=-1, help="Pairs to use, drawn with --seed; -1 for all.")
@click.option("--seed", default=0, help="Seed of the choice of pairs.")
@click.option("--csv", "csv_path", type=_new_file, metavar="FILE", help="Write the scores of each pair to this file.")
@click.option(
    "--json", "json_path", type=_new_file, metavar="FILE", help="Write scores, means and settings to this file."
)
@_resize
@_precision
@_assume
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
            _require_replaceable(path)
    restore = _restorer(weight_path, precision, assume)
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
    _finish(scores.failed, f"{len(pairs)} pairs")


@_command("inspect", "Say what a weight file holds.")
@click.argument("file", type=_path)
def inspect(file: Path) -> None:
    """Say what the weight FILE is, for which network, and what tensors it holds."""
    start_quietly()
    from deblurgan.weight_files import read

    content = read(file)
    click.echo(f"{file}: {content.format}, {content.network}, {content.parameters:,} values")
    for title, options in (("read from the tensors", content.options), ("assumed (--assume)", content.assumed)):
        if options:
            click.echo(f"{title}: {', '.join(f'{name}={value}' for name, value in options.items())}")
    click.echo("takes images as float32 RGB in [-1, 1]" + (" and gives the same" if content.is_generator else ""))
    width = max(len(name) for name, _ in content.tensors)
    for name, tensor in content.tensors:
        values = f"{tensor.min():10.4g} to {tensor.max():.4g}" if tensor.size else ""
        click.echo(f"  {name:{width}}  {'x'.join(map(str, tensor.shape)) or 'scalar':16} {tensor.dtype}  {values}")


@_command("convert", "Write a weight file as another kind.")
@click.argument("source", type=_path)
@click.argument("target", type=_path)
@_assume
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


def _assumption(pair: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value may be true, false, a number or a word."""
    name, equals, value = pair.partition("=")
    if not (name and equals and value) or name in ("dtype", "name"):
        raise click.BadParameter(f"expected NAME=VALUE with a name that `deblurgan inspect` shows, received {pair}")
    try:
        return name, json.loads(value.lower())
    except ValueError:
        return name, value


def _restorer(weight_path: Path, precision: str, assumed: Mapping[str, Any]) -> Any:
    """Load the weights and say on which device they will run."""
    if not (os.path.exists(weight_path) or os.path.exists(f"{weight_path}.index")):  # the latter: a checkpoint
        raise FileError(f"--weight_path {weight_path}: no such file")
    start_quietly()
    from deblurgan.inference import open_restorer

    restorer = open_restorer(weight_path, precision=precision, **assumed)
    click.echo(f"Device: {describe(precision)}", err=True)
    return restorer


def _require_replaceable(path: Path) -> None:
    """Make the folder of `path` where missing; refuse what writing, which replaces, would destroy: /dev/stdout."""
    if os.path.lexists(path) and (path.is_symlink() or not os.path.isfile(path)):
        raise FileError(f"{path}: expected the name of a file, found a link, a device or a pipe")
    ensure_folder(path.parent)


def _finish(failed: list[str], of: str) -> None:
    """Print each failure; exit with an error, that so many `of` them failed, when there is one."""
    for failure in failed:
        click.echo(f"failed: {failure}", err=True)
    if failed:
        raise click.ClickException(f"{len(failed)} of {of} failed")


def _one_line(text: str) -> str:
    """Escape what is unprintable in `text`, such as the line break in a file's name."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


class _TrainingBars(Progress):
    """Shows a training run on the terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> "_TrainingBars":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def started(self, run: Path, device: str, pairs: int, validation: int) -> None:
        click.echo(f"Run: {run}\nDevice: {device}\nPairs: {pairs} to train on, {validation} to validate on")

    def notice(self, line: str) -> None:
        tqdm.write(line)

    def epoch_started(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        self._close()
        self._bar = tqdm(total=steps, initial=done, desc=f"epoch {epoch}/{epochs}", unit="batch", disable=None)

    def step_done(self, losses: Mapping[str, float]) -> None:
        if self._bar is not None:
            self._bar.set_postfix(d_loss=losses["d_loss"], g_loss=losses["g_loss"], refresh=False)
            self._bar.update()

    def validating(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(f"validating {done}/{total}")

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        self._close()
        scores = ""
        if row["val_psnr"] is not None:
            scores = f"  validation PSNR {row['val_psnr']:.2f} dB, SSIM {row['val_ssim']:.4f}"
        click.echo(
            f"epoch {row['epoch']}: d_loss {row['d_loss']:.4f}  g_loss {row['g_loss']:.4f}{scores}"
            f"  ({row['seconds']:.0f} s, {row['step_share']:.1%} in train steps)"
        )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

"""The command line: each command parses, makes one library call, and reports.

`main` is the `deblurgan` program; `organize`, `train` and `deblur` are also the top-level scripts of the tutorial.
TensorFlow is imported only when a command starts its work.
"""

import dataclasses
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
from deblurgan.errors import DeblurganError, InputError
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

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeblurganError as error:
            raise click.ClickException(_one_line(str(error))) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Remove motion blur from photographs, and train the networks that do it."""


def _command(name: str) -> Callable[[Callable[..., Any]], _Command]:
    def decorate(function: Callable[..., Any]) -> _Command:
        command = click.command(name, cls=_Command)(function)
        main.add_command(command)
        return command

    return decorate


_weight_path = click.option(
    "--weight_path",
    type=click.Path(path_type=Path),
    default="generator.h5",
    help="Generator weights: a .weights.h5 or .keras file, or an .h5 file of the tutorial.",
)
_precision = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    help="What to compute in; auto takes the fastest that the device has natively without visible loss.",
)
_resize = click.option(
    "--resize",
    type=click.IntRange(min=16),
    metavar="SIDE",
    help="First squash each picture to SIDE x SIDE pixels; the tutorial did so with 256.",
)


@_command("organize")
@click.option(
    "--dir_in",
    type=click.Path(path_type=Path),
    default="GOPRO_Large",
    help="The GOPRO dataset: the folder with train and test, or the downloaded zip.",
)
@click.option("--dir_out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--blur", type=click.Choice(gopro.BLURS), default="blur", help="Which of GOPRO's blurred frames to take."
)
@click.option("--link", type=click.Choice(gopro.LINKS), default="copy", help="Copy the files, or link to them.")
def organize(dir_in: Path, dir_out: Path, blur: str, link: str) -> None:
    """Sort the GOPRO dataset into DIR_OUT/{train,test}/{A,B}: A blurred, B sharp.

    Running it again does only what is missing.
    """
    plan = gopro.plan(dir_in, dir_out, blur)
    total = sum(len(split.copies) for split in plan.splits)
    with tqdm(total=total, unit="file", disable=None) as bar:
        summary = gopro.apply(plan, link, progress=lambda done, total, path: bar.update())
    problems = 0
    for split in summary.splits:
        click.echo(f"{split.name}: {split.pairs} pairs; {split.copied} files written, {split.present} already there")
        for scene in split.incomplete:
            click.echo(f"  left out: {scene}", err=True)
        for frame in split.unpaired:
            click.echo(f"  left out, has no partner: {frame}", err=True)
        for failure in split.failed:
            click.echo(f"  failed: {failure.source}: {failure.reason}", err=True)
        problems += len(split.failed)
    if problems:
        raise click.ClickException(f"{problems} files could not be read")


@_command("train")
@click.option("--n_images", default=_DEFAULTS.n_images, help="Pairs to train on, drawn with --seed; -1 for all.")
@click.option("--batch_size", default=_DEFAULTS.batch_size, help="Pairs in a batch; lower it when memory runs out.")
@click.option(
    "--log_dir", metavar="FOLDER", help="Where TensorBoard's events go.  [default: logs in the run's folder]"
)
@click.option("--epoch_num", default=_DEFAULTS.epoch_num, help="Epochs in all.")
@click.option("--critic_updates", default=_DEFAULTS.critic_updates, help="Critic updates per generator update.")
@click.option("--input_dir", default=_DEFAULTS.input_dir, help="Folder with A (blurred) and B (sharp).")
@click.option(
    "--val_dir", metavar="FOLDER", help="Pairs to validate on.  [default: the folder test beside --input_dir, if any]"
)
@click.option("--n_val", default=_DEFAULTS.n_val, help="Validation pairs to use; 0 for none, -1 for all.")
@click.option("--output_dir", type=click.Path(path_type=Path), default="weights", help="Folder of the runs' folders.")
@click.option("--run", metavar="NAME", help="Name of the run's folder.  [default: date and time]")
@click.option("--resume", is_flag=True, help="Go on with the run named by --run, or else the latest one.")
@click.option("--image_size", default=_DEFAULTS.image_size, help="Side of the training images, a multiple of 4.")
@click.option(
    "--preprocess",
    type=click.Choice(["crop", "resize"]),
    default=_DEFAULTS.preprocess,
    help="Cut random squares out of the pictures, or squash them whole as the tutorial did.",
)
@click.option("--learning_rate", default=_DEFAULTS.learning_rate, help="Of both Adam optimizers.")
@click.option(
    "--upsampling",
    type=click.Choice(["transpose", "resize"]),
    default=_DEFAULTS.upsampling,
    help="The generator of the tutorial's text, or of its repository since June 2018.",
)
@_precision
@click.option("--seed", default=_DEFAULTS.seed, help="Of initial weights, dropout, order and crops.")
@click.option("--save_every", default=_DEFAULTS.save_every, help="Epochs between two kept weight files.")
@click.pass_context
def train(ctx: click.Context, output_dir: Path, run: str | None, resume: bool, **values: Any) -> None:
    """Train the tutorial's generator and critic; everything goes to OUTPUT_DIR/RUN.

    Ctrl-C saves and stops; --resume goes on from there.
    """
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


@_command("deblur")
@_weight_path
@click.option(
    "--input_dir", type=click.Path(path_type=Path), required=True, help="Folder of pictures, or one picture."
)
@click.option(
    "--output_dir", type=click.Path(path_type=Path), required=True, help="Folder for the restored pictures."
)
@click.option("--side_by_side", is_flag=True, help="Write input and result beside each other, as the tutorial did.")
@_resize
@_precision
def deblur(
    weight_path: Path, input_dir: Path, output_dir: Path, side_by_side: bool, resize: int | None, precision: str
) -> None:
    """Restore the pictures in INPUT_DIR at their own size, under their own names, into OUTPUT_DIR."""
    from deblurgan.deblurring import deblur_pictures, find_pictures

    pictures = find_pictures(input_dir)
    restore = _restorer(weight_path, precision)
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
        click.echo(_one_line(notice), err=True)
    _finish(f"{len(report.written)} pictures restored into {output_dir}", report.failed)


@_command("test")
@_weight_path
@click.option("--input_dir", type=click.Path(path_type=Path), default="images/test", help="Folder with A and B.")
@click.option("--output_dir", type=click.Path(path_type=Path), default=".", help="Folder for results0.png and so on.")
@click.option("--n_images", "--batch_size", default=4, help="Pictures to restore; -1 for all.")
@click.option("--seed", type=int, help="Draw the pictures with this seed instead of taking the first ones.")
@_resize
@_precision
def test(
    weight_path: Path,
    input_dir: Path,
    output_dir: Path,
    n_images: int,
    seed: int | None,
    resize: int | None,
    precision: str,
) -> None:
    """Write strips of a sharp picture, the blurred one and the restored one, as the tutorial's test script did."""
    from deblurgan.data import choose_pairs, match_pairs
    from deblurgan.deblurring import write_strips

    pairs = match_pairs(input_dir)
    pairs = choose_pairs(pairs, n_images, seed) if seed is not None else pairs[: n_images if n_images >= 0 else None]
    restore = _restorer(weight_path, precision)
    with tqdm(total=len(pairs), unit="picture", disable=None) as bar:
        report = write_strips(restore, pairs, output_dir, squash=resize, progress=lambda path: bar.update())
    for path in report.written:
        click.echo(path)
    _finish(f"{len(report.written)} strips written", report.failed)


@_command("evaluate")
@_weight_path
@click.option("--input_dir", type=click.Path(path_type=Path), default="images/test", help="Folder with A and B.")
@click.option("--n_images", default=-1, help="Pairs to use, drawn with --seed; -1 for all.")
@click.option("--seed", default=0, help="Of the choice of pairs.")
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), help="Write the scores of each pair to this file."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all scores and means to this file.")
@_resize
@_precision
def evaluate(
    weight_path: Path,
    input_dir: Path,
    n_images: int,
    seed: int,
    csv_path: Path | None,
    json_path: Path | None,
    resize: int | None,
    precision: str,
) -> None:
    """Score the restored pictures, and the blurred ones, against the sharp ones: PSNR and SSIM, each and mean."""
    from deblurgan import evaluation
    from deblurgan.data import choose_pairs, match_pairs

    pairs = choose_pairs(match_pairs(input_dir), n_images, seed)
    restore = _restorer(weight_path, precision)
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
    _finish("", scores.failed)


def _restorer(weight_path: Path, precision: str) -> Any:
    """Load the weights and say on which device they will run."""
    start_quietly()
    from deblurgan.inference import Restorer
    from deblurgan.weights import read_generator

    restorer = Restorer(read_generator(weight_path), precision=precision)
    click.echo(f"Device: {describe(precision)}", err=True)
    return restorer


def _finish(line: str, failed: list[str]) -> None:
    """Print `line`, then each failure; exit with an error when there is one."""
    if line:
        click.echo(line)
    for failure in failed:
        click.echo(_one_line(f"failed: {failure}"), err=True)
    if failed:
        raise click.ClickException(f"{len(failed)} of the pictures failed")


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

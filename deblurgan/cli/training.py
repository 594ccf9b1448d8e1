"""`deblurgan train` and `recipes`."""

import contextlib
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from tqdm import tqdm

from deblurgan.cli.common import INTERRUPTED, OneOf, command, one_line, path_type, precision_option
from deblurgan.cli.progress import Lasting, bar
from deblurgan.devices import gpu_names, start_quietly
from deblurgan.errors import InputError
from deblurgan.files import atomic_path, ensure_folder
from deblurgan.restoring.memory import keep_freed
from deblurgan.training import hosts
from deblurgan.training.progress import BOOKKEEPING, SCORES, Progress, Result
from deblurgan.training.recipe import (
    ALIASES,
    CHOICES,
    RECIPE_NAME,
    TUTORIAL,
    Recipe,
    elsewhere,
    make,
    names,
    parse_change,
    read_fields,
    read_run,
)

_DEFAULTS = make(read_fields(TUTORIAL))
INPUT_DIR = "images/train"


@command("train", "Train a network on pairs of pictures.")
@click.option("--n_images", default=_DEFAULTS.n_images, help="Pairs to train on, drawn with --seed; -1 for all.")
@click.option("--batch_size", default=_DEFAULTS.batch_size, help="Pairs in a batch; lower it when memory runs out.")
@click.option(
    "--log_dir", metavar="FOLDER", help="Folder for TensorBoard's events.  [default: logs in the run's folder]"
)
@click.option("--epoch_num", default=_DEFAULTS.epochs, help="Epochs in all, those before --resume included.")
@click.option("--critic_updates", default=_DEFAULTS.critic_updates, help="Critic updates per generator update.")
@click.option(
    "--input_dir",
    metavar="FOLDER",
    default=INPUT_DIR,
    help="Folder with A (blurred) and B (sharp), paired by name.",
)
@click.option(
    "--val_dir",
    metavar="[KIND=]FOLDER",
    help="Folder with A and B to validate on, or gopro, combined or colourise=FOLDER as for --source.  [default: the "
    "folder test in or beside --input_dir, if it holds such]",
)
@click.option("--n_val", default=_DEFAULTS.n_val, help="Validation pairs to use; 0 for none, -1 for all.")
@click.option(
    "--output_dir",
    type=path_type,
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
    type=OneOf(CHOICES["preprocess"]),
    default=_DEFAULTS.preprocess,
    help="crop: cut random squares out of the pictures; resize: squash them whole, as the tutorial did.",
)
@click.option("--learning_rate", default=_DEFAULTS.learning_rate, help="Learning rate of both Adam optimizers.")
@click.option(
    "--upsampling",
    type=OneOf(["transpose", "resize"]),
    default=_DEFAULTS.network_options["upsampling"],
    help="transpose: the generator of the tutorial's text; resize: that of its repository since June 2018.",
)
@precision_option
@click.option(
    "--legacy_batchnorm",
    is_flag=True,
    help="Let the frozen critic normalise with the batch's statistics, as Keras 2.1.",
)
@click.option("--seed", default=_DEFAULTS.seed, help="Seed of initial weights, dropout, order and crops.")
@click.option("--save_every", default=_DEFAULTS.save_every, help="Epochs between two kept weight files.")
@click.option(
    "--recipe",
    metavar="NAME",
    default=TUTORIAL,
    help="What to train and how: a name that `deblurgan recipes` lists, or a file such as it prints.",
)
@click.option(
    "--set",
    "changes",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Change a field of the recipe, e.g. ema=0.999 or losses.l1=1. May be repeated.",
)
@click.option(
    "--source",
    "sources",
    metavar="[KIND=]FOLDER",
    multiple=True,
    help="Pictures to train on, in place of --input_dir: pairs, gopro, frames=FOLDER to be averaged, sharp=FOLDER to "
    "be blurred, blurred=FOLDER for a teacher, combined=FOLDER with both in each file, colourise=FOLDER to be made "
    "grey, with options behind a comma, e.g. frames=FOLDER,weight=2. May be repeated to mix them.",
)
@click.option("--steps", type=int, help="Steps in all, in place of --epoch_num.  [default: the recipe's]")
@click.option(
    "--init_weights",
    metavar="FILE",
    help="Start from these weights: a file, a run, or a name that `deblurgan weights` lists.  [default: random ones]",
)
@click.option(
    "--vgg_weights", metavar="FILE", help="VGG19's weights, where the recipe has it.  [default: Keras downloads them]"
)
@click.option(
    "--devices",
    type=OneOf(CHOICES["devices"]),
    default="one",
    help="Train on one device, or on all GPUs of this machine.",
)
@click.option(
    "--hosts",
    metavar="HOST:PORT,...",
    help="Train on several machines: their addresses, the same list on each. The first says how, scores and writes.  "
    "[default: those of TF_CONFIG in the environment, or this machine alone]",
)
@click.option(
    "--host_index",
    type=int,
    metavar="NUMBER",
    help="Which of --hosts this machine is, from 0.  [default: as TF_CONFIG says]",
)
@click.option(
    "--wait_for_hosts",
    type=float,
    metavar="SECONDS",
    default=hosts.WAIT,
    help="How long to wait for the others before giving up.",
)
@click.pass_context
def train(
    ctx: click.Context,
    output_dir: Path,
    run: str | None,
    resume: bool,
    recipe: str,
    changes: tuple[str, ...],
    wait_for_hosts: float,
    **values: Any,
) -> None:
    """Train a network to restore a sharp picture from a blurred one; the tutorial's, unless --recipe names another.

    Weights, losses, scores and sample pictures go to OUTPUT_DIR/RUN after each epoch. Ctrl-C saves and stops;
    the same command with --resume goes on from there. The defaults below are the tutorial's; another recipe brings
    its own, and an option that is given changes it.
    """
    team = hosts.from_options(values.pop("hosts"), values.pop("host_index"))
    if not team.is_first:
        _follow(team, wait_for_hosts)
        return
    folder = run_folder(output_dir, run, resume=resume)
    given = {name: value for name, value in values.items() if is_given(ctx, name)}
    is_stored = resume and not is_given(ctx, "recipe")
    fields = dataclasses.asdict(read_run(folder)) if is_stored else read_fields(recipe)
    plan = _changed(fields, given, changes)
    if plan.val_dir is None and not is_stored:
        was_started = resume and (folder / RECIPE_NAME).exists()
        val_dir = read_run(folder).val_dir if was_started else _validation_beside(plan)
        plan = dataclasses.replace(plan, val_dir=val_dir)
    if found := elsewhere(fields, plan, folder / RECIPE_NAME if is_stored else recipe):
        click.echo(found)

    start_quietly()
    if not gpu_names():
        keep_freed()
    from deblurgan.training import trainer

    _require_open(plan, [*given, *(field for field, _ in map(parse_change, changes))])
    with TrainingBars() as progress:
        result = trainer.train(
            plan, folder, resume=resume, progress=progress, hosts=team, wait_for_hosts=wait_for_hosts
        )
    report(ctx, result)
    if plan.dataset is None:
        _say_how_to_deblur(ctx, result, plan)
    _require_all(result, "pairs" if plan.dataset is None else "pictures")


def _require_all(result: Result, kind: str) -> None:
    if result.bad:
        raise click.ClickException(
            one_line(f"{len(result.bad)} {kind} were left out: {'; '.join(result.bad.values())}")
        )


def _follow(team: hosts.Hosts, wait_for_hosts: float) -> None:
    """Train as the first host says."""
    start_quietly()
    if not gpu_names():
        keep_freed()
    from deblurgan.training import trainer

    with TrainingBars() as progress:
        result = trainer.follow(team, progress=progress, wait_for_hosts=wait_for_hosts)
    click.echo(f"{'Stopped' if result.interrupted else 'Done'}. The results are with {team.name(0)}")
    if result.interrupted:
        raise click.exceptions.Exit(INTERRUPTED)
    _require_all(result, "pictures")


def report(ctx: click.Context, result: Result) -> None:
    """Say where the results of a run are; how to go on with one that was interrupted, and exit."""
    is_script = ctx.info_name == "train.py"
    program = "python train.py" if is_script else f"deblurgan {ctx.info_name}"
    if result.interrupted:
        again = [*shlex.split(program), "--resume", "--output_dir", str(result.run.parent), "--run", result.run.name]
        click.echo(f"\nStopped. Weights so far: {result.run / 'generator_last.weights.h5'}\nGo on with:")
        click.echo(f"  {shlex.join(again)}")
        ctx.exit(INTERRUPTED)
    click.echo(f"\nPictures of each epoch: {result.run / 'samples'}\nLosses and scores: {result.run / 'log.csv'}")


def _say_how_to_deblur(ctx: click.Context, result: Result, plan: Recipe) -> None:
    if not {1, 3}.issuperset((plan.input_channels, plan.output_channels)):
        click.echo(f"Restore arrays with the result:\n  deblurgan.load({str(result.weights)!r}).restore(array)")
        return
    pictures = "YOUR_PICTURES"
    if plan.val_dir and (Path(plan.val_dir) / "A").is_dir():
        pictures = str(Path(plan.val_dir) / "A")
    options = ["--weight_path", str(result.weights), "--input_dir", pictures, "--output_dir", "out"]
    program = "python deblur.py" if ctx.info_name == "train.py" else "deblurgan deblur"
    click.echo(f"Deblur with the result:\n  {program} {one_line(shlex.join(options))}")


def run_folder(output_dir: Path, run: str | None, *, resume: bool) -> Path:
    """Return the folder of the run that options name: a new one, or with `resume` the latest unless it is named."""
    if run and (Path(run).name != run or run == ".."):
        raise InputError(f"--run {run}: expected the name of a folder in {output_dir}, without a path")
    if resume:
        return output_dir / run if run else _latest_run(output_dir)
    return output_dir / (run or datetime.now().strftime("%Y%m%d-%H%M%S"))


def is_given(ctx: click.Context, name: str) -> bool:
    """Whether an option is on the command line."""
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _latest_run(output_dir: Path) -> Path:
    found = [*output_dir.glob("*/checkpoint.h5"), *output_dir.glob("*/checkpoints/step_*.h5")]
    if not found:
        raise InputError(f"--resume: no run with a checkpoint in {output_dir}")
    latest = max(found, key=lambda path: path.stat().st_mtime)
    return output_dir / latest.relative_to(output_dir).parts[0]


def _changed(fields: Mapping[str, Any], given: Mapping[str, Any], changes: tuple[str, ...]) -> Recipe:
    """Return the recipe of these fields with the options that are given, and then the changes of --set."""
    from deblurgan.data.opening import guess, parse_source

    if "steps" in given and "epoch_num" in given:
        raise InputError("--steps: expected this or --epoch_num, received both")
    set_last = list(map(parse_change, changes))
    written = make(fields, set_last)  # what is written wrongly is told before folders are looked into
    altered = [(option, value) for option, value in given.items() if option not in ("sources", "input_dir")]
    if "sources" in given:
        altered.append(("sources", list(map(parse_source, given["sources"]))))
    elif "input_dir" in given or not (written.sources or written.dataset):
        folder = given.get("input_dir", INPUT_DIR)
        altered.append(("sources", [{"kind": guess(folder), "folder": folder}]))
    return make(fields, [*altered, *set_last])


def _require_open(recipe: Recipe, changed: Sequence[str]) -> None:
    """Raise InputError where a field was changed that the initial weights decide."""
    from deblurgan.networks.zoo import find

    if recipe.init_weights is None:
        return
    network = find("generator", recipe.network)
    decided = ("network", "network_options", "input_channels", "output_channels")
    left_open = [f"network_options.{option}" for option in (*network.switches, *network.in_training)]
    for name in changed:
        field = ALIASES.get(name, name)
        if field.partition(".")[0] in decided and field not in left_open:
            raise InputError(f"{name}: the network and its options are those of {recipe.init_weights}")


def _validation_beside(recipe: Recipe) -> str | None:
    """Return the folder `test` in or beside a source of pairs, if it holds pairs, too, as `val_dir` has it."""
    from deblurgan.data.opening import folder_and_kind, layout, written
    from deblurgan.pictures.listing import list_images

    for spec in recipe.sources:
        folder, kind = folder_and_kind(spec)
        for beside in (folder / "test", folder.parent / "test"):
            if not beside.is_dir():
                continue
            if kind in ("pairs", "gopro") and layout(beside):
                return str(beside)
            is_trained_on = kind == "colourise" and beside.parent == folder  # which takes what is below, too
            if kind in ("combined", "colourise") and not is_trained_on and beside != folder and list_images(beside):
                return written({**spec, "folder": beside, "weight": None})
    return None


@command("recipes", "List the recipes of `train`, or print one.")
@click.argument("name", required=False)
@click.option(
    "--plot", type=path_type, metavar="FOLDER", help="Draw the networks of the recipe NAME into this folder."
)
def recipes(name: str | None, plot: Path | None) -> None:
    """List the recipes that `train --recipe` knows, or print the one called NAME with all its fields.

    What it prints may be saved, changed, and given to --recipe as a file. With --plot its networks are drawn instead,
    a picture each with a box for every layer.
    """
    if plot is not None:
        if name is None:
            raise InputError("--plot: expected the name of a recipe before it")
        _draw(make(read_fields(name)), plot)
        return
    if name is not None:
        click.echo(json.dumps(dataclasses.asdict(make(read_fields(name))), indent=1))
        return
    width = max(map(len, names()))
    for known in names():
        click.echo(f"{known:{width}}  {read_fields(known)['description']}")


def _draw(recipe: Recipe, folder: Path) -> None:
    """Draw the networks of a recipe."""
    start_quietly()
    from deblurgan.networks import zoo
    from deblurgan.networks.drawing import draw
    from deblurgan.training.steps import build_step

    for name, network in build_step(recipe, 1, "float32").networks().items():
        if None in network.input_shape[1:]:  # drawn for pictures of the size that it is trained on
            shape = (recipe.image_size, recipe.image_size, network.input_shape[-1])
            network = zoo.build_generator(recipe.network, {**recipe.generator_options, "image_shape": shape})
        path = ensure_folder(folder) / f"{name}.png"
        with atomic_path(path) as temporary:
            draw(network).save(temporary, "PNG")
        click.echo(path)


class TrainingBars(Progress):
    """Shows a training run on the terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._streams = contextlib.ExitStack()

    def __enter__(self) -> "TrainingBars":
        out = sys.stdout or self._streams.enter_context(open(os.devnull, "w"))  # it may have been closed all along
        self._streams.enter_context(contextlib.redirect_stdout(Lasting(out)))
        self._streams.enter_context(contextlib.redirect_stderr(Lasting(sys.stderr)))
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        self._streams.close()

    def started(self, run: Path, device: str, pairs: int, validation: int | None) -> None:
        """See `Progress`."""
        others = "" if validation is None else f", {validation} to validate on"
        click.echo(f"Run: {run}\nDevice: {device}\nPictures: {pairs} to train on{others}")
        self._bar = tqdm(desc="before training", bar_format="{desc}{postfix}", leave=False, disable=None)

    def notice(self, line: str) -> None:
        """See `Progress`."""
        tqdm.write(one_line(line))

    def epoch_started(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """See `Progress`."""
        self._close()
        self._bar = bar(total=steps, initial=done, desc=f"epoch {epoch}/{epochs}: ", unit="batch")

    def step_done(self, losses: Mapping[str, float]) -> None:
        """See `Progress`."""
        if self._bar is not None:
            shown = {name: losses[name] for name in ("d_loss", "g_loss", "loss") if name in losses}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def validating(self, done: int, total: int) -> None:
        """See `Progress`."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"validating {done}/{total}")

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        """See `Progress`."""
        self._close()
        others = (*BOOKKEEPING, *SCORES, "learning_rate")
        of_both = ("d_loss", "g_loss", "val_distance", "val_diversity")  # networks, and of what one makes from noise
        names = [name for name in (of_both if "g_loss" in row else row) if name in row and name not in others]
        losses = "  ".join(f"{name} {row[name]:.4f}" for name in names)
        scores = ""
        if row.get("val_psnr") is not None:
            scores = f"  validation PSNR {row['val_psnr']:.2f} dB, SSIM {row['val_ssim']:.4f}"
        timing = f"{row['seconds']:.0f} s, {row['images_per_second']:.1f} images/s"
        click.echo(f"epoch {row['epoch']}: {losses}{scores}  ({timing})")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

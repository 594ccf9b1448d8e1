"""`deblurgan gan`: pictures from noise."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from deblurgan.cli.common import OneOf, command, one_line, path_type, precision_option
from deblurgan.cli.training import TrainingBars, is_given, report, run_folder
from deblurgan.data.arrays import NAMES
from deblurgan.devices import gpu_names, start_quietly
from deblurgan.errors import InputError
from deblurgan.restoring.memory import keep_freed
from deblurgan.training import hosts
from deblurgan.training.from_noise import KINDS, SIZES, fields
from deblurgan.training.progress import Result
from deblurgan.training.recipe import RECIPE_NAME, Recipe, elsewhere, make, parse_change, read_run
from deblurgan.training.troubles import troubles


@command("gan", "Train a generator that makes pictures from noise.")
@click.option(
    "--dataset",
    metavar="NAME",
    default="digits",
    help=f"What to learn to make: {', '.join(NAMES)}, a .npz file, or a folder of pictures.",
)
@click.option(
    "--kind",
    type=OneOf(KINDS),
    metavar="|".join(KINDS),
    default="gan",
    help="Cross-entropy; Wasserstein loss with the critic's weights cut; or with a gradient penalty.",
)
@click.option(
    "--network",
    type=OneOf(SIZES),
    default="small",
    help="Networks with which a CPU learns digits in minutes, or those of the configurable GAN.",
)
@click.option("--image_size", default=64, help="Side of what is made of a folder's pictures, a multiple of 4.")
@click.option("--n_images", default=-1, help="Pictures to train on, drawn with --seed; -1 for all.")
@click.option("--batch_size", default=64, help="Pictures in a batch; lower it when memory runs out.")
@click.option("--steps", default=6000, help="Steps in all, those before --resume included.")
@click.option("--epochs", type=int, help="The same in epochs of 100 steps.  [default: --steps]")
@precision_option
@click.option("--seed", default=0, help="Seed of initial weights, order and noise.")
@click.option(
    "--output_dir", type=path_type, metavar="FOLDER", default="gan", help="Folder in which each run gets its own."
)
@click.option("--run", metavar="NAME", help="Name of the run's own folder.  [default: date and time]")
@click.option("--resume", is_flag=True, help="Go on with the run named by --run, or else the latest one.")
@click.option(
    "--set",
    "changes",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Change a field of the recipe, e.g. learning_rate=1e-4 or network_options.z_dim=50. May be repeated.",
)
@click.pass_context
def gan(
    ctx: click.Context,
    dataset: str,
    kind: str,
    network: str,
    image_size: int,
    output_dir: Path,
    run: str | None,
    resume: bool,
    changes: tuple[str, ...],
    **values: Any,
) -> None:
    """Train a generator from noise against a critic until its pictures look like those of a dataset.

    It is `train --recipe gan|wgan|wgan-gp` with networks that fit the dataset. After each epoch of 100 steps
    OUTPUT_DIR/RUN gets samples of the same noise and the curves of losses, accuracies and scores; what goes wrong is
    said in words. At the end come more samples, the way from one to another, and the nearest real pictures. Ctrl-C
    saves and stops; --resume goes on from there.
    """
    if is_given(ctx, "steps") and is_given(ctx, "epochs"):
        raise InputError("--steps: expected this or --epochs, received both")
    if hosts.from_environment().count > 1:
        raise InputError(f"{hosts.VARIABLE}: expected one host; `deblurgan train --recipe {kind}` takes several")
    folder = run_folder(output_dir, run, resume=resume)
    given = [(name, value) for name, value in values.items() if is_given(ctx, name)]
    is_stored = resume and (folder / RECIPE_NAME).exists()
    if is_stored:
        others = [name for name in ("dataset", "kind", "network", "image_size") if is_given(ctx, name)]
        if others:
            raise InputError(f"--{others[0]}: expected none with --resume: the run in {folder} has its own")
        known = dataclasses.asdict(read_run(folder))
    else:
        known = fields(kind, dataset, size=network, side=image_size)
    plan = make(known, [*given, *map(parse_change, changes)])
    if found := elsewhere(known, plan, folder / RECIPE_NAME) if is_stored else None:
        click.echo(found)
    if plan.dataset is None:
        raise InputError(f"{folder}: expected a run of gan, found one of `deblurgan train`")

    start_quietly()
    if not gpu_names():
        keep_freed()
    from deblurgan.training import trainer

    with _GanBars() as progress:
        result = trainer.train(plan, folder, resume=resume, progress=progress)
    _show(plan, result)
    report(ctx, result)
    if result.bad:
        raise click.ClickException(
            one_line(f"{len(result.bad)} pictures were left out: {'; '.join(result.bad.values())}")
        )


def _show(plan: Recipe, result: Result) -> None:
    """Write what the generator makes now, and say how near it is to what it has seen."""
    from deblurgan.training import gallery
    from deblurgan.training.pictures import whole_pictures
    from deblurgan.weights.any_file import load

    shown = gallery.write(result.run, load(result.weights), whole_pictures(plan).images, plan.seed)
    click.echo(f"Curves: {result.run / 'curves.png'}\nGenerator: {result.weights}")
    click.echo(f"Look at: {', '.join(map(str, shown.files))}")
    click.echo(
        f"Samples differ by {shown.nearest:.3f} from their nearest training pictures (mean absolute difference of "
        f"values in [-1, 1]); these do by {shown.among_real:.3f} from their nearest others"
    )
    if shown.nearest < shown.among_real / 2:
        click.echo("WARNING: samples are copies of training pictures, or nearly so")


class _GanBars(TrainingBars):
    """Shows a training run on the terminal, and says what goes wrong when it begins to."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Mapping[str, Any]] = []
        self._told: set[str] = set()

    def epoch_done(self, row: Mapping[str, Any]) -> None:
        """See `Progress`."""
        super().epoch_done(row)
        self._rows.append(row)
        found = troubles(self._rows)
        for name in found.keys() - self._told:
            click.echo(f"  WARNING: {found[name]}")
        self._told = set(found)

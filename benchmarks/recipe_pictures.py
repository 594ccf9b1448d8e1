"""A picture for each recipe: what it has learnt after minutes, on the crops of tests/data or on digits.

    python benchmarks/recipe_pictures.py                      # all, about half an hour on a core
    python benchmarks/recipe_pictures.py paper gan --output_dir docs/recipes

Of those that restore, input, output and target: first of a picture they were trained on, then of another scene.
Most networks are smaller than the recipes', crops are 128x128, and trainings have hundreds of steps in place of
10,000 and more, on six pictures, so that it tells what a recipe does and not how well. `maxim` is shown with the
weights in the package.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deblurgan.devices import start_quietly
from deblurgan.pictures.pixels import Restore, as_rgb, from_model, with_channels
from deblurgan.pictures.reading import read_rgb
from deblurgan.restoring.opening import open_restorer
from deblurgan.scoring import metrics
from deblurgan.scoring.samples import grid
from deblurgan.training.from_noise import KINDS, fields
from deblurgan.training.logs import picture_grid
from deblurgan.training.recipe import make, read_fields
from deblurgan.training.samples import generated
from deblurgan.training.trainer import train
from deblurgan.weights.any_file import load

CROPS = Path(__file__).parents[1] / "tests" / "data" / "GOPRO_crops"
SHOWN = ("train/GOPR0372_07_00/{}/000071.png", "test/GOPR0410_11_00/{}/001193.png")
SIDE = 180  # of each picture that is shown
UNET = {"network_options.ngf": 32, "network_options.num_downs": 7, "critic_options.ndf": 32}
NAFNET = {"network_options.width": 16, "network_options.encoder_blocks": [1, 1, 1, 4], "batch_size": 4}
CHANGES: dict[str, dict[str, Any]] = {  # of what can be trained in minutes
    "nafnet-small": {"steps": 250, "batch_size": 4, "learning_rate": 3e-3, "warmup_steps": 20, "ema": 0.9},
    "nafnet": {"steps": 300, **NAFNET},
    "nafnet-gan": {"steps": 100, **NAFNET, "ema": 0.9},
    "paper": {"steps": 200, "network_options.ngf": 16, "critic_options.ndf": 16, "learning_rate": 1e-3},
    "tutorial": {
        "steps": 150,
        "network_options.ngf": 16,
        "critic_options.ndf": 16,
        "batch_size": 2,
        "learning_rate": 1e-3,
    },
    "unet": {"steps": 400, **UNET},
    "pix2pix": {"steps": 400, **UNET, "resize": 143, "input_channels": 1, "keep_every": 0},
    "gan": {"steps": 600},
    "wgan": {"steps": 400},
    "wgan-gp": {"steps": 1000},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["maxim", *CHANGES], help="all unless named")
    parser.add_argument("--output_dir", type=Path, default=Path("recipe_pictures"))
    arguments = parser.parse_args()
    start_quietly()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.recipes:
            begun = time.perf_counter()
            picture, score = _picture(name, Path(folder))
            file = arguments.output_dir / f"{name}.jpg"
            Image.fromarray(picture).save(file)
            minutes = (time.perf_counter() - begun) / 60
            print(f"{file}: {file.stat().st_size >> 10} KB, {minutes:.1f} minutes; {score}", flush=True)


def _picture(name: str, runs: Path) -> tuple[np.ndarray, str]:
    """Train a recipe, and return what it then makes and what to say of it."""
    if name == "maxim":
        return _restored(open_restorer(), 3)
    if name in KINDS:
        plan = make(fields(name, "digits", size="small"), CHANGES[name].items())
        row = train(plan, runs / name).history[-1]
        noise = np.random.default_rng(0).standard_normal((30, 100), np.float32)
        made = generated(load(runs / name / "generator_last.weights.h5"), noise)
        return grid(from_model(made), 10, 28), f"val_distance {row['val_distance']:.3f}"
    kind = "colourise" if name == "pix2pix" else "gopro"
    known = {
        "image_size": 128,
        "sources": [{"kind": kind, "folder": str(CROPS / "train")}],
        "steps_per_epoch": CHANGES[name]["steps"],
    }
    if name == "nafnet-gan":  # goes on where nafnet ended
        if not (runs / "nafnet").exists():
            _picture("nafnet", runs)
        known["init_weights"] = str(runs / "nafnet" / "generator_last.weights.h5")
    plan = make(read_fields(name), [*known.items(), *CHANGES[name].items()])
    train(plan, runs / name)
    return _restored(open_restorer(runs / name / "generator_last.weights.h5"), plan.input_channels)


def _restored(restore: Restore, channels: int) -> tuple[np.ndarray, str]:
    """Input, output and target, and what PSNR tells of them; with 1 channel the input is the target's grey."""
    rows, gains = [], []
    for path in SHOWN:
        blurred, sharp = (read_rgb(CROPS / path.format(side)) for side in ("blur", "sharp"))
        given = as_rgb(with_channels(sharp, 1)) if channels == 1 else blurred
        rows.append([given, restore(given), sharp])
        gains.append(f"{metrics.psnr(sharp, given):.2f} -> {metrics.psnr(sharp, rows[-1][1]):.2f} dB")
    return picture_grid(rows, SIDE, ["input", "output", "target"]), f"PSNR {' and '.join(gains)}"


if __name__ == "__main__":
    main()

"""What each part of pix2pix's loss and each size of patch does: one figure from trainings of the same short length.

L1 alone, the critic alone, both; and both with critics that judge patches of 1, 16, 70 and 286 pixels. All start from
the same random weights and see the same crops. The networks are a sixteenth of the recipe's unless told otherwise.

    python benchmarks/pix2pix.py --source gopro=GOPRO_Large/train --pictures blurred.png sharp.png
    python benchmarks/pix2pix.py --source combined=facades/train --pictures input.png truth.png --steps 4000
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from deblurgan.data.opening import parse_source
from deblurgan.devices import start_quietly
from deblurgan.pictures.reading import read_rgb
from deblurgan.pictures.writing import write_image
from deblurgan.restoring.opening import open_restorer
from deblurgan.scoring import metrics
from deblurgan.training.logs import picture_grid
from deblurgan.training.recipe import make, read_fields
from deblurgan.training.trainer import train

ALONE = {"critic": None, "critic_options": {}, "adversarial": None, "conditional": False, "simultaneous": False}
PATCHES = {1: 0, 16: 1, 70: 3, 286: 5}  # by the number of the critic's strided layers


def trainings(filters: int) -> dict[str, list[tuple[str, Any]]]:
    """Return by its title what each training changes of the recipe."""
    small = [("network_options.ngf", filters), ("critic_options.ndf", filters)]
    without = [("network_options.ngf", filters), *ALONE.items(), ("panels.critic", None)]
    found = {"L1 alone": without, "critic alone": [*small, ("losses.l1", None)]}
    for patch, layers in PATCHES.items():
        found[f"both, patch {patch}"] = [*small, ("critic_options.n_layers", layers)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="as of `deblurgan train`")
    parser.add_argument("--pictures", nargs="+", required=True, help="an input and its truth, and more such pairs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--filters", type=int, default=16, help="of the first layers; the recipe has 64")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--output", type=Path, default=Path("pix2pix.png"))
    arguments = parser.parse_args()
    start_quietly()
    pairs = [read_rgb(path) for path in arguments.pictures]
    columns = {"input": pairs[::2]}
    downs = arguments.image_size.bit_length() - 1
    run = {
        "network_options.num_downs": min(downs, 8),
        "image_size": arguments.image_size,
        "sources": [parse_source(arguments.source)],
        "steps": arguments.steps,
        "steps_per_epoch": arguments.steps,
        "keep_every": 0,
    }
    print(f"{'':18}  seconds  PSNR      contrast of the truth's")
    for title, changes in trainings(arguments.filters).items():
        with tempfile.TemporaryDirectory() as folder:
            result = train(make(read_fields("pix2pix"), [*changes, *run.items()]), folder)
            restore = open_restorer(Path(folder) / "generator_last.weights.h5")
            columns[title] = [restore(picture) for picture in pairs[::2]]
        scores = [metrics.psnr(*pair) for pair in zip(pairs[1::2], columns[title], strict=True)]
        detail = [_detail(made) / _detail(truth) for made, truth in zip(columns[title], pairs[1::2], strict=True)]
        seconds = result.history[-1]["seconds"]
        print(f"{title:18}  {seconds:7.0f}  {np.mean(scores):5.2f} dB  {np.mean(detail):.2f}", flush=True)
    columns["truth"] = pairs[1::2]
    grid = picture_grid(list(zip(*columns.values(), strict=True)), titles=list(columns))
    write_image(arguments.output, grid)
    print(arguments.output)


def _detail(picture: np.ndarray) -> float:
    """How much neighbouring pixels differ: what blur lowers."""
    return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())


if __name__ == "__main__":
    main()

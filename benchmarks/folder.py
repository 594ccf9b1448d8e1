"""Restoring a folder of pictures: how much of the time passes inside the network, and what restoring together gains.

Makes folders of pictures of a few sizes from the picture or pictures in --input_dir (noise without it), and restores
each folder as `deblurgan deblur` does, reading and writing PNG. A warm-up round is left out.

    python benchmarks/folder.py
    python benchmarks/folder.py --weight_path weights/RUN/generator_best.weights.h5 --input_dir images/test/A
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from deblurgan.devices import describe, policy
from deblurgan.jobs.finding import find_inputs
from deblurgan.jobs.planning import Where, plan
from deblurgan.jobs.running import restore_jobs
from deblurgan.networks.folding import folded
from deblurgan.networks.tutorial import generator_model
from deblurgan.pictures.listing import list_images
from deblurgan.pictures.pixels import resize
from deblurgan.pictures.reading import read_rgb
from deblurgan.pictures.writing import write_image
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.restorer import Restorer

FOLDERS = {(64, 64): 64, (128, 128): 32, (256, 256): 16, (720, 1280): 5}  # (height, width): pictures


class Timed:
    """A restorer that adds up the seconds spent in it."""

    def __init__(self, restore) -> None:
        self.restore = restore
        self.seconds = 0.0

    def __call__(self, image):
        return self.timed(self.restore, image)

    def timed(self, function, images):
        began = time.perf_counter()
        try:
            return function(images)
        finally:
            self.seconds += time.perf_counter() - began


class TimedTogether(Timed):
    """The same with pictures restored together."""

    def batch(self, images):
        return self.timed(self.restore.batch, images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", help="random weights of the tutorial's generator when left out")
    parser.add_argument("--input_dir", type=Path, help="pictures to make the folders of")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    restore = (
        open_restorer(arguments.weight_path)
        if arguments.weight_path
        else Restorer(folded(generator_model((None, None, 3), dtype=policy("auto"))), fixed=True)
    )
    print(describe("auto"))
    given = [read_rgb(path) for path in list_images(arguments.input_dir)] if arguments.input_dir else []
    given = given or [np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)]
    for (height, width), count in FOLDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "in").mkdir()
            for number in range(count):
                picture = resize(given[number % len(given)], (height, width))
                write_image(Path(folder, "in", f"{number}.png"), picture)
            walls = {}
            for _ in range(1 + arguments.rounds):
                for kind in (Timed, TimedTogether):
                    network = kind(restore)
                    where = Where(Path(folder, "out"))
                    jobs = plan(find_inputs([Path(folder, "in")])[0], where)
                    began = time.perf_counter()
                    restore_jobs(network, jobs, where)
                    wall = time.perf_counter() - began
                    walls.setdefault(kind, []).append((wall, network.seconds / wall))
            (alone, _), (together, share) = (min(rounds[1:]) for rounds in walls.values())
            print(
                f"{count:3} of {width}x{height}: {together / count:.3f} s each, {share:.0%} of it in the network; "
                f"{alone / together:.2f}x as fast as one by one"
            )


if __name__ == "__main__":
    main()

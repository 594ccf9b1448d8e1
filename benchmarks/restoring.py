"""Restoring one picture: the bare compiled TensorFlow graph of the generator against this package's `Restorer`.

The bare graph takes and gives a float32 tensor whose sides are multiples of 4; the restorer takes and gives a uint8
array of any size. With --pairs also the PSNR that each precision reaches on blurred/sharp pairs.

    python benchmarks/restoring.py
    python benchmarks/restoring.py --weight_path weights/RUN/generator_best.weights.h5 --pairs images/test
"""

import argparse
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from generators import tutorial_weights
from side_by_side import report, time_in_turn

from deblurgan.data.pairs import match_pairs
from deblurgan.devices import describe, policy
from deblurgan.networks.folding import folded
from deblurgan.restoring.restorer import Restorer
from deblurgan.scoring.metrics import psnr


def bare_graph(weights, dtype, image):
    """Return a call of nothing but the network, compiled for the size of `image`."""
    network = weights.build(dtype=dtype)
    graph = tf.function(lambda x: network(x, training=False), autograph=False)
    x = tf.constant(image[np.newaxis], tf.float32) / 127.5 - 1
    return lambda: graph(x).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", help="random weights when left out")
    parser.add_argument("--pairs", metavar="FOLDER", help="A and B to compare the precisions' PSNR on")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    weights = tutorial_weights(arguments.weight_path)
    print(f"auto is: {describe('auto')}")

    restorers = {
        name: Restorer(folded(weights.build(dtype=policy(name))), fixed=True)
        for name in ("float32", "bfloat16", "auto")
    }
    random = np.random.default_rng(0)
    for height, width in ((256, 256), (720, 1280)):
        image = random.integers(0, 256, (height, width, 3), np.uint8)

        def call(restore, image=image):
            return lambda: restore(image)

        things = {
            "bare graph float32": bare_graph(weights, "float32", image),
            "bare graph mixed_bfloat16": bare_graph(weights, "mixed_bfloat16", image),
            **{f"Restorer {name}": call(restore) for name, restore in restorers.items()},
        }
        print(f"\n{width}x{height}")
        report(time_in_turn(things, arguments.rounds), baseline="bare graph float32")

    if arguments.pairs:
        print(f"\nmean PSNR on {arguments.pairs}, dB")
        pairs = [pair.read() for pair in match_pairs(arguments.pairs)]
        for name, restore in restorers.items():
            print(f"{name:10} {statistics.mean(psnr(sharp, restore(blurred)) for blurred, sharp in pairs):.4f}")


if __name__ == "__main__":
    main()

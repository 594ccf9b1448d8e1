"""The program with a stand-in for a network, which makes negatives: `python -m tests.faults.stand_in PAUSE ...`.

It is there at once, and takes PAUSE seconds for each picture; where that is negative, the clock runs backwards besides.
"""

import sys
import time

PAUSE = float(sys.argv[1])
if PAUSE < 0:
    start = time.time()
    time.time = lambda: start - 100 * time.monotonic()

import numpy as np

from deblurgan import cli
from deblurgan.cli import common


class StandIn:
    quality = engine_precision = None
    engine = "tensorflow"
    pixels_done = 0.0
    on_tile = staticmethod(lambda done, total: None)

    def __call__(self, image):
        time.sleep(abs(PAUSE))
        self.pixels_done += image.shape[0] * image.shape[1]
        return np.iinfo(image.dtype).max - image


def opened(weights):
    common.notice("Weights: a stand-in")
    return StandIn()


if __name__ == "__main__":
    common.Weights.opened = opened
    cli.main(sys.argv[2:], prog_name="deblurgan")

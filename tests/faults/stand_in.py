"""The program with a stand-in for a network, which makes negatives: `python -m tests.faults.stand_in PAUSE ...`.

It is there at once, and takes PAUSE seconds for a picture; where that is negative, the clock runs backwards besides.
"""

import sys
import time


class StandIn:
    """What restores."""

    quality = engine_precision = None
    engine = "tensorflow"
    pixels_done = 0.0
    on_tile = staticmethod(lambda done, total: None)

    def __init__(self, pause):
        self.pause = pause

    def __call__(self, image):
        time.sleep(self.pause)
        self.pixels_done += image.shape[0] * image.shape[1]
        return ~image


def run(pause, *arguments):
    """Run the program."""
    if pause < 0:
        start = time.time()
        time.time = lambda: start - 100 * time.monotonic()  # before anything takes it

    from deblurgan import cli
    from deblurgan.cli import common

    def opened(weights):
        common.notice("Weights: a stand-in")
        return StandIn(abs(pause))

    common.Weights.opened = opened
    cli.main(arguments, prog_name="deblurgan")


if __name__ == "__main__":
    run(float(sys.argv[1]), *sys.argv[2:])

"""The program, which prints the number drawn in each picture it restores: `python -m tests.faults.numbered ...`."""

import sys

import numpy as np


def drawn(image, number):
    """Draw a number into the first two pixels of an image."""
    image[0, :2] = np.frombuffer(int(number).to_bytes(6, "big"), np.uint8).reshape(2, 3)
    return image


def read(image):
    """The number that is drawn in an image."""
    return int.from_bytes(image[0, :2].tobytes(), "big")


def run(*arguments):
    """Run the program."""
    from deblurgan import cli
    from deblurgan.cli import common

    opened = common.Weights.opened

    def numbering(weights):
        restorer = opened(weights)

        class Numbering(type(restorer)):
            def __call__(self, image):
                sys.stdout.write(f"{read(image)}\n")
                sys.stdout.flush()
                return super().__call__(image)

        restorer.__class__ = Numbering
        return restorer

    common.Weights.opened = numbering
    cli.main(arguments, prog_name="deblurgan")


if __name__ == "__main__":
    run(*sys.argv[1:])

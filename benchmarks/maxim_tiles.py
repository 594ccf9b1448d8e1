"""MAXIM in tiles: mean PSNR and time by the side of the tiles and by how far they overlap, on pairs of pictures.

MAXIM mixes over a fixed grid of whatever it is given, so that tiles change the result. Each row is one choice for all
pictures, whole ones included; times are those of a single run, one after the other, and only rough.

    python benchmarks/maxim_tiles.py --pairs images/test
    python benchmarks/maxim_tiles.py --pairs images/test --n_images 3 --sides 256 384 512 --overlaps 32 64
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from deblurgan.data.pairs import choose_pairs, match_pairs
from deblurgan.restoring import tiles
from deblurgan.restoring.opening import open_restorer
from deblurgan.restoring.restorer import ALIKE_STEP
from deblurgan.scoring.metrics import psnr


def restored(restorer, image, side, overlap):
    """Return the image restored in tiles of that side, or whole where it is None."""
    height, width = image.shape[:2]
    multiple = restorer.needs.multiple
    sides = [max(height, width) // multiple * multiple + multiple] if side is None else [side]
    limits = {"pixels": 10**9, "overlap": overlap, "multiple": ALIKE_STEP}
    rows, columns = tiles.cut_alike(height, width, sides=sides, best=sides[0], **limits)
    more = [(0, rows[-1].see_to - height), (0, columns[-1].see_to - width), (0, 0)]
    padded = np.pad(image, more, mode="reflect")

    def tile(down, across):
        return restorer._run(padded[down, across][np.newaxis], np.float32)[0]

    parts = [values for _, values in tiles.stitched(rows, columns, overlap // 2, tile)]
    values = np.concatenate(parts)[:height, :width]
    return np.rint(values * 255).astype(np.uint8), tiles.computed((rows, columns)) / (height * width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True, metavar="FOLDER", help="with A (blurred) and B (sharp)")
    parser.add_argument("--n_images", type=int, default=-1)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 320, 384, 448, 512, 640])
    parser.add_argument("--overlaps", type=int, nargs="+", default=[32])
    parser.add_argument("--whole", action="store_true", help="also whole pictures")
    parser.add_argument("--stages", type=int, default=1)
    arguments = parser.parse_args()
    pairs = choose_pairs(match_pairs(arguments.pairs), arguments.n_images, 0)
    pictures = [pair.read() for pair in pairs]
    restorer = open_restorer(stages=arguments.stages)
    choices = [(side, overlap) for side in arguments.sides for overlap in arguments.overlaps]
    for side, overlap in choices + [(None, 32)] * arguments.whole:
        began, scores, shares = time.perf_counter(), [], []
        for blurred, sharp in pictures:
            output, share = restored(restorer, blurred, side, overlap)
            scores.append(psnr(sharp, output))
            shares.append(share)
        seconds = time.perf_counter() - began
        each = " ".join(f"{score:.2f}" for score in scores)
        print(
            f"side {side or 'whole'}, overlap {overlap}: mean {np.mean(scores):.3f} dB ({each}), "
            f"{np.mean(shares):.2f}x the pixels, {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Large pictures: time per pixel against that of a 1280x720 one, what the overlap of tiles costs, and peak memory.

Each case runs in a process of its own, whose largest resident memory, Python and TensorFlow included, is that of
loading the network and restoring the picture. It is timed in turn with a picture of 1280x720 that fits into the
memory whole; the first of each is left out. Bytes per pixel are what restoring took over what the process held, for
each pixel of the largest tile, and what `footprint` estimates.

    python benchmarks/tiles.py
    python benchmarks/tiles.py --networks nafnet-small --sizes 4000x6000 --memory default 1.5GB
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SMALL = np.random.default_rng(1).integers(0, 256, (720, 1280, 3), np.uint8)

NETWORKS = {
    "tutorial": ("tutorial", {}),
    "tutorial-narrow": ("tutorial", {"ngf": 16, "n_blocks": 9}),
    "paper": ("paper", {}),
    "unet": ("unet", {}),
    "nafnet": ("nafnet", {"local_window": 384}),
    "nafnet-small": (
        "nafnet",
        {
            "encoder_blocks": (1, 1, 4),
            "middle_blocks": 2,
            "decoder_blocks": (1, 1, 1),
            "space_to_depth": 2,
            "local_window": 384,
        },
    ),
}


def measure(name: str, size: str, memory: str, precision: str, rounds: int) -> None:
    """Print the results of one case as JSON."""
    from deblurgan.devices import policy
    from deblurgan.networks import zoo
    from deblurgan.networks.folding import folded
    from deblurgan.restoring.memory import resident
    from deblurgan.restoring.restorer import Restorer
    from deblurgan.restoring.tiles import computed

    height, width = map(int, size.split("x"))
    network, options = NETWORKS[name]
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    given = {} if memory == "default" else {"memory": memory}
    model = zoo.build_generator(network, options, dtype=policy(precision))
    restore = Restorer(folded(model), fixed=True, **given)
    parts = restore.tile_plan(height, width)
    before = resident()
    least = {image.shape: math.inf, SMALL.shape: math.inf}
    restore(image)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for _ in range(rounds):
        for picture in (SMALL, image, SMALL):
            began = time.perf_counter()
            restore(picture)
            elapsed = (time.perf_counter() - began) * 1e9 / (picture.shape[0] * picture.shape[1])
            least[picture.shape] = min(least[picture.shape], elapsed)
    longest = [max(span.see_to - span.see_from for span in side) for side in parts]
    result = {
        "tiles": f"{len(parts[0])}x{len(parts[1])}",
        "tile": f"{longest[0]}x{longest[1]}",
        "overlap": computed(parts) / (height * width),
        "nanoseconds": least[image.shape],
        "small": least[SMALL.shape],
        "peak": peak,
        "held": before,
        "bytes": (peak - before - 2 * image.nbytes) / (longest[0] * longest[1]),
        "estimate": restore.needs.bytes_per_pixel,
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["tutorial", "nafnet-small"])
    parser.add_argument("--sizes", nargs="+", metavar="HEIGHTxWIDTH", default=["4000x6000"])
    parser.add_argument("--memory", nargs="+", default=["default", "1.5GB"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        measure(*arguments.case, arguments.precision, arguments.rounds)
        return
    for name in arguments.networks:
        for memory in arguments.memory:
            for size in arguments.sizes:
                command = [sys.executable, __file__, "--precision", arguments.precision, "--case", name, size, memory]
                command += ["--rounds", str(arguments.rounds)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{name:16} {size:10} memory {memory:8} {done.stderr.strip().splitlines()[-1]}", flush=True)
                    continue
                case = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{name:16} {size:10} memory {memory:8} tiles {case['tiles']:>5} of {case['tile']:>9}: "
                    f"{case['nanoseconds']:6.0f} ns per pixel, "
                    f"{case['nanoseconds'] / case['small']:.2f}x that of 1280x720; "
                    f"{case['overlap']:.2f}x the pixels computed; peak {case['peak'] / 1e9:.2f} GB "
                    f"(held before: {case['held'] / 1e9:.2f}), {case['bytes']:.0f} bytes per pixel "
                    f"(estimated {case['estimate']:.0f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()

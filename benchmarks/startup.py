"""Start-up: seconds until `deblurgan --help` has ended, and until a first picture has been restored.

Each runs in a process of its own, several times; the least and the median are printed. The picture is 256x256; the
networks are the tutorial's of 9 blocks with random weights, written before, and the one in the package.

    python benchmarks/startup.py
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deblurgan.weights.catalogue import DEFAULT

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
COMMAND = [sys.executable, "-m", "deblurgan"]


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default="tensorflow")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights, picture = Path(folder, "g.weights.h5"), Path(folder, "blurred.png")
        subprocess.run([sys.executable, __file__, "--write", str(weights), str(picture)], check=True)
        things = {
            "--help": [*COMMAND, "--help"],
        }
        for network in (str(weights), DEFAULT):
            things[f"first picture, {Path(network).name}"] = [
                *COMMAND,
                *("deblur", str(picture), "--weight_path", network, "--engine", arguments.engine),
                *("--output_dir", str(Path(folder, "out"))),
            ]
        for name, command in things.items():
            seconds(command)
            times = [seconds(command) for _ in range(arguments.rounds)]
            print(f"{name:30} least {min(times):6.2f} s, median {statistics.median(times):6.2f} s", flush=True)


def write(weights: str, picture: str) -> None:
    """Write what is restored, and with what."""
    import numpy as np
    from PIL import Image

    from deblurgan.networks.tutorial import generator_model
    from deblurgan.weights.hdf5 import save_weights

    save_weights(generator_model((None, None, 3)), weights)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)).save(picture)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write(*sys.argv[2:])
    else:
        main()

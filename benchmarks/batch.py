"""`deblurgan batch` beside `deblurgan deblur`: the time that a picture takes with one worker, and that of the start.

Both restore the same folders in turn, as programs of their own. Each folder comes at two lengths, of which one is
twice the other: what the longer takes beyond the shorter is the pictures' time, the rest the start, of Ray too.

    python benchmarks/batch.py
    python benchmarks/batch.py --weight_path weights/RUN/generator_best.weights.h5 --input_dir images/test/A
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from deblurgan.pictures.listing import list_images
from deblurgan.pictures.pixels import resize
from deblurgan.pictures.reading import read_rgb
from deblurgan.pictures.writing import write_image

FOLDERS = {(64, 64): 300, (720, 1280): 4}  # (height, width): pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", help="those in the package when left out")
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--input_dir", type=Path, help="pictures to make the folders of; noise when left out")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    chosen = ["--weight_path", arguments.weight_path] if arguments.weight_path else ["--quality", arguments.quality]
    given = [read_rgb(path) for path in list_images(arguments.input_dir)] if arguments.input_dir else []
    given = given or [np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)]
    for (height, width), count in FOLDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            for number in range(2 * count):
                picture = resize(given[number % len(given)], (height, width))
                for name in ("long", "short")[: 1 + (number < count)]:
                    Path(folder, name).mkdir(exist_ok=True)
                    write_image(Path(folder, name, f"{number:04}.png"), picture)
            found = [measured(Path(folder), count, chosen, turn) for turn in range(arguments.rounds)]
        deblur, batch = (
            {name: statistics.median(each[command][name] for each in found) for name in ("picture", "start")}
            for command in ("deblur", "batch")
        )
        ratio = statistics.median(each["batch"]["picture"] / each["deblur"]["picture"] for each in found)
        starts = f"start {deblur['start']:.1f} s and {batch['start']:.1f} s"
        print(
            f"{count} more of {width}x{height}: deblur {1e3 * deblur['picture']:.1f} ms a picture, batch "
            f"{1e3 * batch['picture']:.1f} ms, ratio {ratio:.3f}; {starts}",
            flush=True,
        )


def measured(folder: Path, count: int, chosen: list[str], turn: int) -> dict[str, dict[str, float]]:
    """The seconds that each command takes for a picture, and for its start."""
    found = {}
    for command in ("deblur", "batch")[:: -1 if turn % 2 else 1]:
        seconds = {name: timed(command, folder, name, [*chosen], turn) for name in ("short", "long")}
        picture = (seconds["long"] - seconds["short"]) / count
        found[command] = {"picture": picture, "start": seconds["short"] - count * picture}
    return found


def timed(command: str, folder: Path, name: str, chosen: list[str], turn: int) -> float:
    output = folder / f"{command}-{name}-{turn}"
    places = ["--output_dir", output] if command == "deblur" else [output, "--actors", "1"]
    program = [sys.executable, "-m", "deblurgan", command, folder / name, *places, *chosen]
    began = time.perf_counter()
    subprocess.run([str(part) for part in program], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

"""`deblurgan batch` beside `deblurgan deblur`: the time that a picture takes with one worker, and that of the start.

Both restore the same folder in turn, as programs of their own. The files' times tell when each result was written:
what lies between those at a quarter and at the end is the pictures' time; the rest is that of the start, and of the
end, of Ray too.

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

COMMANDS = ("deblur", "batch")
FOLDERS = {(256, 256): 160, (720, 1280): 16}  # (height, width): pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight_path", help="those in the package when left out")
    parser.add_argument("--quality", default="preview", help="the cheapest, beside which Ray takes most")
    parser.add_argument("--input_dir", type=Path, help="pictures to make the folders of; noise when left out")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    chosen = ["--weight_path", arguments.weight_path] if arguments.weight_path else ["--quality", arguments.quality]
    given = [read_rgb(path) for path in list_images(arguments.input_dir)] if arguments.input_dir else []
    given = given or [np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)]
    for (height, width), count in FOLDERS.items():
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "given")
            source.mkdir()
            for number in range(count):
                picture = resize(given[number % len(given)], (height, width))
                write_image(source / f"{number:04}.png", picture)
            rounds = [
                {
                    command: timed(command, source, Path(folder, f"{command}-{turn}"), chosen)
                    for command in COMMANDS[:: -1 if turn % 2 else 1]
                }
                for turn in range(arguments.rounds)
            ]
        deblur, batch = (
            {name: statistics.median(each[command][name] for each in rounds) for name in ("picture", "start")}
            for command in COMMANDS
        )
        ratios = sorted(each["batch"]["picture"] / each["deblur"]["picture"] for each in rounds)
        print(
            f"{count} of {width}x{height}: deblur {1e3 * deblur['picture']:.1f} ms a picture, batch "
            f"{1e3 * batch['picture']:.1f} ms, ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to "
            f"{ratios[-1]:.3f}); start {deblur['start']:.1f} s and {batch['start']:.1f} s",
            flush=True,
        )


def timed(command: str, source: Path, output: Path, chosen: list[str]) -> dict[str, float]:
    """The seconds that a command takes for a picture, and for its start."""
    places = ["--output_dir", output] if command == "deblur" else [output, "--actors", "1"]
    program = [sys.executable, "-m", "deblurgan", command, source, *places, *chosen]
    began = time.perf_counter()
    subprocess.run([str(part) for part in program], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    written = sorted(path.stat().st_mtime for path in output.glob("*.png"))
    first = len(written) // 4
    picture = (written[-1] - written[first]) / (len(written) - 1 - first)
    return {"picture": picture, "start": seconds - len(written) * picture}


if __name__ == "__main__":
    main()

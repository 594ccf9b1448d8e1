"""Peak memory of training: does it depend on the number of images?

Trains one short epoch per set size, each in a process of its own, on links to the same pictures, and prints the peak
resident memory of each and the largest over the smallest.

    python benchmarks/memory.py --pairs images/train
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def train(folder: str, batches: int) -> None:
    """Take `batches` steps on the pairs in `folder`, then read the rest of the epoch without training."""
    from deblurgan.data.crops import CropStream
    from deblurgan.data.opening import open_source
    from deblurgan.networks.tutorial import discriminator_model, generator_model
    from deblurgan.training.tutorial import TutorialGAN

    stream = CropStream(
        [open_source({"folder": folder})], crop_size=256, batch_size=2, crops_per_picture=1, cache_mb=64
    )
    gan = TutorialGAN(generator_model(), discriminator_model(), critic_updates=1)
    for number, batch in enumerate(stream.batches(0, stream.pictures // 2)):
        if number < batches:
            gan.step(batch)
    print(stream.pictures, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def repeated(source: Path, target: Path, count: int) -> None:
    """Make `count` pairs of links in `target` to the pairs in `source`."""
    for side in ("A", "B"):
        (target / side).mkdir(parents=True)
        pictures = sorted((source / side).iterdir())
        for number in range(count):
            picture = pictures[number % len(pictures)]
            (target / side / f"{number:05d}{picture.suffix}").symlink_to(picture.resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", metavar="FOLDER", default="images/train", help="A and B")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train, arguments.batches)
        return
    peaks = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            repeated(Path(arguments.pairs), Path(folder), size)
            command = [sys.executable, __file__, "--train", folder, "--batches", str(arguments.batches)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        peaks.append(float(output[1]))
        print(f"{output[0]:>6} pairs: peak resident memory {peaks[-1]:7.0f} MB", flush=True)
    print(f"largest over smallest: {max(peaks) / min(peaks):.3f}")


if __name__ == "__main__":
    main()

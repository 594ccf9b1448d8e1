"""Crops per second of the input pipeline, for each kind of source alone and for all of them mixed, and its memory.

Each line is a process of its own: what it prints is the first seconds from a cold start (nothing in the cache, files
in the system's own), the median rate of the rounds after that (which may still find new files), and by how much the
resident memory grew at most, beside the bound that was set. Crops per second of processor time, all threads together,
tell the same on a machine that others use, too.

    python benchmarks/data.py --source images/train --source frames=FOLDER,gamma=2.2 --source sharp=FOLDER
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from deblurgan.data.crops import CropStream
from deblurgan.data.opening import open_source, parse_source
from deblurgan.devices import start_quietly


def measure(arguments: argparse.Namespace) -> None:
    """Run one pipeline and print its line of the table."""
    start_quietly()
    import tensorflow as tf

    for _ in tf.data.Dataset.range(1).map(lambda x: x):  # what TensorFlow itself takes at its first use
        before = resident()
    stream = CropStream(
        [open_source(parse_source(text)) for text in arguments.source],
        crop_size=arguments.crop_size,
        batch_size=arguments.batch_size,
        downscale=arguments.downscale,
        candidates=arguments.candidates,
        cache_mb=arguments.cache_mb,
        workers=arguments.workers,
    )
    step = 0
    rates, by_processor, growth = [], [], 0.0
    for _ in range(1 + arguments.rounds):
        begin, processor_begin = time.perf_counter(), time.process_time()
        for _ in stream.batches(step, arguments.steps):
            growth = max(growth, resident() - before)
        crops = arguments.steps * arguments.batch_size
        rates.append(crops / (time.perf_counter() - begin))
        by_processor.append(crops / (time.process_time() - processor_begin))
        step += arguments.steps
    kinds = " + ".join(source["kind"] for source in stream.summary())
    columns = (
        rates[0],
        statistics.median(rates[1:]),
        statistics.median(by_processor[1:]),
        growth,
        arguments.cache_mb,
    )
    print(f"{kinds:24} {stream.pictures:8}", *(f"{column:10.0f}" for column in columns))


def resident() -> float:
    """Return this process' memory in MB of 2**20 bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", action="append", required=True, help="[KIND=]FOLDER[,OPTION=VALUE...]; repeatable"
    )
    parser.add_argument("--crop_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--downscale", type=int, default=1)
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--cache_mb", type=float, default=1024)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="batches in a round")
    parser.add_argument("--rounds", type=int, default=7, help="after the cold one")
    parser.add_argument("--one_line", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_line:
        measure(arguments)
        return
    size = arguments.crop_size
    print(f"crops of {size}x{size}, {arguments.workers} workers on {os.cpu_count()} cores")
    print(f"{'':24} {'':8} {'crops per second':>21} {'warm, per':>10} {'memory, MB':>21}")
    headings = ("cold", "warm", "CPU second", "growth", "bound")
    print(f"{'sources':24} {'pictures':>8}", *(f"{heading:>10}" for heading in headings), flush=True)
    options = [
        f"--{name}={getattr(arguments, name)}"
        for name in ("crop_size", "batch_size", "downscale", "candidates", "cache_mb", "workers", "steps", "rounds")
    ]
    mixes = [[text] for text in arguments.source] + ([arguments.source] if len(arguments.source) > 1 else [])
    for mix in mixes:
        sources = [f"--source={text}" for text in mix]
        subprocess.run([sys.executable, __file__, *sources, *options, "--one_line"], check=True)


if __name__ == "__main__":
    main()

"""Mutated videos, restored by the code of `deblurgan deblur` beside a sound picture."""

import os
import random

import av
import numpy as np
from PIL import Image

from tests.faults.mutating import mutated
from tests.faults.pictures import SIZE, SOUND, contents, restored
from tests.video.clips import levels, write

HEIGHT, WIDTH = 24, 32


def prepare(samples):
    """Have FFmpeg loaded, and quiet, before anything is measured."""
    av.logging.set_level(None)


def write_samples(folder):
    """Write a short video in each container and codec."""
    frames = levels(6, (WIDTH, HEIGHT))
    turned = frames[:3]

    def add(name, frames=frames, **options):
        write(folder / f"{len(os.listdir(folder)):02}{name}", frames, **options)

    for name in (".mp4", ".mov", ".mkv", ".webm", ".ts", ".3gp", ".m4v"):
        add(name)
    add(".mp4", sound="aac", chapters=[])
    add(".mp4", turned, matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))
    add(".mkv", pix_fmt="yuv420p10le", tags=(1, 9, 16, 9), sound="aac")
    add(".mp4", times=[0, 3, 4, 9, 20, 21], container={"movflags": "frag_keyframe+empty_moov"})
    for name, codec in (
        (".avi", "mpeg4"),
        (".avi", "mjpeg"),
        (".mpg", "mpeg2video"),
        (".flv", "flv"),
        (".wmv", "wmv2"),
    ):
        add(name, codec=codec, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
    add(".mov", codec="prores_ks", pix_fmt="yuv422p10le")
    add(".mkv", codec="ffv1", pix_fmt="yuv444p")
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / f"{len(os.listdir(folder)):02}{SOUND}")


def attempt(number, samples, folder):
    files, sound = contents(samples)
    name, content = files[number % len(files)]
    damaged, other, out = folder / f"damaged{name[2:]}", folder / SOUND, folder / "out"
    damaged.write_bytes(mutated(content, random.Random(number)))
    other.write_bytes(sound)
    return restored(damaged, other, out)

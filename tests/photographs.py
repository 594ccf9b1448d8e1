"""Pictures that tests restore: noise and slopes as arrays, in files, and from files."""

import os

import numpy as np
from PIL import Image

from deblurgan.pictures.formats import format_to_write
from deblurgan.pictures.writing import encode_picture


def noise(height=24, width=32, channels=3, seed=0, dtype=np.uint8):
    """(height, width, channels), or (height, width) for None; float32 in [0, 1], or the whole range of an integer."""
    shape = (height, width) if channels is None else (height, width, channels)
    random = np.random.default_rng(seed)
    if dtype == np.float32:
        return random.random(shape, dtype)
    return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)


def save(path, image, **options):
    """Write an array or a Pillow image, in folders made where missing; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **{"format": None if path.suffix else "PNG", **options})
    return path


def pixels(path):
    """The values that a file holds, as Pillow reads them."""
    with Image.open(path) as image:
        return np.array(image)


def names(folder):
    return sorted(os.listdir(folder))


def write_picture(path, picture, rgb):
    """Write the restored colours of a picture in the format of the extension."""
    path.write_bytes(encode_picture(picture, rgb, format_to_write(path)))

"""How good pictures made from noise are as a set: no single one of them has a picture to be compared with."""

import numpy as np
from numpy.typing import NDArray

from deblurgan.pictures.pixels import Pixels

Pictures = NDArray[np.floating]
"""(count, height, width, channels) in [-1, 1]."""


def diversity(samples: Pictures, real: Pictures) -> float:
    """Return the mean distance between two of the samples, over that between two real pictures.

    About 1 where samples differ as much as real pictures do, 0 where all are the same.
    """
    return _mean_apart(samples) / _mean_apart(real)


def distance(samples: Pictures, real: Pictures) -> float:
    """Return the energy distance of the samples from real pictures, over the mean distance between two real ones.

    0 where both are drawn alike; with one picture repeated it is near 1 or above. It looks at pixels, not at what a
    picture shows, and does not notice single bad samples.

    Source: Székely and Rizzo, "Energy statistics", Journal of Statistical Planning and Inference 143 (2013).
    """
    apart = _mean_apart(real)
    return float(2 * _distances(samples, real).mean() - _mean_apart(samples) - apart) / apart


def nearest(samples: Pixels, real: Pixels) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which real picture is nearest to each sample, and how far it is.

    That is the mean absolute difference of the values, as they are in [-1, 1]. Both sets are uint8 (count, height,
    width, channels).
    """
    parts = np.array_split(real, -(-len(real) // 1000))  # so that differences take little memory
    differences = np.array(
        [
            np.concatenate([np.abs(part.astype(np.int16) - sample).mean(axis=(1, 2, 3)) for part in parts])
            for sample in samples
        ]
    )
    return differences.argmin(axis=1), differences.min(axis=1) / 127.5


def grid(images: Pixels, columns: int, side: int = 56) -> Pixels:
    """Return pictures in rows of `columns`, enlarged by a whole number to at least `side` pixels where smaller.

    Args:
        images: uint8 (count, height, width, 1 or 3); the last row may be short.
        columns: pictures in a row.
        side: of the enlarged pictures.

    Returns:
        Uint8 (rows, columns, 3), white between the pictures.
    """
    factor = -(-side // min(images.shape[1:3]))
    images = np.repeat(images, 3 // images.shape[3], axis=3).repeat(factor, axis=1).repeat(factor, axis=2)
    framed = np.pad(images, [(0, -len(images) % columns), (2, 2), (2, 2), (0, 0)], constant_values=255)
    framed[len(images) :] = 255
    rows, (height, width) = len(framed) // columns, framed.shape[1:3]
    cells = framed.reshape(rows, columns, height, width, 3)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)


def _mean_apart(pictures: Pictures) -> float:
    """The mean distance between two different pictures of a set."""
    count = len(pictures)
    return float(_distances(pictures, pictures).sum() / (count * (count - 1)))


def _distances(one: Pictures, other: Pictures) -> NDArray[np.float64]:
    """Return the Euclidean distance of each picture of one set from each of the other."""
    a, b = (pictures.reshape(len(pictures), -1).astype(np.float64) for pictures in (one, other))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    if one is other:
        np.fill_diagonal(squares, 0)
    return np.sqrt(np.maximum(squares, 0))

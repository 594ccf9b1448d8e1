"""Training data: blurred and sharp pictures paired by name, streamed from disk with tf.data."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError
from deblurgan.pictures.listing import list_images
from deblurgan.pictures.pixels import resize, to_model
from deblurgan.pictures.reading import read_rgb, read_size

PREPROCESS = ("crop", "resize")
_MOST_NAMES = 10  # listed in an error message


@dataclass(frozen=True)
class Pair:
    """A blurred picture, the sharp one of the same scene, and the name they share."""

    name: str
    blurred: Path
    sharp: Path

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return both pictures, (height, width, 3) uint8 RGB.

        Raises:
            FileError: one is not readable; the message names it.
            InputError: they differ in size.
        """
        blurred, sharp = read_rgb(self.blurred), read_rgb(self.sharp)
        if blurred.shape != sharp.shape:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (blurred, sharp))
            raise InputError(f"blurred and sharp picture differ in size: {sizes}")
        return blurred, sharp


def match_pairs(folder: str | os.PathLike[str], blurred: str = "A", sharp: str = "B") -> list[Pair]:
    """Pair the pictures in `folder`/A (blurred) with those in `folder`/B (sharp) by name, extensions apart.

    Args:
        folder: holds the two folders.
        blurred: name of the folder with the blurred pictures.
        sharp: name of the one with the sharp ones.

    Raises:
        FileError: a folder is missing.
        InputError: there are no pictures, two have one name, or some have no partner (they are listed).
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        wanted = f"{blurred} (blurred) and {sharp} (sharp)"
        raise FileError(f"{folder}: expected a folder with {wanted}, found no such folder")
    sides: list[dict[str, Path]] = []
    for side, kind in ((blurred, "blurred"), (sharp, "sharp")):
        if not os.path.isdir(folder / side):
            raise FileError(f"{folder}: expected a folder {side} with the {kind} pictures, found none")
        by_name: dict[str, Path] = {}
        for path in list_images(folder / side):
            if path.stem in by_name:
                raise InputError(f"{path}: its name is also that of {by_name[path.stem].name}; pairs go by name")
            by_name[path.stem] = path
        sides.append(by_name)
    first, second = sides
    alone = [f"{blurred}/{path.name}" for name, path in first.items() if name not in second]
    alone += [f"{sharp}/{path.name}" for name, path in second.items() if name not in first]
    if alone:
        raise InputError(f"{folder}: {len(alone)} pictures have no partner of the same name: {listed(alone)}")
    if not first:
        raise InputError(f"{folder}: expected pictures in {blurred} and {sharp}, found none")
    return [Pair(name, path, second[name]) for name, path in first.items()]


def choose_pairs(pairs: Sequence[Pair], n_images: int, seed: int) -> list[Pair]:
    """Return `n_images` of the pairs, drawn with `seed`, in their order; all when negative or not fewer.

    Raises:
        InputError: `n_images` is 0, or `seed` is negative.
    """
    if n_images == 0:
        raise InputError("n_images: expected a positive number, or -1 for all, received 0")
    if seed < 0:
        raise InputError(f"seed: expected at least 0, received {seed}")
    if n_images < 0 or n_images >= len(pairs):
        return list(pairs)
    chosen = np.random.default_rng(seed).choice(len(pairs), n_images, replace=False)
    return [pairs[i] for i in sorted(chosen)]


def check_pairs(pairs: Sequence[Pair], least: int = 1) -> tuple[list[Pair], dict[str, str]]:
    """Look at the headers of all files: return the pairs that can be opened, and by name why others cannot.

    Args:
        pairs: from `match_pairs`.
        least: the shortest side that a picture may have, in pixels.

    Raises:
        InputError: the two pictures of a pair differ in size, or one is too small; all such pairs are listed.
    """
    good: list[Pair] = []
    bad: dict[str, str] = {}
    unequal: list[str] = []
    small: list[str] = []
    for pair in pairs:
        try:
            (height, width), other = read_size(pair.blurred), read_size(pair.sharp)
        except FileError as error:
            bad[pair.name] = str(error)
            continue
        if (height, width) != other:
            unequal.append(f"{pair.blurred} ({width}x{height} and {other[1]}x{other[0]})")
        elif min(height, width) < least:
            small.append(f"{pair.blurred} ({width}x{height})")
        good.append(pair)
    if unequal:
        raise InputError(f"{len(unequal)} pairs differ in size, blurred and sharp: {listed(unequal)}")
    if small:
        raise InputError(f"{len(small)} pictures are smaller than the {least}x{least} pixels needed: {listed(small)}")
    return good, bad


def readable_pairs(folder: str, n_images: int, seed: int, least: int) -> tuple[list[Pair], dict[str, str]]:
    """Return what `check_pairs` does for the pairs that `choose_pairs` draws from `folder`.

    Raises:
        FileError, InputError: as `match_pairs`, `choose_pairs` and `check_pairs`; or no pair is readable.
    """
    pairs, bad = check_pairs(choose_pairs(match_pairs(folder), n_images, seed), least)
    if not pairs:
        raise InputError(f"{folder}: none of its pictures can be read: {next(iter(bad.values()))}")
    return pairs, bad


@dataclass
class PairStream:
    """Endless epochs of batches from pairs on disk; memory does not grow with their number.

    Args:
        pairs: from `match_pairs`.
        batch_size: pairs in a batch; what is left over at the end of an epoch is dropped, as in the tutorial.
        size: side of the square that is cut or squashed out of each picture, in pixels.
        preprocess: "crop" cuts a random square and mirrors it left to right half of the time, the same for both
            pictures; "resize" squashes the whole picture, as the tutorial did.
        seed: of order, crops and mirroring. Each epoch's are a function of this and of the epoch's number alone.

    `bad` collects, by name, why pairs turned out unreadable; they are left out of their epoch.

    Raises:
        InputError: an unknown `preprocess`, or a batch larger than the number of pairs.
    """

    pairs: Sequence[Pair]
    batch_size: int
    size: int = 256
    preprocess: str = "crop"
    seed: int = 0
    bad: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.preprocess not in PREPROCESS:
            raise InputError(f"preprocess: expected one of {', '.join(PREPROCESS)}, received {self.preprocess!r}")
        if not 1 <= self.batch_size <= len(self.pairs):
            raise InputError(
                f"batch_size: expected 1 to {len(self.pairs)}, the number of pairs, received {self.batch_size}"
            )

    @property
    def steps(self) -> int:
        """Batches in an epoch whose files are all readable."""
        return len(self.pairs) // self.batch_size

    def epoch(self, number: int) -> Any:
        """Return epoch `number` as a tf.data.Dataset of (blurred, sharp) batches.

        Both are float32 (batch_size, size, size, 3) RGB in [-1, 1].
        """
        import tensorflow as tf

        def load(position: int, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
            random = np.random.default_rng([self.seed, number, 1 + position])
            try:
                blurred, sharp = self._prepared(self.pairs[index], random)
            except FileError as error:
                self.bad[self.pairs[index].name] = str(error)
                empty = np.zeros((self.size, self.size, 3), np.float32)
                return empty, empty, False
            return blurred, sharp, True

        def load_in_graph(position: Any, index: Any) -> tuple[Any, Any, Any]:
            blurred, sharp, ok = tf.numpy_function(load, (position, index), (tf.float32, tf.float32, tf.bool))
            shape = (self.size, self.size, 3)
            return tf.ensure_shape(blurred, shape), tf.ensure_shape(sharp, shape), tf.ensure_shape(ok, ())

        def is_ok(blurred: Any, sharp: Any, ok: Any) -> Any:
            return ok

        def pictures(blurred: Any, sharp: Any, ok: Any) -> tuple[Any, Any]:
            return blurred, sharp

        order = np.random.default_rng([self.seed, number, 0]).permutation(len(self.pairs))
        stream = tf.data.Dataset.from_tensor_slices((np.arange(len(order)), order))
        stream = stream.map(load_in_graph, num_parallel_calls=2, deterministic=True)
        stream = stream.filter(is_ok).map(pictures)
        return stream.batch(self.batch_size, drop_remainder=True).prefetch(2)

    def _prepared(self, pair: Pair, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read, crop or squash, and scale one pair."""
        blurred, sharp = pair.read()
        if self.preprocess == "resize":
            blurred, sharp = (resize(image, (self.size, self.size)) for image in (blurred, sharp))
        else:
            top, left = (random.integers(side - self.size + 1) for side in blurred.shape[:2])
            step = -1 if random.random() < 0.5 else 1
            window = slice(top, top + self.size), slice(left, left + self.size)
            blurred, sharp = (image[window][:, ::step] for image in (blurred, sharp))
        return to_model(blurred), to_model(sharp)


def listed(names: Sequence[str]) -> str:
    """Return the names as they can stand in a message: the first few, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more

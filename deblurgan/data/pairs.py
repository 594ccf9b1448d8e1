"""Blurred and sharp pictures, paired by name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError
from deblurgan.pictures.listing import list_files
from deblurgan.pictures.npy import is_picture, read_channels, read_sides
from deblurgan.pictures.pixels import as_rgb, nearest, with_channels

_MOST_NAMES = 10  # listed in an error message
T = TypeVar("T")


class WholePair(Protocol):
    """A blurred and a sharp picture, wherever they come from."""

    @property
    def name(self) -> str:
        """What they are called."""

    @property
    def blurred(self) -> Path:
        """The file that the blurred one is in."""

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return both, uint8 (height, width, 3) RGB or of more channels; raise as `Pair.read`."""


@dataclass(frozen=True)
class Pair:
    """A blurred picture, the sharp one of the same scene, and the name they share."""

    name: str
    blurred: Path
    sharp: Path

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return both pictures, uint8 (height, width, 3) RGB, or of the channels of a `.npy` file.

        Raises:
            FileError: one is not readable; the message names it.
            InputError: they differ in size.
        """
        blurred, sharp = read_channels(self.blurred), read_channels(self.sharp)
        if blurred.shape[:2] != sharp.shape[:2]:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (blurred, sharp))
            raise InputError(f"blurred and sharp picture differ in size: {sizes}")
        return blurred, sharp


@dataclass(frozen=True)
class LonePicture:
    """A blurred picture that has no sharp one, in whose place it stands itself: a pair for scores that need none."""

    blurred: Path

    @property
    def name(self) -> str:
        """See `WholePair`."""
        return self.blurred.name

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `WholePair`."""
        image = read_channels(self.blurred)
        return image, image


@dataclass(frozen=True)
class PreparedPair:
    """A pair as a network sees it: of some channels, and square.

    Args:
        pair: what is read.
        channels: of the blurred and of the sharp picture; with 1 it is grey, of three equal channels.
        side: both are made squares of so many pixels, by the nearest; as they are when None.
    """

    pair: WholePair
    channels: tuple[int, int] = (3, 3)
    side: int | None = None

    @property
    def name(self) -> str:
        """See `WholePair`."""
        return self.pair.name

    @property
    def blurred(self) -> Path:
        """See `WholePair`."""
        return self.pair.blurred

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See `WholePair`."""
        blurred, sharp = (
            as_rgb(with_channels(image if self.side is None else nearest(image, (self.side, self.side)), channels))
            for image, channels in zip(self.pair.read(), self.channels, strict=True)
        )
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
    for side, kind in ((blurred, "blurred"), (sharp, "sharp")):
        if not os.path.isdir(folder / side):
            raise FileError(f"{folder}: expected a folder {side} with the {kind} pictures, found none")
    pairs, alone = pair_up(folder / blurred, folder / sharp)
    if alone:
        names = listed([os.path.relpath(path, folder) for path in alone])
        raise InputError(f"{folder}: {len(alone)} pictures have no partner of the same name: {names}")
    if not pairs:
        raise InputError(f"{folder}: expected pictures in {blurred} and {sharp}, found none")
    return pairs


def pair_up(first: Path, second: Path) -> tuple[list[Pair], list[Path]]:
    """Pair the pictures in two folders by name, extensions apart; return the pairs, and what has no partner.

    Raises:
        FileError: a folder is missing.
        InputError: two pictures in a folder have one name.
    """
    one, other = by_name(first), by_name(second)
    pairs = [Pair(name, path, other[name]) for name, path in one.items() if name in other]
    alone = [
        path for mine, others in ((one, other), (other, one)) for name, path in mine.items() if name not in others
    ]
    return pairs, alone


def by_name(folder: Path) -> dict[str, Path]:
    """Return the pictures in a folder by their names without extension; raise as `pair_up`."""
    found: dict[str, Path] = {}
    for path in list_files(folder, is_picture):
        if path.stem in found:
            raise InputError(f"{path}: its name is also that of {found[path.stem].name}; pairs go by name")
        found[path.stem] = path
    return found


def choose_pairs(pairs: Sequence[T], n_images: int, seed: int) -> list[T]:
    """Return `n_images` of the pairs, or of other things, drawn with `seed`, in their order.

    All when negative or not fewer.

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
            (height, width), other = read_sides(pair.blurred), read_sides(pair.sharp)
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


def listed(names: Sequence[str]) -> str:
    """Return the names as they can stand in a message: the first few, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more

"""Where training data come from: pairs, the GOPRO dataset, frames to average, sharp, blurred and colour photographs.

A source gives pairs of crops of its pictures, or blurred crops alone. It reads files through a function that it is
given, which may hold some in memory, and draws from the generator that it is given; it keeps no state itself.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deblurgan.data.blur import SyntheticBlur
from deblurgan.data.pairs import Pair, WholePair, check_pairs, choose_pairs, listed
from deblurgan.data.synthetic import SIDES
from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import shown
from deblurgan.pictures.pixels import Pixels, halves, luma
from deblurgan.pictures.reading import read_rgb, read_size

WINDOW = (7, 15)  # frames in an average

Window = tuple[int, int, int, int]
"""Top, left, height and width of a part of a picture."""
Read = Callable[[Path], Pixels]
"""Reads a picture, uint8 (height, width, 3), or of the channels of a `.npy` file; raises FileError."""
Choose = Callable[[Pixels], Sequence[Window]]
"""Chooses windows of a picture: the sharp one, where there is one."""
Crops = Sequence[tuple[Pixels, ...]]
"""Blurred and sharp crops, or each blurred one alone; uint8 (height, width, 3)."""


@dataclass(frozen=True)
class Source(ABC):
    """Pictures of one kind in one folder.

    Args:
        folder: where they are.
        weight: share of the crops, relative to the other sources'; None: the number of pictures.

    Attributes:
        has_sharp: whether the blurred crops come with sharp ones.
    """

    kind: ClassVar[str]
    has_sharp: ClassVar[bool] = True
    folder: Path
    weight: float | None = field(default=None, kw_only=True)

    @abstractmethod
    def __len__(self) -> int:
        """The number of pictures."""

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """All files that the pictures are made of."""

    @abstractmethod
    def checked(self, least: int) -> tuple["Source", dict[str, str]]:
        """Look at the headers of all files; return the source without what cannot be used, and by name why not.

        Args:
            least: the shortest side that a picture may have, in pixels.

        Raises:
            InputError: sizes differ where they must not, pictures are too small, or none is left.
        """

    @abstractmethod
    def crops(self, index: int, choose: Choose, rng: np.random.Generator, read: Read) -> Crops:
        """Cut windows out of picture `index`, and return them blurred and, if `has_sharp`, sharp.

        Args:
            index: 0 to `len(self) - 1`.
            choose: called once, with the sharp picture or else the blurred one, for the windows.
            rng: of what else is random.
            read: reads the files.

        Raises:
            FileError: from `read`.
            InputError: the files of one picture differ in size.
        """

    def options(self) -> dict[str, Any]:
        """What else was asked for, as in the specification that `open_source` takes."""
        return {}

    def drawn(self, n_images: int, seed: int) -> "Source":
        """Return the source with so many of its pictures; see `pairs.choose_pairs`."""
        raise self._no_pairs

    def whole(self) -> Sequence[WholePair]:
        """Return the pictures as pairs to validate on, always the same: those of a source that draws nothing.

        Raises:
            InputError: this kind of source has none.
        """
        raise self._no_pairs

    def called(self, index: int) -> str:
        """Return what messages call picture `index`: by its source where that does not tell."""
        return f"{self.kind}={shown(self.folder)}"

    @property
    def _no_pairs(self) -> InputError:
        return InputError(
            f"{self.kind}={shown(self.folder)}: expected a source whose pairs are always the same: pairs, gopro, "
            "combined or colourise"
        )


@dataclass(frozen=True)
class PairSource(Source):
    """Blurred and sharp pictures in the folders A and B, paired by name."""

    kind = "pairs"
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def files(self) -> Sequence[Path]:
        """See `Source`."""
        return [path for pair in self.pairs for path in (pair.blurred, pair.sharp)]

    def checked(self, least: int) -> tuple[Source, dict[str, str]]:
        """See `Source`."""
        good, bad = check_pairs(self.pairs, least)
        bad = {os.fspath(self.folder / name): why for name, why in bad.items()}
        return replace(self, pairs=tuple(_some(good, bad, self))), bad

    def crops(self, index: int, choose: Choose, rng: np.random.Generator, read: Read) -> Crops:
        """See `Source`."""
        pair = self.pairs[index]
        blurred, sharp = read(pair.blurred), read(pair.sharp)
        _same_size(blurred, pair.blurred, sharp, pair.sharp)
        return [(_cut(blurred, window), _cut(sharp, window)) for window in choose(sharp)]

    def called(self, index: int) -> str:
        """See `Source`."""
        return f"{super().called(index)}: {self.pairs[index].name}"

    def drawn(self, n_images: int, seed: int) -> Source:
        """See `Source`."""
        return replace(self, pairs=tuple(choose_pairs(self.pairs, n_images, seed)))

    def whole(self) -> Sequence[WholePair]:
        """See `Source`."""
        return self.pairs


@dataclass(frozen=True)
class GoproSource(PairSource):
    """The official GOPRO layout: scenes with the folders `blur` or `blur_gamma`, and `sharp`.

    Args:
        pairs: of all scenes, named SCENE/FRAME.
        blur: the folder that the blurred frames are from.
    """

    kind = "gopro"
    blur: str

    def options(self) -> dict[str, Any]:
        """See `Source`."""
        return {"blur": self.blur}


@dataclass(frozen=True)
class FrameSource(Source):
    """Consecutive frames of a film: their average is the blurred picture, the middle one the sharp one.

    Args:
        runs: frames that follow each other, for each film.
        window: least and most frames in an average; a number in between is drawn for each use of a picture.
        odd: draw odd numbers only. The middle frame of an even number is half a frame late.
        gamma: average in linear light: pixel values are taken to the power of this first, and back after. None
            averages the pixel values as they are.

    Raises:
        InputError: `window` or `gamma` is out of range, or no run is as long as the smallest average.
    """

    kind = "frames"
    runs: tuple[tuple[Path, ...], ...]
    window: tuple[int, int] = WINDOW
    odd: bool = True
    gamma: float | None = None
    sizes: tuple[int, ...] = field(init=False, repr=False)
    middles: tuple[tuple[int, int], ...] = field(init=False, repr=False)  # (run, frame) of each picture

    def __post_init__(self) -> None:
        """Check the values; find the frames with enough others around them."""
        least, most = self.window
        if not 1 <= least <= most:
            raise InputError(f"window: expected a range of 1 frame or more, received {least} to {most}")
        sizes = tuple(size for size in range(least, most + 1) if size % 2 or not self.odd)
        if not sizes:
            raise InputError(f"window: expected an odd number of frames, or odd=no, received {least} to {most}")
        if self.gamma is not None and not 0 < self.gamma < math.inf:
            raise InputError(f"gamma: expected a positive number, received {self.gamma}")
        middles = tuple(
            (number, middle)
            for number, run in enumerate(self.runs)
            for middle in range(len(run))
            if _fits(middle, sizes[0], len(run))
        )
        if not middles:
            longest = max(map(len, self.runs), default=0)
            raise InputError(
                f"{shown(self.folder)}: expected {sizes[0]} consecutive frames or more, found {longest} at most"
            )
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "middles", middles)

    def __len__(self) -> int:
        return len(self.middles)

    def files(self) -> Sequence[Path]:
        """See `Source`."""
        return [path for run in self.runs for path in run]

    def options(self) -> dict[str, Any]:
        """See `Source`."""
        return {"window": list(self.window), "odd": self.odd, "gamma": self.gamma}

    def checked(self, least: int) -> tuple[Source, dict[str, str]]:
        """See `Source`. A frame that cannot be read parts those before it from those after it."""
        bad: dict[str, str] = {}
        runs: list[tuple[Path, ...]] = []
        for run in self.runs:
            sizes = _sizes(run, bad)
            _refuse_other_sizes(sizes)
            _refuse_small([path for path in sizes if min(sizes[path]) < least], least)
            start = 0
            for stop in [*(i for i, path in enumerate(run) if path not in sizes), len(run)]:
                if stop > start:
                    runs.append(run[start:stop])
                start = stop + 1
        return replace(self, runs=tuple(_some(runs, bad, self))), bad

    def crops(self, index: int, choose: Choose, rng: np.random.Generator, read: Read) -> Crops:
        """See `Source`. One frame is held at a time, besides the sharp one."""
        number, middle = self.middles[index]
        run = self.runs[number]
        size = int(rng.choice([size for size in self.sizes if _fits(middle, size, len(run))]))
        sharp = read(run[middle])
        windows = choose(sharp)
        light = (np.linspace(0, 1, 256) ** (self.gamma or 1)).astype(np.float32)
        sums = [np.zeros((height, width, 3), np.float32) for _, _, height, width in windows]
        for path in run[middle - size // 2 :][:size]:
            frame = read(path)
            _same_size(frame, path, sharp, run[middle])
            for total, window in zip(sums, windows, strict=True):
                total += light[_cut(frame, window)]
        averages = ((total / np.float32(size)) ** np.float32(1 / (self.gamma or 1)) for total in sums)
        blurred = (np.rint(average * np.float32(255)).astype(np.uint8) for average in averages)
        return [(image, _cut(sharp, window)) for image, window in zip(blurred, windows, strict=True)]


@dataclass(frozen=True)
class PhotographSource(Source):
    """Single photographs, in a folder and all folders below it.

    Args:
        paths: the photographs.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> Sequence[Path]:
        """See `Source`."""
        return self.paths

    def checked(self, least: int) -> tuple[Source, dict[str, str]]:
        """See `Source`. Photographs that are too small are left out, unless all are."""
        bad: dict[str, str] = {}
        sizes = _sizes(self.paths, bad)
        small = [path for path in sizes if min(sizes[path]) < least]
        if len(small) == len(sizes):
            _refuse_small(small, least)
        for path in small:
            height, width = sizes.pop(path)
            bad[os.fspath(path)] = f"{shown(path)}: smaller than the {least}x{least} pixels needed: {width}x{height}"
        return replace(self, paths=tuple(_some(list(sizes), bad, self))), bad


@dataclass(frozen=True)
class SharpSource(PhotographSource):
    """Sharp photographs, each crop of which gets a blur of its own.

    What lies around a crop takes part in its blur; only beyond the picture's edges is anything made up.

    Args:
        blur: what is done to them.
    """

    kind = "sharp"
    blur: SyntheticBlur

    def options(self) -> dict[str, Any]:
        """See `Source`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.blur).items()}

    def crops(self, index: int, choose: Choose, rng: np.random.Generator, read: Read) -> Crops:
        """See `Source`."""
        sharp = read(self.paths[index])
        return [(self.blur.apply(sharp, rng, window), _cut(sharp, window)) for window in choose(sharp)]


@dataclass(frozen=True)
class BlurredSource(PhotographSource):
    """Blurred photographs of which there are no sharp ones, for a teacher to restore."""

    kind = "blurred"
    has_sharp = False

    def crops(self, index: int, choose: Choose, rng: np.random.Generator, read: Read) -> Crops:
        """See `Source`."""
        blurred = read(self.paths[index])
        return [(_cut(blurred, window),) for window in choose(blurred)]


@dataclass(frozen=True)
class WholePictureSource(PhotographSource):
    """Photographs each of which makes a pair, always the same."""

    @abstractmethod
    def pair(self, index: int, read: Read) -> tuple[Pixels, Pixels]:
        """Return the blurred and the sharp picture; raises as `crops`."""

    def crops(self, index: int, choose: Choose, rng: np.random.Generator, read: Read) -> Crops:
        """See `Source`."""
        blurred, sharp = self.pair(index, read)
        return [(_cut(blurred, window), _cut(sharp, window)) for window in choose(sharp)]

    def drawn(self, n_images: int, seed: int) -> Source:
        """See `Source`."""
        return replace(self, paths=tuple(choose_pairs(self.paths, n_images, seed)))

    def whole(self) -> Sequence[WholePair]:
        """See `Source`."""
        return [_OfPhotograph(self, index) for index in range(len(self))]


@dataclass(frozen=True)
class _OfPhotograph:
    """A picture of a source, whole, read like a `Pair`."""

    source: WholePictureSource
    index: int

    @property
    def name(self) -> str:
        """Its name in the source's folder, without extension."""
        return os.fspath(self.blurred.relative_to(self.source.folder).with_suffix(""))

    @property
    def blurred(self) -> Path:
        """The file."""
        return self.source.paths[self.index]

    def read(self) -> tuple[Pixels, Pixels]:
        """Return the blurred and the sharp picture."""
        return self.source.pair(self.index, read_rgb)


@dataclass(frozen=True)
class CombinedSource(WholePictureSource):
    """Files that hold a blurred and a sharp picture of one size beside each other, as pix2pix's data sets do.

    Args:
        input: the half that is the blurred picture, "left" or "right".
    """

    kind = "combined"
    input: str

    def options(self) -> dict[str, Any]:
        """See `Source`."""
        return {"input": self.input}

    def checked(self, least: int) -> tuple[Source, dict[str, str]]:
        """See `Source`."""
        bad: dict[str, str] = {}
        sizes = _sizes(self.paths, bad)
        odd = [f"{shown(path)} ({width}x{height})" for path, (height, width) in sizes.items() if width % 2]
        if odd:
            raise InputError(
                f"{len(odd)} pictures are not two of one size side by side, their width is odd: {listed(odd)}"
            )
        _refuse_small([path for path, (height, width) in sizes.items() if min(height, width // 2) < least], least)
        return replace(self, paths=tuple(_some(list(sizes), bad, self))), bad

    def pair(self, index: int, read: Read) -> tuple[Pixels, Pixels]:
        """See `WholePictureSource`."""
        path = self.paths[index]
        with prefixed(shown(path), InputError):
            left, right = halves(read(path))
        return (left, right) if self.input == SIDES[0] else (right, left)


@dataclass(frozen=True)
class ColouriseSource(WholePictureSource):
    """Colour photographs: what is to be learnt from is their grey."""

    kind = "colourise"

    def pair(self, index: int, read: Read) -> tuple[Pixels, Pixels]:
        """See `WholePictureSource`."""
        colours = read(self.paths[index])
        return np.repeat(luma(colours)[:, :, np.newaxis], 3, axis=2), colours


def _sizes(paths: Iterable[Path], bad: dict[str, str]) -> dict[Path, tuple[int, int]]:
    """Height and width of the pictures whose headers can be read; the others go to `bad`."""
    sizes = {}
    for path in paths:
        try:
            sizes[path] = read_size(path)
        except FileError as error:
            bad[os.fspath(path)] = str(error)
    return sizes


def _refuse_other_sizes(sizes: Mapping[Path, tuple[int, int]]) -> None:
    """Raise InputError unless all frames of a run have one size."""
    of_first = next(iter(sizes.values()), (0, 0))
    other = [f"{shown(path)} ({size[1]}x{size[0]})" for path, size in sizes.items() if size != of_first]
    if other:
        raise InputError(
            f"{len(other)} frames differ in size from the first of their folder, {of_first[1]}x{of_first[0]}:"
            f" {listed(other)}"
        )


def _refuse_small(small: Sequence[Path], least: int) -> None:
    if small:
        names = listed([shown(path) for path in small])
        raise InputError(f"{len(small)} pictures are smaller than the {least}x{least} pixels needed: {names}")


def _some(good: Sequence[Any], bad: Mapping[str, str], source: Source) -> Sequence[Any]:
    """Return `good`; raise InputError where nothing is left."""
    if not good:
        raise InputError(f"{shown(source.folder)}: no picture can be used: {next(iter(bad.values()))}")
    return good


def _same_size(image: Pixels, path: Path, other: Pixels, other_path: Path) -> None:
    if image.shape[:2] != other.shape[:2]:
        sizes = " and ".join(f"{array.shape[1]}x{array.shape[0]}" for array in (image, other))
        raise InputError(f"{shown(path)} and {shown(other_path)} differ in size: {sizes}")


def _fits(middle: int, size: int, length: int) -> bool:
    """Whether an average of `size` frames around `middle` lies within a run."""
    start = middle - size // 2
    return start >= 0 and start + size <= length


def _cut(image: Pixels, window: Window) -> Pixels:
    top, left, height, width = window
    return image[top : top + height, left : left + width]

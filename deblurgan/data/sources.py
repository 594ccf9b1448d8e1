"""Where training data come from: pairs, the GOPRO dataset, frames to average, sharp and blurred photographs.

A source gives pairs of crops of its pictures, or blurred crops alone. It reads files through a function that it is
given, which may hold some in memory, and draws from the generator that it is given; it keeps no state itself.
"""

import difflib
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deblurgan.data.blur import SyntheticBlur
from deblurgan.data.gopro import BLURS
from deblurgan.data.pairs import Pair, check_pairs, listed, match_pairs
from deblurgan.errors import FileError, InputError
from deblurgan.files import shown
from deblurgan.pictures.listing import list_images, list_images_below
from deblurgan.pictures.pixels import Pixels
from deblurgan.pictures.reading import read_size

WINDOW = (7, 15)  # frames in an average

Window = tuple[int, int, int, int]
"""Top, left, height and width of a part of a picture."""
Read = Callable[[Path], Pixels]
"""Reads a picture, uint8 (height, width, 3); raises FileError."""
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


@dataclass(frozen=True)
class PairSource(Source):
    """Blurred and sharp pictures in the folders A and B, paired by name."""

    kind = "pairs"
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return len(self.pairs)

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


_OPTIONS: dict[str, dict[str, str]] = {  # of each kind, besides "kind", "folder" and "weight"
    "pairs": {},
    "gopro": {"blur": "a word"},
    "frames": {"window": "whole numbers", "odd": "yes or no", "gamma": "a number or none"},
    "sharp": {
        "kernel": "a word",
        "length": "a number",
        "gamma": "a number or none",
        "noise": "numbers",
        "jpeg": "whole numbers",
    },
    "blurred": {},
}
KINDS = tuple(_OPTIONS)
_COMMON = {"weight": "a number"}
_FORMS = {**_COMMON, **{key: form for options in _OPTIONS.values() for key, form in options.items()}}
_SWITCH = {"yes": True, "no": False}


def open_source(spec: Mapping[str, Any]) -> Source:
    """Find the pictures of a source.

    Args:
        spec: JSON-like: "folder"; "kind", one of `KINDS`, guessed by `guess` when left out; "weight"; and the kind's
            own options. gopro: "blur", one of "blur" and "blur_gamma". frames: "window" such as [7, 15], "odd",
            "gamma", see `FrameSource`. sharp: "kernel", "length", "gamma", "noise" such as [0, 5], "jpeg" such as
            [70, 95], see `blur.SyntheticBlur`.

    Raises:
        InputError: an unknown or missing key, a value that does not fit, or a folder without such pictures.
        FileError: the folder is missing, or cannot be listed.
    """
    if not isinstance(spec.get("folder"), str | os.PathLike):
        raise InputError(f"source: expected a folder, received {spec.get('folder')!r}")
    folder = Path(spec["folder"])
    kind = spec.get("kind") or guess(folder)
    if kind not in _OPTIONS:
        raise InputError(f"source {shown(folder)}: {_unknown('kind', str(kind), KINDS)}")
    forms = {**_COMMON, **_OPTIONS[kind]}
    values: dict[str, Any] = {}
    for key, value in spec.items():
        if key in ("kind", "folder"):
            continue
        if key not in forms:
            raise InputError(f"source {kind}={shown(folder)}: {_unknown('option', str(key), tuple(forms))}")
        try:
            values[key] = _checked_value(key, value, forms[key])
        except InputError as error:
            raise InputError(f"source {kind}={shown(folder)}: {error}") from error
    weight = values.pop("weight", None)
    if weight is not None and not 0 < weight < math.inf:
        raise InputError(f"source {kind}={shown(folder)}: weight: expected a positive number, received {weight}")
    _require_folder(folder)
    try:
        if kind == "pairs":
            return PairSource(folder, tuple(match_pairs(folder)), weight=weight)
        if kind == "gopro":
            return _open_gopro(folder, weight, **values)
        if kind == "frames":
            return FrameSource(folder, _runs(folder), weight=weight, **values)
        if kind == "blurred":
            return BlurredSource(folder, _photographs(folder), weight=weight)
        return SharpSource(folder, _photographs(folder), SyntheticBlur(**values), weight=weight)
    except InputError as error:
        if shown(folder) in str(error):
            raise
        raise InputError(f"source {kind}={shown(folder)}: {error}") from error


def parse_source(text: str) -> dict[str, Any]:
    """Read a source as it is written on the command line: [KIND=]FOLDER[,OPTION=VALUE...].

    "frames=FOLDER,weight=2,window=7-15,gamma=2.2" is {"kind": "frames", "folder": "FOLDER", "weight": 2.0, "window":
    [7, 15], "gamma": 2.2}. A folder's name may hold "=" and ","; only known options at the end are taken for options.

    Raises:
        InputError: there is no folder, a value cannot be read, or an option is written twice or, it seems, wrongly.
    """
    kind, equals, folder = text.partition("=")
    spec: dict[str, Any] = {"kind": kind} if equals and kind in KINDS else {}
    folder = folder if spec else text
    options: dict[str, Any] = {}
    while match := re.fullmatch(r"(.*),(\w+)=([^,]*)", folder, re.DOTALL):
        rest, key, value = match.groups()
        if key not in _FORMS:
            near = difflib.get_close_matches(key, _FORMS, 1)
            if near and not os.path.exists(folder):
                raise InputError(f"source {shown(text)}: {_unknown('option', key, tuple(_FORMS))}")
            break
        if key in options:
            raise InputError(f"source {shown(text)}: expected {key} once, received it twice")
        try:
            options[key] = _from_text(key, value)
        except ValueError as error:
            raise InputError(f"source {shown(text)}: {key}: expected {_FORMS[key]}, received {value!r}") from error
        folder = rest
    if not folder:
        raise InputError(f"source {shown(text)}: expected a folder, received none")
    return {**spec, "folder": folder, **dict(reversed(options.items()))}


def guess(folder: str | os.PathLike[str]) -> str:
    """Return the kind of source that a folder's layout stands for: "pairs" or "gopro".

    Raises:
        InputError: it is neither; whether pictures are frames or photographs cannot be seen.
        FileError: the folder is missing, or cannot be listed.
    """
    folder = Path(folder)
    _require_folder(folder)
    if all(os.path.isdir(folder / side) for side in ("A", "B")):
        return "pairs"
    if any(_blur_of(scene) for scene in _scenes(folder)):
        return "gopro"
    raise InputError(
        f"{shown(folder)}: expected A and B, or scenes with blur and sharp; for other pictures write what they are:"
        f" frames={shown(folder)} (consecutive, to be averaged), sharp={shown(folder)} (photographs, to be blurred)"
        f" or blurred={shown(folder)} (photographs, for a teacher)"
    )


def _open_gopro(folder: Path, weight: float | None, blur: str | None = None) -> GoproSource:
    if blur not in (None, *BLURS):
        raise InputError(f"blur: expected one of {', '.join(BLURS)}, received {blur!r}")
    scenes = [scene for scene in _scenes(folder) if os.path.isdir(scene / "sharp")]
    for name in (blur,) if blur else BLURS:
        having = [scene for scene in scenes if os.path.isdir(scene / name)]
        if having:
            break
    else:
        wanted = blur or " or ".join(BLURS)
        raise InputError(f"{shown(folder)}: expected scenes with the folders {wanted} and sharp, found none")
    pairs = [
        replace(pair, name=f"{scene.name}/{pair.name}")
        for scene in having
        for pair in match_pairs(scene, blurred=name, sharp="sharp")
    ]
    return GoproSource(folder, tuple(pairs), name, weight=weight)


def _require_folder(folder: Path) -> None:
    if not os.path.isdir(folder):
        found = "a file" if os.path.exists(folder) else "nothing"
        raise FileError(f"{shown(folder)}: expected a folder, found {found}")


def _scenes(folder: Path) -> list[Path]:
    """The folders in a GOPRO folder, or in its `train`; the folder itself where it is a scene."""
    if _blur_of(folder):
        return [folder]
    return _folders(folder / "train" if os.path.isdir(folder / "train") else folder)


def _blur_of(scene: Path) -> bool:
    return os.path.isdir(scene / "sharp") and any(os.path.isdir(scene / blur) for blur in BLURS)


def _folders(folder: Path) -> list[Path]:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise FileError(f"{shown(folder)}: the folder cannot be listed: {os.strerror(error.errno or 0)}") from error
    return sorted(path for path in paths if not path.name.startswith(".") and os.path.isdir(path))


def _runs(folder: Path) -> tuple[tuple[Path, ...], ...]:
    """The frames in a folder, and in each folder in it, in the order of the numbers in their names."""
    runs = (tuple(sorted(list_images(at), key=_by_number)) for at in (folder, *_folders(folder)))
    found = tuple(run for run in runs if run)
    if not found:
        raise InputError(f"{shown(folder)}: expected consecutive frames, or folders of them, found no pictures")
    return found


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts frame9 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.stem)]


def _photographs(folder: Path) -> tuple[Path, ...]:
    paths = list_images_below(folder)
    if not paths:
        raise InputError(f"{shown(folder)}: expected photographs, also in folders below, found no pictures")
    return tuple(paths)


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
    if image.shape != other.shape:
        sizes = " and ".join(f"{array.shape[1]}x{array.shape[0]}" for array in (image, other))
        raise InputError(f"{shown(path)} and {shown(other_path)} differ in size: {sizes}")


def _fits(middle: int, size: int, length: int) -> bool:
    """Whether an average of `size` frames around `middle` lies within a run."""
    start = middle - size // 2
    return start >= 0 and start + size <= length


def _cut(image: Pixels, window: Window) -> Pixels:
    top, left, height, width = window
    return image[top : top + height, left : left + width]


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"


def _checked_value(key: str, value: Any, form: str) -> Any:
    """Return a JSON value as the sources take it: ranges, also single numbers, as pairs."""
    if form in ("numbers", "whole numbers"):
        ends = [value, value] if _is_number(value) else value
        whole = form == "whole numbers"
        if _is_pair(ends) and not (whole and any(end != int(end) for end in ends)):
            return tuple(map(int, ends)) if whole else tuple(ends)
    elif (
        (form == "yes or no" and isinstance(value, bool))
        or (form == "a word" and isinstance(value, str))
        or (form in ("a number", "a number or none") and _is_number(value))
        or (form == "a number or none" and value is None)
    ):
        return value
    raise InputError(f"{key}: expected {form}, received {value!r}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _from_text(key: str, text: str) -> Any:
    """Read an option's value; raise ValueError where it does not read as one."""
    form = _FORMS[key]
    if form == "a word":
        return text
    if form == "yes or no":
        if text not in _SWITCH:
            raise ValueError
        return _SWITCH[text]
    if form in ("numbers", "whole numbers"):
        number = int if form == "whole numbers" else float
        first, dash, last = text.partition("-")
        return [number(first), number(last if dash else first)]
    return None if text == "none" and form == "a number or none" else float(text)

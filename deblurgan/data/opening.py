"""Sources of training pictures as a recipe or the command line names them, and the pictures that are found there."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from deblurgan.data.blur import SyntheticBlur
from deblurgan.data.gopro import BLURS
from deblurgan.data.options import checked, from_text
from deblurgan.data.pairs import WholePair, match_pairs
from deblurgan.data.sources import (
    BlurredSource,
    ColouriseSource,
    CombinedSource,
    FrameSource,
    GoproSource,
    PairSource,
    SharpSource,
    Source,
)
from deblurgan.data.synthetic import SIDES
from deblurgan.errors import FileError, InputError, nearest
from deblurgan.files import shown
from deblurgan.pictures.listing import list_images, list_images_below

DIRECTIONS = dict(zip(("AtoB", "BtoA"), SIDES, strict=True))  # what pix2pix calls them: A is the left half


def open_source(spec: Mapping[str, Any]) -> Source:
    """Find the pictures of a source.

    Args:
        spec: JSON-like: "folder"; "kind", one of `KINDS`, guessed by `guess` when left out; "weight"; and the kind's
            own options. gopro: "blur", one of "blur" and "blur_gamma". frames: "window" such as [7, 15], "odd",
            "gamma", see `FrameSource`. sharp: "kernel", "length", "gamma", "noise" such as [0, 5], "jpeg" such as
            [70, 95], see `blur.SyntheticBlur`. combined: "input", "left" (as when none is named) or "right", or what
            pix2pix calls it, "direction", "AtoB" or "BtoA".

    Raises:
        InputError: an unknown or missing key, a value that does not fit, or a folder without such pictures.
        FileError: the folder is missing, or cannot be listed.
    """
    folder, kind = folder_and_kind(spec)
    options = {option: value for option, value in spec.items() if option not in ("folder", "kind")}
    try:
        options = _checked(options, {"weight": float | None, **KINDS[kind].options})
        _require_folder(folder)
        return KINDS[kind].open(folder, **options)
    except InputError as error:
        if shown(folder) in str(error):
            raise
        raise InputError(f"source {kind}={shown(folder)}: {error}") from error


def open_pairs(text: str) -> Sequence[WholePair]:
    """Return the pairs in a folder with A and B, or in another kind of source, written as for `parse_source`.

    Raises:
        InputError, FileError: as `match_pairs`, or `open_source` where a kind is named; it has no whole pairs.
    """
    spec = parse_source(text)
    return open_source(spec).whole() if "kind" in spec else match_pairs(text)


def folder_and_kind(spec: Mapping[str, Any]) -> tuple[Path, str]:
    """Return where a source is, and its kind; see `open_source` for both and for the errors."""
    folder, kind = spec.get("folder"), spec.get("kind")
    if not isinstance(folder, str | os.PathLike):
        raise InputError(f"source: expected a folder, received {folder!r}")
    kind = kind or guess(folder)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"source {shown(folder)}: unknown kind {kind!r}{_suggestion(str(kind), KINDS)}")
    return Path(folder), kind


def parse_source(text: str) -> dict[str, Any]:
    """Read a source as it is written on the command line: [KIND=]FOLDER[,OPTION=VALUE...].

    "frames=FOLDER,weight=2,window=7-15,gamma=2.2" is {"kind": "frames", "folder": "FOLDER", "weight": 2, "window":
    [7, 15], "gamma": 2.2}. A folder's name may hold "=" and ","; only known options at the end are taken for options.

    Raises:
        InputError: there is no folder, or an option is written twice or, it seems, wrongly.
    """
    kind, equals, folder = text.partition("=")
    spec: dict[str, Any] = {"kind": kind} if equals and kind in KINDS else {}
    folder = folder if spec else text
    known = {"weight", *(option for kind in KINDS.values() for option in kind.options)}
    options: dict[str, Any] = {}
    while match := re.fullmatch(r"(.*),(\w+)=([^,]*)", folder, re.DOTALL):
        rest, option, value = match.groups()
        if option not in known:
            if nearest(option, known, 0.6) and not os.path.exists(folder):
                raise InputError(f"source {shown(text)}: unknown option {option!r}{_suggestion(option, known)}")
            break
        if option in options:
            raise InputError(f"source {shown(text)}: expected {option} once, received it twice")
        options[option] = from_text(value)
        folder = rest
    if not folder:
        raise InputError(f"source {shown(text)}: expected a folder, received none")
    return {**spec, "folder": folder, **dict(reversed(options.items()))}


def written(spec: Mapping[str, Any]) -> str:
    """Return a source whose options are words as `parse_source` reads it; what is None is left out."""
    options = [
        f",{name}={value}" for name, value in spec.items() if name not in ("kind", "folder") and value is not None
    ]
    return f"{spec['kind']}={spec['folder']}" + "".join(options)


def guess(folder: str | os.PathLike[str]) -> str:
    """Return the kind of source that a folder's layout stands for: "pairs" or "gopro".

    Raises:
        InputError: it is neither; whether pictures are frames or photographs cannot be seen.
        FileError: the folder is missing, or cannot be listed.
    """
    folder = Path(folder)
    _require_folder(folder)
    if kind := layout(folder):
        return kind
    raise InputError(
        f"{shown(folder)}: expected A and B, or scenes with blur and sharp; for other pictures write what they are:"
        f" frames={shown(folder)} (consecutive, to be averaged), sharp={shown(folder)} (photographs, to be blurred),"
        f" blurred={shown(folder)} (photographs, for a teacher), combined={shown(folder)} (two pictures in each file)"
        f" or colourise={shown(folder)} (photographs, to be made grey)"
    )


def layout(folder: Path) -> str | None:
    """Return "pairs" or "gopro" where a folder is laid out so, or None."""
    if all(os.path.isdir(folder / side) for side in ("A", "B")):
        return "pairs"
    return "gopro" if any(map(_is_scene, _scenes(folder))) else None


def _open_pairs(folder: Path, weight: float | None = None) -> Source:
    return PairSource(folder, tuple(match_pairs(folder)), weight=weight)


def _open_gopro(folder: Path, weight: float | None = None, blur: str | None = None) -> Source:
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


def _open_frames(folder: Path, weight: float | None = None, **options: Any) -> Source:
    """Open the frames in a folder, and in each folder in it, in the order of the numbers in their names."""
    runs = [tuple(sorted(list_images(at), key=_by_number)) for at in (folder, *_folders(folder))]
    if not any(runs):
        raise InputError(f"{shown(folder)}: expected consecutive frames, or folders of them, found no pictures")
    return FrameSource(folder, tuple(filter(None, runs)), weight=weight, **options)


def _open_sharp(folder: Path, weight: float | None = None, **options: Any) -> Source:
    return SharpSource(folder, _photographs(folder), SyntheticBlur(**options), weight=weight)


def _open_blurred(folder: Path, weight: float | None = None) -> Source:
    return BlurredSource(folder, _photographs(folder), weight=weight)


def _open_combined(
    folder: Path, weight: float | None = None, input: str | None = None, direction: str | None = None
) -> Source:
    if input not in (None, *SIDES):
        raise InputError(f"input: expected {' or '.join(SIDES)}, received {input!r}")
    if direction not in (None, *DIRECTIONS):
        raise InputError(f"direction: expected {' or '.join(DIRECTIONS)}, received {direction!r}")
    half = DIRECTIONS[direction] if direction else input or SIDES[0]
    if input not in (None, half):
        raise InputError(f"input, direction: expected one of them, or both alike; {direction} is {half}, not {input}")
    paths = list_images(folder)
    if not paths:
        raise InputError(f"{shown(folder)}: expected pictures with two halves, found no pictures")
    return CombinedSource(folder, tuple(paths), half, weight=weight)


def _open_colourise(folder: Path, weight: float | None = None) -> Source:
    return ColouriseSource(folder, _photographs(folder), weight=weight)


@dataclass(frozen=True)
class Kind:
    """A kind of source: what opens one, and the types of its own options, as `options.checked` has them."""

    open: Callable[..., Source]
    options: Mapping[str, Any]


KINDS = {
    "pairs": Kind(_open_pairs, {}),
    "gopro": Kind(_open_gopro, {"blur": str}),
    "frames": Kind(_open_frames, {"window": tuple[int, int], "odd": bool, "gamma": float | None}),
    "sharp": Kind(_open_sharp, get_type_hints(SyntheticBlur)),
    "blurred": Kind(_open_blurred, {}),
    "combined": Kind(_open_combined, {"input": str, "direction": str}),
    "colourise": Kind(_open_colourise, {}),
}


def _checked(options: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    for option in options:
        if option not in types:
            raise InputError(f"unknown option {option!r}{_suggestion(option, types)}")
    values = {option: checked(option, value, types[option]) for option, value in options.items()}
    weight = values.get("weight")
    if weight is not None and weight <= 0:
        raise InputError(f"weight: expected a positive number, received {options['weight']}")
    return values


def _suggestion(name: str, known: Any) -> str:
    return nearest(name, known, 0.6) or f"; expected one of {', '.join(known)}"


def _require_folder(folder: Path) -> None:
    if not os.path.isdir(folder):
        found = "a file" if os.path.exists(folder) else "nothing"
        raise FileError(f"{shown(folder)}: expected a folder, found {found}")


def _scenes(folder: Path) -> list[Path]:
    """The folders in a GOPRO folder, or in its `train`; the folder itself where it is a scene."""
    if _is_scene(folder):
        return [folder]
    return _folders(folder / "train" if os.path.isdir(folder / "train") else folder)


def _is_scene(folder: Path) -> bool:
    return os.path.isdir(folder / "sharp") and any(os.path.isdir(folder / blur) for blur in BLURS)


def _folders(folder: Path) -> list[Path]:
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise FileError(f"{shown(folder)}: the folder cannot be listed: {os.strerror(error.errno or 0)}") from error
    return sorted(path for path in paths if not path.name.startswith(".") and os.path.isdir(path))


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts frame9 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.stem)]


def _photographs(folder: Path) -> tuple[Path, ...]:
    paths = list_images_below(folder)
    if not paths:
        raise InputError(f"{shown(folder)}: expected photographs, also in folders below, found no pictures")
    return tuple(paths)

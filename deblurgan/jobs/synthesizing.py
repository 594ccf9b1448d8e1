"""Pairs from sharp pictures alone: those of a folder beside what synthetic blur makes of them."""

import hashlib
import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from deblurgan.data.blur import SyntheticBlur, kernel_sheet
from deblurgan.data.synthetic import EXTENSIONS
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, shown
from deblurgan.jobs.report import Report
from deblurgan.pictures.listing import list_images, list_images_below
from deblurgan.pictures.reading import read_rgb
from deblurgan.pictures.writing import write_image

KERNEL_SHEET = "kernels.png"

_SHEET_KERNELS = 64


def synthesize(
    input_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    blur: SyntheticBlur | None = None,
    count: int = 1,
    seed: int = 0,
    recursive: bool = False,
    extension: str = ".png",
    overwrite: bool = False,
    progress: Callable[[int, int, Path], None] = lambda done, total, picture: None,
) -> Report:
    """Write `output_dir`/A (blurred) and `output_dir`/B (sharp), and `kernels.png` with the first 64 kernels.

    NAME.jpg becomes NAME.png in both folders, or NAME_0.png, NAME_1.png, ... with a larger `count`; one in a folder
    below becomes FOLDER_NAME.png. A picture that cannot be read is reported and the others are still done.

    Args:
        input_dir: sharp pictures of any sizes.
        output_dir: created where missing.
        blur: what is done to them; by default the paper's random trajectories, and no noise or compression.
        count: pairs made of each picture.
        seed: the blur of a pair depends on this and on the pair's name alone, not on the other pictures.
        recursive: take the pictures in folders below, too.
        extension: of the files to write, one of `EXTENSIONS`. PNG keeps the pixels as they are.
        overwrite: replace files that are there; otherwise a pair that is there is left as it is.
        progress: called after each picture with: pictures done, pictures in all, the picture.

    Raises:
        InputError: an argument is out of range, there are no pictures, two would be written under one name, or the
            output would lie among the input.
        FileError: a folder is missing, or cannot be written to.
    """
    blur = blur or SyntheticBlur()
    if count < 1 or seed < 0:
        raise InputError(f"count and seed: expected at least 1 and 0, received {count} and {seed}")
    if extension not in EXTENSIONS:
        raise InputError(f"extension: expected one of {' '.join(EXTENSIONS)}, received {extension!r}")
    input_dir, output_dir = Path(input_dir), Path(output_dir)
    refuse_output_in_input(input_dir, output_dir, recursive)
    names = _names(input_dir, list_images_below(input_dir) if recursive else list_images(input_dir), count)
    ensure_folder(output_dir)
    blurred_dir, sharp_dir = (ensure_folder(output_dir / side) for side in ("A", "B"))

    report = Report()
    for done, (path, pair_names) in enumerate(names.items(), 1):
        pairs = [(name, blurred_dir / (name + extension), sharp_dir / (name + extension)) for name in pair_names]
        missing = [pair for pair in pairs if overwrite or not all(map(os.path.exists, pair[1:]))]
        report.skipped += [file for pair in pairs if pair not in missing for file in pair[1:]]
        if missing:
            try:
                sharp = read_rgb(path)
                for name, blurred_file, sharp_file in missing:
                    write_image(blurred_file, blur.apply(sharp, _rng(seed, name)))
                    write_image(sharp_file, sharp)
                    report.written += [blurred_file, sharp_file]
            except FileError as error:
                report.failed.append(str(error))
        progress(done, len(names), path)
    if report.written:
        first = islice((name for pair_names in names.values() for name in pair_names), _SHEET_KERNELS)
        sheet = output_dir / KERNEL_SHEET
        write_image(sheet, kernel_sheet([blur.draw_kernel(_rng(seed, name)) for name in first]))
        report.written.append(sheet)
    return report


def _names(input_dir: Path, pictures: Sequence[Path], count: int) -> dict[Path, list[str]]:
    """The names, without extension, of the pairs that each picture becomes.

    Raises:
        InputError: there are no pictures, or two pairs would have one name.
    """
    if not pictures:
        raise InputError(f"{shown(input_dir)}: expected sharp pictures, found none")
    names: dict[Path, list[str]] = {}
    taken: dict[str, Path] = {}
    for path in pictures:
        stem = "_".join(path.relative_to(input_dir).with_suffix("").parts)
        names[path] = [stem] if count == 1 else [f"{stem}_{number}" for number in range(count)]
        for name in names[path]:
            other = taken.setdefault(name, path)
            if other != path:
                raise InputError(f"{shown(other)} and {shown(path)} would both be written as {name}; rename one")
    return names


def refuse_output_in_input(input_dir: Path, output_dir: Path, recursive: bool) -> None:
    """Raise InputError where the output would replace the input, or be taken for it the next time."""
    source = Path(os.path.realpath(input_dir))
    targets = [Path(os.path.realpath(output_dir / part)) for part in ("", "A", "B")]
    if source in targets or (recursive and targets[0].is_relative_to(source)):
        raise InputError(f"{shown(output_dir)}: would mix with the input, {shown(input_dir)}; choose another folder")


def _rng(seed: int, name: str) -> np.random.Generator:
    """The random generator of a pair, which knows nothing of the others."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, "<u4").tolist()])

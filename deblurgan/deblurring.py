"""Restoring the pictures of a folder into another, and the tutorial's strips to compare by eye."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deblurgan.data import Pair
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, shown
from deblurgan.images import (
    IMAGE_EXTENSIONS,
    list_images,
    read_picture,
    resize,
    side_by_side,
    write_image,
    write_picture,
)

Restore = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass
class Report:
    """What became of a folder's pictures.

    Attributes:
        written: the files written.
        failed: for each picture that could not be restored, one line that names it and says why.
        notices: one line for each thing that was not kept as it was.
    """

    written: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def find_pictures(path: str | os.PathLike[str]) -> list[Path]:
    """Return the image files in the folder `path`, or `path` itself when it is a file.

    Raises:
        FileError: there is nothing at `path`.
        InputError: the folder has no image files.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise FileError(f"{shown(path)}: expected a picture or a folder of pictures, found nothing")
    if not os.path.isdir(path):
        return [path]
    pictures = list_images(path)
    if not pictures:
        kinds = " ".join(sorted(IMAGE_EXTENSIONS))
        raise InputError(f"{shown(path)}: expected pictures ({kinds}) directly in this folder, found none")
    return pictures


def deblur_pictures(
    restore: Restore,
    pictures: Sequence[Path],
    output_dir: str | os.PathLike[str],
    *,
    squash: int | None = None,
    beside_input: bool = False,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Restore `pictures` into the folder `output_dir`, each under its own name and in its own format.

    Size, orientation, alpha, grey, EXIF, colour profile and resolution stay as they were. A picture that cannot be
    read or restored is reported and the others are still done.

    Args:
        restore: uint8 (height, width, 3) RGB -> the same, restored; for example an `inference.Restorer`.
        pictures: from `find_pictures`.
        output_dir: created where missing.
        squash: squash each picture to a square of this many pixels first, as the tutorial did with 256.
        beside_input: write the input and the result side by side instead, as the tutorial did.
        progress: called with each picture when it is done.

    Raises:
        InputError: `output_dir` is the folder of one of the pictures, or of a file that one is a link to.
        FileError: `output_dir` cannot be written to.
    """
    output_dir = Path(output_dir)
    real_output = os.path.realpath(output_dir)
    for path in pictures:
        if real_output in (os.path.realpath(path.parent), os.path.dirname(os.path.realpath(path))):
            raise InputError(
                f"{shown(output_dir)}: holds the input {shown(path)}, which could be replaced; choose another folder"
            )
    ensure_folder(output_dir)
    report = Report()
    for path in pictures:
        target = output_dir / path.name
        try:
            picture = read_picture(path)
            image = picture.rgb if squash is None else resize(picture.rgb, (squash, squash))
            try:
                restored = restore(image)
            except InputError as error:
                raise InputError(f"{shown(path)}: {error}") from error
            if beside_input:
                opaque = dataclasses.replace(picture, alpha=None, kind=picture.kind.rstrip("A"))
                write_picture(target, opaque, side_by_side([image, restored]))
            else:
                write_picture(target, picture, restored)
        except (InputError, FileError) as error:
            report.failed.append(str(error))
        else:
            report.written.append(target)
            report.notices += [f"{shown(path)}: {notice}" for notice in picture.notices]
        progress(path)
    return report


def write_strips(
    restore: Restore,
    pairs: Sequence[Pair],
    output_dir: str | os.PathLike[str],
    *,
    squash: int | None = None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Write `results0.png`, `results1.png`, ...: sharp, blurred and restored side by side, as in the tutorial.

    Arguments, report and errors are those of `deblur_pictures`.
    """
    output_dir = ensure_folder(output_dir)
    report = Report()
    for number, pair in enumerate(pairs):
        try:
            blurred, sharp = pair.read()
            if squash is not None:
                blurred, sharp = (resize(image, (squash, squash)) for image in (blurred, sharp))
            strip = side_by_side([sharp, blurred, restore(blurred)])
            target = output_dir / f"results{number}.png"
            write_image(target, strip)
        except (InputError, FileError) as error:
            report.failed.append(f"{shown(pair.name)}: {error}")
        else:
            report.written.append(target)
        progress(pair.blurred)
    return report

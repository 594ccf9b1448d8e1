"""The tutorial's strips, to compare by eye."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from deblurgan.data.pairs import WholePair
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, shown
from deblurgan.jobs.report import Report
from deblurgan.pictures.pixels import Restore, resize, side_by_side
from deblurgan.pictures.writing import write_image


def write_strips(
    restore: Restore,
    pairs: Sequence[WholePair],
    output_dir: str | os.PathLike[str],
    *,
    squash: int | None = None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Report:
    """Write `results0.png`, `results1.png`, ...: sharp, blurred and restored side by side, as in the tutorial.

    With `squash`, both pictures are squashed to a square of this many pixels first, as the tutorial did with 256.
    `progress` is called with each blurred picture when it is done.

    Raises:
        FileError: `output_dir` cannot be written to.
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

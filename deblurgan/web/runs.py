"""Runs of `deblurgan train`, to look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deblurgan.files import shown
from deblurgan.pictures.reading import read_rgb
from deblurgan.training.folder import RunFolder

SAMPLES = 8  # pictures of a run that are shown, the latest first


@dataclass(frozen=True)
class Run:
    """What a run has so far.

    Attributes:
        text: its last epoch.
        curves: a picture of them; None where there is none.
        samples: pictures and their names.
    """

    text: str
    curves: NDArray[Any] | None
    samples: list[tuple[NDArray[Any], str]]


def names(folder: Path) -> list[str]:
    """Return the names of the runs in a folder, the latest first."""
    runs = [path for path in folder.glob("*") if RunFolder(path).about.is_file()]
    return [path.name for path in sorted(runs, key=lambda path: -RunFolder(path).about.stat().st_mtime)]


def look_at(folder: Path, name: str) -> Run:
    """Return what is to be seen of the run `name`, which `names` knows.

    Raises:
        FileError: one of its pictures cannot be read.
    """
    run = RunFolder(folder / name)
    epochs = run.recorded().get("epochs") or [{}]
    values = [f"{key} {value:g}" for key, value in epochs[-1].items() if isinstance(value, (int, float))]
    curves = run.path / "curves.png"
    samples = sorted(run.samples.glob("*.png"), key=lambda path: (path.stat().st_mtime, path.name))
    return Run(
        ", ".join(values),
        read_rgb(curves) if curves.is_file() else None,
        [(read_rgb(path), shown(path.stem)) for path in reversed(samples[-SAMPLES:])],
    )


def changed(folder: Path, name: str) -> int:
    """Return when the run `name` last wrote an epoch."""
    return RunFolder(folder / name).about.stat().st_mtime_ns

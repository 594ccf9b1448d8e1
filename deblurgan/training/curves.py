"""Learning curves of a run as a picture. Needs matplotlib, of the extra `plots`."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deblurgan.files import atomic_path
from deblurgan.training.progress import BOOKKEEPING, SCORES


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(path: Path, history: Sequence[Mapping[str, Any]], blurred: Mapping[str, float]) -> None:
    """Draw each loss and score in `history` against the step, and write the picture to `path`.

    Args:
        path: a PNG file, which appears whole or not at all.
        history: a row per epoch, with "step" and values that may be None.
        blurred: scores of the validation pictures as they are, drawn as dashed lines: what training must beat.
    """
    from matplotlib.figure import Figure

    names = [name for name in SCORES if history[-1].get(name) is not None]
    names += [name for name in history[-1] if name not in (*SCORES, *BOOKKEEPING) and history[-1][name] is not None]
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, columns, number)
        points = [(row["step"], row[name]) for row in history if row.get(name) is not None]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else "")
        if name in blurred:
            axes.axhline(blurred[name], linestyle="--", color="gray", label="blurred input")
            axes.legend()
        axes.set_title({"val_psnr": "validation PSNR, dB", "val_ssim": "validation SSIM"}.get(name, name))
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)

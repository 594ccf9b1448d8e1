"""PSNR and SSIM of restored pictures against the sharp ones, beside those of the blurred input."""

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.data import Pair
from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, shown
from deblurgan.images import resize
from deblurgan.metrics import PSNR_PROTOCOL, SSIM_PROTOCOL, psnr, ssim

SCORES = ("psnr_blurred", "psnr_restored", "ssim_blurred", "ssim_restored")


@dataclass
class Evaluation:
    """Scores of a set of pairs.

    Attributes:
        rows: for each pair its `name` and the `SCORES`.
        failed: one line for each pair that could not be scored.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each score over all pairs."""
        return {score: float(np.mean([row[score] for row in self.rows])) for score in SCORES}


def evaluate(
    restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    pairs: Sequence[Pair],
    *,
    squash: int | None = None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Evaluation:
    """Restore the blurred picture of each pair and compare it, and the blurred one itself, with the sharp one.

    Everything is compared as 8-bit pixels, at full size or, with `squash`, squashed to a square of so many pixels
    first. See `metrics` for the protocols. Pairs that cannot be read or compared are reported, the others scored.

    Raises:
        InputError: no pair could be scored.
    """
    evaluation = Evaluation()
    for pair in pairs:
        try:
            blurred, sharp = pair.read()
            if squash is not None:
                blurred, sharp = (resize(image, (squash, squash)) for image in (blurred, sharp))
            restored = restore(blurred)
            scores = (psnr(sharp, blurred), psnr(sharp, restored), ssim(sharp, blurred), ssim(sharp, restored))
        except (FileError, InputError) as error:
            evaluation.failed.append(f"{shown(pair.name)}: {error}")
        else:
            evaluation.rows.append({"name": pair.name, **dict(zip(SCORES, scores, strict=True))})
        progress(pair.blurred)
    if not evaluation.rows:
        raise InputError(f"none of the pairs could be scored: {evaluation.failed[0]}")
    return evaluation


def write_scores_csv(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write one line per pair, without the means; the file appears whole or not at all.

    Names are written as UTF-8; those of files whose names are not, byte by byte as they are.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, ("name", *SCORES))
        writer.writeheader()
        writer.writerows(evaluation.rows)


def write_scores_json(evaluation: Evaluation, path: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
    """Write protocols, means, rows and failures, with `about` (weights, precision, ...) on top.

    The PSNR of identical pictures, which is infinite, is written as the string "inf".
    """

    def plain(row: Mapping[str, Any]) -> dict[str, Any]:
        return {key: "inf" if value == math.inf else value for key, value in row.items()}

    content = {
        **about,
        "protocols": [PSNR_PROTOCOL, SSIM_PROTOCOL],
        "means": plain(evaluation.means),
        "pairs": [plain(row) for row in evaluation.rows],
        "failed": evaluation.failed,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def table(evaluation: Evaluation) -> str:
    """Return the scores as aligned text, means last, with the protocols below."""
    rows = [{**row, "name": shown(row["name"])} for row in evaluation.rows]
    rows.append({"name": "mean", **evaluation.means})
    width = max(len(row["name"]) for row in rows)
    lines = [
        f"{'':{width}}  {'PSNR, dB':^17}  {'SSIM':^17}".rstrip(),
        f"{'':{width}}  blurred  restored  blurred  restored",
    ]
    for row in rows:
        psnrs = f"{row['psnr_blurred']:7.2f}  {row['psnr_restored']:8.2f}"
        ssims = f"{row['ssim_blurred']:7.4f}  {row['ssim_restored']:8.4f}"
        lines.append(f"{row['name']:{width}}  {psnrs}  {ssims}")
    return "\n".join([*lines, "", PSNR_PROTOCOL, SSIM_PROTOCOL])

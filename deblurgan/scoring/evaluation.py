"""Scores of restored pictures against the sharp ones, beside those of the blurred input."""

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

from deblurgan.data.pairs import WholePair
from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, shown
from deblurgan.pictures.pixels import resize
from deblurgan.scoring.metrics import CW_SSIM, PSNR, SSIM, SSIM_3D, Metric

METRICS = {metric.name: metric for metric in (PSNR, SSIM, SSIM_3D, CW_SSIM)}  # those that need no weights
DEFAULT_METRICS = (PSNR, SSIM)
BLURRED, RESTORED = "blurred", "restored"  # what scores are of, in the keys of rows


@dataclass
class Evaluation:
    """Scores of a set of pairs.

    Attributes:
        rows: for each pair its `name` and the `scores`.
        failed: one line for each pair that could not be scored.
        metrics: what was computed.
        restored: what the restored pictures are called: of one network, or of several that are compared.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    metrics: Sequence[Metric] = DEFAULT_METRICS
    restored: tuple[str, ...] = (RESTORED,)

    @property
    def sides(self) -> tuple[str, ...]:
        """What is scored of each pair: the blurred picture, and the restored ones."""
        return (BLURRED, *self.restored)

    @property
    def scores(self) -> tuple[str, ...]:
        """The keys of the scores in `rows`: psnr_blurred, psnr_restored, ssim_blurred and so on."""
        return tuple(f"{metric.name}_{side}" for metric in self.metrics for side in self.sides)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each score over all pairs."""
        keys = [(metric, f"{metric.name}_{side}") for metric in self.metrics for side in self.sides]
        return {key: metric.mean([row[key] for row in self.rows]) for metric, key in keys}

    def beside(self, other: "Evaluation") -> "Evaluation":
        """Return these scores and those of another network, of the pairs that have both."""
        others = {row["name"]: row for row in other.rows}
        rows = [{**row, **others[row["name"]]} for row in self.rows if row["name"] in others]
        failed = [f"{', '.join(other.restored)}: {failure}" for failure in other.failed]
        return Evaluation(rows, [*self.failed, *failed], self.metrics, self.restored + other.restored)


def evaluate(
    restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    pairs: Sequence[WholePair],
    *,
    metrics: Sequence[Metric] = DEFAULT_METRICS,
    squash: int | None = None,
    name: str = RESTORED,
    show: Callable[[Mapping[str, Any], Sequence[NDArray[np.uint8]]], None] = lambda row, pictures: None,
    progress: Callable[[Path], None] = lambda picture: None,
) -> Evaluation:
    """Restore the blurred picture of each pair and compare it, and the blurred one itself, with the sharp one.

    Everything is compared as 8-bit pixels, at full size or, with `squash`, squashed to a square of so many pixels
    first. See `metrics` for the protocols. Pairs that cannot be read or compared are reported, the others scored.
    The restored pictures are called `name`. `show` is given the row of each pair that is scored, and its blurred,
    restored and sharp picture.

    Raises:
        InputError: no pair could be scored.
    """
    evaluation = Evaluation(metrics=tuple(metrics), restored=(name,))
    for pair in pairs:
        try:
            blurred, sharp = pair.read()
            if squash is not None:
                blurred, sharp = (resize(image, (squash, squash)) for image in (blurred, sharp))
            restored = restore(blurred)
            scores = [metric.score(sharp, image) for metric in metrics for image in (blurred, restored)]
        except (FileError, InputError) as error:
            evaluation.failed.append(f"{shown(pair.name)}: {error}")
        else:
            row = {"name": pair.name, **dict(zip(evaluation.scores, scores, strict=True))}
            evaluation.rows.append(row)
            show(row, (blurred, restored, sharp))
        progress(pair.blurred)
    if not evaluation.rows:
        raise InputError(f"none of the pairs could be scored: {evaluation.failed[0]}")
    return evaluation


def gain(metric: Metric, scores: Mapping[str, float], restored: str = RESTORED) -> float:
    """Return by how much the restored picture scores better than the blurred one, negative where it is worse.

    Two equal scores differ by 0, also where both are infinite (PSNR of identical pictures). The gain is not a
    number where one of them is none.
    """
    before, after = (scores[f"{metric.name}_{side}"] for side in (BLURRED, restored))
    if before == after:
        return 0.0
    return before - after if metric.lower_is_better else after - before


def write_scores_csv(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write one line per pair, without the means; the file appears whole or not at all.

    Names are written as UTF-8; those of files whose names are not, byte by byte as they are.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.DictWriter(file, ("name", *evaluation.scores))
        writer.writeheader()
        writer.writerows(evaluation.rows)


def write_scores_json(evaluation: Evaluation, path: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
    """Write protocols, means, gains, rows and failures, with `about` (weights, precision, ...) on top.

    The gain in each metric is a number or, where networks are compared, one for each of them by its name.
    The PSNR of identical pictures, which is infinite, is written as the string "inf", what is not a number as null.
    """

    def plain(row: Mapping[str, Any]) -> dict[str, Any]:
        strange = {key: value for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
        return {**row, **{key: None if math.isnan(value) else str(value) for key, value in strange.items()}}

    metrics, means = evaluation.metrics, evaluation.means
    gains = {
        restored: plain({metric.name: gain(metric, means, restored) for metric in metrics})
        for restored in evaluation.restored
    }
    content = {
        **about,
        "protocols": [metric.protocol for metric in metrics],
        "comparable": {metric.name: metric.comparable for metric in metrics},
        "means": plain(means),
        "gains": gains.get(RESTORED, gains),
        "pairs": [plain(row) for row in evaluation.rows],
        "failed": evaluation.failed,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def summary(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """Return the means as rows of (what, text for each metric): of the blurred input, the restored, the gain."""
    metrics, means = evaluation.metrics, evaluation.means
    rows = [
        (title, [f"{means[f'{metric.name}_{side}']:.{metric.digits}f}" for metric in metrics])
        for title, side in zip(("blurred input (baseline)", *evaluation.restored), evaluation.sides, strict=True)
    ]
    for side in evaluation.restored:
        gains = [f"{gain(metric, means, side):+.{metric.digits}f}" for metric in metrics]
        rows.append(("gain" if side == RESTORED else f"gain with {side}", gains))
    return rows


def table(evaluation: Evaluation) -> str:
    """Return scores and gain of each picture as aligned text, then means, `summary` and the protocols."""
    rows = [{**row, "name": shown(row["name"])} for row in evaluation.rows]
    rows.append({"name": "mean", **evaluation.means})
    metrics = evaluation.metrics
    lines = _beside_each_other(metrics, rows) if evaluation.restored == (RESTORED,) else _below(evaluation, rows)
    means = summary(evaluation)
    width = max(len(title) for title, _ in means)
    lines += ["", "  ".join([f"{'means':{width}}", *(f"{metric.heading:>8}" for metric in metrics)])]
    lines += ["  ".join([f"{title:{width}}", *(f"{text:>8}" for text in texts)]) for title, texts in means]
    lines.append("")
    for metric in metrics:
        lines += [metric.protocol, f"  {metric.comparable}"]
    return "\n".join(lines)


def _beside_each_other(metrics: Sequence[Metric], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each picture: blurred, restored and gain of one metric after the other."""
    width = max(len(row["name"]) for row in rows)
    lines = [
        "  ".join([f"{'':{width}}", *(f"{metric.heading:^26}" for metric in metrics)]).rstrip(),
        "  ".join([f"{'':{width}}", *["blurred  restored     gain"] * len(metrics)]),
    ]
    for row in rows:
        texts = [
            f"{row[f'{metric.name}_blurred']:7.{metric.digits}f}  {row[f'{metric.name}_restored']:8.{metric.digits}f}"
            f"  {gain(metric, row):+7.{metric.digits}f}"
            for metric in metrics
        ]
        lines.append("  ".join([f"{row['name']:{width}}", *texts]))
    return lines


def _below(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Some lines for each picture, one for the blurred and each restored one; columns are metrics and their gain."""
    metrics = evaluation.metrics
    width, side_width = (max(map(len, texts)) for texts in ([row["name"] for row in rows], evaluation.sides))
    lines = ["  ".join([f"{'':{width + 2 + side_width}}", *(f"{metric.heading:>8}     gain" for metric in metrics)])]
    for row in rows:
        for side in evaluation.sides:
            texts = [
                f"{row[f'{metric.name}_{side}']:8.{metric.digits}f}  "
                + ("" if side == BLURRED else f"{gain(metric, row, side):+.{metric.digits}f}").rjust(7)
                for metric in metrics
            ]
            name = row["name"] if side == BLURRED else ""
            lines.append("  ".join([f"{name:{width}}", f"{side:{side_width}}", *texts]).rstrip())
    return lines

"""The means of an evaluation as a table to paste into a paper, a README or a spreadsheet."""

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from deblurgan.errors import InputError
from deblurgan.files import atomic_path, shown
from deblurgan.scoring.evaluation import Evaluation
from deblurgan.scoring.metrics import Metric

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def check_table(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless `write_table` knows the extension."""
    if Path(path).suffix.lower() not in _FORMATS:
        raise InputError(f"{shown(path)}: expected a name that ends in {', '.join(_FORMATS)}")


def write_table(evaluation: Evaluation, path: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Write the mean scores of the blurred pictures, then of the restored ones, a row each: .md, .tex or .csv.

    In Markdown and LaTeX arrows tell which way is better, and the best score is bold; CSV has all digits. The file
    appears whole or not at all.

    Args:
        evaluation: what was scored.
        path: the file.
        names: of the networks, as the rows shall call them.

    Raises:
        InputError: another extension.
        FileError: it cannot be written.
    """
    check_table(path)
    means = evaluation.means
    rows = [
        (name, [means[f"{metric.name}_{side}"] for metric in evaluation.metrics])
        for name, side in zip(("blurred input", *names), evaluation.sides, strict=True)
    ]
    with atomic_path(path) as temporary:
        text = _FORMATS[Path(path).suffix.lower()](evaluation.metrics, rows)
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


Rows = list[tuple[str, list[float]]]


def _csv(metrics: Sequence[Metric], rows: Rows) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["restored with", *(metric.name for metric in metrics)])
    writer.writerows([name, *values] for name, values in rows)
    return file.getvalue()


def _markdown(metrics: Sequence[Metric], rows: Rows) -> str:
    heads = ["", *(f"{metric.heading} {'↓' if metric.lower_is_better else '↑'}" for metric in metrics)]
    lines = [heads, ["---", *["---:"] * len(metrics)]]
    lines += [[shown(name).replace("|", r"\|"), *_texts(metrics, rows, values, "**{}**")] for name, values in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _latex(metrics: Sequence[Metric], rows: Rows) -> str:
    arrows = [r"$\downarrow$" if metric.lower_is_better else r"$\uparrow$" for metric in metrics]
    heads = [f"{_escaped(metric.heading)} {arrow}" for metric, arrow in zip(metrics, arrows, strict=True)]
    lines = [[_escaped(name), *_texts(metrics, rows, values, r"\textbf{{{}}}")] for name, values in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
            r"\hline",
            rf"{' & '.join(['', *heads])} \\",
            r"\hline",
            *(rf"{' & '.join(line)} \\" for line in lines),
            r"\hline",
            r"\end{tabular}",
            "",
        ]
    )


def _texts(metrics: Sequence[Metric], rows: Rows, values: Sequence[float], bold: str) -> list[str]:
    """The scores of one row, as they are printed; `bold` is put around those that no row's print surpasses."""
    texts = []
    for place, metric in enumerate(metrics):
        numbers = [row[place] for _, row in rows if not math.isnan(row[place])]
        best = (min if metric.lower_is_better else max)(numbers, default=None)
        text = f"{values[place]:.{metric.digits}f}"
        texts.append(bold.format(text) if best is not None and text == f"{best:.{metric.digits}f}" else text)
    return texts


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in shown(text))


_FORMATS: dict[str, Callable[[Sequence[Metric], Rows], str]] = {".md": _markdown, ".tex": _latex, ".csv": _csv}

"""An evaluation as one HTML page: means, protocols, the worst and the best pictures. It needs no other file."""

import bisect
import html
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import InputError
from deblurgan.files import atomic_path, shown
from deblurgan.pictures.html import data_uri
from deblurgan.scoring.detections import Box
from deblurgan.scoring.evaluation import BLURRED, RESTORED, Evaluation, gain, summary
from deblurgan.scoring.metrics import Metric

LARGEST_SHOWN = 1280  # pixels, of a picture's longer side
_MOST_BESIDE = 4  # pictures in a row
_SHARP = "sharp"
_LETTERS = 36  # as high as letters at boxes are, on a picture's width

_STYLE = """
:root { color-scheme: light dark; --line: #c9ced6; --soft: #f3f5f8; --text: #1b1f24; --quiet: #4c5561; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3b434e; --soft: #1d232b; --text: #e7eaee; --quiet: #a9b3bf; --page: #12161b; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 110rem; margin: 0 auto; padding: 2rem clamp(1rem, 3vw, 3rem) 4rem; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.35rem; }
h3 { margin: 0; font-size: 1.05rem; overflow-wrap: anywhere; }
p, dd, li { max-width: 75ch; }
p { margin: .25rem 0 .75rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.25rem; margin: 1rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .5rem; color: var(--quiet); text-align: left; }
th, td { padding: .35rem .9rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; font-weight: 400; }
thead th, tr.gain > * { font-weight: 650; }
.quiet { color: var(--quiet); }
article { margin: 0 0 1.5rem; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--soft); }
.pictures { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: .75rem; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; border-radius: .25rem; }
figcaption { padding-top: .35rem; font-size: .9rem; }
figcaption b { display: block; }
figcaption span { white-space: nowrap; }
summary { cursor: pointer; }
.picture { position: relative; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; font-family: system-ui, sans-serif; }
svg rect { fill: none; stroke-width: 2px; vector-effect: non-scaling-stroke; }
svg text { font-weight: 600; paint-order: stroke; stroke: #000; stroke-width: .18em; }
.wanted { stroke: #4aa3ff; } text.wanted { fill: #8cc4ff; }
.right { stroke: #2fd06b; } text.right { fill: #7df0a6; }
.wrong { stroke: #ff4d4d; } text.wrong { fill: #ff9c9c; }
.missed { stroke: #ffc233; stroke-dasharray: 6 4; } text.missed { fill: #ffd983; }
@media (max-width: 48rem) {
  .pictures { grid-template-columns: 1fr; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>deblurgan evaluate: {title}</title>
<style>{style}</style>
</head>
<body>
<main>
{main}
</main>
</body>
</html>
"""


Draw = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Sequence[Box]]
_KINDS = "Blue boxes are what is found in the sharp picture: green where found, dashed where missed; red are wrong."


@dataclass
class _Exhibit:
    """The scores of a pair; its pictures as data URIs, blurred, restored, sharp, and boxes; size before and shown."""

    row: Mapping[str, Any]
    pictures: list[tuple[str, Sequence[Box]]]
    size: tuple[int, int]
    shown_size: tuple[int, int]


class Gallery:
    """Keeps the pictures of which the restored one gained least and most, as JPEG, while an evaluation goes on.

    Args:
        metric: whose gain decides.
        count: so many of the worst and so many of the best; half of all each where there are fewer.
        restored: whose gain decides, where networks are compared.
        sharp: whether there are sharp pictures, which are shown then.
        draw: of the sharp and another picture, or itself, returns boxes to draw in the latter.

    Raises:
        InputError: `count` is negative.
    """

    def __init__(
        self,
        metric: Metric,
        count: int,
        restored: str = RESTORED,
        *,
        sharp: bool = True,
        draw: Draw | None = None,
    ) -> None:
        if count < 0:
            raise InputError(f"html_pictures: expected a number from 0 on, received {count}")
        self.metric = metric
        self.restored = restored
        self.sharp = sharp
        self.draw = draw
        self.count = count
        self._exhibits: list[_Exhibit] = []  # from the smallest gain to the largest

    def add(self, row: Mapping[str, Any], pictures: Sequence[NDArray[np.uint8]]) -> None:
        """Keep a row of `evaluate`, and its pictures, if it belongs to the worst or best so far.

        The pictures are the blurred, restored and sharp one, each uint8 (height, width, 3).
        """
        place = bisect.bisect_right(self._exhibits, self._gained(row), key=lambda exhibit: self._gained(exhibit.row))
        full = len(self._exhibits) == 2 * self.count
        if full and place == self.count:
            return
        height, width = pictures[0].shape[:2]
        shown_size = data_uri(pictures[0], LARGEST_SHOWN)[1]
        kept = [self._kept(picture, pictures[-1]) for picture in pictures[: 2 + self.sharp]]
        self._exhibits.insert(place, _Exhibit(row, kept, (width, height), shown_size))
        if full:
            del self._exhibits[self.count]

    def add_beside(self, row: Mapping[str, Any], pictures: Sequence[NDArray[np.uint8]]) -> None:
        """Put what another network restored beside the pictures of the same name, where those are kept."""
        for exhibit in self._exhibits:
            if exhibit.row["name"] == row["name"]:
                exhibit.row = {**exhibit.row, **row}
                place = len(exhibit.pictures) - self.sharp
                exhibit.pictures.insert(place, self._kept(pictures[1], pictures[-1]))

    def _kept(self, picture: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> tuple[str, Sequence[Box]]:
        return data_uri(picture, LARGEST_SHOWN)[0], self.draw(sharp, picture) if self.draw else ()

    @property
    def worst(self) -> list[_Exhibit]:
        """Those with the smallest gains, the smallest first."""
        return self._exhibits[: len(self._exhibits) // 2]

    @property
    def best(self) -> list[_Exhibit]:
        """Those with the largest gains, the largest first."""
        return self._exhibits[len(self._exhibits) // 2 :][::-1]

    def _gained(self, row: Mapping[str, Any]) -> float:
        gained = gain(self.metric, row, self.restored)
        return 0.0 if math.isnan(gained) else gained


def write_report(
    evaluation: Evaluation, gallery: Gallery, path: str | os.PathLike[str], about: Mapping[str, Any]
) -> None:
    """Write the page, UTF-8, with pictures inside it and no scripts; it appears whole or not at all.

    `about` are the settings (weights, precision, ...), lists where networks are compared; what is None is left out.

    Raises:
        FileError: it cannot be written.
    """
    settings = {name.replace("_", " "): _joined(value) for name, value in about.items() if _joined(value)}
    settings["pairs scored"] = str(len(evaluation.rows))
    parts = [
        "<h1>Restored pictures, scored</h1>",
        "<dl>"
        + "".join(f"<dt>{_text(name.capitalize())}</dt><dd>{_text(value)}</dd>" for name, value in settings.items())
        + "</dl>",
        "<h2>Means</h2>",
        _means(evaluation),
        "<h2>What is computed, and what it can be compared with</h2>",
        "<ul>",
        *(
            f'<li>{_text(metric.protocol)}<br><span class="quiet">{_text(metric.comparable)}</span></li>'
            for metric in evaluation.metrics
        ),
        "</ul>",
    ]
    for title, exhibits in (("Worst", gallery.worst), ("Best", gallery.best)):
        exhibits = [exhibit for exhibit in exhibits if len(exhibit.pictures) == len(evaluation.sides) + gallery.sharp]
        if exhibits:
            order = "least" if title == "Worst" else "most"
            ranked = f"{gallery.metric.title} gained {order} over the blurred picture"
            if gallery.restored != RESTORED:
                ranked += f" with {gallery.restored}"
            parts.append(f"<h2>{title} pictures</h2>")
            drawn = f" {_KINDS}" if gallery.draw else ""
            parts.append(f'<p class="quiet">Where {_text(ranked)}.{drawn}</p>')
            parts += [_article(exhibit, evaluation, gallery) for exhibit in exhibits]
    if evaluation.failed:
        parts.append("<h2>Failed</h2>")
        parts += ["<ul>", *(f"<li>{_text(failure)}</li>" for failure in evaluation.failed), "</ul>"]
    parts += ["<h2>All pictures</h2>", _all_rows(evaluation)]
    title = _text(_joined(about.get("weights", "restored pictures")))
    page = _PAGE.format(title=title, style=_STYLE, main="\n".join(parts))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _means(evaluation: Evaluation) -> str:
    heads = "".join(f'<th scope="col">{_text(metric.heading)}</th>' for metric in evaluation.metrics)
    rows = [
        f'<tr{" class=gain" if title.startswith("gain") else ""}><th scope="row">{_text(title)}</th>'
        + "".join(f"<td>{_text(text)}</td>" for text in texts)
        + "</tr>"
        for title, texts in summary(evaluation)
    ]
    return (
        '<div class="scroll"><table><caption>A positive gain is an improvement.</caption>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _all_rows(evaluation: Evaluation) -> str:
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(evaluation.sides)}">{_text(metric.heading)}</th>'
        for metric in evaluation.metrics
    )
    heads = "".join(f'<th scope="col">{_text(side)}</th>' for _ in evaluation.metrics for side in evaluation.sides)
    rows = [
        f'<tr><th scope="row">{_text(shown(row["name"]))}</th>'
        + "".join(
            f"<td>{row[f'{metric.name}_{side}']:.{metric.digits}f}</td>"
            for metric in evaluation.metrics
            for side in evaluation.sides
        )
        + "</tr>"
        for row in evaluation.rows
    ]
    return (
        f"<details><summary>Scores of each of the {len(rows)} pictures</summary>"
        f'<div class="scroll"><table><thead><tr><td></td>{groups}</tr><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _article(exhibit: _Exhibit, evaluation: Evaluation, gallery: Gallery) -> str:
    name = shown(exhibit.row["name"])
    width, height = exhibit.shown_size
    note = f"{exhibit.size[0]} x {exhibit.size[1]} pixels"
    if exhibit.shown_size != exhibit.size:
        note += f", shown at {width} x {height}"
    gained = _score(gallery.metric, gain(gallery.metric, exhibit.row, gallery.restored), "+")
    figures = []
    kinds = (*evaluation.sides, *([_SHARP] if gallery.sharp else []))
    for kind, (uri, boxes) in zip(kinds, exhibit.pictures, strict=True):
        texts = [
            f"<span>{_score(metric, exhibit.row[f'{metric.name}_{kind}'])}</span>"
            for metric in evaluation.metrics
            if kind != _SHARP
        ]
        title = kind.capitalize() if kind in (BLURRED, RESTORED, _SHARP) else kind
        image = f'<img src="{uri}" width="{width}" height="{height}" alt="{_text(name)}, {_text(kind)}">'
        if boxes:
            image = f'<div class="picture">{image}{_drawn(boxes, exhibit.size)}</div>'
        figures.append(
            f"<figure>{image}"
            f"<figcaption><b>{_text(title)}</b>{' · '.join(texts) or 'the truth'}</figcaption></figure>"
        )
    columns = min(len(figures), _MOST_BESIDE)
    return (
        f'<article><h3>{_text(name)}</h3><p class="quiet">{gained}; {note}</p>'
        f'<div class="pictures" style="--columns: {columns}">{"".join(figures)}</div></article>'
    )


def _drawn(boxes: Sequence[Box], size: tuple[int, int]) -> str:
    """Boxes to lie over a picture of that width and height."""
    shapes = []
    letters = size[0] / _LETTERS
    for box in boxes:
        left, top, right, bottom = box.sides
        shapes.append(
            f'<rect class="{box.kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"/>'
            f'<text class="{box.kind}" x="{left:.1f}" y="{max(top - letters / 4, letters):.1f}">'
            f"{_text(box.text)}</text>"
        )
    sized = f'viewBox="0 0 {size[0]} {size[1]}" font-size="{letters:.1f}"'
    return f'<svg {sized} aria-hidden="true">{"".join(shapes)}</svg>'


def _score(metric: Metric, value: float, sign: str = "") -> str:
    return _text(f"{metric.title} {value:{sign}.{metric.digits}f} {metric.unit}".rstrip())


def _joined(value: object) -> str:
    """A setting as text, nothing for None; of a list each once."""
    values = value if isinstance(value, list) else [value]
    return ", ".join(dict.fromkeys(str(each) for each in values if each is not None))


def _text(value: object) -> str:
    """Escape for HTML, inside quotation marks too; unprintable characters, such as lone surrogates, are shown."""
    return html.escape(shown(str(value)))

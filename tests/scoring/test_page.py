import base64
import io
import itertools
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from deblurgan.errors import FileError, InputError
from deblurgan.scoring.evaluation import Evaluation
from deblurgan.scoring.metrics import PSNR, SSIM, Metric, psnr
from deblurgan.scoring.page import Gallery, write_report

VOID = ("meta", "img", "br")


def row(name, blurred=20.0, restored=21.0):
    return {
        "name": name,
        "psnr_blurred": blurred,
        "psnr_restored": restored,
        "ssim_blurred": 0.5,
        "ssim_restored": 0.6,
    }


def flat(value, height=16, width=24):
    return np.full((height, width, 3), value, np.uint8)


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, its text by element, and whether tags match."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data))

    def text_of(self, tag):
        return [text for open_tag, text in self.texts if open_tag == tag]

    def elements_without_names(self):
        """The elements and their attributes, but for what describes a picture."""
        return [
            (tag, {key: value for key, value in attributes.items() if key != "alt"})
            for tag, attributes in self.elements
        ]

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(tmp_path, rows, count=3, pictures=None, failed=(), metrics=(PSNR, SSIM), about=None):
    gallery = Gallery(metrics[0], count)
    for index, scores in enumerate(rows):
        gallery.add(scores, pictures or [flat(index), flat(index + 100), flat(index + 200)])
    write_report(
        Evaluation(rows, list(failed), metrics), gallery, tmp_path / "report.html", about or {"weights": "w.h5"}
    )
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def names_of(exhibits):
    return [exhibit.row["name"] for exhibit in exhibits]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("pairs", [1, 2, 5, 12])
def test_the_gallery_keeps_the_worst_and_the_best(count, pairs):
    gains = np.random.default_rng(pairs).normal(size=pairs)
    gallery = Gallery(PSNR, count)
    for index, gained in enumerate(gains):
        gallery.add(row(str(index), 20, 20 + gained), [flat(0)] * 3)
    order = [str(index) for index in np.argsort(gains)]
    best = order[::-1][: min(count, math.ceil(pairs / 2))]
    worst = order[: min(count, pairs // 2)]
    assert (names_of(gallery.worst), names_of(gallery.best)) == (worst, best)


def test_a_negative_number_of_pictures_is_refused():
    with pytest.raises(InputError, match="html_pictures: expected a number from 0 on, received -1"):
        Gallery(PSNR, -1)


def test_the_gallery_follows_its_metric_where_lower_is_better():
    distance = Metric("psnr", "Distance", "", "", psnr, lower_is_better=True)
    gallery = Gallery(distance, 1)
    for name, restored in (("up", 23.0), ("down", 18.0), ("same", 20.0)):
        gallery.add(row(name, 20, restored), [flat(0)] * 3)
    assert (names_of(gallery.worst), names_of(gallery.best)) == (["up"], ["down"])


def test_a_gallery_of_none_keeps_none(tmp_path):
    text = written(tmp_path, [row("a"), row("b")], count=0)
    assert Page(text).all("img") == []
    assert "Worst pictures" not in text


def test_the_page_shows_blurred_restored_and_sharp_of_the_worst_and_the_best(tmp_path):
    rows = [row(f"picture {index}", 20, 20 + index) for index in (3, 0, 2, 1)]
    page = Page(written(tmp_path, rows, count=1))
    assert page.text_of("h3") == ["picture 0", "picture 3"]
    assert [image["alt"] for image in page.all("img")] == [
        f"picture {index}, {kind}" for index in (0, 3) for kind in ("blurred", "restored", "sharp")
    ]
    values = []
    for image in page.all("img"):
        kind, data = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.size == (int(image["width"]), int(image["height"])) == (24, 16)
            values.append(round(np.asarray(picture).mean()))
    assert values == pytest.approx([1, 101, 201, 0, 100, 200], abs=1)
    assert "PSNR +3.00 dB; 24 x 16 pixels" in page.text_of("p")


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path):
    text = written(tmp_path, [row("a"), row("b")])
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "a"})
    assert re.findall(r"https?://|@import|url\(", text) == []
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    policies = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_page_is_accessible(tmp_path):
    page = Page(written(tmp_path, [row("a"), row("b")]))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.text_of("title")) == 1
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all("scope" in head for head in page.all("th"))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_means_baseline_protocols_and_each_score_are_on_the_page(tmp_path):
    rows = [row("a", 20, 23), row("b", 30, 31)]
    text = written(tmp_path, rows, failed=["c: cannot be read"], about={"weights": "w.h5", "resize": None})
    page = Page(text)
    heads = page.text_of("th")
    assert {"blurred input (baseline)", "restored", "gain", "PSNR, dB", "SSIM", "a", "b"} <= set(heads)
    assert page.text_of("td")[:6] == ["25.00", "0.5000", "27.00", "0.6000", "+2.00", "+0.1000"]
    assert page.text_of("td")[6:] == ["20.00", "23.00", "0.5000", "0.6000", "30.00", "31.00", "0.5000", "0.6000"]
    for metric in (PSNR, SSIM):
        assert metric.protocol in page.text_of("li")
        assert metric.comparable in page.text_of("span")
    assert [text for text in page.text_of("span") if text.startswith("PSNR ")] == [
        *("PSNR 30.00 dB", "PSNR 31.00 dB"),  # the worst gain first
        *("PSNR 20.00 dB", "PSNR 23.00 dB"),
    ]
    assert "c: cannot be read" in page.text_of("li")
    assert page.text_of("dt") == ["Weights", "Pairs scored"]
    assert page.text_of("dd") == ["w.h5", "2"]


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '" onerror="alert(1)', "a&b <i>", "'>", "사진", "line\nbreak", "not UTF-8 \udcff"],
)
def test_names_are_shown_and_never_markup(name, tmp_path):
    plain = Page(written(tmp_path, [row("a")]))
    page = Page(written(tmp_path, [row(name)], failed=[], about={"weights": name}))
    assert page.elements_without_names() == plain.elements_without_names()
    shown = name if name.isprintable() else ascii(name)
    assert page.text_of("h3") == [shown]
    assert page.all("img")[0]["alt"] == f"{shown}, blurred"
    assert page.text_of("dd")[0] == shown


def test_networks_that_are_compared_stand_beside_each_other(tmp_path):
    gallery = Gallery(PSNR, 1, "a")
    rows = [
        {"name": name, "psnr_blurred": 20.0, "psnr_a": 20 + gained, "psnr_<b>": 22.0}
        for name, gained in (("up", 3.0), ("down", -1.0), ("lost", -2.0), ("same", 0.0))
    ]
    for scores in rows:
        gallery.add({key: value for key, value in scores.items() if key != "psnr_<b>"}, [flat(1), flat(2), flat(4)])
    kept = [scores for scores in rows if scores["name"] != "lost"]  # which the second network could not restore
    for scores in kept:
        gallery.add_beside({key: scores[key] for key in ("name", "psnr_blurred", "psnr_<b>")}, [flat(1), flat(3)])
    about = {"weights": ["a", "<b>"], "quality": ["fast", "fast"], "resize": None, "engine": [None, None]}
    write_report(Evaluation(kept, [], (PSNR,), ("a", "<b>")), gallery, tmp_path / "report.html", about)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.text_of("h3") == ["up"]
    assert [image["alt"] for image in page.all("img")] == [f"up, {kind}" for kind in ("blurred", "a", "<b>", "sharp")]
    means = []
    for image in page.all("img"):
        with Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))) as picture:
            means.append(round(np.asarray(picture).mean()))
    assert means == [1, 2, 3, 4]
    assert page.text_of("b") == ["Blurred", "a", "<b>", "Sharp"]
    assert page.text_of("dd") == ["a, <b>", "fast", "3"]
    assert "Where PSNR gained most over the blurred picture with a." in page.text_of("p")
    assert {"gain with a", "gain with <b>"} <= set(page.text_of("th"))
    assert page.text_of("td")[:5] == ["20.00", "20.67", "22.00", "+0.67", "+2.00"]
    assert page.text_of("td")[-3:] == ["20.00", "20.00", "22.00"]


def test_large_pictures_are_shown_smaller_and_it_is_said(tmp_path):
    text = written(tmp_path, [row("a")], pictures=[flat(value, 8, 2560) for value in (1, 2, 3)])
    page = Page(text)
    assert "PSNR +1.00 dB; 2560 x 8 pixels, shown at 1280 x 4" in page.text_of("p")
    assert {(image["width"], image["height"]) for image in page.all("img")} == {("1280", "4")}


def test_infinite_scores_are_shown(tmp_path):
    page = Page(written(tmp_path, [row("same", math.inf, 30.0)]))
    assert page.text_of("td")[:6] == ["inf", "0.5000", "30.00", "0.6000", "-inf", "+0.1000"]


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(FileError, match=r"report\.html: cannot be written"):
        written(tmp_path, [row("a")])

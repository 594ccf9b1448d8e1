import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deblurgan.errors import FileError
from deblurgan.jobs.before_after import opened_comparison
from deblurgan.pictures.reading import Picture
from tests.photographs import noise


def test_before_and_after_stand_beside_each_other(tmp_path):
    before = Picture(noise(), alpha=np.zeros((24, 32), np.uint8), kind="RGBA")
    with opened_comparison(tmp_path / "both") as add:
        add(Path("x/a.png"), before, 255 - before.rgb)
    array = np.asarray(Image.open(tmp_path / "both/x/a.png"))
    assert array.shape == (24, 32 + 8 + 32, 3)
    np.testing.assert_array_equal(array[:, :32], before.rgb)
    np.testing.assert_array_equal(array[:, -32:], 255 - before.rgb)


class Page(HTMLParser):
    """What is on a page: its pictures, the text of its headings, and whatever would be loaded or run."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.headings, self.tags, self.loaded, self.inside = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.inside = tag
        source = attributes.get("src") or attributes.get("href") or ""
        if tag == "img" and source.startswith("data:image/jpeg;base64,"):
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
        elif source:
            self.loaded.append(source)

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "h2":
            self.headings.append(data)


def test_before_and_after_that_cannot_be_written_are_named(tmp_path):
    wide = np.zeros((2, 10000, 3), np.uint8)  # the two are wider than any WebP
    with opened_comparison(tmp_path) as add, pytest.raises(FileError) as caught:
        add(Path("a.webp"), Picture(wide), wide)
    assert str(caught.value).startswith(f"{tmp_path / 'a.webp'}: cannot be written as WEBP")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_page_holds_all_pictures_and_escapes_their_names(tmp_path, dtype):
    names = [
        "<script>alert(1)</script>.png",
        'a "quoted" & b.png',
        "line\nbreak.png",
        os.fsdecode(b"\xff.png"),
        "{x}.png",
    ]
    flat = np.full((40, 50, 3), 200, np.uint8).astype(dtype) * (257 if dtype == np.uint16 else 1)
    with opened_comparison(tmp_path / "sub" / "page.html") as add:
        for name in names:
            add(Path(name), Picture(flat), np.iinfo(dtype).max - flat)
    text = (tmp_path / "sub" / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.headings == [names[0], names[1], ascii(names[2]), ascii(names[3]), names[4]]
    assert "script" not in page.tags
    assert page.loaded == []
    assert re.findall(r"https?:", text) == []
    assert [picture.size for picture in page.pictures] == [(50, 40)] * 10
    for number, picture in enumerate(page.pictures):
        assert np.abs(np.asarray(picture).astype(int) - (55 if number % 2 else 200)).max() <= 2
    assert page.tags.count("input") == 5
    frame = r"<div [^>]*>\s*<img [^>]*>\s*<img [^>]*>\s*</div>\s*<input"  # the second has the size of what is around
    assert len(re.findall(frame, text)) == 5


def test_large_pictures_are_smaller_on_a_page(tmp_path):
    large = np.zeros((20, 4000, 3), np.uint8)
    with opened_comparison(tmp_path / "page.html") as add:
        add(Path("a.png"), Picture(large), large)
    assert Page((tmp_path / "page.html").read_text()).pictures[0].size == (1600, 8)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_page_keeps_what_is_on_it_and_an_error_leaves_the_earlier_one(tmp_path, error):
    (tmp_path / "page.html").write_text("earlier")
    with pytest.raises(error), opened_comparison(tmp_path / "page.html") as add:  # noqa: PT012
        add(Path("a.png"), Picture(noise()), noise())
        raise error
    text = (tmp_path / "page.html").read_text()
    assert (
        ("<h2>a.png</h2>" in text and text.endswith("</html>\n")) if error is KeyboardInterrupt else text == "earlier"
    )
    assert os.listdir(tmp_path) == ["page.html"]

import base64
import contextlib
import io
import os
import re
import resource
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deblurgan.errors import FileError, InputError
from deblurgan.jobs.before_after import opened_comparison
from deblurgan.jobs.writing import opened_output
from deblurgan.pictures.reading import Picture
from tests.photographs import noise


@contextlib.contextmanager
def full_after(size):
    """No file may grow beyond `size` bytes: a real failure in the middle of writing, as that of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_folders_are_made_for_results(tmp_path):
    with opened_output(tmp_path / "out") as write:
        assert write(Path("x/y/a.bin"), b"123") == tmp_path / "out/x/y/a.bin"
    assert (tmp_path / "out/x/y/a.bin").read_bytes() == b"123"


def test_without_a_folder_names_are_whole_paths_and_nothing_is_replaced(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"earlier")
    (tmp_path / "link.bin").symlink_to(tmp_path / "nothing")
    with opened_output(None) as write:
        assert write(tmp_path / "a.bin", b"123") == tmp_path / "a.bin"
        for name in ("b.bin", "link.bin", "a.bin"):
            with pytest.raises(
                FileError,
                match=rf"{name}: is there already, .* expected --skip_existing, another --suffix, or an --out",
            ):
                write(tmp_path / name, b"456")
        with pytest.raises(FileError, match=r"c\.bin"):
            write(tmp_path / "no folder" / "c.bin", b"456")
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin", "link.bin"]
    assert [(tmp_path / name).read_bytes() for name in ("a.bin", "b.bin")] == [b"123", b"earlier"]
    assert (tmp_path / "link.bin").is_symlink()


def test_a_full_disk_leaves_no_half_file_and_the_earlier_one(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"earlier")
    with opened_output(tmp_path) as write, full_after(1000):
        with pytest.raises(FileError, match=r"a\.bin: cannot be written: File too large"):
            write(Path("a.bin"), bytes(5000))
        write(Path("b.bin"), bytes(900))
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"earlier"


def test_a_zip_file_holds_the_results_under_their_names(tmp_path):
    with opened_output(tmp_path / "sub" / "a.zip") as write:
        write(Path("x/사진.png"), b"1")
        write(Path(os.fsdecode(b"not \xff utf-8.png")), b"2")
        assert not (tmp_path / "sub" / "a.zip").exists()
    with zipfile.ZipFile(tmp_path / "sub" / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "x/사진.png": b"1",
            "not \\xff utf-8.png": b"2",
        }


def test_an_interrupted_zip_file_keeps_what_is_in_it_and_an_empty_one_does_not_appear(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened_output(tmp_path / "a.zip") as write:  # noqa: PT012
        write(Path("x"), b"1")
        raise KeyboardInterrupt
    with opened_output(tmp_path / "b.zip"):
        pass
    assert os.listdir(tmp_path) == ["a.zip"]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("x") == b"1"


def test_a_zip_file_that_an_error_ends_does_not_appear(tmp_path):
    with pytest.raises(ZeroDivisionError), opened_output(tmp_path / "a.zip") as write:  # noqa: PT012
        write(Path("x"), b"1")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_zip_file_for_which_the_disk_is_too_small_does_not_appear(tmp_path):
    with full_after(3000), pytest.raises(FileError, match=r"a\.zip: cannot be written"):  # noqa: PT012, SIM117
        with opened_output(tmp_path / "a.zip") as write:
            write(Path("x"), bytes(500))
            with pytest.raises(FileError, match=r"a\.zip: cannot be written"):
                write(Path("y"), bytes(50000))
            with pytest.raises(FileError, match=r"a\.zip: cannot be written"):
                write(Path("z"), bytes(5))
    assert os.listdir(tmp_path) == []


def test_standard_output_gets_the_content_alone():
    stream = io.BytesIO()
    with opened_output("-", stream) as write:
        write(Path("a.png"), b"123")
    assert stream.getvalue() == b"123"
    with opened_output("-") as write, pytest.raises(InputError, match="there is none"):
        write(Path("a.png"), b"123")


def test_a_closed_pipe_is_reported():
    class Closed(io.BytesIO):
        def write(self, content):
            raise BrokenPipeError(32, "Broken pipe")

    with opened_output("-", Closed()) as write, pytest.raises(FileError, match=r"standard output: .*Broken pipe"):
        write(Path("a.png"), b"123")


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

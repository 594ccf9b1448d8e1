"""How far a long job is, told on a terminal and in a log."""

import io
import os
import re

import pytest
from tqdm import tqdm

from deblurgan.cli import progress
from deblurgan.cli.progress import Lasting, bar, frames_bar, pictures_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Restorer:
    pixels_done = 0

    def on_tile(self, done, total):
        pass

    def restore(self, pixels, tiles=1):
        for done in range(1, tiles + 1):
            self.pixels_done += pixels / tiles
            self.on_tile(done, tiles)


def shown_on(stream, monkeypatch, interval=0):
    """Have standard error be a stream, and return what gives its text."""
    monkeypatch.setattr(progress, "INTERVAL", interval)
    monkeypatch.setattr("sys.stderr", stream)
    return stream.getvalue


def without_times(text):
    return re.sub(r"[\d.]+ MP/s, [\d:]+ gone, [\d:?]+ left", "SPEED", text)


def test_in_a_log_there_are_plain_lines(monkeypatch):
    log = shown_on(io.StringIO(), monkeypatch)
    restorer = Restorer()
    with pictures_bar(2, restorer) as done:
        restorer.restore(1000)
        done("a.png")
        restorer.restore(10**6, tiles=3)
        done("b.png")
    assert "\r" not in log()
    assert "\x1b" not in log()
    lines = without_times(log()).splitlines()
    assert lines[0] == "picture 0 of 2, 00:00 gone, ? left"  # with no interval at once
    assert [line for line in lines[1:] if "SPEED" in line] == [
        "picture 1 of 2, SPEED",
        "tile 2 of 3, SPEED",
        "tile 3 of 3, SPEED",
        "picture 2 of 2, SPEED",
    ]


def test_a_short_job_leaves_no_line_in_a_log(monkeypatch):
    text = shown_on(io.StringIO(), monkeypatch, interval=30)
    restorer = Restorer()
    with pictures_bar(1, restorer) as done:
        restorer.restore(100, tiles=4)
        done("a.png")
    with bar(total=2, unit="batch") as batches:
        batches.set_postfix_str("validating 1/2")
        batches.update()
    assert text() == ""


def test_on_a_terminal_there_are_bars_for_pictures_and_tiles(monkeypatch):
    terminal = shown_on(Terminal(), monkeypatch)
    restorer = Restorer()
    with pictures_bar(1, restorer) as done:
        restorer.restore(10**6, tiles=3)
        restorer.restore(10**6, tiles=2)
        done("a.png")
    assert "1/3 [" in terminal()
    assert "1/2 [" in terminal()
    assert re.search(r" 1/1 \[[^\r]*MP/s\]\n$", terminal())


def test_the_speed_is_that_of_all_pixels_since_the_bar_began(monkeypatch):
    shown_on(Terminal(), monkeypatch)
    restorer = Restorer()
    restorer.pixels_done = 10**9
    with pictures_bar(1, restorer) as done:
        monkeypatch.setattr("tqdm.tqdm.format_dict", {"elapsed": 4.0})
        monkeypatch.setattr("tqdm.tqdm.set_postfix_str", lambda self, text, refresh: seen.append(text))
        seen = []
        restorer.restore(6 * 10**6)
        done("a.png")
        monkeypatch.undo()
    assert seen == ["1.50 MP/s"]


def test_tiles_of_a_picture_that_is_broken_off_are_cleared(monkeypatch):
    shown_on(Terminal(), monkeypatch)
    restorer = Restorer()
    with pytest.raises(KeyboardInterrupt), pictures_bar(1, restorer):  # noqa: PT012
        restorer.on_tile(1, 4)
        raise KeyboardInterrupt
    assert not tqdm._instances


def test_frames_are_counted_from_where_a_video_goes_on(monkeypatch, tmp_path):
    log = shown_on(io.StringIO(), monkeypatch)
    restorer = Restorer()
    with frames_bar(restorer, tmp_path / "clip.mp4", 20, 30) as add:
        restorer.restore(1000)
        add(5)
    assert without_times(log()).splitlines()[-1] == "clip.mp4: frame 25 of 30, SPEED"


def test_a_reader_that_goes_away_ends_nothing():
    reading, writing = os.pipe()
    with open(writing, "w") as pipe:
        stream = Lasting(pipe)
        stream.write("one\n")
        stream.flush()
        assert os.read(reading, 9) == b"one\n"
        os.close(reading)
        for _ in range(2):
            stream.write("two\n")
            stream.flush()
        assert not stream.isatty()

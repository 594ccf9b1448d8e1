import io
import os
import random
import shutil
import signal
import threading
import time

import pytest
from PIL import Image

from tests.faults.children import Memory, restored_by, started
from tests.photographs import noise, pixels, save

pytestmark = pytest.mark.faults

HOW = ["--precision", "float32", "--strength", 0.9]  # the strength: each on its own
ENDINGS = (".png", ".jpg", ".bmp", ".tif", ".webp")
SIDES = range(24, 120, 16)  # few: TensorFlow keeps what it has prepared for the latest sizes
MOST = 40  # pictures at a time


class Folder:
    """A folder, and one below, in which things happen to pictures; `hold` what each file that is there is like.

    Values: True for a picture, False for what is none.
    """

    def __init__(self, path, seed):
        self.path, self.random, self.hold, self.number = path, random.Random(seed), {}, 0
        self.outside = path.parent / "outside"
        self.growing = []
        for folder in (path / "below", self.outside):
            folder.mkdir(parents=True)

    def content(self, ending):
        """A picture that is like no other."""
        self.number += 1
        height, width = self.random.choice(SIDES), self.random.choice(SIDES)
        file = io.BytesIO()
        Image.fromarray(noise(height, width, seed=self.number)).save(file, Image.registered_extensions()[ending])
        return file.getvalue()

    def new(self):
        """A name that is not taken."""
        self.number += 1
        below = self.random.choice(("", "", "below"))
        return self.path / below / f"{self.number:05}{self.random.choice(ENDINGS)}"

    def any(self, kind=None):
        """One of the files, of this kind; None where there is none."""
        there = [p for p, held in self.hold.items() if kind in (None, held) and p not in self.growing]
        return self.random.choice(there) if there else None

    # What happens

    def appears(self):
        path = self.new()
        path.write_bytes(self.content(path.suffix))
        self.hold[path] = True

    def is_moved_in(self):
        path = self.new()
        (self.outside / "a").write_bytes(self.content(path.suffix))
        os.replace(self.outside / "a", path)
        self.hold[path] = True

    def grows(self):
        """Be written in pieces, some of which take longer than a look does."""
        path = self.new()
        content = self.content(path.suffix)
        pauses = [self.random.choice((0.3, 0.7, 1.5, 3)) for _ in range(self.random.randint(2, 6))]
        self.hold[path] = True
        self.growing.append(path)
        thread = threading.Thread(target=self._write, args=(path, content, pauses))
        thread.start()

    def _write(self, path, content, pauses):
        size = -(-len(content) // len(pauses))
        with path.open("wb") as file:
            for number, pause in enumerate(pauses):
                file.write(content[number * size :][:size])
                file.flush()
                time.sleep(pause)
        self.growing.remove(path)

    def vanishes(self):
        if path := self.any():
            path.unlink()
            del self.hold[path]

    def is_renamed(self):
        if path := self.any():
            to = self.new().with_suffix(path.suffix)
            os.replace(path, to)
            self.hold[to] = self.hold.pop(path)

    def has_other_content(self):
        if path := self.any(True):
            path.write_bytes(self.content(path.suffix))

    def is_replaced(self):
        """By another picture, of the same size and time where its format has no compression."""
        if path := self.any(True):
            before = path.stat()
            if path.suffix == ".bmp":
                self.number += 1
                save(self.outside / "a.bmp", noise(*pixels(path).shape[:2], seed=self.number))
            else:
                (self.outside / "a.bmp").write_bytes(self.content(path.suffix))
            os.utime(self.outside / "a.bmp", ns=(before.st_atime_ns, before.st_mtime_ns))
            os.replace(self.outside / "a.bmp", path)

    def has_another_time(self):
        if path := self.any():
            when = time.time() + self.random.choice((-1, 1)) * self.random.choice((0.5, 3600, 10**9))
            os.utime(path, (when, when))

    def breaks(self):
        if path := self.any(True):
            path.write_bytes(path.read_bytes()[: self.random.randint(0, 60)])
            self.hold[path] = False

    def is_mended(self):
        if path := self.any(False):
            path.write_bytes(self.content(path.suffix))
            self.hold[path] = True

    def is_no_file(self):
        path = self.outside / self.new().name
        self.random.choice((path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("nothing")))()
        os.rename(path, self.path / path.name)

    def folder_goes(self):
        """The folder below, or the watched one with all that is in it, and comes again."""
        if self.growing:
            return
        folder = self.random.choice((self.path / "below", self.path / "below", self.path))
        shutil.rmtree(folder)
        self.hold = {path: held for path, held in self.hold.items() if path.exists()}
        time.sleep(self.random.choice((0, 0.5, 2.5)))
        (self.path / "below").mkdir(parents=True)

    def folder_is_moved_away_and_back(self):
        if not self.growing:
            os.rename(self.path, self.outside / "moved")
            time.sleep(self.random.choice((0, 0.5, 2.5)))
            os.rename(self.outside / "moved", self.path)

    def happen(self, pause):
        """Let something happen."""
        often = {self.appears: 5, self.is_moved_in: 5, self.grows: 5, self.folder_goes: 1}
        often[self.vanishes] = 20 if len(self.hold) > MOST else 4
        often[self.folder_is_moved_away_and_back] = 1
        for event in (self.is_renamed, self.has_other_content, self.is_replaced, self.has_another_time):
            often[event] = 4
        for event in (self.breaks, self.is_mended, self.is_no_file):
            often[event] = 2
        (event,) = self.random.choices(list(often), list(often.values()))
        event()
        time.sleep(self.random.uniform(0, 2 * pause))


def test_an_hour_of_watching(often, note, weights, tmp_path):
    seconds, pause, events = often(20, 3600), often(0.15, 2.0), 0
    folder, out = Folder(tmp_path / "in", seed=14), tmp_path / "out"
    log, said = tmp_path / "log.txt", tmp_path / "said.txt"
    with log.open("w") as err, said.open("w") as output:
        child = started(
            *("deblur", folder.path, "--output_dir", out, "--watch", "--recursive", "--weight_path", weights),
            *HOW,
            stdout=output,
            stderr=err,
        )
        while "Watching" not in log.read_text():
            assert child.poll() is None, log.read_text()
            time.sleep(0.1)
        memory, start = Memory(child.pid, pause=often(0.1, 1)), time.monotonic()
        while time.monotonic() < start + seconds:
            folder.happen(pause)
            events += 1
        end = time.monotonic()
        while folder.growing or time.monotonic() < end + 8:
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        code = child.wait(60)

    told, printed = log.read_text(), said.read_text().splitlines()
    whole = {path.relative_to(folder.path) for path, held in folder.hold.items() if held}
    assert "Traceback" not in told
    assert code == (0 if len(whole) == len(folder.hold) else 1)
    assert printed[-1] == f"{len(printed) - 1} pictures restored into {out}"
    assert not list(out.rglob(".*"))
    for path in out.rglob("*.*"):  # those of pictures that have gone, too
        assert pixels(path).ndim == 3
    for path in set(folder.hold) - {folder.path / name for name in whole}:
        path.unlink()
    for path in (path for path in folder.path.iterdir() if path.name != "below" and path not in folder.hold):
        path.rmdir() if path.is_dir() else path.unlink()
    restored_by(weights, folder.path, "--output_dir", tmp_path / "expected", "--recursive", *HOW)
    assert {path.relative_to(tmp_path / "expected") for path in (tmp_path / "expected").rglob("*.*")} == whole
    for name in whole:
        assert (out / name).read_bytes() == (tmp_path / "expected" / name).read_bytes(), name
    growth, figures = memory.growth(start, end)
    assert abs(growth) < often(0.5, 0.05), figures
    note(
        "`--watch` while files appear, grow, vanish, are renamed, replaced and damaged, and folders go and come",
        events,
        f"each picture that stayed has its one result, none is half; {figures}",
    )

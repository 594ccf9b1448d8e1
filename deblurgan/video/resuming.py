"""The finished parts of a video, which outlast an interruption."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deblurgan.files import atomic_path
from deblurgan.pictures.pixels import Pixels
from deblurgan.video.ffmpeg import file_url, fraction, named_errors, pyav
from deblurgan.video.frames import Encoder, Frame
from deblurgan.video.looking import Video
from deblurgan.video.options import VideoOptions

_PART_FRAMES = 100  # frames a part: what is lost at most when the program is killed
_SETTINGS = "video.json"
_UNFINISHED = "unfinished.mp4"


def parts_folder(target: str | os.PathLike[str]) -> Path:
    """Return where the finished parts of a video are kept until it is whole: a hidden folder beside it."""
    target = Path(target)
    return target.with_name(f".{target.name}.parts")


class Parts:
    """The finished parts of a video: MP4 files in a folder, each named by the time of its first frame.

    Attributes:
        folder: where they are.
        files: they, in order.
        frames: how many are in them.
        last: the time of the last one; None where there is none.
    """

    def __init__(self, folder: Path, video: Video, options: VideoOptions) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.frames = 0
        self.last: int | None = None
        self._video, self._crf = video, options.crf
        self._encoder: Encoder | None = None
        self._started = 0
        self._count = 0
        with named_errors(video.path, "cannot be read"):
            state = os.stat(video.path)
        source = [video.path.name, state.st_size, state.st_mtime_ns, options.start, options.end]
        settings = json.dumps([*source, options.crf, options.settings, pyav().__version__])
        note = folder / _SETTINGS
        with named_errors(folder, "cannot be used"):
            if note.exists() and note.read_text() == settings:
                self._take_up()
                return
            for path in folder.iterdir():
                path.unlink()
            with atomic_path(note) as temporary:
                temporary.write_text(settings)

    def _take_up(self) -> None:
        """Find the parts that an earlier run has finished, up to one that a crash of the machine has damaged."""
        finished = [path for path in self.folder.glob("*.mp4") if path.stem.lstrip("-").isdigit()]
        finished.sort(key=lambda path: int(path.stem))
        for path in finished:
            try:
                with pyav().open(file_url(path)) as file:
                    self.frames += file.streams.video[0].frames
            except pyav().error.InvalidDataError:
                break
            self.files.append(path)
        for path in finished[len(self.files) :]:
            path.unlink()
        if self.files:
            *_, (self.last, _) = packets(self.files[-1], self._video)

    def add(self, frames: Sequence[Frame], restored: Sequence[Pixels]) -> None:
        """Write frames; finish a part when it is long enough."""
        for frame, rgb in zip(frames, restored, strict=True):
            with named_errors(self.folder, "cannot be written"):
                if self._encoder is None:
                    self._encoder = Encoder(self.folder / _UNFINISHED, self._video, self._crf)
                    self._started, self._count = frame.time, 0
                self._encoder.add(rgb, frame.time - self._started, frame.duration)
            self.last = frame.time
            self._count += 1
            if self._count == _PART_FRAMES:
                self.finish()

    def finish(self) -> None:
        """Make what has been added a finished part."""
        if self._encoder is None:
            return
        encoder, self._encoder = self._encoder, None
        path = self.folder / f"{self._started}.mp4"
        with named_errors(self.folder, "cannot be written"):
            try:
                encoder.close()
            except BaseException:
                encoder.abandon()
                raise
            os.replace(self.folder / _UNFINISHED, path)
        self.files.append(path)
        self.frames += self._count

    def leave(self) -> None:
        """Give up an unfinished part; remove the folder if no part is finished."""
        if self._encoder is not None:
            self._encoder.abandon()
            self._encoder = None
        with contextlib.suppress(OSError):  # of a disk that has meanwhile become read-only: it is told already
            (self.folder / _UNFINISHED).unlink(missing_ok=True)
        if not self.files:
            shutil.rmtree(self.folder, ignore_errors=True)


def packets(part: Path, video: Video) -> Iterator[tuple[int, Any]]:
    """The packets of a finished part with their times, in units of the video's time base."""
    first = int(part.stem)
    with pyav().open(file_url(part)) as file:
        stream = file.streams.video[0]
        unit = fraction(stream.time_base) / video.time_base
        for packet in file.demux(stream):
            if packet.pts is not None:
                yield first + round(packet.pts * unit), packet

"""How videos are to be restored."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from deblurgan.errors import InputError
from deblurgan.video.looking import Video

Progress = Callable[[Path, int, int], contextlib.AbstractContextManager[Callable[[int], object]]]


@contextlib.contextmanager
def _unseen(path: Path, done: int, total: int) -> Iterator[Callable[[int], object]]:
    yield lambda more: None


@dataclass(frozen=True)
class VideoOptions:
    """How to restore videos.

    Attributes:
        start: take the video from this second on; None: from its beginning.
        end: take it up to this second; None: to its end.
        crf: constant rate factor of the encoder, 0 (largest, best) to 51 for H.264 and 63 for VP9; None: 17 and 20.
        settings: a text that differs where the restored frames would; parts made with another are not gone on with.
        progress: called with the file, how many frames are done already, and about how many there are (0: not known)
            when a video is begun; yields what is called with how many more are done.
    """

    start: float | None = None
    end: float | None = None
    crf: int | None = None
    settings: str = ""
    progress: Progress = _unseen

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if value is not None and not (isinstance(value, (int, float)) and 0 <= value < 1e9):
                raise InputError(f"{name}: expected seconds from 0 on, received {value!r}")
        if self.crf is not None and not (type(self.crf) is int and 0 <= self.crf <= 63):
            raise InputError(f"crf: expected a whole number from 0 to 63, received {self.crf!r}")
        if self.end is not None and self.end <= (self.start or 0):
            raise InputError(f"end: expected more than the start, {self.start or 0} s, received {self.end} s")


@dataclass(frozen=True)
class Span:
    """What is wanted of a video, in seconds of its own clock, and how much earlier the result's clock is."""

    start: Fraction | None
    end: Fraction | None
    shift: Fraction

    @classmethod
    def of(cls, video: Video, options: VideoOptions) -> "Span":
        """Return what the options want of a video."""
        start, end = (None if at is None else Fraction(str(at)) + video.origin for at in (options.start, options.end))
        return cls(start, end, start or Fraction(0))

    def __str__(self) -> str:
        start = f"{float(self.start or 0):g} s"
        return f"from {start} on" if self.end is None else f"from {start} to {float(self.end):g} s"

    def holds(self, time: Fraction) -> bool:
        """Whether a time of the video's clock is in it."""
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

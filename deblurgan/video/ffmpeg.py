"""FFmpeg by way of PyAV, which is imported when it is needed."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from deblurgan.errors import FileError, InputError
from deblurgan.files import reason, shown


def pyav() -> Any:
    """Return the module `av`.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("videos need PyAV: pip install 'deblurgan[video]'") from error
    return av


# What a file is read as, whatever its name: videos themselves, and no list of other files or addresses, which FFmpeg
# would go and read.
_READ = "asf avi dv flv h264 hevc ivf m4v matroska mov mpeg mpegts mpegvideo mxf ogg webm"


def reading(path: str | os.PathLike[str]) -> Any:
    """Open a video, which holds all that is read; what PyAV raises is not caught."""
    options = {"format_whitelist": _READ.replace(" ", ","), "protocol_whitelist": "file"}
    return pyav().open(file_url(path), metadata_errors="replace", options=options)


def file_url(path: str | os.PathLike[str]) -> str:
    """Return the name of a file as FFmpeg takes it, which would read a protocol before the colon in "12:30.mp4"."""
    return f"file:{os.fspath(path)}"


@contextlib.contextmanager
def named_errors(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Raise what goes wrong in FFmpeg, or with files, as a `FileError` that says "path: what: reason"."""
    try:
        yield
    except FileError:
        raise
    except (pyav().FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise FileError(f"{shown(path)}: {what}: {why}") from error


def is_a_cover(stream: Any) -> bool:
    """Whether a video stream is a picture that goes with the file."""
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)


def fraction(value: Any) -> Fraction:
    """One of PyAV's ratios; 0 where there is none."""
    return Fraction(value.numerator, value.denominator) if value else Fraction(0)


def decoded(file: Any, stream: Any, lost: list[int]) -> Iterator[Any]:
    """The frames from where the file stands; packets that cannot be decoded are counted in `lost`."""
    damaged = pyav().error.InvalidDataError
    packets, packet = file.demux(stream), None
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            yield from stream.codec_context.decode(packet)
        except damaged:
            lost.append(1)
            if packet is None or packet.size == 0:
                return

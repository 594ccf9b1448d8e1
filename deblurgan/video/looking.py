"""What the frames of a video are like, and how they are to be written."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from deblurgan.errors import FileError, InputError
from deblurgan.files import shown
from deblurgan.video.containers import CONTAINERS, READ_ALONE
from deblurgan.video.ffmpeg import decoded, fraction, is_a_cover, named_errors, pyav, reading

# Numbers of ITU-T H.273 and FFmpeg: matrix coefficients, and the range of the values
_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_LIMITED, _FULL = 1, 2
_RANGES = {_LIMITED: "limited", _FULL: "full"}

_HD_HEIGHT = 577  # lines: a video that does not name its matrix has BT.709's from here on, and BT.601's below
_MOST_PIXELS = 2**26  # of a frame: twice those of 8K
_SUBSAMPLED = {
    (32, 32): "yuv420p",
    (32, 64): "yuv422p",
    (64, 64): "yuv444p",
    (16, 64): "yuv422p",
    (16, 16): "yuv420p",
}
_ENCODERS = {"webm": "libvpx-vp9"}
_OTHER_ENCODER = "libx264"


@dataclass(frozen=True)
class Video:
    """What the frames of a video are like, in the file and when they are written again.

    Attributes:
        path: the file.
        index: which of its streams holds them.
        size: width and height in pixels, as stored.
        deep: whether they have more than 8 bits that can be written again.
        matrix: what turns RGB into them, by FFmpeg's name.
        value_range: "limited" or "full".
        tags: their range, primaries, transfer function and matrix as they are to be named in the result.
        aspect: width of a pixel by its height; 0 where it is not said.
        display_matrix: how a player is to turn them: nine 32-bit numbers; empty where it is not said.
        time_base: the unit of time stamps, in seconds.
        rate: frames a second, the mean.
        origin: the time at which the file begins, in seconds.
        frames: how many there are, about; 0 where that is not known.
        encoder: FFmpeg's name of what writes them.
        pixel_format: what they are written as.
        notices: what cannot be kept.
    """

    path: Path
    index: int
    size: tuple[int, int]
    deep: bool
    matrix: str
    value_range: str
    tags: tuple[int, int, int, int]
    aspect: Fraction
    display_matrix: bytes
    time_base: Fraction
    rate: Fraction
    origin: Fraction
    frames: int
    encoder: str
    pixel_format: str
    notices: tuple[str, ...]


def look_at(path: Path, target: Path) -> Video:
    """Return what the frames of the video `path` are like, and how `target` is to hold them.

    Raises:
        FileError: it cannot be read, or no frame in it.
        InputError: `target` has not the extension of a container that is known, or PyAV is missing.
    """
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        known = " ".join(sorted(CONTAINERS))
        raise InputError(f"{shown(target)}: expected one of {known}, got {target.suffix.lower() or 'none'!r}")
    if not os.path.isfile(path):
        raise FileError(f"{shown(path)}: {'not a file' if os.path.exists(path) else 'no such file'}")
    with named_errors(path, "not a readable video"), reading(path) as file:
        stream = _video_stream(file, path)
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > _MOST_PIXELS:
            raise FileError(
                f"{shown(path)}: expected frames of at most {_MOST_PIXELS} pixels, found {width}x{height}"
            )
        said = (stream.codec_context.color_range, stream.codec_context.colorspace)
        first = next(decoded(file, stream, []), None)
        if first is None:
            raise FileError(f"{shown(path)}: expected a video, found no frame that can be decoded")
        return _described(path, container, file, stream, said, first)


def _video_stream(file: Any, path: Path) -> Any:
    """The stream of frames in an opened file."""
    moving = [stream for stream in file.streams.video if not is_a_cover(stream)]
    if not moving or moving[0].codec_context is None:
        found = ", ".join(sorted({stream.type for stream in file.streams})) or "nothing"
        raise FileError(f"{shown(path)}: expected a video stream that can be decoded, found {found}")
    return moving[0]


def _described(path: Path, container: str, file: Any, stream: Any, said: tuple[int, int], first: Any) -> Video:
    """As `look_at`, of an opened file and its first frame."""
    av = pyav()
    codec = stream.codec_context
    encoder = _ENCODERS.get(container, _OTHER_ENCODER)
    pixel_format, deep, notices = _to_write(first.format, (first.width, first.height), encoder)
    value_range = _known(first.color_range, said[0])
    colorspace = _known(first.colorspace, said[1], unknown=_UNSPECIFIED)
    if first.format.is_rgb or first.format.has_palette:
        value_range, colorspace = _LIMITED, _BT709
    named = colorspace
    if first.format.name.startswith("yuvj"):
        value_range = _FULL
    if colorspace == _UNSPECIFIED:
        colorspace = _BT709 if first.height >= _HD_HEIGHT else _BT601
    elif colorspace not in _MATRICES:
        notices.append(f"its colour matrix, number {colorspace}, is not known; it is taken as BT.709")
        colorspace = _BT709
    if path.suffix.lower() in READ_ALONE:
        notices.append(f"{path.suffix[1:].lower()} is written as {container}")
    if first.interlaced_frame:
        notices.append("interlaced: both fields are restored as one picture, and written as progressive")
    if codec.color_trc in (16, 18):
        notices.append("HDR: restored as it is coded; the figures of its brightest parts are not kept")
    others = [other for other in file.streams.video if other.index != stream.index and not is_a_cover(other)]
    if others:
        notices.append(f"{len(others) + 1} videos in it: the first is restored, others are copied")
    rate = fraction(stream.average_rate) or fraction(stream.guessed_rate) or Fraction(25)
    length = Fraction(file.duration or 0, av.time_base)
    if stream.duration:
        length = stream.duration * fraction(stream.time_base)
    side = first.side_data.get("DISPLAYMATRIX")
    return Video(
        path=path,
        index=stream.index,
        size=(first.width, first.height),
        deep=deep,
        matrix=_MATRICES[colorspace],
        value_range=_RANGES.get(value_range, "limited"),
        tags=(value_range, codec.color_primaries, codec.color_trc, named),
        aspect=fraction(stream.sample_aspect_ratio),
        display_matrix=b"" if side is None else bytes(side),
        time_base=fraction(stream.time_base),
        rate=rate,
        origin=max(Fraction(0), Fraction(file.start_time or 0, av.time_base)),  # below 0: sound that is not played
        frames=stream.frames or round(length * rate),
        encoder=encoder,
        pixel_format=pixel_format,
        notices=tuple(notices),
    )


def _known(of_frame: int, of_file: int, unknown: int = 0) -> int:
    """A number that the frame says, or else the file."""
    return int(of_file if of_frame == unknown else of_frame)


def _to_write(given: Any, size: tuple[int, int], encoder: str) -> tuple[str, bool, list[str]]:
    """The pixel format nearest to `given` that `encoder` writes, whether it is deep, and what changes."""
    av = pyav()
    writable = {known.name for known in av.Codec(encoder, "w").video_formats}
    components = av.VideoFormat(given.name, 64, 64).components
    colours = [component for component in components if not component.is_alpha]
    bits = max(component.bits for component in colours)
    notices = []
    if len(colours) < len(components):
        notices.append("its alpha is not kept")
    if given.is_rgb or given.has_palette:
        name = "yuv444p"
        notices.append("RGB becomes YUV 4:4:4")
    elif len(colours) < 3:
        name = "yuv420p"
    else:
        name = _SUBSAMPLED.get((colours[1].width, colours[1].height), "yuv444p")
    odd = (size[0] % 2 and name in ("yuv420p", "yuv422p")) or (size[1] % 2 and name == "yuv420p")
    if odd and encoder == "libx264":
        name = "yuv444p"
        notices.append(f"{size[0]}x{size[1]}, which H.264 holds as YUV 4:4:4 alone: some players do not show that")
    deep = bits > 8 and f"{name}10le" in writable
    kept = 10 if deep else 8
    if bits > kept:
        notices.append(f"{bits} bits become {kept}")
    return (f"{name}10le" if deep else name), deep, notices

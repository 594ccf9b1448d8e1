"""The frames of a video as RGB arrays, and back into a stream with their colours, shape and times.

FFmpeg does the work, by way of PyAV, which is imported when it is needed.
"""

import contextlib
import os
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from deblurgan.errors import FileError, InputError
from deblurgan.files import reason, shown
from deblurgan.pictures.pixels import Pixels
from deblurgan.video.containers import CONTAINERS, READ_ALONE

# Numbers of ITU-T H.273 and FFmpeg: matrix coefficients, and the range of the values
_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_LIMITED, _FULL = 1, 2
_RANGES = {_LIMITED: "limited", _FULL: "full"}

_HD_HEIGHT = 577  # lines: a video that does not name its matrix has BT.709's from here on, and BT.601's below
_SCALE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_SUBSAMPLED = {
    (32, 32): "yuv420p",
    (32, 64): "yuv422p",
    (64, 64): "yuv444p",
    (16, 64): "yuv422p",
    (16, 16): "yuv420p",
}
_ENCODERS = {"webm": "libvpx-vp9"}
_OTHER_ENCODER = "libx264"
_CRF = {"libx264": 17, "libvpx-vp9": 20}
_ENCODER_OPTIONS = {
    "libx264": {"preset": "medium"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "4", "row-mt": "1"},
}


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


@dataclass(frozen=True)
class Frame:
    """A frame: its time and how long it is shown, in units of the video's time base, and its pixels."""

    time: int
    duration: int
    rgb: Pixels


def look_at(path: Path, target: Path) -> Video:
    """Return what the frames of the video `path` are like, and how `target` is to hold them.

    Raises:
        FileError: it cannot be read, or no frame in it.
        InputError: `target` has not the extension of a container that is known, or PyAV is missing.
    """
    av = pyav()
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        known = " ".join(sorted(CONTAINERS))
        raise InputError(f"{shown(target)}: expected one of {known}, got {target.suffix.lower() or 'none'!r}")
    if not os.path.isfile(path):
        raise FileError(f"{shown(path)}: {'not a file' if os.path.exists(path) else 'no such file'}")
    with named_errors(path, "not a readable video"), av.open(file_url(path), metadata_errors="replace") as file:
        stream = _video_stream(file, path)
        said = (stream.codec_context.color_range, stream.codec_context.colorspace)
        first = next(_decoded(file, stream, []), None)
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


def is_a_cover(stream: Any) -> bool:
    """Whether a video stream is a picture that goes with the file."""
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)


def _decoded(file: Any, stream: Any, lost: list[int]) -> Iterator[Any]:
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
    rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate) or Fraction(25)
    length = Fraction(file.duration or 0, av.time_base)
    if stream.duration:
        length = stream.duration * _fraction(stream.time_base)
    side = first.side_data.get("DISPLAYMATRIX")
    return Video(
        path=path,
        index=stream.index,
        size=(first.width, first.height),
        deep=deep,
        matrix=_MATRICES[colorspace],
        value_range=_RANGES.get(value_range, "limited"),
        tags=(value_range, codec.color_primaries, codec.color_trc, named),
        aspect=_fraction(stream.sample_aspect_ratio),
        display_matrix=b"" if side is None else bytes(side),
        time_base=_fraction(stream.time_base),
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


def _fraction(value: Any) -> Fraction:
    """One of PyAV's ratios; 0 where there is none."""
    return Fraction(value.numerator, value.denominator) if value else Fraction(0)


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


class _Converter:
    """Turns frames of one pixel format into another, by a filter of FFmpeg."""

    def __init__(self, size: tuple[int, int], source: str, target: str, options: str) -> None:
        av = pyav()
        graph = av.filter.Graph()
        start = graph.add_buffer(width=size[0], height=size[1], format=av.VideoFormat(source), time_base=Fraction(1))
        scale, form = graph.add("scale", f"{_SCALE}:{options}"), graph.add("format", f"pix_fmts={target}")
        graph.link_nodes(start, scale, form, graph.add("buffersink")).configure()
        self._graph = graph

    def __call__(self, frame: Any) -> Any:
        self._graph.vpush(frame)
        return self._graph.vpull()


def read_frames(video: Video, first: int | None, end: int | None) -> Generator[Frame, None, int]:
    """Yield the frames whose time is `first` or later, and before `end`, in units of the time base.

    Times that do not increase are made to. Returns the number of packets that could not be decoded.

    Raises:
        FileError: it cannot be read, or the frames change their size.
    """
    av = pyav()
    path, step = video.path, max(1, round(1 / (video.rate * video.time_base)))
    colours = f"in_color_matrix={video.matrix}:in_range={video.value_range}:out_range=full"
    converters: dict[str, _Converter] = {}
    lost: list[int] = []
    with named_errors(path, "cannot be read"), av.open(file_url(path), metadata_errors="replace") as file:
        stream = file.streams[video.index]
        stream.thread_type = "AUTO"
        before: int | None = None
        for frame in _from(file, stream, first, lost):
            time = frame.pts
            if time is None or (before is not None and time <= before):
                time = 0 if before is None else before + (step if time is None else 1)
            before = time
            if end is not None and time >= end:
                break
            if first is not None and time < first:
                continue
            if (frame.width, frame.height) != video.size:
                seen = f"{frame.width}x{frame.height} after {video.size[0]}x{video.size[1]}"
                raise FileError(f"{shown(path)}: expected frames of one size, found {seen}")
            name = frame.format.name
            if name not in converters:
                target = "rgb48le" if video.deep else "rgb24"
                converters[name] = _Converter(video.size, name, target, colours)
            rgb = converters[name](frame).to_ndarray()
            yield Frame(time, frame.duration or step, rgb)
    return len(lost)


def _from(file: Any, stream: Any, first: int | None, lost: list[int]) -> Iterator[Any]:
    """The frames from one at or before the time `first` on."""
    if first is None:
        yield from _decoded(file, stream, lost)
        return
    file.seek(first, stream=stream)
    frames = _decoded(file, stream, lost)
    frame = next(frames, None)
    if frame is None or frame.pts is None or frame.pts > first:  # the index of the file is of no use
        file.seek(min(0, stream.start_time or 0), stream=stream)
        stream.codec_context.flush_buffers()
        frames = _decoded(file, stream, lost)
        frame = next(frames, None)
    if frame is not None:
        yield frame
        yield from frames


class Encoder:
    """Writes frames into a file of their own, MP4 whatever the video's own container is.

    The time of the first one is 0 in it. There are no frames that need later ones (B-frames), so that files can be
    joined at any frame, whatever the distances in time.

    Args:
        path: the file.
        video: what they are like.
        crf: the encoder's constant rate factor; None: a value at which loss is hard to see.
    """

    def __init__(self, path: Path, video: Video, crf: int | None) -> None:
        av = pyav()
        self._path, self._video = path, video
        options = {"crf": str(_CRF[video.encoder] if crf is None else crf), **_ENCODER_OPTIONS[video.encoder]}
        self._file = av.open(file_url(path), "w", format="mp4")
        self._stream = self._file.add_stream(video.encoder, rate=video.rate, options=options)
        codec = self._stream.codec_context
        codec.width, codec.height = video.size
        codec.pix_fmt, codec.time_base, codec.max_b_frames = video.pixel_format, video.time_base, 0
        codec.color_range, codec.color_primaries, codec.color_trc, codec.colorspace = video.tags
        if video.aspect:
            codec.sample_aspect_ratio = video.aspect
        self._stream.time_base = video.time_base
        source = "rgb48le" if video.deep else "rgb24"
        colours = f"in_range=full:out_color_matrix={video.matrix}:out_range={video.value_range}"
        self._convert = _Converter(video.size, source, video.pixel_format, colours)
        self._source = source

    def add(self, rgb: Pixels, time: int, duration: int) -> None:
        """Write a frame."""
        frame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=self._source)
        frame = self._convert(frame)
        frame.pts, frame.time_base, frame.duration = time, self._video.time_base, duration
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is left, and how the frames are to be turned, which PyAV cannot (before version 18)."""
        self._file.mux(self._stream.encode(None))
        self._file.close()
        if self._video.display_matrix:
            with self._path.open("r+b") as file:
                _turn(file, self._video.display_matrix)

    def abandon(self) -> None:
        """Close the file, which is of no use then."""
        with contextlib.suppress(pyav().FFmpegError, OSError):
            self._file.close()


def _turn(file: IO[bytes], matrix: bytes) -> None:
    """Put a display matrix into an MP4 file of one track: ISO/IEC 14496-12, track header box."""
    end = file.seek(0, os.SEEK_END)
    start = 0
    for kind in (b"moov", b"trak", b"tkhd"):
        start, end = _box(file, kind, start, end)
    file.seek(start)
    version = file.read(1)[0]
    file.seek(start + (52 if version else 40))
    file.write(struct.pack(">9i", *struct.unpack("=9i", matrix)))


def _box(file: IO[bytes], kind: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the content of the first box of this kind between two places begins and ends."""
    while start < end:
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = struct.unpack(">Q", file.read(8))[0], 16
        if name == kind:
            return start + head, start + size
        start += size
    raise FileError(f"expected a {kind.decode()} box in an MP4 file, found none")

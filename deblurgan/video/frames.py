"""The frames of a video as RGB arrays, and these as frames again."""

import contextlib
import os
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from deblurgan.errors import FileError
from deblurgan.files import shown
from deblurgan.pictures.boxes import boxes
from deblurgan.pictures.pixels import Pixels
from deblurgan.video.ffmpeg import decoded, file_url, named_errors, pyav, reading
from deblurgan.video.looking import Video

_SCALE = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_CRF = {"libx264": 17, "libvpx-vp9": 20}
_ENCODER_OPTIONS = {
    "libx264": {"preset": "medium"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "4", "row-mt": "1"},
}


@dataclass(frozen=True)
class Frame:
    """A frame: its time and how long it is shown, in units of the video's time base, and its pixels."""

    time: int
    duration: int
    rgb: Pixels


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


def read_frames(video: Video, first: int | None, end: int | None, lost: list[int]) -> Generator[Frame, None, None]:
    """Yield the frames whose time is `first` or later, and before `end`, in units of the time base.

    Times that do not increase are made to. `lost` gets an entry for each packet that cannot be decoded.

    Raises:
        FileError: it cannot be read, or the frames change their size.
    """
    path, step = video.path, max(1, round(1 / (video.rate * video.time_base)))
    colours = f"in_color_matrix={video.matrix}:in_range={video.value_range}:out_range=full"
    converters: dict[str, _Converter] = {}
    with named_errors(path, "cannot be read"), reading(path) as file:
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


def _from(file: Any, stream: Any, first: int | None, lost: list[int]) -> Iterator[Any]:
    """The frames from one at or before the time `first` on."""
    if first is None:
        yield from decoded(file, stream, lost)
        return
    file.seek(first, stream=stream)
    frames = decoded(file, stream, lost)
    frame = next(frames, None)
    if frame is None or frame.pts is None or frame.pts > first:  # the index of the file is of no use
        file.seek(min(0, stream.start_time or 0), stream=stream)
        stream.codec_context.flush_buffers()
        frames = decoded(file, stream, lost)
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
    start, end = 0, file.seek(0, os.SEEK_END)
    for kind in (b"moov", b"trak", b"tkhd"):
        found = [place for name, *place in boxes(file, start, end) if name == kind]
        if not found:
            raise FileError(f"expected a {kind.decode()} box in an MP4 file, found none")
        start, end = found[0]
    file.seek(start)
    version = file.read(1)[0]
    file.seek(start + (52 if version else 40))
    file.write(struct.pack(">9i", *struct.unpack("=9i", matrix)))

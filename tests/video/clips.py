"""Small videos, written and read by PyAV itself."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")

SIZE = (32, 24)
EXTENSIONS = [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".mts", ".3gp", ".3g2"]
SRT = "1\n00:00:00,080 --> 00:00:00,200\nhello\n\n2\n00:00:00,240 --> 00:00:00,320\nthere\n"
FORMATS = {".mts": "mpegts"}  # that PyAV does not know by their names


def identity(image):
    return image


def levels(count, size=SIZE):
    """Flat grey frames, 20 levels apart, so that each can be told from the others."""
    return [np.full((size[1], size[0], 3), 20 + 20 * number, np.uint8) for number in range(count)]


def write(
    path, frames, *, codec=None, pix_fmt="yuv420p", tags=(1, 1, 1, 1), times=None, unit=Fraction(1, 25), **more
):
    """Write a video, with little loss, of RGB arrays or `VideoFrame`s; tags: range, primaries, transfer, matrix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = codec or ("libvpx-vp9" if path.suffix == ".webm" else "libx264")
    options = {"libvpx-vp9": {"crf": "4", "b:v": "0"}, "libx264": {"qp": "4", **more.get("options", {})}}.get(
        codec, {}
    )
    form = more.get("format", FORMATS.get(path.suffix))
    with av.open(str(path), "w", format=form, options=more.get("container", {})) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        first = frames[0]
        shape = (first.width, first.height) if isinstance(first, av.VideoFrame) else first.shape[1::-1]
        stream.width, stream.height = shape
        context = stream.codec_context
        context.pix_fmt, context.time_base = pix_fmt, unit
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = tags
        if "aspect" in more:
            context.sample_aspect_ratio = more["aspect"]
        if "matrix" in more:
            stream.set_display_matrix(more["matrix"])
        file.metadata.update(more.get("metadata", {}))
        if more.get("chapters"):
            file.set_chapters(more["chapters"])
        copied = [open_subtitles(path)] if more.get("subtitles") else []
        added = [file.add_stream_from_template(other.streams[0]) for other in copied]
        sound = file.add_stream(more["sound"], rate=48000) if "sound" in more else None
        if sound is not None:
            sound.metadata.update({"language": "swe", "title": "As spoken"})
        for number, frame in enumerate(frames):
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        for other, output in zip(copied, added, strict=True):
            for packet in other.demux():
                if packet.dts is not None:
                    packet.stream = output
                    file.mux(packet)
            other.close()
        if sound is not None:
            write_tone(file, sound, len(frames) / 25)
    return path


def open_subtitles(path):
    text = path.with_suffix(".srt")
    text.write_text(SRT)
    return av.open(str(text))


def write_tone(file, stream, seconds):
    size = stream.codec_context.frame_size or 960
    for number in range(round(seconds * 48000) // size):
        wave = np.sin((np.arange(size) + number * size) / 17) * 9000
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16).repeat(2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * size, Fraction(1, 48000)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def read(path):
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


def greys(path):
    """The mean level of each frame's luma, brought from limited range to 0 .. 255."""
    return [(plane(frame).mean() - 16) * 255 / 219 for frame in read(path)]


def times(path):
    return [frame.pts * frame.time_base for frame in read(path)]


def plane(frame, number=0, dtype=np.uint8):
    part = frame.planes[number]
    values = np.frombuffer(part, dtype).reshape(part.height, -1)
    return values[:, : part.width].astype(int)


def packets(path, kind):
    """Time in seconds and content of all packets of the first stream of a kind."""
    with av.open(str(path)) as file:
        stream = next(stream for stream in file.streams if stream.type == kind)
        return [(float(p.pts * p.time_base), bytes(p)) for p in file.demux(stream) if p.dts is not None]


def gradient(width, height):
    y, x = np.mgrid[:height, :width]
    return np.stack([30 + x * 190 // width, 30 + y * 190 // height, 200 - x * 150 // width], 2).astype(np.uint8)


class Stops:
    """Restores so many frames and is interrupted then."""

    quality = engine = engine_precision = None
    pixels_done = 0

    def __init__(self, count, error=KeyboardInterrupt):
        self.left, self.error, self.seen = count, error, []

    def __call__(self, image):
        if self.left == 0:
            raise self.error
        self.left -= 1
        self.seen.append(round(float(image.mean())))
        return image

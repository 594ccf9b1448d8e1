"""Restoring videos: in parts that outlast an interruption, joined with the sound and all else that is in the file."""

import contextlib
import heapq
import itertools
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, ensure_folder, held, shown
from deblurgan.pictures.pixels import Pixels, Restore
from deblurgan.video.containers import CONTAINERS
from deblurgan.video.frames import (
    Encoder,
    Frame,
    Video,
    file_url,
    is_a_cover,
    look_at,
    named_errors,
    pyav,
    read_frames,
)

_PART_FRAMES = 100  # frames a part: what is lost at most when the program is killed
_BATCH_PIXELS, _BATCH_FRAMES = 1 << 19, 16  # small frames are restored several at once
_KINDS = ("video", "audio", "subtitle", "attachment")
_BEYOND = 10  # seconds past the end within which packets may still belong to what is wanted
_SETTINGS = "video.json"
_OF_THE_FILE = {"compatible_brands", "encoder", "major_brand", "minor_version"}  # tags that the writer sets
_OF_THE_CODED = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS", "encoder", "ENCODER")

Progress = Callable[[Path, int, int], contextlib.AbstractContextManager[Callable[[int], object]]]


@contextlib.contextmanager
def _unseen(path: Path, done: int, total: int) -> Iterator[Callable[[int], object]]:
    yield lambda more: None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a video was restored; its text says in one line what has been kept."""


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


def parts_folder(target: str | os.PathLike[str]) -> Path:
    """Return where the finished parts of a video are kept until it is whole: a hidden folder beside it."""
    target = Path(target)
    return target.with_name(f".{target.name}.parts")


def restore_video(
    restore: Restore,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: VideoOptions | None = None,
) -> tuple[str, ...]:
    """Restore the video `source` into the file `target`; return a line for each thing that was not kept.

    Frames are restored as they are stored, in 8 bits or, where the encoder has 10, in 16. They are written in H.264
    (VP9 in WebM) with the colour matrix, range and other tags, pixel aspect, rotation and time stamps that they had.
    Sound, subtitles, other streams, metadata and chapters are copied. Memory does not grow with the length: finished
    parts are kept in `parts_folder(target)`. Called again after any kind of end, with the same video, `options` and
    target, it goes on behind them; `target` appears when all is done. While frames are restored, the next are decoded
    and the ones before encoded.

    Args:
        restore: (height, width, 3) RGB, uint8 or uint16 -> the same, restored; its method `batch`, where it has one,
            several at once, as that of `restorer.Restorer`.
        source: MP4, Matroska, WebM or QuickTime, or what else FFmpeg reads.
        target: .mp4, .m4v, .mkv, .webm or .mov: the container to write.
        options: see `VideoOptions`.

    Raises:
        FileError: `source` cannot be read, or has no frames between `start` and `end`; `target` cannot be written, or
            another process is about to.
        InputError: another extension, PyAV is missing, or the network refuses frames of this size.
        Interrupted: Ctrl-C, after what is restored has been saved.
    """
    source, target, options = Path(source), Path(target), options or VideoOptions()
    video = look_at(source, target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise FileError(f"{shown(target)}: cannot be written: not a file but a folder, a device or a pipe")
    ensure_folder(target.parent)
    folder = ensure_folder(parts_folder(target))
    with held(folder, f"{shown(target)}: another process is restoring a video into this file"):
        return _restored_into(restore, video, target, folder, options)


def _restored_into(
    restore: Restore, video: Video, target: Path, folder: Path, options: VideoOptions
) -> tuple[str, ...]:
    """As `restore_video`, of a video that has been looked at, with a folder for its parts that is held."""
    parts = _Parts(folder, video, options)
    span = _Span.of(video, options)
    try:
        try:
            lost = _restore_frames(restore, video, parts, span, options)
        finally:
            parts.finish()  # after Ctrl-C, too
        if not parts.files:
            raise FileError(f"{shown(video.path)}: expected frames {span}, found none")
        notices = video.notices + _damage(video, lost, parts.frames, options)
        notices += _join(video, parts.files, target, span)
    except KeyboardInterrupt:
        raise Interrupted(_kept(video, parts)) from None
    finally:
        parts.leave()
    shutil.rmtree(parts.folder, ignore_errors=True)
    return notices


@dataclass(frozen=True)
class _Span:
    """What is wanted of a video, in seconds of its own clock, and how much earlier the result's clock is."""

    start: Fraction | None
    end: Fraction | None
    shift: Fraction

    @classmethod
    def of(cls, video: Video, options: VideoOptions) -> "_Span":
        start, end = (None if at is None else Fraction(str(at)) + video.origin for at in (options.start, options.end))
        return cls(start, end, start or Fraction(0))

    def __str__(self) -> str:
        start = f"{float(self.start or 0):g} s"
        return f"from {start} on" if self.end is None else f"from {start} to {float(self.end):g} s"

    def holds(self, time: Fraction) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


class _Parts:
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
        self._stack = contextlib.ExitStack()
        self._encoder: Encoder | None = None
        self._started = 0
        self._count = 0
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
            *_, (self.last, _) = _packets(self.files[-1], self._video)

    def add(self, frames: Sequence[Frame], restored: Sequence[Pixels]) -> None:
        """Write frames; finish a part when it is long enough."""
        for frame, rgb in zip(frames, restored, strict=True):
            with named_errors(self.folder, "cannot be written"):
                if self._encoder is None:
                    path = self.folder / f"{frame.time}.mp4"
                    self._encoder = Encoder(self._stack.enter_context(atomic_path(path)), self._video, self._crf)
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
        with named_errors(self.folder, "cannot be written"):
            try:
                encoder.close()
            except BaseException:
                encoder.abandon()
                raise
            self._stack.close()
        self.files.append(self.folder / f"{self._started}.mp4")
        self.frames += self._count

    def leave(self) -> None:
        """Give up an unfinished part; remove the folder if no part is finished."""
        if self._encoder is not None:
            self._encoder.abandon()
            self._encoder = None
        with contextlib.suppress(_GivenUpError), self._stack:
            raise _GivenUpError
        if not self.files:
            shutil.rmtree(self.folder, ignore_errors=True)


class _GivenUpError(Exception):
    """Ends `atomic_path` without a file."""


def _packets(part: Path, video: Video) -> Iterator[tuple[int, Any]]:
    """The packets of a finished part with their times, in units of the video's time base."""
    first = int(part.stem)
    with pyav().open(file_url(part)) as file:
        stream = file.streams.video[0]
        unit = Fraction(stream.time_base.numerator, stream.time_base.denominator) / video.time_base
        for packet in file.demux(stream):
            if packet.pts is not None:
                yield first + round(packet.pts * unit), packet


def _restore_frames(restore: Restore, video: Video, parts: _Parts, span: _Span, options: VideoOptions) -> int:
    """Restore what is not yet in `parts`; return how many packets could not be decoded."""
    start, end = (None if at is None else -(-at // video.time_base) for at in (span.start, span.end))
    start = start if parts.last is None else parts.last + 1
    total = video.frames if span.end is None else round((span.end - video.origin) * video.rate)
    total -= round((span.start - video.origin) * video.rate) if span.start is not None else 0
    size = max(1, min(_BATCH_FRAMES, _BATCH_PIXELS // (video.size[0] * video.size[1])))
    many = getattr(restore, "batch", None) or (lambda images: [restore(image) for image in images])
    lost: list[int] = []

    def frames() -> Generator[Frame, None, None]:
        lost.append((yield from read_frames(video, start, end)))

    waiting = frames()
    reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    saving: Future[None] | None = None
    try:
        with options.progress(video.path, parts.frames, max(0, total)) as add:
            reading = reader.submit(_some, waiting, size)
            while batch := reading.result():
                reading = reader.submit(_some, waiting, size)
                restored = many([frame.rgb for frame in batch])
                if saving is not None:
                    saving.result()
                saving = writer.submit(parts.add, batch, restored)
                add(len(batch))
                del batch, restored
        if saving is not None:
            saving.result()
    except InputError as error:
        raise InputError(f"{shown(video.path)}: {error}") from error
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown()
        waiting.close()
    return lost[0]


def _some(frames: Iterator[Frame], count: int) -> list[Frame]:
    return list(itertools.islice(frames, count))


def _kept(video: Video, parts: _Parts) -> str:
    """What to tell whoever has interrupted."""
    if parts.last is None or not parts.files:
        return f"{shown(video.path)}: interrupted before a frame was restored"
    time = float(parts.last * video.time_base - video.origin)
    return f"{shown(video.path)}: restored up to {time:.3f} s; the same command goes on from there"


def _damage(video: Video, lost: int, frames: int, options: VideoOptions) -> tuple[str, ...]:
    """What to say about a video from which something is missing."""
    if lost:
        return (f"damaged: {lost} packets of it could not be decoded; their frames are missing",)
    if options.start is None and options.end is None and frames < video.frames - max(Fraction(2), video.rate):
        return (f"damaged: expected about {video.frames} frames, found {frames}",)
    return ()


def _join(video: Video, parts: Sequence[Path], target: Path, span: _Span) -> tuple[str, ...]:
    """Write `target` from the restored frames and all else that is in the video."""
    av = pyav()
    container = CONTAINERS[target.suffix.lower()]
    with (
        atomic_path(target) as temporary,
        named_errors(target, "cannot be written"),
        av.open(file_url(video.path), metadata_errors="replace") as file,
        av.open(file_url(parts[0])) as template,
    ):
        own_tags = any(key.startswith("com.") for key in file.metadata)  # those of telephones
        options = {"movflags": "use_metadata_tags"} if own_tags and container in ("mp4", "mov") else {}
        with av.open(file_url(temporary), "w", format=container, options=options) as output:
            output.metadata.update({key: text for key, text in file.metadata.items() if key not in _OF_THE_FILE})
            output.set_chapters(_chapters(file.chapters(), span))
            streams, notices = _add_streams(file, output, video, template.streams.video[0])
            restored = _restored(parts, video, streams.pop(video.index), span)
            others = _copied(file, streams, span) if streams else iter(())
            for _, packet in heapq.merge(restored, others, key=lambda item: item[0]):
                output.mux_one(packet)
    return notices


def _add_streams(file: Any, output: Any, video: Video, restored: Any) -> tuple[dict[int, Any], tuple[str, ...]]:
    """Make a stream in `output` for each in `file`, by its number there; say which it cannot hold."""
    av, index = pyav(), video.index
    streams: dict[int, Any] = {}
    notices = []
    for stream in file.streams:
        if stream.type == "data" and stream.name == "bin_data" and file.chapters():
            continue  # the titles of the chapters, which the writer makes itself
        try:
            if stream.type not in _KINDS or (stream.type == "attachment" and output.format.name != "matroska"):
                raise ValueError(stream.type)
            added = output.add_stream_from_template(restored if stream.index == index else stream, opaque=True)
        except (ValueError, av.FFmpegError):
            what = "a cover picture" if stream.type == "video" and is_a_cover(stream) else stream.type
            notices.append(f"stream {stream.index} ({what}) is not kept: {output.format.name} cannot hold it")
            continue
        stale = _OF_THE_CODED if stream.index == index else ()
        tags = {key: text for key, text in stream.metadata.items() if not key.startswith(stale)}
        if "name" in tags:  # what FFmpeg reads from MP4, and calls otherwise when it writes
            tags["title"] = tags.pop("name")
        added.metadata.update(tags)
        added.disposition = stream.disposition.value
        if stream.index == index:
            added.time_base = stream.time_base
            added.codec_context.framerate = video.rate  # else Matroska takes one from H.264: the unit of time
        if stream.type != "attachment":  # which is all in the header
            streams[stream.index] = added
    return streams, tuple(notices)


def _restored(parts: Sequence[Path], video: Video, stream: Any, span: _Span) -> Iterator[tuple[float, Any]]:
    """The packets of the parts, one after another, with the time in seconds."""
    shift = round(span.shift / video.time_base)
    for part in parts:
        for time, packet in _packets(part, video):
            unit = Fraction(packet.time_base.numerator, packet.time_base.denominator) / video.time_base
            packet.duration = round((packet.duration or 0) * unit)
            packet.time_base = video.time_base
            packet.pts = packet.dts = time - shift
            packet.stream = stream
            yield float((time - shift) * video.time_base), packet


def _copied(file: Any, streams: dict[int, Any], span: _Span) -> Iterator[tuple[float, Any]]:
    """The packets of all other streams within the span, with the time in seconds."""
    if span.start is not None:
        file.seek(int(span.start * pyav().time_base))
    latest: dict[int, int] = {}
    for packet in file.demux([file.streams[index] for index in streams]):
        if packet.stream.type == "video" and is_a_cover(packet.stream) and packet.size:
            packet.pts = packet.dts = 0
            packet.stream = streams[packet.stream.index]
            yield 0.0, packet
            continue
        if packet.dts is None:  # the end of a stream
            continue
        unit = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        time = (packet.dts if packet.pts is None else packet.pts) * unit
        if span.end is not None and time > span.end + _BEYOND:
            return
        if not span.holds(time):
            continue
        shift = round(span.shift / unit)
        packet.dts -= shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        index = packet.stream.index
        if packet.stream.type != "subtitle" and packet.dts <= latest.get(index, packet.dts - 1):  # damaged
            packet.dts = latest[index] + 1
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        latest[index] = packet.dts
        packet.stream = streams[packet.stream.index]
        yield float(time - span.shift), packet


def _chapters(chapters: Sequence[Any], span: _Span) -> list[Any]:
    """The chapters within the span, as times of the result."""
    kept = []
    for chapter in chapters:
        unit = Fraction(chapter["time_base"].numerator, chapter["time_base"].denominator)
        start, end = chapter["start"] * unit, chapter["end"] * unit
        start = start if span.start is None else max(start, span.start)
        end = end if span.end is None else min(end, span.end)
        if start < end:
            begins, ends = (round((time - span.shift) / unit) for time in (start, end))
            kept.append({**chapter, "start": begins, "end": ends})
    return kept

"""A restored video from its parts, with the sound and all else that was in the file."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deblurgan.files import atomic_path
from deblurgan.video.containers import CONTAINERS
from deblurgan.video.ffmpeg import file_url, fraction, is_a_cover, named_errors, pyav, reading
from deblurgan.video.looking import Video
from deblurgan.video.options import Span
from deblurgan.video.resuming import packets

_KINDS = ("video", "audio", "subtitle", "attachment")
_BEYOND = 10  # seconds past the end within which packets may still belong to what is wanted
_OF_THE_FILE = {"compatible_brands", "encoder", "major_brand", "minor_version"}  # tags that the writer sets
_OF_THE_CODED = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS", "encoder", "ENCODER")


def join(video: Video, parts: Sequence[Path], target: Path, span: Span) -> tuple[str, ...]:
    """Write `target` from the restored frames and all else that is in the video."""
    av = pyav()
    container = CONTAINERS[target.suffix.lower()]
    with (
        atomic_path(target) as temporary,
        named_errors(target, "cannot be written"),
        reading(video.path) as file,
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


def _restored(parts: Sequence[Path], video: Video, stream: Any, span: Span) -> Iterator[tuple[float, Any]]:
    """The packets of the parts, one after another, with the time in seconds."""
    shift = round(span.shift / video.time_base)
    for part in parts:
        for time, packet in packets(part, video):
            unit = fraction(packet.time_base) / video.time_base
            packet.duration = round((packet.duration or 0) * unit)
            packet.time_base = video.time_base
            packet.pts = packet.dts = time - shift
            packet.stream = stream
            yield float((time - shift) * video.time_base), packet


def _copied(file: Any, streams: dict[int, Any], span: Span) -> Iterator[tuple[float, Any]]:
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
        unit = fraction(packet.time_base)
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


def _chapters(chapters: Sequence[Any], span: Span) -> list[Any]:
    """The chapters within the span, as times of the result."""
    kept = []
    for chapter in chapters:
        unit = fraction(chapter["time_base"])
        start, end = chapter["start"] * unit, chapter["end"] * unit
        start = start if span.start is None else max(start, span.start)
        end = end if span.end is None else min(end, span.end)
        if start < end:
            begins, ends = (round((time - span.shift) / unit) for time in (start, end))
            kept.append({**chapter, "start": begins, "end": ends})
    return kept

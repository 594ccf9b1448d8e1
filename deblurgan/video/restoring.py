"""Restoring videos: frame by frame, in parts that outlast an interruption."""

import contextlib
import itertools
import os
import shutil
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path

from deblurgan.errors import FileError, InputError, prefixed
from deblurgan.files import check_replaceable, ensure_folder, held, shown
from deblurgan.pictures.ahead import ahead, one_thread
from deblurgan.pictures.pixels import Restore
from deblurgan.video.frames import read_frames
from deblurgan.video.joining import join
from deblurgan.video.looking import Video, look_at
from deblurgan.video.options import Span, VideoOptions
from deblurgan.video.resuming import Parts, parts_folder

_BATCH_PIXELS, _BATCH_FRAMES = 1 << 19, 16  # small frames are restored several at once


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a video was restored; its text says in one line what has been kept."""


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
        target: its extension is the container to write, one of `containers.CONTAINERS`.
        options: see `VideoOptions`.

    Raises:
        FileError: `source` cannot be read, or has no frames between `start` and `end`; `target` cannot be written, or
            another process is about to.
        InputError: another extension, PyAV is missing, or the network refuses frames of this size.
        Interrupted: Ctrl-C, after what is restored has been saved.
    """
    source, target, options = Path(source), Path(target), options or VideoOptions()
    video = look_at(source, target)
    check_replaceable(target)
    ensure_folder(target.parent)
    folder = ensure_folder(parts_folder(target))
    with held(folder, FileError(f"{shown(target)}: another process is restoring a video into this file")):
        return _restored_into(restore, video, target, folder, options)


def _restored_into(
    restore: Restore, video: Video, target: Path, folder: Path, options: VideoOptions
) -> tuple[str, ...]:
    """As `restore_video`, of a video that has been looked at, with a folder for its parts that is held."""
    try:
        parts = Parts(folder, video, options)
    except FileError:
        with contextlib.suppress(OSError):  # where there are parts
            folder.rmdir()
        raise
    span = Span.of(video, options)
    try:
        try:
            lost = _restore_frames(restore, video, parts, span, options)
        finally:
            parts.finish()  # after Ctrl-C, too
        if not parts.files:
            raise FileError(f"{shown(video.path)}: expected frames {span}, found none")
        notices = video.notices + _damage(video, lost, parts.frames, options)
        notices += join(video, parts.files, target, span)
    except KeyboardInterrupt:
        raise Interrupted(_kept(video, parts)) from None
    finally:
        parts.leave()
    shutil.rmtree(parts.folder, ignore_errors=True)
    return notices


def _restore_frames(restore: Restore, video: Video, parts: Parts, span: Span, options: VideoOptions) -> int:
    """Restore what is not yet in `parts`; return how many packets could not be decoded."""
    start, end = (None if at is None else -(-at // video.time_base) for at in (span.start, span.end))
    start = start if parts.last is None else parts.last + 1
    total = video.frames if span.end is None else round((span.end - video.origin) * video.rate)
    total -= round((span.start - video.origin) * video.rate) if span.start is not None else 0
    size = max(1, min(_BATCH_FRAMES, _BATCH_PIXELS // (video.size[0] * video.size[1])))
    many = getattr(restore, "batch", None) or (lambda images: [restore(image) for image in images])
    lost: list[int] = []

    with (
        contextlib.closing(read_frames(video, start, end, lost)) as frames,
        ahead(iter(lambda: list(itertools.islice(frames, size)), [])) as batches,
        one_thread() as writer,
        options.progress(video.path, parts.frames, max(0, total)) as add,
    ):
        saving: Future[None] | None = None
        for batch in batches:
            with prefixed(shown(video.path), InputError):
                restored = many([frame.rgb for frame in batch])
            if saving is not None:
                saving.result()
            saving = writer.submit(parts.add, batch, restored)
            add(len(batch))
            del batch, restored
        if saving is not None:
            saving.result()
    return len(lost)


def _kept(video: Video, parts: Parts) -> str:
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

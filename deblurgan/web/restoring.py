"""What the page does with uploads: what `deblurgan deblur` does with files."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.files import shown, written
from deblurgan.jobs.finding import Input
from deblurgan.jobs.planning import BESIDE_SUFFIX, Where, plan
from deblurgan.jobs.running import PictureOptions, restore_jobs
from deblurgan.jobs.writing import opened_output
from deblurgan.pictures.metadata import Metadata
from deblurgan.pictures.pixels import to_8_bits
from deblurgan.pictures.reading import read_picture
from deblurgan.pictures.writing import encode_picture
from deblurgan.video.options import VideoOptions
from deblurgan.web.sessions import Session, Sessions

THUMBNAIL = 320  # pixels
Tell = Callable[[int, int, str, str], object]
Done = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Restored:
    """A result.

    Attributes:
        upload: what was restored.
        file: the result, as `deblurgan deblur` writes it.
        shown: before and after as JPEG of the full size, and a thumbnail; empty where they cannot be shown.
    """

    upload: Path
    file: Path
    shown: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Choices:
    """What the page lets one choose; see `deblurgan.load`."""

    quality: str | None = None
    strength: float = 1.0
    tta: bool = False


class Restoring:
    """Restores uploads, one after the other, whoever asks.

    Args:
        opened: returns what restores with a quality, None for the default one; called once for each.
        sessions: what the uploads and results belong to.
        max_pixels: see `PictureOptions`.

    Attributes:
        quality: the default one; None where the network has no stages.
    """

    def __init__(
        self, opened: Callable[[str | None], Any], sessions: Sessions, max_pixels: int | None = None
    ) -> None:
        self._opened = functools.cache(opened)
        words = self._opened(None).quality  # such as "fast (1 stage)"
        self.quality = words.split()[0] if words else None
        self._sessions = sessions
        self._max_pixels = max_pixels
        self._computing = threading.Lock()

    def restored(
        self, client: str, uploads: Sequence[Path], choices: Choices, tell: Tell, *, videos: bool | None = None
    ) -> Iterator[Restored | str]:
        """Restore pictures, or videos, and yield each result, and lines about what went wrong or was not kept.

        Args:
            client: the name of the session.
            uploads: files in its folder.
            choices: how to restore them.
            tell: called with how many tiles or frames are done, how many there are, what these are, and a text.
            videos: which of both is expected; None: either.
        """
        with self._sessions.connected(client) as session:
            try:
                for number, upload in enumerate(uploads, 1):
                    of = f"{number} of {len(uploads)}: " if len(uploads) > 1 else ""
                    done = _counted(tell, f"{of}{shown(upload.name)}", session)
                    yield from self._one(client, upload, choices, done, videos)
            except KeyboardInterrupt:
                yield "cancelled"
            finally:
                session.stop.clear()

    def zipped(self, client: str, results: Sequence[Restored]) -> Path | None:
        """Put results into one file, in place of the one before; return None where there are fewer than two."""
        session = self._sessions[client]
        if session.archive:
            self._sessions.release(client, [session.archive])
        session.archive = None
        if len(results) < 2:
            return None
        session.archive = archive = self._sessions.new_folder(client) / "restored.zip"
        names: set[str] = set()
        with opened_output(archive) as write:
            for number, result in enumerate(results, 1):
                name = Path(result.file.name)
                write(Path(str(number), name) if str(name) in names else name, result.file.read_bytes())
                names.add(str(name))
        return archive

    def end(self) -> None:
        """Stop all work, and return when that has happened."""
        self._sessions.stop()
        with self._computing:
            pass

    def _one(
        self, client: str, upload: Path, choices: Choices, done: Done, videos: bool | None
    ) -> Iterator[Restored | str]:
        """Restore one file."""
        name = shown(upload.name)
        source = Input(upload, Path(upload.name))
        if videos not in (None, source.is_video):
            yield f"{name}: " + ("a video, which has a tab of its own" if source.is_video else "expected a video")
            return
        where = Where(output_dir=self._sessions.new_folder(client), suffix=BESIDE_SUFFIX)
        lines, written = [], []
        try:
            jobs = plan([source], where)
            with self._computing, self._restorer(choices, done) as (restorer, of_videos):
                of_pictures = PictureOptions(max_pixels=self._max_pixels)
                report = restore_jobs(restorer, jobs, where, of_pictures, of_videos)
            lines, written = report.failed + report.notices, report.written
        except DeblurganError as error:
            lines = [str(error)]
        for line in lines:
            yield line.replace(f"{shown(upload.parent)}{os.sep}", "")
        for file in written:
            try:
                pictures = () if source.is_video else self._for_show(upload, file)
            except (FileError, InputError) as error:
                yield f"{name}: restored, but cannot be shown: {error}"
                pictures = ()
            yield Restored(upload, file, pictures)

    @contextlib.contextmanager
    def _restorer(self, choices: Choices, done: Done) -> Iterator[tuple[Any, VideoOptions]]:
        """What restores as is chosen, and options for videos, which both tell how far they are."""

        @contextlib.contextmanager
        def frames(path: Path, so_far: int, total: int) -> Iterator[Callable[[int], None]]:
            restorer.on_tile = lambda count, total: done(0, 0, "")

            def add(more: int) -> None:
                nonlocal so_far
                so_far += more
                done(so_far, max(so_far, total), "frames")

            yield add

        done(0, 1, "files")  # there may be weights to load
        restorer = self._opened(None if choices.quality == self.quality else choices.quality)
        restorer.strength, restorer.tta = choices.strength, choices.tta
        restorer.on_tile = lambda count, total: done(count, total, "tiles")
        try:
            yield restorer, VideoOptions(progress=frames)
        finally:
            restorer.on_tile = lambda count, total: None

    def _for_show(self, upload: Path, file: Path) -> tuple[Path, ...]:
        """Write before and after for the browser: 8 bits, opaque, with the colour profile."""
        before, after, small = (file.with_name(f"{name}.jpg") for name in ("before", "after", "small"))
        for source, target in ((upload, before), (file, after)):
            picture = read_picture(source, max_pixels=self._max_pixels)
            profile = Metadata(icc_profile=picture.metadata.icc_profile)
            plain = replace(picture, alpha=None, kind=picture.kind.rstrip("A"), format="PNG", metadata=profile)
            rgb = to_8_bits(picture.rgb)
            _write(target, encode_picture(plain, rgb, "JPEG"))
        thumbnail = Image.fromarray(rgb)
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        _write(small, encode_picture(plain, np.asarray(thumbnail), "JPEG"))
        return before, after, small


def _write(target: Path, content: bytes) -> None:
    with written(target):
        target.write_bytes(content)


def _counted(tell: Tell, text: str, session: Session) -> Done:
    """Return what is told how much of a file is done, and tells it on with the time that is left, or ends it."""
    start = time.monotonic()

    def done(count: int, total: int, unit: str) -> None:
        if session.stop.is_set():
            raise KeyboardInterrupt  # everything below ends well by that
        if count:
            left = (time.monotonic() - start) / count * (total - count)
            tell(count, total, unit, f"{text}, {tqdm.format_interval(left)} left")
        elif total:
            tell(count, total, unit, text)

    return done

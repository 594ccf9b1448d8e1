"""The worker, an actor of Ray: a network that is loaded once, and the shares of pictures that it restores."""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from deblurgan.batch.manifest import FAILED, RESTORED, table_of
from deblurgan.batch.places import Place, is_address
from deblurgan.batch.shares import DEATHS, OWN, Row, Share
from deblurgan.errors import DeblurganError, FileError, InputError
from deblurgan.files import shown
from deblurgan.jobs.finding import Input
from deblurgan.jobs.planning import Job
from deblurgan.jobs.running import Outcome, PictureOptions, Saved, Work
from deblurgan.pictures.ahead import ahead
from deblurgan.pictures.pixels import Restore
from deblurgan.video.containers import is_a_video_file

Opener = Callable[[], tuple[Restore, str]]
"""Loads a network, and tells in words on which device it runs; it is called in the worker."""

STOPPED = "stopped"  # status of the one row that a worker gives back when nobody could go on
NOTED = 8  # pictures that are noted at once as in hand; each note is a file written
_NETWORK = ""  # stands for the network among the pictures in hand, while it is loaded


class OutputError(DeblurganError, OSError):
    """The output cannot be written, which is no picture's fault."""


@dataclass(frozen=True)
class Task:
    """What workers do: load a network, restore pictures, write results into the folder `output`."""

    output: str
    opener: Opener
    pictures: PictureOptions
    threads: int | None = None


def packed(pictures: pa.Table) -> pa.Table:
    """Return a share as one row, which Ray Data neither cuts nor joins to others."""
    return pa.table({"pictures": [pictures.to_pylist()]})


class Worker:
    """Restores shares: tables with the columns `path`, `output` and `share`, which is the same in all rows.

    The result has a row for each picture, as the manifest has it, and one column more, `share`.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._place = Place(task.output)
        self._network: tuple[Restore, str] | None = None
        self._written: dict[Path, tuple[int, str]] = {}
        self._last = time.monotonic()

    def __call__(self, share: pa.Table) -> pa.Table:
        """Restore what is not done yet of a share that is `packed`.

        What ends the process or raises here is Ray's to repeat.
        """
        pictures = share["pictures"][0].as_py()
        name = pictures[0]["share"]
        outputs = {picture["path"]: picture["output"] for picture in pictures}
        try:
            rows = self._restored(Share.opened(self._place, name), outputs)
        except DeblurganError as error:  # of the network or the output folder: it would be the same for all others
            rows = [{"path": "", "status": STOPPED, "error": str(error)}]
        return table_of(rows).append_column("share", pa.array([name] * len(rows), pa.string()))

    def _restored(self, share: Share, outputs: dict[str, str]) -> list[Row]:
        for row in share.rows:
            outputs.pop(row["path"], None)
        for path in [path for path in outputs if share.deaths.get(path, 0) >= DEATHS]:
            cause = f": {share.cause}" if share.cause else ""
            share.fail(path, outputs.pop(path), f"{shown(path)}: it ended its worker {DEATHS} times{cause}")
        for path in [path for path in outputs if is_a_video_file(path) or path.lower().endswith(".zip")]:
            error = f"{shown(path)}: expected a picture; videos and zip files are for `deblurgan deblur`"
            share.fail(path, outputs.pop(path), error)
        suspects = [path for path in share.deaths if path in outputs]
        others = [(path, output) for path, output in outputs.items() if path not in suspects]
        with _cause_kept(share):
            if outputs:
                self._load(share)
            self._restore(share, others)
            for path in suspects:
                self._restore(share, [(path, outputs[path])])
        share.save()
        return share.rows

    def _load(self, share: Share) -> None:
        """Load the network, unless it is; what ends the process while it does is counted as for pictures."""
        if self._network is not None:
            return
        if share.deaths.get(_NETWORK, 0) >= DEATHS:
            raise FileError(f"the network: it ended its worker {DEATHS} times while it was loaded; {share.cause}")
        if self._task.threads is not None:
            os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(self._task.threads))
        share.begin([_NETWORK])
        self._network = self._task.opener()
        share.gone([_NETWORK])
        self._last = time.monotonic()

    def _restore(self, share: Share, pictures: Sequence[tuple[str, str]]) -> None:
        """Restore pictures and write the results, as `deblurgan deblur` does."""
        if not pictures:
            return
        assert self._network is not None
        restore, device = self._network
        work = Work(restore, self._write, self._task.pictures)
        with contextlib.closing(work.done(_begun(share, pictures))) as done:
            for job, outcome in done:
                share.end(self._row(job, outcome, device))

    def _write(self, name: Path, content: bytes) -> Path:
        """Write a result.

        Raises:
            FileError: it cannot have this name.
            OutputError: nor could it have another, as when the disk is full.
        """
        try:
            self._place.write(name.as_posix(), content)
        except FileError as error:
            self._check_room(content, error)
            self._place.write(name.as_posix(), content)
        self._written[name] = len(content), hashlib.sha256(content).hexdigest()
        return name

    def _check_room(self, content: bytes, first: FileError) -> None:
        """Raise the `first` error as an OutputError where the content cannot be written under any name."""
        name = f"{OWN}/{secrets.token_hex(6)}"
        try:
            self._place.write(name, content)
            self._place.remove(name)
        except FileError as error:
            raise OutputError(str(first)) from error

    def _row(self, job: Job, outcome: Outcome, device: str) -> Row:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        assert isinstance(job.source, _Picture)
        path = job.source.address
        row: Row = {"path": path, "output": job.target.as_posix(), "seconds": seconds, "device": device}
        if not isinstance(outcome, Saved):
            error = str(outcome).replace(str(job.source.path), path)  # in which `://` has become `:/`
            return row | {"status": FAILED, "error": error}
        length, digest = self._written.pop(job.target)
        height, width = outcome.size or (None, None)
        notices = "; ".join(outcome.notices) or None
        sizes = {"height": height, "width": width, "bytes": length}
        return row | sizes | {"status": RESTORED, "sha256": digest, "notices": notices}


@dataclass(frozen=True)
class _Picture(Input):
    """A picture on this machine, or with what has been fetched of one elsewhere."""

    address: str = ""
    fetched: bytes | FileError | None = None

    def content(self, standard_input: Callable[[], bytes]) -> bytes | None:
        """Return what has been fetched; None for a file to be read by its path."""
        if isinstance(self.fetched, FileError):
            raise self.fetched
        return self.fetched


def _begun(share: Share, pictures: Sequence[tuple[str, str]]) -> Iterator[Job]:
    """Yield jobs, each when it is noted that its picture is in hand; of pictures elsewhere one is fetched ahead."""
    with ahead(_fetched(path, output) for path, output in pictures) as jobs:
        for number, job in enumerate(jobs):
            if number % NOTED == 0:
                share.begin(path for path, _ in pictures[number : number + NOTED])
            yield job


def _fetched(path: str, output: str) -> Job:
    content: bytes | FileError | None = None
    if is_address(path):
        try:
            content = Place(path).read()
        except FileError as error:
            content = error
    return Job(_Picture(Path(path), Path(PurePosixPath(path).name), address=path, fetched=content), Path(output))


@contextlib.contextmanager
def _cause_kept(share: Share) -> Iterator[None]:
    """Note what ends the block early, such as a lack of memory that an exception tells of.

    What is told as an error of this package is no picture's doing: nothing is held against those in hand.

    Raises:
        InputError: it was no picture's doing, and would come again.
    """
    try:
        yield
    except DeblurganError:
        with contextlib.suppress(FileError):  # of an output that cannot be written
            share.gone(list(share.in_hand))
        raise
    except Exception as error:
        share.cause = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        share.save()
        if not share.in_hand:
            raise InputError(f"a worker met an unexpected {share.cause}") from error
        raise

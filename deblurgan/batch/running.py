"""A batch from beginning to end: Ray Data hands out what is left, and the manifest is written as it is done."""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deblurgan.batch import shares
from deblurgan.batch.cluster import Cluster, LostError, started
from deblurgan.batch.listing import found
from deblurgan.batch.manifest import FAILED, Manifest, table_of
from deblurgan.batch.places import Place, absolute
from deblurgan.batch.planning import Plan, planned
from deblurgan.batch.shares import Share
from deblurgan.batch.worker import STOPPED, Opener, Task
from deblurgan.errors import FileError, InputError
from deblurgan.files import ensure_folder, held, shown
from deblurgan.jobs.planning import Where
from deblurgan.jobs.running import PictureOptions

JOB = f"{shares.OWN}/job.json"
SHOWN = 20  # failures that are told one by one; the manifest has all
PART_ROWS = 10_000  # of the manifest
PART_SECONDS = 300
LOOK_SECONDS = 5
_KNOWN = ["path", "output", "status"]


@dataclass
class Summary:
    """What became of a batch so far.

    Attributes:
        total: how many pictures there are.
        restored, failed: how many of them are so, those of earlier runs included.
        before: how many had been restored before.
        at_hand: how many more are done that workers have not handed back yet.
        pixels: how many this run has restored of which pictures have come back.
        devices: on which.
        failures: a line for each of the first `SHOWN` that failed now.
        problems: a line for each folder or path that could not be taken.
    """

    total: int = 0
    restored: int = 0
    failed: int = 0
    before: int = 0
    at_hand: int = 0
    pixels: int = 0
    devices: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def restore_all(
    source: str,
    output: str,
    opener: Opener,
    *,
    settings: Mapping[str, Any],
    pictures: PictureOptions | None = None,
    where: Where | None = None,
    cluster: Cluster | None = None,
    retry_failed: bool = False,
    tell: Callable[[str], object] = lambda line: None,
    progress: Callable[[Summary], object] = lambda summary: None,
) -> Summary:
    """Restore all pictures that `source` names into the folder `output`, but for those that its manifest has.

    Args:
        source: see `listing.found`.
        output: a folder, or its address; empty, not there yet, or that of an earlier run with these `settings`.
        opener: loads the network in each worker; Ray sends it there, pickled.
        settings: what results depend on, as JSON.
        pictures: how they are read and written.
        where: of it `file_format` and `suffix` count.
        cluster: where to compute.
        retry_failed: take up those that failed in an earlier run again.
        tell: called with lines for the user.
        progress: called with the summary so far, first when all pictures are found; from one thread at a time.

    Raises:
        FileError, InputError: `source`, `output`, the network or the cluster is not as expected.
    """
    source, output, where, cluster = absolute(source), absolute(output), where or Where(), cluster or Cluster()
    place = Place(output)
    settings = {"input": source, **settings}
    with _alone(place, settings):
        manifest, run = Manifest(place), secrets.token_hex(6)
        earlier = _taken_over(place, manifest, f"{run}-before")
        if retry_failed:
            manifest.forget_failed()
            for share in earlier:
                share.deaths = {path: count for path, count in share.deaths.items() if count < shares.DEATHS}
        problems: list[str] = []
        relative: list[str] = []
        plan = planned(found(source, output, problems, tell, relative), manifest.read(_KNOWN), where, problems)
        if not plan.total and not problems:
            raise InputError(f"{shown(source)}: expected pictures, found none")
        _begin(place, {**settings, "folder of relative paths": os.getcwd() if relative else None})
        summary = Summary(plan.total, plan.restored, plan.failed, before=plan.restored, problems=problems)
        if len(plan.due) == 0:
            return summary
        with started(cluster, tell) as group:
            tables = _handed_out(place, plan, run, group.actors, earlier)
            task = Task(output, opener, pictures or PictureOptions(), group.threads)
            lost = False
            try:
                with (
                    _Counted(place, summary, progress) as counted,
                    contextlib.closing(group.restored(task, tables)) as results,  # Ray would start anew for its end
                ):
                    _collect(results, place, manifest, run, counted)
            except LostError:
                lost = True
                raise
            finally:
                group.stop()
                _taken_over(place, manifest, f"{run}-last", forgive=not lost)
        return summary


@contextlib.contextmanager
def _alone(place: Place, settings: Mapping[str, Any]) -> Iterator[None]:
    """Make sure that the output folder is this batch's, and, on this machine, that no other process works in it."""
    with contextlib.ExitStack() as stack:
        if place.is_local:
            there = place.names() if os.path.isdir(place.address) else []
            if there and shares.OWN not in there:
                raise _not_ours(place)
            folder = ensure_folder(Path(place.at(shares.OWN)))
            stack.enter_context(held(folder, InputError(f"{shown(place.address)}: another batch is at work in it")))
        if _has_begun(place):
            _check_same(place, settings)
        elif set(place.names()) - {shares.OWN}:
            raise _not_ours(place)
        yield


def _has_begun(place: Place) -> bool:
    return JOB.rpartition("/")[2] in place.names(shares.OWN)


def _begin(place: Place, settings: Mapping[str, Any]) -> None:
    """Keep the settings of a batch that has pictures; raise `InputError` where it was begun with others."""
    if _has_begun(place):
        _check_same(place, settings)
    else:
        place.write(JOB, json.dumps(settings, indent=1).encode())


def _not_ours(place: Place) -> InputError:
    return InputError(
        f"{shown(place.address)}: expected an empty folder, or one that `deblurgan batch` began, found other files"
    )


def _check_same(place: Place, settings: Mapping[str, Any]) -> None:
    """Raise `InputError` where the results so far were made in another way."""
    try:
        begun = dict(json.loads(place.read(JOB)))
    except (ValueError, TypeError) as error:
        raise InputError(f"{shown(place.called(JOB))}: expected the settings of a batch") from error
    for name, value in json.loads(json.dumps(settings)).items():
        if begun.get(name) != value:
            raise InputError(
                f"{shown(place.address)}: was begun with {name} {json.dumps(begun.get(name))}; expected the same, or "
                f"another folder, received {json.dumps(value)}"
            )


def _taken_over(place: Place, manifest: Manifest, name: str, *, forgive: bool = False) -> list[Share]:
    """Put what the shares of a run that has ended know into the manifest, and remove their files.

    Those that workers may have ended over are returned, and their files stay, unless these deaths are forgiven.
    """
    left = shares.left(place)
    rows = {row["path"]: row for share in left for row in share.rows}
    if rows:
        known = manifest.read(["path"])["path"]
        there = set(known.filter(pc.is_in(known, pa.array(rows, pa.string()))).to_pylist())
        manifest.add(name, table_of(row for path, row in rows.items() if path not in there))
    suspicious = [share for share in left if share.deaths and not forgive]
    for share in left:
        if share not in suspicious:
            share.remove()
    return suspicious


def _handed_out(place: Place, plan: Plan, run: str, actors: int, earlier: Sequence[Share]) -> list[pa.Table]:
    """The shares, last those of a picture each that workers of earlier runs may have ended over."""
    deaths: dict[str, int] = {}
    for share in earlier:
        for path, count in share.deaths.items():
            deaths[path] = max(deaths.get(path, 0), count)
    suspect = pc.is_in(plan.due["path"], pa.array(deaths, pa.string()))
    alone = plan.due.filter(suspect)
    others = replace(plan, due=plan.due.filter(pc.invert(suspect))).shares(actors)
    tables: list[pa.Table] = []
    for table in (*others, *(alone.slice(row, 1).combine_chunks() for row in range(len(alone)))):
        name = f"{run}-{len(tables):08}"
        tables.append(table.append_column("share", pa.array([name] * len(table), pa.string())))
    for table in tables[len(tables) - len(alone) :]:
        share = Share(place, table["share"][0].as_py())
        path = table["path"][0].as_py()
        share.deaths[path] = deaths[path]
        share.save()
    for share in earlier:
        share.remove()
    return tables


class _Counted:
    """Counts what is done, and tells: what workers hand back, and now and then what they have done since.

    The latter is seen in the files of their shares, on this machine only: elsewhere each look would be paid for.
    """

    def __init__(self, place: Place, summary: Summary, progress: Callable[[Summary], object]) -> None:
        self._place, self._summary, self._progress = place, summary, progress
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._back: set[str] = set()

    def __enter__(self) -> "_Counted":
        self._progress(self._summary)
        if self._place.is_local:
            self._looking.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._looking.is_alive():
            self._looking.join()

    def back(self, name: str, rows: pa.Table) -> None:
        """Count a share that has come back."""
        summary = self._summary
        failed = rows.filter(pc.equal(rows["status"], FAILED))["error"].to_pylist()
        with self._lock:
            self._back.add(name)
            summary.failures += failed[: SHOWN - len(summary.failures)]
            summary.failed += len(failed)
            summary.restored += len(rows) - len(failed)
            summary.at_hand = max(0, summary.at_hand - len(rows))
            summary.pixels += pc.sum(pc.multiply(rows["height"].cast("int64"), rows["width"])).as_py() or 0
            summary.devices.update(pc.unique(rows["device"]).drop_null().to_pylist())
            self._progress(summary)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            with self._lock, contextlib.suppress(FileError):  # of a share whose file has just been removed
                self._summary.at_hand = sum(
                    len(share.rows) for share in shares.left(self._place) if share.name not in self._back
                )
                self._progress(self._summary)


def _collect(results: Iterable[pa.Table], place: Place, manifest: Manifest, run: str, counted: _Counted) -> None:
    """Put what comes back from the workers into the manifest, part by part."""
    waiting: list[pa.Table] = []
    since, parts = time.monotonic(), 0
    for table in results:
        if table["status"][0].as_py() == STOPPED:
            raise InputError(table["error"][0].as_py())
        waiting.append(table)
        counted.back(table["share"][0].as_py(), table)
        if sum(map(len, waiting)) >= PART_ROWS or time.monotonic() - since > PART_SECONDS:
            _keep(waiting, place, manifest, f"{run}-{parts:06}")
            waiting.clear()
            since, parts = time.monotonic(), parts + 1
    if waiting:
        _keep(waiting, place, manifest, f"{run}-{parts:06}")


def _keep(tables: Sequence[pa.Table], place: Place, manifest: Manifest, name: str) -> None:
    """Write what came back as a part of the manifest, and remove the files of its shares."""
    together = pa.concat_tables(tables)
    manifest.add(name, together.drop_columns(["share"]))
    for share in pc.unique(together["share"]).to_pylist():
        Share(place, share).remove()

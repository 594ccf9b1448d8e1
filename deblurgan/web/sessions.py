"""The temporary files of the page: which session holds which, and when each goes."""

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deblurgan.files import written

GRACE = 600.0  # seconds that files outlast their session's connection, which a telephone drops when its screen locks
UNHELD = 3600.0  # seconds that an upload waits to be restored where no session holds it, as by the API

MOST = 10  # uploads of the largest size that fit into the folder


@dataclass
class Session:
    """What is known of a client.

    Attributes:
        held: names in the folder of what it has uploaded and been given.
        connections: how many it has now: its page, and jobs.
        pages: how many of them are the page's.
        left: when the last one ended.
        stop: set when its job is to end.
        archive: all that it has been given in one file.
    """

    held: set[str] = field(default_factory=set)
    connections: int = 0
    pages: int = 0
    left: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)
    archive: Path | None = None


class Sessions:
    """Sessions by their names, which Gradio draws at random, and the folder of their files.

    Two sessions may hold the same upload, which Gradio names by its content; it goes when neither does any more.

    Args:
        folder: holds nothing else. Whatever is in it when `keep` is called stays.
        largest: bytes of the largest upload that is taken; `MOST` times as many fit into the folder.
    """

    def __init__(self, folder: Path, largest: int) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._largest = largest
        self._taken = 0  # bytes, when last swept and by uploads since
        self._sessions: dict[str, Session] = {}
        self._kept: set[str] = set()
        self._lock = threading.Lock()

    def keep(self) -> None:
        """Keep what is in the folder now, such as the examples."""
        self._kept = set(os.listdir(self.folder))

    def __getitem__(self, name: str) -> Session:
        with self._lock:
            return self._sessions.setdefault(name, Session())

    @contextlib.contextmanager
    def connected(self, name: str, *, page: bool = False) -> Iterator[Session]:
        """Keep what a session holds for the block and `GRACE` seconds more; when its page goes, end its job."""
        with self._lock:
            session = self._sessions.setdefault(name, Session())
            session.connections += 1
            session.pages += page
        try:
            yield session
        finally:
            with self._lock:
                session.connections -= 1
                session.pages -= page
                session.left = time.monotonic()
            if page and not session.pages:
                self.stop(name)

    def stop(self, name: str | None = None) -> None:
        """End the job of a session, or of all, at its next tile or frames."""
        with self._lock:
            sessions = [*self._sessions.values()] if name is None else [self._sessions.setdefault(name, Session())]
        for session in sessions:
            session.stop.set()

    def has(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path, once links and dots are resolved, is of a file in the folder."""
        try:
            real = os.path.realpath(path)
        except ValueError:  # no name of a file
            return False
        return os.path.isfile(real) and Path(real).is_relative_to(self.folder)

    def takes(self, size: int) -> bool:
        """Whether an upload of so many bytes is taken beside what was there at the last sweep."""
        with self._lock:
            fits = self._taken + size <= MOST * self._largest
            self._taken += size if fits else 0
        return fits

    def hold(self, name: str, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Note that a session has files of the folder."""
        self[name].held.update(self._name(path) for path in paths)

    def new_folder(self, name: str) -> Path:
        """Return a folder for results of a session, which nobody can guess."""
        folder = self.folder / secrets.token_hex(32)
        with written(folder):
            folder.mkdir()
        self.hold(name, [folder])
        return folder

    def release(self, name: str, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Remove files, with the folders they are in, that a session needs no more, unless others hold them."""
        self._release(self[name], {self._name(path) for path in paths})

    def sweep(self) -> None:
        """Remove what sessions that have ended left behind, and what was uploaded and never used."""
        now = time.monotonic()
        with self._lock:
            ended = {n: s for n, s in self._sessions.items() if not s.connections and now - s.left > GRACE}
            for name in ended:
                del self._sessions[name]
            held = self._kept.union(*(session.held for session in self._sessions.values()))
        for session in ended.values():
            self._release(session, set(session.held))
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.name not in held and time.time() - entry.stat(follow_symlinks=False).st_ctime > UNHELD:
                    _remove(Path(entry.path))
        self._taken = _size(self.folder)

    def _release(self, session: Session, names: set[str]) -> None:
        with self._lock:
            names = names & session.held
            session.held -= names
            names = names.difference(self._kept, *(other.held for other in self._sessions.values()))
        for name in names:
            _remove(self.folder / name)

    def _name(self, path: str | os.PathLike[str]) -> str:
        """What stands in the folder itself of a path below it."""
        return Path(os.path.realpath(path)).relative_to(self.folder).parts[0]


def _size(folder: Path | str) -> int:
    """How many bytes the files in a folder take."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:  # what goes meanwhile
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                is_folder = entry.is_dir(follow_symlinks=False)
                total += _size(entry.path) if is_folder else entry.stat(follow_symlinks=False).st_size
    return total


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

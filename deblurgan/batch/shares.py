"""The pictures that a worker is handed at once, and what is kept of them in the output until the manifest has it.

A worker notes which pictures it takes in hand before it reads them, and what became of each. Whoever works on the
share after its death knows from that what is done, and which pictures may have been the cause: these are then tried
alone, and given up when they were in hand at `DEATHS` of them. The first may be any of several pictures' doing, and
one more anything else's, such as a machine that was taken away.
"""

import json
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from deblurgan.batch.manifest import FAILED
from deblurgan.batch.places import Place
from deblurgan.errors import FileError
from deblurgan.files import shown

OWN = ".deblurgan-batch"  # folder in the output for all that is not for the user
FOLDER = f"{OWN}/shares"
DEATHS = 3
SAVE = 5  # seconds after which what has become of pictures is kept, if there is no other reason to write

Row = dict[str, Any]


class Share:
    """The state of a share.

    Attributes:
        name: of its file, without extension.
        rows: what became of pictures, as the manifest has it, without a column `share`.
        deaths: how many workers have ended with a picture in hand.
        cause: what is known of the last of these deaths.
        in_hand: the pictures that are worked on.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place, self.name = place, name
        self._lock = threading.Lock()  # pictures are begun in another thread than they are done in
        self._saved = 0.0
        self.rows: list[Row] = []
        self.deaths: dict[str, int] = {}
        self.cause = ""
        self.in_hand: set[str] = set()

    @classmethod
    def opened(cls, place: Place, name: str) -> "Share":
        """Return the state of a share: what is in its file, if there is one."""
        share = cls(place, name)
        if f"{name}.json" in place.names(FOLDER):
            share._load()
        return share

    def _load(self) -> None:
        name = f"{FOLDER}/{self.name}.json"
        try:
            kept = json.loads(self._place.read(name))
            self.rows = [dict(row) for row in kept["rows"]]
            self.deaths, self.cause = dict(kept["deaths"]), kept["cause"]
            for path in kept["in_hand"]:
                self.deaths[path] = self.deaths.get(path, 0) + 1
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(f"{shown(self._place.called(name))}: expected the state of a share") from error

    def begin(self, paths: Iterable[str]) -> None:
        """Keep that these are in hand, and all else that is known."""
        with self._lock:
            self.in_hand.update(paths)
            self.save()

    def end(self, row: Row) -> None:
        """Take down what became of a picture."""
        with self._lock:
            self.in_hand.discard(row["path"])
            self.rows.append(row)
            if time.monotonic() - self._saved > SAVE:
                self.save()

    def gone(self, paths: Sequence[str]) -> None:
        """Keep that these are not in hand any more, with nothing to tell."""
        with self._lock:
            self.in_hand.difference_update(paths)
            self.save()

    def fail(self, path: str, output: str, error: str) -> None:
        """Take down that a picture failed."""
        self.end({"path": path, "output": output, "status": FAILED, "error": error})

    def save(self) -> None:
        """Keep all that is known."""
        kept = {"rows": self.rows, "deaths": self.deaths, "cause": self.cause, "in_hand": sorted(self.in_hand)}
        self._place.write(f"{FOLDER}/{self.name}.json", json.dumps(kept).encode())
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        self._place.remove(f"{FOLDER}/{self.name}.json")


def left(place: Place) -> list[Share]:
    """Return the shares whose files are there."""
    found = [Share(place, name.removesuffix(".json")) for name in place.names(FOLDER) if name.endswith(".json")]
    for share in found:
        share._load()
    return found

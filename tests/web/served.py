"""The page for tests: with a stand-in for a network, served in this process, and asked as a program would."""

import contextlib
import json
import threading
from urllib.parse import unquote

import httpx
import numpy as np

from deblurgan.web.serving import Place, served


class StandIn:
    """Makes negatives, in three tiles, and counts how many do so at once; `wait` is called before each tile."""

    channels = (3, 3)
    quality = "fast (1 stage)"
    needs = None
    pixels_done = 0.0

    def __init__(self):
        self.strength, self.tta = 1.0, False
        self.on_tile = lambda done, total: None
        self.wait = lambda: None
        self.tiles = self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, image):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            for tile in range(1, 4):
                self.wait()
                self.tiles += 1
                self.on_tile(tile, 3)
        finally:
            with self._lock:
                self.now -= 1
        return np.iinfo(image.dtype).max - image if self.strength == 1 else image


@contextlib.contextmanager
def page(opened, runs_folder, **place):
    with served(opened, Place(port=0, **place), max_pixels=100_000, runs_folder=runs_folder) as address:
        yield address


def uploaded(address, path, **options):
    """The path, on the server, of a file that is uploaded."""
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": (path.name, path.read_bytes())}, **options)
    answer.raise_for_status()
    return answer.json()[0]


def asked(address, paths, quality="fast", strength=1, tta=False, **options):
    """Results and messages for uploads, as their addresses and a text; or an error, as a dictionary."""
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    call = f"{address}gradio_api/call/restore"
    answer = httpx.post(call, json={"data": [files, quality, strength, tta]}, **options)
    answer.raise_for_status()
    events = httpx.get(f"{call}/{answer.json()['event_id']}", timeout=100, **options).text
    kind, data = events.strip().split("\n\n")[-1].split("\n")
    data = json.loads(data.removeprefix("data: "))
    if kind == "event: error":
        return data
    assert kind == "event: complete"
    results, messages = data
    return [unquote(result["url"]) for result in results], messages


def got(address, **options):
    """The content of a file of the server; None where it gives none."""
    answer = httpx.get(address, **options)
    return answer.content if answer.status_code == 200 else None

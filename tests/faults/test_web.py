import io
import json
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import httpx

from tests.faults.children import Memory, started
from tests.faults.numbered import drawn
from tests.photographs import noise

pytestmark = pytest.mark.faults

CLIENTS = 20
SIZES = [(24, 32), (32, 24), (40, 40)]


@pytest.fixture
def server(weights, tmp_path):
    """The page, served by a child; its address, the child, and a list of the numbers it restores, as it does."""
    (tmp_path / "temporary").mkdir()
    arguments = ["web", "--weight_path", weights, "--precision", "float32", "--port", "0"]
    child = started(
        *arguments, program=("tests.faults.numbered",), cwd=tmp_path, env={"TMPDIR": str(tmp_path / "temporary")}
    )
    order, said = [], []
    address = None
    while address is None:
        line = child.stderr.readline()
        assert line, said
        said.append(line)
        address = re.search(r"http://\S+", line)
    threads = [
        threading.Thread(target=lambda: order.extend(map(int, child.stdout))),
        threading.Thread(target=lambda: said.extend(child.stderr)),
    ]
    for thread in threads:
        thread.start()
    yield address[0], child, order, said
    child.terminate()
    assert child.wait(180) == 0  # thousands of files are removed
    for thread in threads:
        thread.join()
    child.stdout.close()
    child.stderr.close()
    assert "The page has ended.\n" in said
    assert [line for line in said if "Traceback" in line] == []
    assert not list((tmp_path / "temporary").glob("deblurgan-web-*"))


@dataclass
class Asked:
    """When what was asked for, by `time.monotonic`."""

    number: int
    sent: float
    answered: float = 0.0
    ranks: list = field(default_factory=list)


class Client:
    """One that asks the page for its pictures, over and over; every second one as a page does, others as programs."""

    def __init__(self, number, address, function, expected):
        self.number, self.random, self.asked = number, random.Random(number), []
        self.address, self.function, self.expected = f"{address}gradio_api", function, expected
        self.http, self.session = httpx.Client(timeout=120), f"{self.random.getrandbits(64):x}"
        self.tampered = 0

    def work(self, until, beat):
        """Ask until then, when all do, so many seconds apart; return what was asked for."""
        with self.http:
            while time.monotonic() < until:
                self.one()
                time.sleep(beat - time.monotonic() % beat)
        return self.asked

    def one(self):
        number = len(self.asked) * CLIENTS + self.number
        image = drawn(noise(*self.random.choice(SIZES), seed=number), number)
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        answer = self.http.post(f"{self.address}/upload", files={"files": (f"{number}.png", file.getvalue())})
        answer.raise_for_status()
        data = [[{"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}], None, 1, False]
        asked = Asked(number, time.monotonic())
        self.asked.append(asked)
        results, messages = (self.as_page if self.number % 2 else self.as_program)(data, asked)
        assert messages == ""
        (url,) = [unquote(result["url"]) for result in results]
        assert url.endswith(f"/{number}_deblurred.png")
        self.check(url, image)

    def as_page(self, data, asked):
        body = {"data": data, "fn_index": self.function, "session_hash": self.session}
        self.http.post(f"{self.address}/queue/join", json=body).raise_for_status()
        asked.answered = time.monotonic()
        with self.http.stream("GET", f"{self.address}/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                event = json.loads(line.removeprefix("data: ")) if line else {}
                if event.get("msg") == "estimation":
                    asked.ranks.append(event["rank"])
                if event.get("msg") == "process_completed":
                    assert event["success"], event
                    return event["output"]["data"]
        raise AssertionError("the stream ended early")

    def as_program(self, data, asked):
        call = f"{self.address}/call/restore"
        answer = self.http.post(call, json={"data": data})
        answer.raise_for_status()
        asked.answered = time.monotonic()
        events = self.http.get(f"{call}/{answer.json()['event_id']}").text
        kind, data = events.strip().split("\n\n")[-1].split("\n")
        assert kind == "event: complete", events
        return json.loads(data.removeprefix("data: "))

    def check(self, url, image):
        """Assert that a result is that of a picture, and that no other is under an address that is like its own."""
        with Image.open(io.BytesIO(self.http.get(url).content)) as found:
            assert np.array_equal(np.asarray(found), self.expected(image))
        token = url.split("/")[-2]
        for other in (token[::-1], "0" * 64, f"{token}/..", ""):
            assert self.http.get(url.replace(token, other)).status_code == 404
            self.tampered += 1


def test_twenty_clients_for_ten_minutes(often, note, weights, server):
    import deblurgan

    address, child, order, _ = server
    restore, one_by_one = deblurgan.load(weights, precision="float32").restore, threading.Lock()

    def expected(image):
        with one_by_one:
            return restore(image)

    config = httpx.get(f"{address}config").json()
    (function,) = [each["id"] for each in config["dependencies"] if each["api_name"] == "restore"]
    memory, start = Memory(child.pid, pause=0.2), time.monotonic()
    end = start + often(10, 600)
    clients = [Client(number, address, function, expected) for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [each for found in pool.map(lambda client: client.work(end, often(2, 4)), clients) for each in found]

    assert sorted(order) == sorted(each.number for each in asked)
    asked = {each.number: each for each in asked}
    latest = 0.0  # when one was sent that has been restored so far
    for number in order:
        assert latest <= asked[number].answered, "restored after one that came later"
        latest = max(latest, asked[number].sent)
    for each in asked.values():
        assert each.ranks == sorted(each.ranks, reverse=True)
    growth, figures = memory.growth(start, end)
    assert abs(growth) < often(0.5, 0.05), figures
    note(
        f"{CLIENTS} clients of `deblurgan web` for {often(10, 600)} seconds, in pictures",
        len(order),
        f"each got its own, in the order of the queue; {sum(client.tampered for client in clients):,} addresses "
        f"like those of results gave nothing; {figures}",
    )

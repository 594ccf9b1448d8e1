import errno
import gc
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")

import httpx

from deblurgan.cli import common
from deblurgan.errors import InputError
from deblurgan.web import sessions as module
from tests.cli.program import deblurgan, error_of
from tests.photographs import noise, save, smooth
from tests.web.served import StandIn, asked, got, page, uploaded

pytestmark = pytest.mark.filterwarnings(  # of Gradio
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def standing():
    return StandIn()


@pytest.fixture(scope="module")
def address(standing, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", os.environ.copy())
        with page(lambda quality: standing, tmp_path_factory.mktemp("runs"), max_upload=200_000) as address:
            yield address
    gc.collect()  # event loops and sockets that Gradio leaves open, before another test is told of them


@pytest.fixture
def folder(address):
    """Where the server keeps its files."""
    return Path(os.environ["GRADIO_TEMP_DIR"])


@pytest.fixture
def photograph(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    return save(tmp_path / "photograph.jpg", smooth(), quality=90, exif=exif, dpi=(300, 300))


def restored_by_command(monkeypatch, standing, path):
    """What the command line makes of a picture."""
    monkeypatch.setattr(common.Weights, "opened", lambda self: standing)
    deblurgan("deblur", path)
    return path.with_name(f"{path.stem}_deblurred{path.suffix}")


@pytest.mark.parametrize("kind", ["jpg", "png", "alpha.png", "deep.png", "tif"])
def test_results_are_those_of_the_command_line(address, standing, tmp_path, photograph, monkeypatch, kind):
    path = {
        "jpg": lambda: photograph,
        "png": lambda: save(tmp_path / "grey.png", noise(channels=None)),
        "alpha.png": lambda: save(tmp_path / "alpha.png", noise(channels=4)),
        "deep.png": lambda: save(tmp_path / "deep.png", noise(channels=None, dtype=np.uint16)),
        "tif": lambda: save(tmp_path / "a name (1) ü.tif", smooth(), compression="tiff_deflate"),
    }[kind]()
    (result,), messages = asked(address, [uploaded(address, path)])
    expected = restored_by_command(monkeypatch, standing, path)
    assert result.endswith(expected.name)
    assert got(result) == expected.read_bytes()
    assert messages == ""


def test_a_bad_file_gets_the_command_line_s_words_and_the_others_are_done(
    address, standing, tmp_path, photograph, monkeypatch
):
    bad = [
        tmp_path / "broken.jpg",
        tmp_path / "note.txt",
        save(tmp_path / "large.png", np.zeros((400, 300, 3), np.uint8)),
    ]
    bad[0].write_bytes(photograph.read_bytes()[:300])
    bad[1].write_text("hello")
    results, messages = asked(address, [uploaded(address, path) for path in [*bad, photograph]])
    assert [os.path.basename(result) for result in results] == ["photograph_deblurred.jpg"]
    monkeypatch.setattr(common.Weights, "opened", lambda self: standing)
    result = deblurgan("deblur", *bad, "--max_pixels", 100_000)
    failed = [line.removeprefix(f"failed: {tmp_path}/") for line in result.stderr.splitlines()[:3]]
    assert messages.splitlines() == failed


def test_what_is_no_choice_and_what_is_nothing_is_said(address, photograph):
    path = uploaded(address, photograph)
    assert "quick" in asked(address, [path], quality="quick")["error"]
    assert asked(address, [path], strength=2)["error"]
    assert asked(address, []) == ([], "nothing to restore: upload something first")


def test_nothing_but_the_files_of_the_folder_is_read(address, folder, tmp_path, photograph):
    mine = uploaded(address, photograph)
    file = f"{address}gradio_api/file="
    assert got(f"{file}{mine}") == photograph.read_bytes()
    link = folder / "link.jpg"
    link.symlink_to(photograph)
    try:
        for path in (photograph, f"{folder}/../{tmp_path.name}", link, f"{mine}/../../..{photograph}", "/etc/passwd"):
            assert got(f"{file}{path}") is None
            assert got(f"{file}{str(path).replace('/', '%2f').replace('.', '%2e')}") is None
            answer = asked(address, [str(path)])
            assert "error" in answer
    finally:
        link.unlink()
    assert got(f"{file}{folder}") is None
    assert got(f"{file}{os.path.dirname(mine)}") is None


def test_the_server_fetches_nothing_for_a_client(address):
    assert got(f"{address}gradio_api/file={address}theme.css") is None
    assert "address" in asked(address, [f"{address}theme.css"])["error"]
    for path in ("gradio_api/proxy=http://127.0.0.1", "docs", "monitoring/summary", "gradio_api/process_recording"):
        assert got(f"{address}{path}") is None


def test_what_is_refused_leaves_no_traceback_on_the_terminal(address, photograph, capfd, caplog):
    mine = uploaded(address, photograph)
    for path in ("/etc/passwd", "a\0b", "x" * 5000, ""):
        assert asked(address, [path])["error"].startswith("refused: ")
    for choices in ({"quality": ["a"]}, {"strength": "much"}, {"strength": None}, {"strength": 5}):
        assert asked(address, [mine], **choices)["error"]
    assert httpx.post(f"{address}gradio_api/call/nothing", json={"data": []}).status_code == 404
    for session in ("", None):
        body = {"data": [], "fn_index": 0, "session_hash": session}
        assert httpx.post(f"{address}gradio_api/queue/join", json=body).status_code == 400
    assert capfd.readouterr().err == ""
    assert [record for record in caplog.records if record.name == "uvicorn.error"] == []


def test_what_gradio_fails_at_is_one_line_on_the_terminal(address, caplog):
    body = {"data": [], "fn_index": 9999, "session_hash": "mine"}
    assert httpx.post(f"{address}gradio_api/queue/join", json=body).status_code == 500
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{address}gradio_api/queue/data?session_hash=nobody")
    told = ["KeyError: 9999", "RuntimeError: Caught handled exception, but response already started."]
    deadline = time.monotonic() + 20
    while len(caplog.records) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [record.message for record in caplog.records] == [f"a request failed: {line}" for line in told]
    assert [record.exc_info for record in caplog.records] == [None, None]


@pytest.mark.parametrize(
    ("host", "code"),
    [("evil.example", 421), ("localhost.evil.example", 421), ("[::1", 421), ("", 421)]
    + [(host, 200) for host in ("LOCALHOST:7860", "192.168.1.5:7860", "[::1]:7860", socket.gethostname())],
)
def test_other_sites_cannot_have_their_names_lead_here(address, host, code):
    assert httpx.get(f"{address}config", headers={"host": host}).status_code == code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://127.0.0.1:8888", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://proxy.example", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://192.168.1.5:80", "host": "192.168.1.5:80"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_can_neither_upload_nor_read(address, headers, code):
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.jpg", b"a")}, headers=headers)
    assert answer.status_code == code
    answer = httpx.get(f"{address}config", headers=headers)
    assert answer.status_code == (code if "origin" in headers else 200)  # as a link that is followed


def test_another_s_picture_cannot_be_guessed_by_who_has_it_too(address, photograph, tmp_path):
    path = uploaded(address, photograph)
    (result,), _ = asked(address, [path])
    (again,), _ = asked(address, [path])
    assert os.path.dirname(result) != os.path.dirname(again)  # neither content nor name leads to a result
    name = os.path.basename(os.path.dirname(result))
    assert len(name) == 64
    assert got(result.replace(name, name[::-1])) is None


def test_a_name_cannot_lead_out_of_the_folder(address, folder):
    for name in ("../../evil.jpg", "/etc/evil.jpg", "..\\evil.jpg", ".."):
        answer = httpx.post(f"{address}gradio_api/upload", files={"files": (name, b"evil")})
        for path in answer.json() if answer.status_code == 200 else []:
            assert Path(os.path.realpath(path)).is_relative_to(folder)


def test_an_upload_that_is_too_large_is_refused(address, folder):
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("large.jpg", b"x" * 300_000)})
    assert answer.status_code == 413
    assert "200000" in answer.text


def test_uploads_are_refused_where_no_more_files_fit(address, folder, photograph, monkeypatch):
    mine = uploaded(address, photograph)
    with monkeypatch.context() as patch:
        patch.setattr(module.Sessions, "takes", lambda self, size: size < 100)
        answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.jpg", b"a")})
        assert (answer.status_code, answer.text) == (507, "Refused: too many files are waiting here; try later")
        assert asked(address, [mine])[1] == ""

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gradio.route_utils.GradioMultiPartParser.parse", full)
    answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.jpg", b"a")})
    assert (answer.status_code, answer.text) == (507, "Refused: the server's disk is full")


def test_a_full_disk_is_told_on_the_page(address, standing, photograph, monkeypatch, capfd):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mine = uploaded(address, photograph)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert "No space left on device" in asked(address, [mine])[1]
        patch.setattr(Path, "mkdir", full)
        assert "No space left on device" in asked(address, [mine])["error"]
    assert capfd.readouterr().err == ""


def test_a_job_is_cancelled_at_its_next_tile_and_the_next_one_runs(address, standing, photograph, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def wait():
        begun.set()
        assert go_on.wait(20)

    stop = module.Sessions.stop
    monkeypatch.setattr(module.Sessions, "stop", lambda self, name: (stop(self, name), go_on.set()))
    path = uploaded(address, photograph)
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [[file], "fast", 1, False], "session_hash": "mine"}
    standing.wait, standing.tiles = wait, 0
    try:
        with httpx.stream("GET", f"{address}gradio_api/heartbeat/mine", timeout=20) as heartbeat:
            beats = heartbeat.iter_raw()
            next(beats)  # the session is there
            httpx.post(f"{address}gradio_api/call/restore", json=body).raise_for_status()
            assert begun.wait(20)
        assert asked(address, [path])[1] == ""
    finally:
        standing.wait = lambda: None
    assert standing.tiles == 1 + 3


def test_twenty_clients_at_once_get_their_own_one_after_the_other(address, standing, tmp_path):
    standing.most = 0

    def ask(number):
        path = save(tmp_path / f"{number}.png", noise(seed=number % 10))  # two have the same picture each
        (result,), messages = asked(address, [uploaded(address, path)])
        assert messages == ""
        assert os.path.basename(result) == f"{number}_deblurred.png"
        return got(result)

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(ask, range(20), timeout=60))
    assert standing.most == 1
    for number, result in enumerate(results):
        (tmp_path / "result.png").write_bytes(result)
        with Image.open(tmp_path / "result.png") as image:
            assert np.array_equal(np.asarray(image), 255 - noise(seed=number % 10))


def test_files_go_with_their_session_and_all_with_the_server(tmp_path, photograph, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(module, "GRACE", -1)
    monkeypatch.setattr("deblurgan.web.serving.SWEEP", 0.1)
    with page(lambda quality: StandIn(), tmp_path, auth=("me", "secret")) as address:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert folder.stat().st_mode & 0o77 == 0
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            uploaded(address, photograph)
        with httpx.Client() as client:
            assert client.post(f"{address}login", data={"username": "me", "password": "wrong"}).status_code == 400
            assert client.post(f"{address}login", data={"username": "me", "password": "secret"}).status_code == 200
            cookies = dict(client.cookies)
            asked(address, [uploaded(address, photograph, cookies=cookies)], cookies=cookies)
            deadline = time.monotonic() + 20
            while any(folder.rglob("photograph*")) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not any(folder.rglob("photograph*"))
            assert any(folder.rglob("market.jpg"))
    assert not folder.exists()


def test_a_public_page_that_cannot_be_had_is_told_and_ends(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def fail(**options):
        raise OSError("no network")

    monkeypatch.setattr("gradio.networking.setup_tunnel", fail)
    with (
        pytest.raises(InputError, match="--share: Gradio's servers gave no public"),
        page(lambda quality: StandIn(), tmp_path, share=True),
    ):
        pass
    assert not os.path.exists(os.environ["GRADIO_TEMP_DIR"])
    assert capsys.readouterr().out == ""


def test_the_command_says_what_is_wrong_in_one_line(address, monkeypatch):
    port = address.rstrip("/").rpartition(":")[2]
    taken = f"--port {port}: in use on 127.0.0.1; choose another, or 0 for a free one"
    assert error_of(deblurgan("web", "--port", port)) == taken
    assert "nowhere.invalid:7860" in error_of(deblurgan("web", "--host", "nowhere.invalid"))
    assert "USER:PASSWORD" in deblurgan("web", "--auth", "me").stderr
    monkeypatch.setenv("DEBLURGAN_WEB_AUTH", "me")
    assert "USER:PASSWORD" in deblurgan("web").stderr
    monkeypatch.delenv("DEBLURGAN_WEB_AUTH")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert error_of(deblurgan("web")) == "the page needs Gradio: pip install 'deblurgan[web]'"

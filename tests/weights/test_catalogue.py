import errno
import hashlib
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pooch
import pytest
import requests

import deblurgan
from deblurgan.errors import FileError, InputError
from deblurgan.networks.vgg import VGG19_URL
from deblurgan.weights import catalogue
from deblurgan.weights.catalogue import ABSENT, CACHED, KNOWN, SHIPPED, Entry
from tests.photographs import names
from tests.served import served

CONTENT = bytes(range(256)) * 1000
OTHER = b"other weights"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with served() as server:
        server.files["w.pth"] = CONTENT
        yield server


@pytest.fixture
def cache(monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setenv("DEBLURGAN_CACHE", str(folder))
    return folder


@pytest.fixture
def known(server, cache, monkeypatch):
    """A function that makes the name `mine` known, on the server as w.pth and in the cache as mine.pth."""

    def make(**fields):
        given = {
            "name": "mine",
            "kind": "NAFNet",
            "data": "GOPRO",
            "licence": "MIT",
            "page": "https://example.org/weights",
            "file": "mine.pth",
            "addresses": (f"{server.address}/w.pth",),
            **fields,
        }
        monkeypatch.setitem(KNOWN, "mine", Entry(**given))
        return cache / "mine.pth"

    return make


def heard(function, *arguments):
    """What a function returns, and the lines that it said."""
    lines = []
    return function(*arguments, lines.append), lines


def error_of(function, *arguments, say=lambda line: None):
    with pytest.raises(FileError) as caught:
        function(*arguments, say)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


# What is known


def test_every_entry_is_whole():
    assert [name for name, entry in KNOWN.items() if entry.name != name] == []
    assert len({entry.file for entry in KNOWN.values()}) == len(KNOWN)
    for entry in KNOWN.values():
        assert re.fullmatch(r"[a-z0-9-]+", entry.name)
        assert Path(entry.file).name == entry.file
        assert (entry.psnr is None) == (entry.test_set is None)
        assert entry.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.sha256)
        for address in (entry.page, *entry.addresses):
            assert address.startswith("https://")


def test_what_the_issue_asks_for_is_known_with_what_its_authors_published():
    published = {name: (entry.psnr, entry.test_set) for name, entry in KNOWN.items() if entry.psnr is not None}
    assert published == {
        "maxim-gopro": (32.86, "GOPRO"),
        "maxim-reds": (28.93, "REDS"),
        "maxim-realblur-j": (32.84, "RealBlur-J"),
        "maxim-realblur-r": (39.45, "RealBlur-R"),
        "nafnet-gopro-32": (32.87, "GOPRO"),
        "nafnet-gopro-64": (33.71, "GOPRO"),
        "nafnet-reds-64": (29.09, "REDS-val-300"),
    }
    bucket = "https://storage.googleapis.com/gresearch/maxim/ckpt/Deblurring/"
    assert KNOWN["maxim-realblur-j"].addresses == (f"{bucket}RealBlur_J/checkpoint.npz",)
    assert KNOWN["maxim-realblur-r"].addresses == (f"{bucket}RealBlur_R/checkpoint.npz",)
    assert KNOWN["maxim-reds"].addresses == (f"{bucket}REDS/checkpoint.npz",)
    assert [KNOWN[f"nafnet-{of}"].file for of in ("gopro-32", "gopro-64", "reds-64")] == [
        "NAFNet-GoPro-width32.pth",
        "NAFNet-GoPro-width64.pth",
        "NAFNet-REDS-width64.pth",
    ]


def test_the_shipped_weights_are_a_folder_of_the_package(cache):
    folder = Path(deblurgan.__file__).parent / "assets" / "maxim-gopro"
    assert catalogue.state("maxim-gopro") == SHIPPED
    assert catalogue.place("maxim-gopro") == folder
    assert heard(catalogue.path, "maxim-gopro") == (folder, [])
    assert heard(catalogue.get, "maxim-gopro") == (folder, [])
    assert heard(catalogue.resolve, "maxim-gopro") == (folder, [])
    assert names(folder) == [f"stage_{number}.safetensors" for number in range(3)]
    assert not cache.exists()


def test_what_is_shipped_is_in_the_built_package():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    package = Path(deblurgan.__file__).parent
    settings = tomllib.loads((package.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["deblurgan"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path for path in (package / "assets").rglob("*") if path.is_file()} <= packed


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path, monkeypatch):
    for number, part in enumerate(("a", "b")):
        (tmp_path / part).write_bytes(bytes(10 + number))
    monkeypatch.setattr(catalogue, "place", lambda name: tmp_path)
    assert catalogue.size("maxim-gopro") == 21


@pytest.mark.parametrize(
    "function", [catalogue.find, catalogue.path, catalogue.get, catalogue.place, catalogue.state]
)
def test_a_misspelt_name_gets_the_nearest(function):
    with pytest.raises(InputError, match=r"received Maxim_gorpo; did you mean maxim-gopro\?$"):
        function("Maxim_gorpo")
    with pytest.raises(InputError, match=r"expected one of maxim-gopro, maxim-reds, .*, received zzz$"):
        function("zzz")


def test_weights_are_absent_and_then_cached(known):
    target = known(size=12345)
    assert catalogue.state("mine") == ABSENT
    assert catalogue.size("mine") == 12345
    assert error_of(catalogue.path, "mine") == (
        f"mine: expected at {target}, not there yet; get it with `deblurgan weights get mine`"
    )
    catalogue.get("mine", lambda line: None)
    assert catalogue.state("mine") == CACHED
    assert catalogue.size("mine") == len(CONTENT)
    assert catalogue.path("mine") == target


# The cache folder


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have other folders")
def test_the_cache_is_where_the_platform_has_it_unless_the_variable_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("DEBLURGAN_CACHE", raising=False)
        else:
            monkeypatch.setenv("DEBLURGAN_CACHE", value)
        assert catalogue.cache_folder() == tmp_path / "deblurgan"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEBLURGAN_CACHE", "~/mine")
    assert catalogue.cache_folder() == tmp_path / "home" / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEBLURGAN_CACHE", "here")
    assert catalogue.cache_folder() == tmp_path / "here"


def test_a_cache_folder_that_is_a_file_is_named_with_the_variable(known, cache, server):
    known()
    cache.write_bytes(b"")
    assert error_of(catalogue.get, "mine") == (
        f"{cache}: expected a folder, found a file; the environment variable DEBLURGAN_CACHE names another"
    )
    assert server.asked == []


def test_a_cache_folder_that_cannot_be_written_to_is_named_with_the_variable(known, cache, server, monkeypatch):
    known()
    cache.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert error_of(catalogue.get, "mine") == (
        f"{cache}: the folder is not writable; the environment variable DEBLURGAN_CACHE names another"
    )
    assert (server.asked, names(cache)) == ([], [])


def test_what_lies_in_a_cache_folder_that_cannot_be_written_to_is_used(known, monkeypatch):
    """Where an administrator put it; it is said that its SHA-256 could not be noted."""
    target = known()
    target.parent.mkdir()
    target.write_bytes(CONTENT)

    def refused(*_, **__):
        raise OSError(errno.EROFS, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        found, lines = heard(catalogue.get, "mine")
    assert found == target
    (line,) = lines
    assert line.startswith(f"{target}: SHA-256 {sha256(CONTENT)}, which cannot be noted: ")
    assert line.endswith(os.strerror(errno.EROFS))
    assert names(target.parent) == ["mine.pth"]


# Downloads


def test_what_has_a_published_sha256_is_downloaded_once(known, server, cache):
    target = known(sha256=sha256(CONTENT), size=len(CONTENT))
    found, lines = heard(catalogue.get, "mine")
    assert found == target
    assert target.read_bytes() == CONTENT
    assert names(cache) == ["mine.pth"]
    assert lines == [f"mine: downloading {server.address}/w.pth"]
    assert heard(catalogue.get, "mine") == (target, [])
    assert heard(catalogue.path, "mine") == (target, [])
    assert server.asked == ["w.pth"]


def test_a_downloaded_file_has_the_permissions_of_any_new_file(known, tmp_path):
    known()
    (tmp_path / "new").touch()
    assert catalogue.get("mine", print).stat().st_mode == (tmp_path / "new").stat().st_mode


def test_another_file_than_the_published_one_is_refused_and_nothing_is_left(known, server, cache):
    known(sha256=sha256(OTHER))
    message = error_of(catalogue.get, "mine")
    assert f"{server.address}/w.pth: SHA-256 {sha256(CONTENT)} and not the published {sha256(OTHER)}" in message
    assert names(cache) == []


def test_a_sha256_is_noted_at_the_first_download_and_said(known, server, cache):
    target = known()
    found, lines = heard(catalogue.get, "mine")
    assert found == target
    assert lines == [
        f"mine: downloading {server.address}/w.pth",
        f"{target}: SHA-256 {sha256(CONTENT)}, noted in mine.pth.json: any other is refused from now on",
    ]
    assert names(cache) == ["mine.pth", "mine.pth.json"]
    assert json.loads((cache / "mine.pth.json").read_text()) == {"file": "mine.pth", "sha256": sha256(CONTENT)}
    assert heard(catalogue.get, "mine") == (target, [])


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("function", [catalogue.get, catalogue.path])
def test_a_file_that_changes_later_is_refused(known, server, published, function):
    target = known(sha256=sha256(CONTENT) if published else None)
    catalogue.get("mine", lambda line: None)
    target.write_bytes(OTHER)
    expected = "that is published" if published else "that mine.pth.json notes"
    assert error_of(function, "mine") == (
        f"{target}: expected the SHA-256 {expected}, {sha256(CONTENT)}, found {sha256(OTHER)}; "
        "remove the file to get it anew"
    )
    assert target.read_bytes() == OTHER
    target.unlink()
    assert catalogue.get("mine", lambda line: None).read_bytes() == CONTENT
    assert server.asked == ["w.pth", "w.pth"]


def test_another_file_than_the_noted_one_is_refused_and_nothing_is_left(known, server, cache):
    target = known()
    catalogue.get("mine", lambda line: None)
    target.unlink()
    server.files["w.pth"] = OTHER
    message = error_of(catalogue.get, "mine")
    assert f"SHA-256 {sha256(OTHER)} and not that in mine.pth.json, {sha256(CONTENT)}" in message
    assert names(cache) == ["mine.pth.json"]


@pytest.mark.parametrize("note", ["", "{", "[]", '{"sha256": 5}', '{"sha256": "abc"}', "[" * 100_000])
def test_a_damaged_note_is_named(known, note):
    target = known()
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    (target.parent / "mine.pth.json").write_text(note)
    assert re.fullmatch(
        rf"{re.escape(str(target))}\.json: .*; remove it to note anew", error_of(catalogue.get, "mine")
    )


def test_without_a_connection_address_and_place_are_told(known, cache):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/w.pth"
        target = known(addresses=(address,))
        message = error_of(catalogue.get, "mine")
    assert message == (
        f"mine: cannot be downloaded from {address}: {os.strerror(errno.ECONNREFUSED)}. By hand: get it there, or as "
        f"https://example.org/weights tells, and put it at {target}"
    )
    assert names(cache) == []


def test_addresses_are_of_https():
    addresses = [VGG19_URL, *(address for entry in KNOWN.values() for address in entry.addresses)]
    assert all(address.startswith("https://") for address in addresses)


def test_a_server_that_leads_away_from_https_is_not_followed(known, cache, monkeypatch):
    asked = []

    def send(self, request, **_):
        asked.append(request.url)
        response = requests.Response()
        response.status_code, response.url, response.request = 302, request.url, request
        response.headers["Location"] = "http://elsewhere.org/w.pth" if len(asked) == 2 else "/other.pth"
        response.raw = io.BytesIO()
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    known(addresses=("https://host.org/w.pth",))
    text = error_of(catalogue.get, "mine")
    assert "https://host.org/w.pth: expected https, was led to http://elsewhere.org/w.pth" in text
    assert asked == ["https://host.org/w.pth", "https://host.org/other.pth"]
    assert names(cache) == []


def test_what_the_server_does_not_have_is_told(known, server, cache):
    known(addresses=(f"{server.address}/missing.pth",))
    assert f"{server.address}/missing.pth: 404 Not Found. By hand:" in error_of(catalogue.get, "mine")
    assert names(cache) == []


def test_an_address_that_is_none_is_told(known, cache):
    known(addresses=("http://",))
    assert error_of(catalogue.get, "mine").startswith("mine: cannot be downloaded from http://: ")
    assert names(cache) == []


@pytest.mark.parametrize("sha", [sha256(CONTENT), None])
def test_a_download_that_breaks_off_leaves_nothing(known, server, cache, sha):
    known(sha256=sha)
    server.files["w.pth"] = (CONTENT[:100_000], len(CONTENT))
    assert re.search(r"/w.pth: broken off after [\d,]+ of 256,000 bytes. By hand:", error_of(catalogue.get, "mine"))
    assert names(cache) == []


def test_a_download_that_ends_early_without_an_error_leaves_nothing(known, cache, monkeypatch):
    """So did the libraries below pooch until urllib3 2."""

    def short(self, url, output_file, pooch):
        self.progressbar.total = 1000
        Path(output_file).write_bytes(bytes(999))

    known()
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", short)
    assert "/w.pth: broken off after 999 of 1,000 bytes. By hand:" in error_of(catalogue.get, "mine")
    assert names(cache) == []


def test_an_interrupted_download_leaves_nothing(known, cache, monkeypatch):
    def interrupted(self, url, output_file, pooch):
        Path(output_file).write_bytes(b"some")
        assert len(names(cache)) == 1
        raise KeyboardInterrupt

    known()
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        catalogue.get("mine", lambda line: None)
    assert names(cache) == []


def test_the_next_address_is_asked_where_one_fails(known, server):
    server.files["changed.pth"] = OTHER
    addresses = tuple(f"{server.address}/{name}" for name in ("missing.pth", "changed.pth", "w.pth"))
    target = known(addresses=addresses, sha256=sha256(CONTENT))
    found, lines = heard(catalogue.get, "mine")
    assert found == target
    assert target.read_bytes() == CONTENT
    assert server.asked == ["missing.pth", "changed.pth", "w.pth"]
    assert lines == [f"mine: downloading {address}" for address in addresses]


def test_a_terminal_shows_a_bar(known, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    known()
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    catalogue.get("mine", lambda line: None)
    assert re.search(r"mine: +\d+%.*/256k ", terminal.getvalue())


def test_without_a_listener_the_log_tells(known, caplog):
    known()
    with caplog.at_level(logging.WARNING, "deblurgan.weights.catalogue"):
        catalogue.get("mine")
    assert [line.split(" ")[1] for line in caplog.messages] == ["downloading", "SHA-256"]


# By hand


def test_a_file_that_was_put_there_by_hand_is_taken_and_its_sha256_noted_and_said(known, server, cache):
    target = known()
    cache.mkdir()
    target.write_bytes(OTHER)
    found, lines = heard(catalogue.get, "mine")
    assert found == target
    assert lines == [f"{target}: SHA-256 {sha256(OTHER)}, noted in mine.pth.json: any other is refused from now on"]
    assert heard(catalogue.path, "mine") == (target, [])
    assert server.asked == []


def test_a_file_that_was_put_there_by_hand_must_be_the_published_one(known, cache):
    target = known(sha256=sha256(CONTENT))
    cache.mkdir()
    target.write_bytes(OTHER)
    assert error_of(catalogue.get, "mine").startswith(f"{target}: expected the SHA-256 that is published, ")
    target.write_bytes(CONTENT)
    assert heard(catalogue.get, "mine") == (target, [])
    assert names(cache) == ["mine.pth"]


# What is given


def test_a_known_name_is_downloaded_where_weights_are_asked_for(known, server):
    target = known()
    assert heard(catalogue.resolve, "mine")[0] == target
    assert heard(catalogue.resolve, Path("mine")) == (target, [])
    assert heard(catalogue.resolve, target) == (target, [])
    assert server.asked == ["w.pth"]


def test_files_and_runs_go_before_names(known, server, tmp_path, monkeypatch):
    known()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights" / "mine"
    folder.mkdir(parents=True)
    (folder / "generator_best.weights.h5").touch()
    assert catalogue.resolve("mine") == Path("weights", "mine", "generator_best.weights.h5")
    (tmp_path / "mine.index").touch()  # of a checkpoint
    assert catalogue.resolve("mine") == Path("mine")
    (tmp_path / "mine.index").rename("mine")
    assert catalogue.resolve("mine") == Path("mine")
    (tmp_path / "mine").unlink()
    (folder / "generator_best.weights.h5").unlink()
    (tmp_path / "mine").mkdir()
    assert catalogue.resolve("mine") == Path("mine")
    (tmp_path / "mine" / "generator_last.weights.h5").touch()
    assert catalogue.resolve("mine") == Path("mine", "generator_last.weights.h5")
    assert server.asked == []


@pytest.mark.parametrize("given", ["none.h5", "weights/mine", "a/mine", "x" * 5000, "nul\0"])
def test_what_is_nothing_stays_as_it_is(known, server, given, tmp_path, monkeypatch):
    known()
    monkeypatch.chdir(tmp_path)
    assert catalogue.resolve(given) == Path(given)
    assert server.asked == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("maxim-gorpo", "; did you mean maxim-gopro?"),
        ("maxim-gopro", "; the weights of that name are found from another folder"),
        ("NAFNet-REDS-64", "; did you mean nafnet-reds-64?"),
        ("maxim_realblur_j", "; did you mean maxim-realblur-j?"),
        ("generator.h5", ""),
        ("checkpoint.npz", ""),
        ("latest_net_G.pth", ""),
        ("generator_best.weights.h5", ""),
        ("folder/maxim-gorpo", ""),
    ],
)
def test_only_what_is_close_to_a_name_is_taken_for_one(given, expected):
    assert catalogue.hint(given) == expected
    assert catalogue.hint(Path(given)) == expected


def test_neither_tensorflow_nor_numpy_is_loaded(tmp_path):
    code = (
        "import sys; from deblurgan.weights import catalogue; catalogue.place('maxim-reds'); "
        "catalogue.resolve('none.h5'); print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    environment = {**os.environ, "DEBLURGAN_CACHE": str(tmp_path)}
    root = Path(deblurgan.__file__).parents[1]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=environment)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")

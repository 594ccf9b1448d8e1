import os
import time

import pytest

from deblurgan.web import sessions as module
from deblurgan.web.sessions import Sessions

LARGEST = 100


@pytest.fixture
def sessions(tmp_path):
    (tmp_path / "files").mkdir()
    return Sessions(tmp_path / "files", LARGEST)


def upload(sessions, content, name="photo.jpg"):
    """A file as Gradio writes it, in a folder named by its content."""
    path = sessions.folder / content / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def test_an_upload_of_two_goes_with_the_second(sessions):
    path = upload(sessions, "same")
    for client in ("a", "b"):
        sessions.hold(client, [path])
    sessions.release("a", [path])
    assert path.exists()
    sessions.release("c", [path])  # who never had it
    assert path.exists()
    sessions.release("b", [path])
    assert not path.parent.exists()


def test_files_outlast_a_connection_that_drops_and_go_later(sessions, monkeypatch):
    with sessions.connected("a"):
        mine = upload(sessions, "mine")
        sessions.hold("a", [mine])
        monkeypatch.setattr(module, "GRACE", -1)
        sessions.sweep()
        assert mine.exists()
    monkeypatch.setattr(module, "GRACE", 60)
    sessions.sweep()
    assert mine.exists()
    monkeypatch.setattr(module, "GRACE", -1)
    sessions.sweep()
    assert os.listdir(sessions.folder) == []


def test_uploads_that_nobody_used_go_but_examples_stay(sessions, monkeypatch):
    example = upload(sessions, "example")
    sessions.keep()
    unused = upload(sessions, "unused")
    partly = sessions.folder / "tmp123"
    partly.write_text("an upload that broke off")
    sessions.sweep()
    assert unused.exists()
    assert partly.exists()
    later = time.time() + module.UNHELD + 1
    monkeypatch.setattr(time, "time", lambda: later)
    sessions.sweep()
    assert os.listdir(sessions.folder) == ["example"]
    sessions.hold("a", [example])
    sessions.release("a", [example])
    assert example.exists()


def test_only_files_in_the_folder_are_had(sessions, tmp_path):
    path = upload(sessions, "mine")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    link = sessions.folder / "link.txt"
    link.symlink_to(secret)
    assert sessions.has(path)
    for other in (secret, link, path.parent, sessions.folder / ".." / "secret.txt", "https://example.com/a", "a\0b"):
        assert not sessions.has(other)


def test_results_go_where_nobody_guesses(sessions):
    first, second = sessions.new_folder("a"), sessions.new_folder("a")
    assert first != second
    assert len(first.name) == 64


def test_what_files_take_is_bounded(sessions):
    upload(sessions, "12345")
    (sessions.folder / "link").symlink_to("/")
    size = 5 + (sessions.folder / "link").lstat().st_size
    sessions.sweep()
    left = module.MOST * LARGEST - size
    assert not sessions.takes(left + 1)
    assert sessions.takes(left - LARGEST)
    assert sessions.takes(LARGEST)
    assert not sessions.takes(1)
    sessions.sweep()
    assert sessions.takes(1)

import errno
import os
import pickle
import stat
from pathlib import Path

import pytest

from deblurgan.errors import DeblurganError, FileError
from deblurgan.files import atomic_path, ensure_folder, held, reason, shown
from tests.power_cuts import Disk


def write(path, error=None):
    """Write half of a file and raise the error, or all of it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        if error is not None:
            raise error
        temporary.write_bytes(b"whole")


def message_of(call, *arguments):
    """The one line of the `FileError` that a call raises."""
    with pytest.raises(FileError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message
    assert message.isprintable()
    return message


def no_space(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Messages


@pytest.mark.parametrize("text", ["a.png", "/x y/한글 사진.jpg", 'it\'s "quoted"', ""])
def test_printable_paths_are_shown_as_they_are(text):
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb.png", r"'a\nb.png'"),
        ("tab\t", r"'tab\t'"),
        ("\x1b[31mred", r"'\x1b[31mred'"),
        (os.fsdecode(b"caf\xe9"), r"'caf\udce9'"),
    ],
)
def test_other_paths_are_shown_escaped(text, expected):
    assert shown(text) == expected


def test_a_path_object_is_shown_like_its_text(tmp_path):
    assert shown(tmp_path / "a") == str(tmp_path / "a")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "whatever it says", "a.png"), os.strerror(errno.ENOENT)),
        (OSError("encoder\n  error -2"), "encoder error -2"),
        (ValueError("bad\nvalue"), "bad value"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_reason_is_one_line_without_code_and_path(error, expected):
    assert reason(error) == expected


def test_the_text_of_a_file_error_is_its_message_also_after_pickling():
    error = FileError("a.png: cannot be written: it is full")
    for again in (error, pickle.loads(pickle.dumps(error))):
        assert str(again) == "a.png: cannot be written: it is full"
        assert isinstance(again, OSError)
        assert isinstance(again, DeblurganError)


# Files


@pytest.mark.parametrize("name", ["a.txt", "no_extension", "model.weights.h5", ".hidden", "line\nbreak", "한글.png"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_file_appears_with_its_content_when_the_block_ends(tmp_path, name, earlier):
    path = tmp_path / name
    if earlier:
        path.write_bytes(b"earlier")
    with atomic_path(str(path)) as temporary:
        temporary.write_bytes(b"whole")
        assert (path.read_bytes() == b"earlier") if earlier else not path.exists()
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(("name", "ending"), [("a.png", ".png"), ("m.weights.h5", ".weights.h5"), ("plain", ".tmp")])
def test_the_temporary_path_is_hidden_in_the_same_folder_and_ends_alike(tmp_path, name, ending):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(ending)
        assert temporary.exists()


@pytest.mark.parametrize("name", ["1. " + "가" * 80 + ".png", "a." + "b" * 249 + ".gz"])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path, name):
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_the_file_gets_the_mode_that_any_new_file_gets(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt(), SystemExit(3), FileError("a: too bad")])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_exception_in_the_block_passes_and_leaves_things_as_they_were(tmp_path, error, earlier):
    path = tmp_path / "a.txt"
    if earlier:
        path.write_bytes(b"earlier")
    with pytest.raises(type(error)) as caught:
        write(path, error)
    assert caught.value is error
    assert os.listdir(tmp_path) == (["a.txt"] if earlier else [])
    assert not earlier or path.read_bytes() == b"earlier"


def test_a_block_may_remove_the_temporary_file_and_fail(tmp_path):
    def remove():
        with atomic_path(tmp_path / "a") as temporary:
            temporary.unlink()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        remove()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_while_writing_is_named_and_leaves_the_earlier_file(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"earlier")
    message = message_of(write, tmp_path / "a.txt", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "temporary"))
    assert message == f"{tmp_path / 'a.txt'}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert (tmp_path / "a.txt").read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_while_replacing_is_named_and_leaves_the_earlier_file(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(b"earlier")
    monkeypatch.setattr(os, "replace", no_space)
    message = message_of(write, tmp_path / "a.txt")
    assert message == f"{tmp_path / 'a.txt'}: cannot be written: {os.strerror(errno.ENOSPC)}"
    assert (tmp_path / "a.txt").read_bytes() == b"earlier"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_disk_that_becomes_read_only_meanwhile_is_named(tmp_path, monkeypatch):
    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", read_only)
        patch.setattr(type(tmp_path), "unlink", read_only)
        message = message_of(write, tmp_path / "a.txt")
    assert message == f"{tmp_path / 'a.txt'}: cannot be written: {os.strerror(errno.EROFS)}"


def test_a_file_and_its_name_are_on_the_disk_before_anything_follows(tmp_path, monkeypatch):
    disk = Disk(tmp_path, monkeypatch)
    folder = ensure_folder(tmp_path / "new" / "folder")
    for content in (b"earlier", b"whole"):
        with atomic_path(folder / "a.txt") as temporary:
            temporary.write_bytes(content)
    with atomic_path(folder / "b.txt"):
        disk.close()
    path = Path("new", "folder", "a.txt")
    left = [files[path] for files in disk.left if path in files]
    assert left == sorted(left)
    assert set(left) == {b"earlier", b"whole"}
    before_b = [
        files for files in disk.left if {file.name for file in files} == {"a.txt"} and files[path] == b"whole"
    ]
    assert before_b  # without any trace of b, the whole of a


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EIO])
def test_a_file_system_that_cannot_sync_a_folder_does_and_one_that_fails_is_told(tmp_path, monkeypatch, number):
    fsync = os.fsync

    def of_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files)
    if number != errno.EIO:
        write(tmp_path / "a.txt")
    else:
        assert message_of(write, tmp_path / "a.txt").endswith(f"cannot be written: {os.strerror(number)}")
    assert (tmp_path / "a.txt").read_bytes() == b"whole"


def test_an_error_of_several_lines_becomes_one(tmp_path):
    message = message_of(write, tmp_path / "a.h5", OSError("file write failed: time = Mon\n, errno = 28"))
    assert message.endswith("a.h5: cannot be written: file write failed: time = Mon , errno = 28")


def test_a_missing_folder_is_named(tmp_path):
    message = message_of(write, tmp_path / "absent" / "a.txt")
    assert message == f"{tmp_path / 'absent' / 'a.txt'}: cannot be written: {os.strerror(errno.ENOENT)}"


def test_a_folder_in_the_place_of_the_file_is_named_and_left(tmp_path):
    (tmp_path / "a.txt").mkdir()
    message = message_of(write, tmp_path / "a.txt")
    assert message.startswith(f"{tmp_path / 'a.txt'}: cannot be written: ")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert message_of(write, tmp_path / "file" / "a.txt").startswith(f"{tmp_path / 'file' / 'a.txt'}: cannot be")


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert ": cannot be written: " in message_of(write, path)
    assert os.listdir(tmp_path) == []


def test_a_line_break_in_the_name_is_escaped_in_the_message(tmp_path):
    assert r"absent\n/a\nb.txt': cannot be written: " in message_of(write, tmp_path / "absent\n" / "a\nb.txt")


# Folders


def test_a_folder_is_created_with_its_parents_and_an_existing_one_kept(tmp_path):
    folder = tmp_path / "a" / "b\nc" / "d"
    assert ensure_folder(str(folder)) == folder
    (folder / "file").touch()
    assert ensure_folder(folder) == folder
    assert os.listdir(folder) == ["file"]


def test_a_file_in_the_place_of_a_folder_is_named_and_left(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert message_of(ensure_folder, path) == f"{path}: expected a folder, found a file"
    assert message_of(ensure_folder, path / "below" / "that") == f"{path}: expected a folder, found a file"
    assert path.read_bytes() == b"content"


def test_a_line_break_in_the_name_of_a_folder_is_escaped_in_the_message(tmp_path):
    (tmp_path / "line\nbreak").touch()
    assert message_of(ensure_folder, tmp_path / "line\nbreak").endswith(
        r"line\nbreak': expected a folder, found a file"
    )


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert message_of(ensure_folder, tmp_path) == f"{tmp_path}: the folder is not writable"


# Folders that are held


def test_a_folder_that_is_gone_cannot_be_held(tmp_path):
    with pytest.raises(FileError, match="gone: the folder cannot be opened"), held(tmp_path / "gone", FileError("t")):
        pass


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    with (
        held(tmp_path, FileError("taken")),
        pytest.raises(FileError, match=r"^taken$"),
        held(tmp_path, FileError("taken")),
    ):
        pytest.fail("held twice")
    with held(tmp_path, FileError("taken")):
        pass


def test_a_file_system_without_locks_lets_go_on(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def none(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with held(tmp_path, FileError("taken")), held(tmp_path, FileError("taken")):
        pass

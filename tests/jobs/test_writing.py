import contextlib
import io
import os
import resource
import zipfile
from pathlib import Path

import pytest

from deblurgan.errors import FileError, InputError
from deblurgan.jobs.writing import opened_output


@contextlib.contextmanager
def full_after(size):
    """No file may grow beyond `size` bytes: a real failure in the middle of writing, as that of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_folders_are_made_for_results(tmp_path):
    with opened_output(tmp_path / "out") as write:
        assert write(Path("x/y/a.bin"), b"123") == tmp_path / "out/x/y/a.bin"
    assert (tmp_path / "out/x/y/a.bin").read_bytes() == b"123"


def test_without_a_folder_names_are_whole_paths_and_nothing_is_replaced(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"earlier")
    (tmp_path / "link.bin").symlink_to(tmp_path / "nothing")
    with opened_output(None) as write:
        assert write(tmp_path / "a.bin", b"123") == tmp_path / "a.bin"
        for name in ("b.bin", "link.bin", "a.bin"):
            with pytest.raises(
                FileError,
                match=rf"{name}: is there already, .* expected --skip_existing, another --suffix, or an --out",
            ):
                write(tmp_path / name, b"456")
        with pytest.raises(FileError, match=r"c\.bin"):
            write(tmp_path / "no folder" / "c.bin", b"456")
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin", "link.bin"]
    assert [(tmp_path / name).read_bytes() for name in ("a.bin", "b.bin")] == [b"123", b"earlier"]
    assert (tmp_path / "link.bin").is_symlink()


def test_a_full_disk_leaves_no_half_file_and_the_earlier_one(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"earlier")
    with opened_output(tmp_path) as write, full_after(1000):
        with pytest.raises(FileError, match=r"a\.bin: cannot be written: File too large"):
            write(Path("a.bin"), bytes(5000))
        write(Path("b.bin"), bytes(900))
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"earlier"


def test_a_zip_file_holds_the_results_under_their_names(tmp_path):
    with opened_output(tmp_path / "sub" / "a.zip") as write:
        write(Path("x/사진.png"), b"1")
        write(Path(os.fsdecode(b"not \xff utf-8.png")), b"2")
        assert not (tmp_path / "sub" / "a.zip").exists()
    with zipfile.ZipFile(tmp_path / "sub" / "a.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "x/사진.png": b"1",
            "not \\xff utf-8.png": b"2",
        }


def test_an_interrupted_zip_file_keeps_what_is_in_it_and_an_empty_one_does_not_appear(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened_output(tmp_path / "a.zip") as write:  # noqa: PT012
        write(Path("x"), b"1")
        raise KeyboardInterrupt
    with opened_output(tmp_path / "b.zip"):
        pass
    assert os.listdir(tmp_path) == ["a.zip"]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("x") == b"1"


def test_a_zip_file_that_an_error_ends_does_not_appear(tmp_path):
    with pytest.raises(ZeroDivisionError), opened_output(tmp_path / "a.zip") as write:  # noqa: PT012
        write(Path("x"), b"1")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def test_a_zip_file_for_which_the_disk_is_too_small_does_not_appear(tmp_path):
    with full_after(3000), pytest.raises(FileError, match=r"a\.zip: cannot be written"):  # noqa: PT012, SIM117
        with opened_output(tmp_path / "a.zip") as write:
            write(Path("x"), bytes(500))
            with pytest.raises(FileError, match=r"a\.zip: cannot be written"):
                write(Path("y"), bytes(50000))
            with pytest.raises(FileError, match=r"a\.zip: cannot be written"):
                write(Path("z"), bytes(5))
    assert os.listdir(tmp_path) == []


def test_standard_output_gets_the_content_alone():
    stream = io.BytesIO()
    with opened_output("-", stream) as write:
        write(Path("a.png"), b"123")
    assert stream.getvalue() == b"123"
    with opened_output("-") as write, pytest.raises(InputError, match="there is none"):
        write(Path("a.png"), b"123")


def test_a_closed_pipe_is_reported():
    class Closed(io.BytesIO):
        def write(self, content):
            raise BrokenPipeError(32, "Broken pipe")

    with opened_output("-", Closed()) as write, pytest.raises(FileError, match=r"standard output: .*Broken pipe"):
        write(Path("a.png"), b"123")

"""Folders on this machine and in stores, of which those in memory stand for object stores."""

import pickle

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from deblurgan.batch.places import Place, absolute
from deblurgan.errors import FileError


class WithoutWholePuts(MemoryFileSystem):
    """A file system in which half a file may be seen while it is written, as on a server."""

    protocol = "server"
    store = {}  # noqa: RUF012 (as in its base)
    pseudo_dirs = [""]  # noqa: RUF012
    put = []  # noqa: RUF012

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.put.append(path)
        super().pipe_file(path, value, mode, **kwargs)


fsspec.register_implementation("server", WithoutWholePuts, clobber=True)


@pytest.fixture(params=["folder", "file://", "memory://", "server://"])
def place(request, tmp_path):
    if request.param == "folder":
        return Place(absolute(str(tmp_path)))
    return Place(absolute(f"{request.param}{tmp_path}"))


def test_files_are_written_read_listed_and_removed(place):
    assert place.names() == []
    place.write("below/one.txt", b"1")
    place.write("below/two.txt", b"2")
    place.write("below/two.txt", b"3")
    assert pickle.loads(pickle.dumps(place)).read("below/two.txt") == b"3"
    assert (place.names(), place.names("below")) == (["below"], ["one.txt", "two.txt"])
    assert place.is_folder()
    place.remove("below/one.txt")
    place.remove("below/one.txt")
    assert place.names("below") == ["two.txt"]


def test_a_file_gets_its_name_when_all_of_it_is_there(tmp_path):
    Place(f"server://{tmp_path}").write("one.txt", b"1")
    assert [path.rsplit("/", 1)[1] for path in WithoutWholePuts.put if "one.txt" in path] == []


def test_what_is_missing_or_unknown_is_told_in_one_line(tmp_path):
    with pytest.raises(FileError, match=r"^memory://none/one\.txt: cannot be read: "):
        Place("memory://none").read("one.txt")
    with pytest.raises(FileError, match=r"^nothing://at/all: cannot be reached: Protocol not known"):
        Place("nothing://at/all").names()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="expected a folder, found a file"):
        Place(str(tmp_path / "file")).write("one.txt", b"")

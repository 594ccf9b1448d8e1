import os
import shutil

import pytest

from deblurgan.errors import FileError
from deblurgan.pictures.formats import is_an_image_file
from deblurgan.pictures.listing import list_files_below, list_images, list_images_below
from deblurgan.pictures.reading import read_rgb


@pytest.mark.parametrize(
    "name", ["a.png", "A.PNG", "한글 사진.JpG", "b.c.jpeg", "/x/y.tiff", "a\nb.webp", "s.gif", "s.bmp"]
)
def test_image_files_are_known_by_their_extension_in_any_case(name):
    assert is_an_image_file(name)


@pytest.mark.parametrize(
    "name", ["png", ".png", "a.png.txt", "a.png~", "a_jpg", "folder.png/notes", "a.pn", "", "a.npy"]
)
def test_other_names_are_not_image_files(name):
    assert not is_an_image_file(name)


def test_listing_is_sorted_and_skips_hidden_files_other_files_and_folders(tmp_path):
    names = ["b.png", "a10.JPG", "a2.jpeg", "나.webp", "with space.tif", "line\nbreak.bmp"]
    for name in [*names, ".hidden.png", "._a2.jpeg", ".DS_Store", "Thumbs.db", "notes.txt", "c.png.part"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inside.png").touch()
    assert [path.name for path in list_images(tmp_path)] == sorted(names)
    assert all(path.parent == tmp_path for path in list_images(str(tmp_path)))


def test_listing_below_takes_each_folder_after_the_pictures_in_its_own_and_each_once(tmp_path):
    for name in ("z.png", "b/y.png", "b/c/x.png", "a/w.png", ".hidden/v.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in list_images_below(tmp_path)]
    assert names == ["z.png", "a/w.png", "b/y.png", "b/c/x.png"]
    with pytest.raises(FileError, match="absent: no such folder"):
        list_images_below(tmp_path / "absent")


def test_a_folder_may_go_while_it_is_listed(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()

    def wanted(path):
        if path.name == "1.png":
            shutil.rmtree(tmp_path / "a")
            shutil.rmtree(tmp_path / "b")
        return True

    problems = []
    assert list_files_below(tmp_path, wanted, problems=problems) == [tmp_path / "a" / "1.png"]
    assert problems == [f"{tmp_path / 'b'}: no such folder"]


def test_listing_an_empty_folder_is_an_empty_list(tmp_path):
    assert list_images(tmp_path) == []


def test_listing_shows_a_broken_link_so_that_reading_reports_it(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in list_images(tmp_path)] == ["gone.png"]


def test_listing_names_a_missing_folder_and_a_file_in_place_of_one(tmp_path):
    with pytest.raises(FileError, match=r"absent: no such folder"):
        list_images(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file: expected a folder, found a file"):
        list_images(tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_pipe_named_like_a_picture_is_neither_listed_nor_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert list_images(tmp_path) == []
    with pytest.raises(FileError, match="not a file"):
        read_rgb(tmp_path / "pipe.png")

import ntpath
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deblurgan.errors import FileError, InputError
from deblurgan.jobs.finding import find_inputs
from tests.photographs import noise, save


def found(*inputs, **options):
    sources, problems = find_inputs(inputs, **options)
    return [str(source.relative) for source in sources], problems


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.jpg", "sub/c.png", "sub/deep/d.png", "out/e.png", ".hidden/f.png", "two words.png"):
        save(tmp_path / "in" / name, noise())
    (tmp_path / "in" / "notes.txt").touch()
    return tmp_path / "in"


def test_a_folder_gives_its_pictures_and_those_below_where_asked(folder):
    assert found(folder) == (["a.jpg", "b.png", "two words.png"], [])
    below = ["a.jpg", "b.png", "two words.png", "out/e.png", "sub/c.png", "sub/deep/d.png"]
    assert found(folder, recursive=True) == (below, [])
    assert found(folder, recursive=True, but_not_in=[folder / "out", folder / "sub" / "deep"])[0] == [
        name for name in below if "out" not in name and "deep" not in name
    ]


def test_files_folders_and_patterns_may_be_mixed_and_each_counts_once(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert found("b.png", "*.png", str(folder / "b.png"), ".")[0] == ["b.png", "two words.png", "a.jpg"]
    assert found("**/*.png")[0] == ["b.png", ["out", "e.png"][1], "c.png", "d.png", "two words.png"]


def test_a_name_that_looks_like_a_pattern_is_a_name_where_there_is_such_a_file(folder):
    save(folder / "x[1].png", noise())
    save(folder / "x1.png", noise())
    assert found(folder / "x[1].png")[0] == ["x[1].png"]
    (folder / "x[1].png").unlink()
    assert found(folder / "x[1].png")[0] == ["x1.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "expected a picture or a folder of pictures, found nothing"),
        ("*.gif", "no picture, video or zip file matches"),
    ],
)
def test_what_is_not_there_is_named_and_does_not_stop_the_others(folder, name, message):
    with pytest.raises(FileError, match=message):
        find_inputs([folder / name])
    names, (problem,) = found(folder / "b.png", folder / name, folder / "a.jpg")
    assert names == ["b.png", "a.jpg"]
    assert problem.startswith(f"{folder / name}: ")
    assert message in problem


def test_what_a_folder_or_zip_file_holds_besides_is_told_in_one_line(tmp_path):
    for name in ("a.png", "b.mp4", "c.xcf", "d.XCF", "notes", ".hidden.txt", "below/e.txt", "below/f.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    told = []
    for recursive in (False, True):
        find_inputs([tmp_path / "in"], recursive=recursive, tell=told.append)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("a.png", "b.mp4"):
            archive.writestr(name, "")
    find_inputs([tmp_path / "z.zip"], tell=told.append)
    assert told == [
        f"{tmp_path / 'in'}: files of other kinds left out: 3 (.xcf without extension)",
        f"{tmp_path / 'in'}: files of other kinds left out: 4 (.txt .xcf without extension)",
        f"{tmp_path / 'z.zip'}: files of other kinds left out: 1 (.mp4)",
    ]
    for name in ("a.png", "b.mp4"):
        (tmp_path / "in" / name).unlink()
    with pytest.raises(InputError, match=r"in this folder, found none; what is there: \.xcf without extension$"):
        find_inputs([tmp_path / "in"])


@pytest.mark.parametrize(
    "name", ["/a/b.png", "//a/b.png", "///a/./b.png", "../a/../b.png", "\\\\a\\b.png", "c:/a/c:b.png"]
)
def test_a_name_in_a_zip_file_leads_nowhere_else(tmp_path, monkeypatch, name):
    monkeypatch.setattr(os.path, "splitdrive", ntpath.splitdrive)  # which finds no drive in the others
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(name, "")
    (found,), problems = find_inputs([tmp_path / "z.zip"])
    assert (found.relative, problems) == (Path("a/b.png"), [])


def test_folders_and_zip_files_without_pictures_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for recursive in (False, True):
        with pytest.raises(InputError, match=r"empty: expected pictures \(.*\.png .*in this folder, found none"):
            find_inputs([tmp_path / "empty"], recursive=recursive)
    assert find_inputs([tmp_path / "empty"], may_be_empty=True) == ([], [])
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(InputError, match=r"e\.zip: expected pictures .* in this zip file, found none"):
        find_inputs([tmp_path / "e.zip"])


def test_loops_of_links_end(folder):
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to(folder / "self")
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    names, problems = found(folder, recursive=True)
    assert names == ["a.jpg", "b.png", "loop.png", "two words.png", "out/e.png", "sub/c.png", "sub/deep/d.png"]
    assert problems == []


def test_a_folder_that_cannot_be_listed_is_reported_and_the_others_done(folder, monkeypatch):
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "sub":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    names, problems = found(folder, recursive=True)
    assert names == ["a.jpg", "b.png", "two words.png", "out/e.png"]
    assert problems == [f"{folder / 'sub'}: the folder cannot be listed: Permission denied"]


def test_a_zip_file_gives_its_pictures_with_names_that_stay_below(tmp_path):
    content = save(tmp_path / "x.png", noise()).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a.png", "sub/사진.png", "../../up.png", "/root.png", "__MACOSX/._a.png", ".h.png", "notes.txt"):
            archive.writestr(name, content)
        archive.writestr("folder.png/", "")
        archive.writestr("back\\slash.png", content)
    sources, problems = find_inputs([tmp_path / "a.zip"])
    assert [str(source.relative) for source in sources] == [
        "a.png", "sub/사진.png", "up.png", "root.png", "back/slash.png",
    ]  # fmt: skip
    assert problems == []
    assert [source.content(bytes) for source in sources] == [content] * 5
    assert str(sources[1].name) == str(tmp_path / "a.zip" / "sub" / "사진.png")


def test_brackets_in_the_name_of_a_folder_are_no_pattern(tmp_path):
    save(tmp_path / "trip [1]" / "a.png", noise())
    save(tmp_path / "trip [1]" / "b2.png", noise())
    assert found(tmp_path / "trip [1]" / "b[0-9].png") == (["b2.png"], [])
    assert found(tmp_path / "trip [1]" / "**" / "*.png") == (["a.png", "b2.png"], [])
    assert found(tmp_path / "trip ?1]" / "*.png") == (["a.png", "b2.png"], [])


def test_an_address_is_told_from_a_picture():
    with pytest.raises(FileError, match=r"^https://host/a\.png: expected a file, received an address"):
        find_inputs(["https://host/a.png"])


def test_a_pattern_finds_zip_files_too(folder, tmp_path):
    with zipfile.ZipFile(folder / "p.zip", "w") as archive:
        archive.write(save(tmp_path / "x.png", noise()), "x.png")
    assert found(folder / "[pt]*")[0] == ["x.png", "two words.png"]


def test_a_name_from_the_root_in_a_zip_file_is_shown_with_that_of_the_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("/etc/x.png", b"")
    (source,), _ = find_inputs([tmp_path / "a.zip"])
    assert source.name == tmp_path / "a.zip" / "etc" / "x.png"


def test_a_damaged_zip_file_is_reported_and_the_others_done(folder, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip file")
    (tmp_path / "b.zip").symlink_to(tmp_path / "b.zip")
    os.mkfifo(tmp_path / "c.zip")
    names, problems = found(tmp_path / "a.zip", tmp_path / "b.zip", tmp_path / "c.zip", folder / "b.png")
    assert names == ["b.png"]
    assert [problem.split(": ")[0] for problem in problems] == [str(tmp_path / f"{name}.zip") for name in "abc"]
    assert all(": not a readable zip file (" in problem for problem in problems)


def test_a_picture_in_a_zip_file_is_not_unpacked_beyond_the_size_that_it_claims(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2**25))
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(struct.pack("<I", 2**25), struct.pack("<I", 100)))
    (source,), _ = find_inputs([tmp_path / "a.zip"])
    tracemalloc.start()
    with pytest.raises(FileError, match="Bad CRC-32"):
        source.content(bytes)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_bzip2_of_which_a_few_bytes_become_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", b"x" * 100)
    (source,), _ = find_inputs([tmp_path / "a.zip"])
    with pytest.raises(FileError, match=r"a\.png: cannot be read .*expected deflate or LZMA, found bzip2"):
        source.content(bytes)


def test_damage_inside_a_zip_file_and_a_password_are_reported(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"x" * 100)
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"x" * 100, b"x" * 99 + b"y"))
    encrypted = bytearray(content)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        encrypted[content.index(signature) + offset] |= 1
    (tmp_path / "b.zip").write_bytes(encrypted)
    for name, reason in (("a.zip", "Bad CRC-32"), ("b.zip", "password required")):
        (source,), _ = find_inputs([tmp_path / name])
        with pytest.raises(FileError, match=f"{name}/a.png: cannot be read from the zip file: .*{reason}"):
            source.content(bytes)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_reported_however_a_zip_file_is_compressed(tmp_path, method):
    random = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", random.bytes(300))
    content = (tmp_path / "a.zip").read_bytes()
    for position in range(30 + len("a.png"), 330, 3):
        damaged = content[:position] + bytes([255 - content[position]]) * 4 + content[position + 4 :]
        (tmp_path / "a.zip").write_bytes(damaged)
        (source,), _ = find_inputs([tmp_path / "a.zip"])
        with pytest.raises(FileError, match=r"a\.zip/a\.png: cannot be read from the zip file"):
            source.content(bytes)


def test_a_very_large_picture_in_a_zip_file_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2000))
    monkeypatch.setattr("deblurgan.jobs.finding._MEMBER_BYTES", 1999)
    (source,), _ = find_inputs([tmp_path / "a.zip"])
    with pytest.raises(FileError, match=r"a\.png: expected at most 1999 bytes, found 2000"):
        source.content(bytes)


def test_standard_input_is_read_when_its_turn_comes():
    (source,), _ = find_inputs(["-", "-"])
    assert source.content(lambda: b"picture") == b"picture"

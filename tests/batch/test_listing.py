"""Which pictures there are, on this machine and in a store."""

import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deblurgan.batch.listing import found, without_root
from deblurgan.batch.places import Place
from deblurgan.errors import FileError, InputError


def listed(source, output="/nowhere", relative=()):
    problems, told, first = [], [], []
    pictures = list(found(str(source), str(output), problems, told.append, first))
    assert problems == []
    assert first == list(relative)
    return pictures, told


def parquet(**columns):
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()


@pytest.fixture(params=["", "memory://"])
def address(request, tmp_path):
    return f"{request.param}{tmp_path}"


def test_a_folder_gives_its_pictures_by_their_names_in_it(address):
    place = Place(address)
    for name in ("b/two.JPG", "a.png", ".hidden/x.png", "out/a.png", "film.mp4", "notes.txt"):
        place.write(name, b"")
    pictures, told = listed(address, f"{address}/out")
    assert sorted(pictures) == [(f"{address}/a.png", "a.png"), (f"{address}/b/two.JPG", "b/two.JPG")]
    expected = "files of other kinds left out: 2 (.mp4 .txt); videos are for `deblurgan deblur`"
    assert told == [f"{address}: {expected}"]


def test_a_list_gives_what_stands_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all.txt").write_text("one.png\n\n/far/two.png\r\n../three.png\ns3://bucket/a/four.png\n")
    pictures, told = listed(tmp_path / "all.txt", relative=["one.png"])
    assert pictures == [
        (str(tmp_path / "one.png"), "one.png"),
        ("/far/two.png", "far/two.png"),
        (str(tmp_path.parent / "three.png"), "three.png"),
        ("s3://bucket/a/four.png", "bucket/a/four.png"),
    ]
    where = "elsewhere than in its folder or the present one"
    assert told == [f"{tmp_path}/all.txt names pictures {where}: 3, such as /far/two.png"]
    (tmp_path / "all.txt").write_text(f"\ufeffone.png\n{tmp_path}/two.png\n")  # as editors on Windows begin it
    pictures, told = listed(tmp_path / "all.txt", relative=["one.png"])
    assert ([path for path, _ in pictures], told) == ([f"{tmp_path}/one.png", f"{tmp_path}/two.png"], [])


def test_a_list_elsewhere_has_paths_from_its_own_folder(tmp_path):
    Place(f"memory://{tmp_path}").write("all.txt", b"a/one.png\nmemory://b/two.png\n")
    assert listed(f"memory://{tmp_path}/all.txt")[0] == [
        (f"memory://{tmp_path}/a/one.png", "a/one.png"),
        ("memory://b/two.png", "b/two.png"),
    ]


@pytest.mark.parametrize("name", ["all.parquet", "all.parquet/part.parquet"])
def test_parquet_gives_its_column_of_paths(address, name):
    Place(address).write(name, parquet(size=[1, 2], path=["/x/one.png", "/two.png"]))
    assert [name for _, name in listed(f"{address}/all.parquet")[0]] == ["x/one.png", "two.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "not a readable Parquet file"),
        (parquet(file=["a"]), "expected a column path, found file"),
        (parquet(path=[1]), "expected paths as strings in its column path, found int64"),
        (parquet(path=["a", None]), "expected a path in each row, found rows without"),
    ],
)
def test_other_parquet_is_told(tmp_path, content, message):
    (tmp_path / "all.parquet").write_bytes(content)
    with pytest.raises(FileError, match=message):
        listed(tmp_path / "all.parquet")


def test_what_is_no_source_is_told(tmp_path):
    (tmp_path / "film.mp4").write_text("")
    with pytest.raises(InputError, match="single pictures, videos and zip files are for `deblurgan deblur`"):
        listed(tmp_path / "film.mp4")
    with pytest.raises(FileError, match=r"expected a folder, a list \(\.txt\) or a manifest .*, found nothing"):
        listed(tmp_path / "nothing")


@pytest.mark.parametrize("path", ["/../../a.png", "../a.png", "./x/../../a.png", "s3://../a.png", "//a.png"])
def test_no_name_leads_out(path):
    assert os.path.normpath(f"/out/{without_root(path)}").startswith("/out/")

import zipfile
from pathlib import Path

import pytest

from deblurgan.errors import InputError
from deblurgan.jobs.finding import STANDARD, Input, find_inputs, is_zip
from tests.jobs.doing import planned
from tests.photographs import noise, save


def sources(*names, folder="in"):
    return [Input(Path(folder, name), Path(name)) for name in names]


def targets(*names, output="out", **options):
    return [str(job.target) for job in planned(sources(*names), output, **options)]


# What is written where


def test_a_result_has_the_name_of_its_picture():
    assert targets("a.png", "b.JPG", "c/d e.tif", "사진.webp") == ["a.png", "b.JPG", "c/d e.tif", "사진.webp"]


@pytest.mark.parametrize(
    ("name", "file_format", "suffix", "target"),
    [
        ("a.png", "jpg", "", "a.jpg"),
        ("a.jpeg", "jpg", "", "a.jpeg"),
        ("a.JPG", "jpg", "", "a.JPG"),
        ("a.tif", "tiff", "", "a.tif"),
        ("a.heic", "webp", "_x", "a_x.webp"),
        ("a.b.png", None, "_deblurred", "a.b_deblurred.png"),
        ("sub/a.png", "tiff", "_d", "sub/a_d.tif"),
        ("a.psd", None, "", "a.png"),
        ("a.dat", None, "", "a.dat.png"),
        ("a", "jpg", "_d", "a_d.jpg"),
        ("2018.05.01", None, "", "2018.05.01.png"),
    ],
)
def test_format_and_suffix_change_the_name(name, file_format, suffix, target):
    assert targets(name, file_format=file_format, suffix=suffix) == [target]


@pytest.mark.parametrize("suffix", ["/x", "../x", "a\0b"])
def test_a_suffix_is_no_path(suffix):
    with pytest.raises(InputError, match="suffix: expected a part of a file's name"):
        targets("a.png", suffix=suffix)


def test_two_pictures_with_one_result_are_refused_by_both_names():
    with pytest.raises(InputError, match=r"out/a\.png: would be the result of two pictures, in/a\.jpg and in/a\.png"):
        targets("a.jpg", "b.jpg", "a.png", file_format="png")
    twice = [*sources("a.png", folder="one"), *sources("a.png", folder="two")]
    with pytest.raises(InputError, match=r"one/a\.png and two/a\.png"):
        planned(twice, "out")
    with pytest.raises(InputError, match=r"one/a\.png and two/a\.png"):
        planned(twice, "out.zip")


def test_results_that_exist_are_marked_where_they_are_to_be_skipped(tmp_path):
    (tmp_path / "b.png").touch()
    jobs = planned(sources("a.png", "b.png"), tmp_path, skip_existing=True)
    assert [job.exists for job in jobs] == [False, True]
    assert [job.exists for job in planned(sources("a.png", "b.png"), tmp_path)] == [False, False]
    with pytest.raises(InputError, match="a zip file is written anew"):
        planned(sources("a.png"), "out.zip", skip_existing=True)


@pytest.mark.parametrize("output", ["in", "in/", "./in", "in/../in"])
def test_the_folder_of_an_input_is_refused_unless_it_may_be_overwritten(output):
    with pytest.raises(InputError, match=r"holds the input in/a\.png, .* --overwrite"):
        targets("a.png", output=output)
    assert targets("a.png", output=output, overwrite=True) == ["a.png"]


def test_a_folder_below_another_is_compared_with_those_that_results_go_to():
    with pytest.raises(InputError, match=r"holds the input in/sub/a\.png"):
        targets("sub/a.png", output="in")
    below = [Input(Path("in/x/a.png"), Path("x/a.png"))]
    assert [str(job.target) for job in planned(below, "in/x/out")] == ["x/a.png"]


def test_no_result_replaces_another_input_even_so():
    with pytest.raises(InputError, match=r"the result of in/a\.png would replace the input in/a_d\.png"):
        targets("a.png", "a_d.png", output="in", suffix="_d", overwrite=True)


def test_links_are_seen_through(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("links", "pictures"):
        Path(folder).mkdir()
    Path("links/a.png").symlink_to(tmp_path / "pictures" / "a.png")
    with pytest.raises(InputError, match="could be replaced"):
        planned(sources("a.png", folder="links"), "pictures")


def test_standard_output_takes_one_picture():
    assert [job.target for job in planned([Input(STANDARD, Path("stdin"))], "-")] == [Path("stdin.png")]
    with pytest.raises(InputError, match="standard output takes one picture, received 2"):
        planned(sources("a.png", "b.png"), "-")


def test_a_zip_file_does_not_replace_itself():
    source = Input(Path("a.zip"), Path("x.png"))
    with pytest.raises(InputError, match=r"a\.zip: is an input, and would be replaced"):
        planned([source], "a.zip")
    assert len(planned([source], "a.zip", overwrite=True)) == 1


def test_a_folder_may_be_called_zip(tmp_path):
    (tmp_path / "a.zip").mkdir()
    assert not is_zip(tmp_path / "a.zip")
    assert is_zip(tmp_path / "b.ZIP")
    assert not is_zip(tmp_path / "b")


# Beside the pictures


def beside(*names, folder="in", **options):
    return [
        (str(job.source.relative), str(job.place)) for job in planned(sources(*names, folder=folder), None, **options)
    ]


def test_without_an_output_results_go_beside_their_pictures():
    assert beside("a.png", "b.JPG", "c.heic", "d") == [
        ("a.png", "in/a_deblurred.png"),
        ("b.JPG", "in/b_deblurred.JPG"),
        ("c.heic", "in/c_deblurred.heic"),
        ("d", "in/d_deblurred.png"),
    ]
    assert beside("a.png", "sub/b.png", file_format="jpg", suffix="_x") == [
        ("a.png", "in/a_x.jpg"),
        ("sub/b.png", "in/sub/b_x.jpg"),
    ]


def test_a_video_keeps_its_extension_beside_itself():
    assert beside("clip.MOV", "a.png", file_format="webp") == [
        ("clip.MOV", "in/clip_deblurred.MOV"),
        ("a.png", "in/a_deblurred.webp"),
    ]


def test_pictures_of_a_zip_file_go_beside_it(tmp_path):
    content = save(tmp_path / "x.png", noise()).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sub/b.png", content)
        archive.writestr("c.jpg", content)
    found, _ = find_inputs([tmp_path / "a.zip"])
    assert [job.place for job in planned(found, None)] == [tmp_path / "b_deblurred.png", tmp_path / "c_deblurred.jpg"]


def test_results_of_an_earlier_run_are_not_restored_again():
    assert beside("a.png", "a_deblurred.png", "b.png", "c_deblurred.png") == [
        ("a.png", "in/a_deblurred.png"),
        ("b.png", "in/b_deblurred.png"),
        ("c_deblurred.png", "in/c_deblurred_deblurred.png"),  # of another picture, as far as can be told
    ]
    assert beside("a_deblurred.png", "a.png") == [("a.png", "in/a_deblurred.png")]
    assert beside("a.png", "a_x.png", suffix="_x") == [("a.png", "in/a_x.png")]
    twice = [*sources("a.png", folder="one"), *sources("a_deblurred.png", folder="two")]
    assert len(planned(twice, None)) == 2


def test_two_pictures_with_one_result_beside_them_are_refused_by_both_names():
    with pytest.raises(
        InputError, match=r"in/a_deblurred\.png: would be the result of two pictures, in/a\.png and in"
    ):
        beside("a.png", "a.heic", file_format="png")
    one = [*sources("a.png", folder="one"), *sources("a.png", folder="two")]
    assert [str(job.place) for job in planned(one, None)] == ["one/a_deblurred.png", "two/a_deblurred.png"]


def test_results_beside_their_pictures_that_exist_are_marked_where_they_are_to_be_skipped(tmp_path):
    (tmp_path / "a_deblurred.png").touch()
    for skip in (True, False):
        jobs = planned(sources("a.png", "b.png", folder=tmp_path), None, skip_existing=skip)
        assert [job.exists for job in jobs] == [skip, False]
        assert [job.is_refused for job in jobs] == [not skip, False]
        assert [job.is_due for job in jobs] == [False, True]


def test_the_suffix_beside_a_picture_is_no_path():
    with pytest.raises(InputError, match="suffix: expected a part of a file's name"):
        beside("a.png", suffix="/x")

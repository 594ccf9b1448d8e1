import numpy as np
import pytest
from PIL import Image, ImageCms

from deblurgan.errors import FileError, InputError
from deblurgan.jobs.combining import combine, split
from deblurgan.pictures.reading import read_picture
from tests.photographs import names, noise, pixels, save


@pytest.fixture
def folders(tmp_path):
    """Folders a and b with two pairs of different sizes, one of them grey, in different formats."""
    for number, side in enumerate("ab"):
        save(tmp_path / side / f"1.{('png', 'bmp')[number]}", noise(10, 12, seed=number))
        save(tmp_path / side / "2.png", noise(7, 5, None, seed=number))
    return tmp_path / "a", tmp_path / "b"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_combined_and_split_is_what_it_was(folders, tmp_path):
    seen = []
    report = combine(*folders, tmp_path / "both", progress=lambda *done: seen.append(done))
    assert (report.failed, report.notices, report.skipped) == ([], [], [])
    assert report.written == [tmp_path / "both" / "1.png", tmp_path / "both" / "2.png"]
    assert seen == [(1, 2, folders[0] / "1.png"), (2, 2, folders[0] / "2.png")]
    np.testing.assert_array_equal(pixels(tmp_path / "both" / "1.png")[:, :12], noise(10, 12, seed=0))
    np.testing.assert_array_equal(pixels(tmp_path / "both" / "1.png")[:, 12:], noise(10, 12, seed=1))
    for half, order in (("left", (0, 1)), ("right", (1, 0))):
        out = tmp_path / half
        assert len(split(tmp_path / "both", out, input=half).written) == 4
        for side, number in zip("AB", order, strict=True):
            np.testing.assert_array_equal(pixels(out / side / "1.png"), noise(10, 12, seed=number))
            np.testing.assert_array_equal(pixels(out / side / "2.png"), noise(7, 5, None, seed=number))


def test_sixteen_bits_stay(tmp_path):
    for number, side in enumerate("ab"):
        deep = noise(6, 4, None, seed=number).astype(np.uint16) * 257 - number
        save(tmp_path / side / "1.png", Image.fromarray(deep))
    combine(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    split(tmp_path / "both", tmp_path / "out")
    for side in "ab":
        found = pixels(tmp_path / "out" / side.upper() / "1.png")
        np.testing.assert_array_equal(found, pixels(tmp_path / side / "1.png"))
        assert found.max() > 255


def test_a_colour_profile_stays_where_both_have_it(tmp_path):
    profiles = [ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "XYZ")]
    for name, (left, right) in {"1": (0, 0), "2": (0, 1)}.items():
        save(tmp_path / "a" / f"{name}.jpg", noise(6, 6), icc_profile=profiles[left])
        save(tmp_path / "b" / f"{name}.jpg", noise(6, 6), icc_profile=profiles[right])
    report = combine(tmp_path / "a", tmp_path / "b", tmp_path / "both")
    left, right = tmp_path / "a" / "2.jpg", tmp_path / "b" / "2.jpg"
    assert report.notices == [f"{left} and {right} have other colour profiles: left out"]
    split(tmp_path / "both", tmp_path / "out")
    for folder in ("both", "out/A", "out/B"):
        found = [read_picture(tmp_path / folder / f"{name}.png").metadata.icc_profile for name in "12"]
        assert found == [profiles[0], None]


def test_what_does_not_fit_is_named_and_the_others_are_done(folders, tmp_path):
    first, second = folders
    save(first / "alone.png", noise(4, 4))
    save(second / "other.png", noise(4, 4))
    for folder, width in ((first, 9), (second, 8)):
        save(folder / "sizes.png", noise(8, width))
        save(folder / "broken.png", noise(8, 8))
    save(first / "depths.png", Image.fromarray(noise(4, 4, None).astype(np.uint16)))
    save(second / "depths.png", noise(4, 4, None))
    (second / "broken.png").write_bytes((second / "broken.png").read_bytes()[:-30])
    report = combine(*folders, tmp_path / "both")
    assert names(tmp_path / "both") == ["1.png", "2.png"]
    assert report.failed[:2] == [
        f"{first / 'alone.png'}: expected a partner of the same name, found none",
        f"{second / 'other.png'}: expected a partner of the same name, found none",
    ]
    assert report.failed[2].startswith(f"{second / 'broken.png'}: not a readable image")
    for name, why in (("depths", "4x4 of 16 bits and 4x4 of 8 bits"), ("sizes", "9x8 of 8 bits and 8x8 of 8 bits")):
        assert f"{first / name}.png and {second / name}.png differ: {why}" in report.failed[3:]

    save(tmp_path / "both" / "odd.png", noise(4, 7))
    (tmp_path / "both" / "1.png").write_bytes(b"no")
    report = split(tmp_path / "both", tmp_path / "out")
    assert names(tmp_path / "out" / "A") == names(tmp_path / "out" / "B") == ["2.png"]
    assert [line.partition(": ")[0] for line in report.failed] == [
        str(tmp_path / "both" / name) for name in ("1.png", "odd.png")
    ]
    assert report.failed[1].endswith("an even width, found 7")


def test_what_is_there_stays_unless_it_may_be_replaced(folders, tmp_path):
    save(tmp_path / "both" / "1.png", noise(1, 2))
    before = contents(tmp_path / "both")["1.png"]
    report = combine(*folders, tmp_path / "both")
    assert (report.skipped, report.written) == ([tmp_path / "both" / "1.png"], [tmp_path / "both" / "2.png"])
    assert contents(tmp_path / "both")["1.png"] == before
    save(tmp_path / "out" / "A" / "1.png", noise(3, 3))
    before = contents(tmp_path / "out")["A/1.png"]
    assert split(tmp_path / "both", tmp_path / "out").skipped == [tmp_path / "out" / "A" / "1.png"]
    assert contents(tmp_path / "out")["A/1.png"] == before
    assert names(tmp_path / "out" / "B") == ["1.png", "2.png"]
    assert len(combine(*folders, tmp_path / "both", overwrite=True).written) == 2
    assert len(split(tmp_path / "both", tmp_path / "out", overwrite=True).written) == 4
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "A" / "1.png"), noise(10, 12, seed=0))


def test_alpha_is_left_out_and_told(tmp_path):
    save(tmp_path / "a" / "1.png", noise(6, 4, 4))
    save(tmp_path / "b" / "1.png", noise(6, 4))
    assert combine(tmp_path / "a", tmp_path / "b", tmp_path / "both").notices == [
        f"{tmp_path / 'a' / '1.png'}: alpha is left out"
    ]
    assert pixels(tmp_path / "both" / "1.png").shape == (6, 8, 3)


def test_folders_that_make_no_sense_are_refused(folders, tmp_path):
    first, second = folders
    with pytest.raises(InputError, match="would mix with the input"):
        combine(first, second, second)
    with pytest.raises(InputError, match="would mix with the input"):
        split(first, tmp_path / "a")
    with pytest.raises(FileError, match="nowhere: no such folder"):
        combine(first, tmp_path / "nowhere", tmp_path / "both")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected pictures with the same names, found none"):
        combine(first, tmp_path / "empty", tmp_path / "both")
    with pytest.raises(InputError, match="empty: expected pictures with two halves, found none"):
        split(tmp_path / "empty", tmp_path / "out")
    save(first / "1.jpg", noise(4, 4))
    with pytest.raises(InputError, match=r"1\.png: its name is also that of 1\.jpg"):
        combine(first, second, tmp_path / "both")
    assert not (tmp_path / "both").exists()

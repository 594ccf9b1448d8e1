import numpy as np
import pytest

from deblurgan.data.blur import SyntheticBlur
from deblurgan.data.pairs import match_pairs
from deblurgan.errors import FileError, InputError
from deblurgan.jobs.synthesizing import synthesize
from deblurgan.pictures.reading import read_rgb
from tests.photographs import save

LINEAR = SyntheticBlur("linear", length=12)


@pytest.fixture
def sharp(tmp_path, photos):
    """A folder of three sharp pictures of different shapes; one is narrower than the kernels."""
    shapes = {"a.png": (40, 50), "b.bmp": (64, 3), "c.png": (31, 31)}
    for name, (height, width) in shapes.items():
        save(tmp_path / "sharp" / name, photos[1][:height, :width])
    return tmp_path / "sharp"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pairs_of_blurred_and_sharp_pictures_are_written(sharp, tmp_path):
    seen = []
    report = synthesize(sharp, tmp_path / "out", blur=LINEAR, progress=lambda *done: seen.append(done))
    assert report.failed == []
    assert report.skipped == []
    assert sorted(report.written) == sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert seen == [(number, 3, sharp / name) for number, name in enumerate(("a.png", "b.bmp", "c.png"), 1)]
    pairs = match_pairs(tmp_path / "out")
    assert [pair.name for pair in pairs] == ["a", "b", "c"]
    for pair, original in zip(pairs, ("a.png", "b.bmp", "c.png"), strict=True):
        blurred, kept = pair.read()
        np.testing.assert_array_equal(kept, read_rgb(sharp / original))
        assert np.abs(blurred.astype(int) - kept).mean() > 1
        assert blurred.mean() == pytest.approx(kept.mean(), abs=4)
    assert read_rgb(tmp_path / "out" / "kernels.png").max() == 255


def test_a_pair_depends_on_seed_and_name_and_not_on_the_other_pictures(sharp, tmp_path, photos):
    synthesize(sharp, tmp_path / "one", blur=LINEAR)
    save(sharp / "aa.png", photos[1][:20, :20])
    (sharp / "c.png").unlink()
    synthesize(sharp, tmp_path / "two", blur=LINEAR)
    synthesize(sharp, tmp_path / "three", blur=LINEAR, seed=1)
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert sorted(two.keys() - one.keys()) == ["A/aa.png", "B/aa.png"]
    for name in ("A/a.png", "A/b.png", "B/a.png"):
        assert one[name] == two[name]
    assert one["A/a.png"] != three["A/a.png"]


def test_pictures_of_one_content_get_blurs_of_their_own(tmp_path, photos):
    for name in ("x.png", "y.png"):
        save(tmp_path / "sharp" / name, photos[1][:40, :40])
    synthesize(tmp_path / "sharp", tmp_path / "out", blur=LINEAR, count=2)
    written = contents(tmp_path / "out")
    assert sorted(written) == [*(f"{side}/{x}_{n}.png" for side in "AB" for x in "xy" for n in (0, 1)), "kernels.png"]
    assert len({written[f"A/{x}_{n}.png"] for x in "xy" for n in (0, 1)}) == 4
    assert len({written[f"B/{x}_{n}.png"] for x in "xy" for n in (0, 1)}) == 1


def test_what_is_there_is_left_alone_unless_asked_otherwise(sharp, tmp_path):
    out = tmp_path / "out"
    synthesize(sharp, out, blur=LINEAR)
    before = contents(out)
    (out / "A" / "a.png").write_bytes(b"mine")
    (out / "B" / "c.png").unlink()
    report = synthesize(sharp, out, blur=LINEAR)
    assert report.skipped == [out / side / f"{name}.png" for name in "ab" for side in "AB"]
    assert report.written == [out / "A/c.png", out / "B/c.png", out / "kernels.png"]
    assert contents(out) == {**before, "A/a.png": b"mine"}
    report = synthesize(sharp, out, blur=LINEAR)
    assert report.written == []
    synthesize(sharp, out, blur=LINEAR, overwrite=True)
    assert contents(out) == before


def test_a_bad_file_is_reported_and_the_others_are_done(sharp, tmp_path):
    (sharp / "bad.png").write_bytes(b"no picture")
    report = synthesize(sharp, tmp_path / "out", blur=LINEAR)
    assert len(report.failed) == 1
    assert report.failed[0].startswith(f"{sharp / 'bad.png'}: not a readable image")
    assert [pair.name for pair in match_pairs(tmp_path / "out")] == ["a", "b", "c"]


def test_folders_below_are_taken_on_request_under_flat_names(sharp, tmp_path, photos):
    save(sharp / "trip" / "day 1" / "a.png", photos[1][:20, :20])
    synthesize(sharp, tmp_path / "flat", blur=LINEAR)
    assert [pair.name for pair in match_pairs(tmp_path / "flat")] == ["a", "b", "c"]
    synthesize(sharp, tmp_path / "deep", blur=LINEAR, recursive=True)
    assert [pair.name for pair in match_pairs(tmp_path / "deep")] == ["a", "b", "c", "trip_day 1_a"]


def test_jpeg_files_on_request(sharp, tmp_path):
    synthesize(sharp, tmp_path / "out", blur=LINEAR, extension=".jpg")
    for pair in match_pairs(tmp_path / "out"):
        assert pair.blurred.read_bytes()[:3] == pair.sharp.read_bytes()[:3] == b"\xff\xd8\xff"


def test_noise_and_compression_are_part_of_the_blurred_picture(tmp_path):
    save(tmp_path / "sharp" / "a.png", np.full((64, 64, 3), 128, np.uint8))
    synthesize(tmp_path / "sharp", tmp_path / "clean")
    synthesize(tmp_path / "sharp", tmp_path / "noisy", blur=SyntheticBlur(noise=(5, 5)))
    assert read_rgb(tmp_path / "clean/A/a.png").std() == 0
    assert read_rgb(tmp_path / "noisy/A/a.png").std() == pytest.approx(5, rel=0.1)
    assert read_rgb(tmp_path / "noisy/B/a.png").std() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "expected at least 1 and 0, received 0 and 0"),
        ({"seed": -1}, "expected at least 1 and 0, received 1 and -1"),
        ({"extension": ".gif"}, r"extension: expected one of \.png \.jpg, received '\.gif'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(sharp, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        synthesize(sharp, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_folders_that_do_not_fit(sharp, tmp_path, photos):
    with pytest.raises(FileError, match="nowhere: no such folder"):
        synthesize(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: expected sharp pictures, found none"):
        synthesize(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="would mix with the input"):
        synthesize(sharp, sharp)
    with pytest.raises(InputError, match="would mix with the input"):
        synthesize(sharp, sharp / "out", recursive=True)
    save(tmp_path / "pairs" / "B" / "a.png", photos[1][:20, :20])
    with pytest.raises(InputError, match="would mix with the input"):
        synthesize(tmp_path / "pairs" / "B", tmp_path / "pairs")
    save(sharp / "a.bmp", photos[1][:20, :20])
    with pytest.raises(InputError, match=r"a\.bmp and .*a\.png would both be written as a; rename one"):
        synthesize(sharp, tmp_path / "out")

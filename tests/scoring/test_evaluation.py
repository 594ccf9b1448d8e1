import csv
import json
import math
import os

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deblurgan.data.pairs import match_pairs
from deblurgan.errors import FileError, InputError
from deblurgan.scoring.evaluation import (
    METRICS,
    Evaluation,
    evaluate,
    gain,
    table,
    write_scores_csv,
    write_scores_json,
)
from deblurgan.scoring.metrics import PSNR, SSIM, Metric, cw_ssim, ssim_3d
from tests.photographs import noise, save

SCORES = ("psnr_blurred", "psnr_restored", "ssim_blurred", "ssim_restored")  # as they are called in files


def brighter(image):
    """A stand-in for a network."""
    return np.minimum(image, 245) + np.uint8(10)


def unchanged(image):
    return image


@pytest.fixture
def pairs_dir(photos, tmp_path):
    """Folder with three pairs, cut from a real one: 60x80, 72x48 and 64x64."""
    blurred, sharp = photos
    for name, (height, width) in {"one": (60, 80), "three": (72, 48), "two": (64, 64)}.items():
        for side, photo in (("A", blurred), ("B", sharp)):
            save(tmp_path / "pairs" / side / f"{name}.png", photo[100 : 100 + height, 40 : 40 + width])
    return tmp_path / "pairs"


@pytest.fixture
def with_identical(pairs_dir):
    """The same folder with a pair of which both pictures are the same."""
    for side in "AB":
        save(pairs_dir / side / "same.png", noise())
    return pairs_dir


def expected_scores(sharp, image):
    """PSNR and SSIM by scikit-image."""
    ssim = structural_similarity(
        sharp,
        image,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return peak_signal_noise_ratio(sharp, image, data_range=255), ssim


def assert_scores(row, blurred, sharp, restored):
    assert (row["psnr_blurred"], row["ssim_blurred"]) == pytest.approx(expected_scores(sharp, blurred), abs=1e-6)
    assert (row["psnr_restored"], row["ssim_restored"]) == pytest.approx(expected_scores(sharp, restored), abs=1e-6)


def test_scores_are_those_of_scikit_image(pairs_dir):
    done = []
    scores = evaluate(brighter, match_pairs(pairs_dir), progress=done.append)
    assert [row["name"] for row in scores.rows] == ["one", "three", "two"]
    assert scores.failed == []
    assert done == [pair.blurred for pair in match_pairs(pairs_dir)]
    for row, pair in zip(scores.rows, match_pairs(pairs_dir), strict=True):
        blurred, sharp = (np.asarray(Image.open(path)) for path in (pair.blurred, pair.sharp))
        assert_scores(row, blurred, sharp, brighter(blurred))


def test_squash_scores_the_squashed_pictures(pairs_dir):
    seen = []
    scores = evaluate(
        lambda image: brighter(seen.append(image.shape) or image), match_pairs(pairs_dir)[:1], squash=32
    )
    assert seen == [(32, 32, 3)]
    blurred, sharp = (
        np.asarray(Image.open(pairs_dir / side / "one.png").resize((32, 32), Image.Resampling.BICUBIC))
        for side in "AB"
    )
    assert_scores(scores.rows[0], blurred, sharp, brighter(blurred))


def test_means_are_those_of_the_rows(pairs_dir):
    scores = evaluate(brighter, match_pairs(pairs_dir))
    assert list(scores.means) == list(SCORES)
    for score in SCORES:
        values = [row[score] for row in scores.rows]
        assert min(values) < scores.means[score] < max(values)
        assert scores.means[score] == pytest.approx(sum(values) / 3)


def test_identical_pictures_have_infinite_psnr_and_ssim_1(with_identical):
    scores = evaluate(unchanged, match_pairs(with_identical))
    row = next(row for row in scores.rows if row["name"] == "same")
    assert row["psnr_blurred"] == row["psnr_restored"] == math.inf
    assert row["ssim_blurred"] == row["ssim_restored"] == pytest.approx(1)
    assert scores.means["psnr_blurred"] == math.inf
    assert math.isfinite(scores.means["ssim_blurred"])


def test_json_holds_everything_and_is_valid_even_for_infinite_psnr(with_identical, tmp_path):
    def no_constants(name):
        pytest.fail(f"{name} is not JSON")

    (with_identical / "A" / "two.png").write_bytes(b"")
    scores = evaluate(brighter, match_pairs(with_identical))
    same = next(row for row in scores.rows if row["name"] == "same")
    write_scores_json(scores, tmp_path / "scores.json", {"weights": "w.h5", "resize": None})
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"), parse_constant=no_constants)
    assert content["weights"] == "w.h5"
    assert content["resize"] is None
    assert content["protocols"] == [PSNR.protocol, SSIM.protocol]
    assert content["comparable"] == {"psnr": PSNR.comparable, "ssim": SSIM.comparable}
    assert content["gains"] == {"psnr": "-inf", "ssim": scores.means["ssim_restored"] - scores.means["ssim_blurred"]}
    assert content["failed"] == scores.failed
    assert len(content["failed"]) == 1
    assert content["means"] == {**scores.means, "psnr_blurred": "inf"}
    same["psnr_blurred"] = "inf"
    assert content["pairs"] == scores.rows


def test_csv_holds_a_line_for_each_pair_without_loss(with_identical, tmp_path):
    scores = evaluate(brighter, match_pairs(with_identical))
    write_scores_csv(scores, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [{"name": row["name"], **{score: float(row[score]) for score in SCORES}} for row in rows] == scores.rows
    assert list(rows[0]) == ["name", *SCORES]


@pytest.mark.parametrize("name", ["사진", 'comma, and "quotes"', "line\nbreak", "not UTF-8 \udcff"])
def test_files_take_any_name(tmp_path, name):
    row = {"name": name, **dict.fromkeys(SCORES, 1.5)}
    write_scores_csv(Evaluation([row]), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [name]
    write_scores_json(Evaluation([row]), tmp_path / "scores.json", {})
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["pairs"][0]["name"] == name


@pytest.mark.parametrize("write", [write_scores_csv, lambda scores, path: write_scores_json(scores, path, {})])
def test_a_file_that_cannot_be_written_is_named(pairs_dir, tmp_path, write):
    scores = evaluate(unchanged, match_pairs(pairs_dir)[:1])
    with pytest.raises(FileError, match="scores: cannot be written"):
        write(scores, tmp_path / "missing" / "scores")
    (tmp_path / "scores").mkdir()
    with pytest.raises(FileError, match="scores: cannot be written"):
        write(scores, tmp_path / "scores")
    assert sorted(os.listdir(tmp_path)) == ["pairs", "scores"]


def test_the_table_is_aligned_and_ends_with_the_protocols(with_identical):
    text = table(evaluate(brighter, match_pairs(with_identical)))
    lines = text.splitlines()
    assert lines[-5:] == ["", PSNR.protocol, f"  {PSNR.comparable}", SSIM.protocol, f"  {SSIM.comparable}"]
    header, *rows = lines[1 : lines.index("")]
    assert [row.split()[0] for row in rows] == ["one", "same", "three", "two", "mean"]
    assert header.split() == ["blurred", "restored", "gain"] * 2
    assert {len(row) for row in rows} == {len(header)}
    ends = [i + 1 for i in range(len(header)) if header[i] != " " and header[i + 1 : i + 2] in (" ", "")]
    for row in rows:
        assert [i + 1 for i in range(len(row)) if row[i] != " " and row[i + 1 : i + 2] in (" ", "")][1:] == ends
    assert lines[0].index("PSNR") < lines[0].index("SSIM")
    assert text == "\n".join(line.rstrip() for line in lines)


def test_the_table_shows_the_scores(pairs_dir):
    scores = evaluate(brighter, match_pairs(pairs_dir))
    rows = table(scores).splitlines()[2:6]
    for text, row in zip(rows, [*scores.rows, {"name": "mean", **scores.means}], strict=True):
        name, *values = text.split()
        assert name == row["name"]
        numbers = [float(value) for value in values]
        gains = [restored - blurred for blurred, restored, _ in (numbers[:3], numbers[3:])]
        assert [*numbers[:2], *numbers[3:5]] == pytest.approx([row[score] for score in SCORES], abs=0.005)
        assert numbers[2::3] == pytest.approx(gains, abs=0.011)
        assert all(value[0] in "+-" for value in values[2::3])


def test_the_table_keeps_an_odd_name_on_one_line(tmp_path):
    row = {"name": "line\nbreak", **dict.fromkeys(SCORES, 1.5)}
    lines = table(Evaluation([row])).splitlines()
    assert lines[2].startswith(r"'line\nbreak'")
    assert lines[3].startswith("mean ")


def test_chosen_metrics_are_scored_in_their_order_and_no_others(pairs_dir, tmp_path):
    scores = evaluate(brighter, match_pairs(pairs_dir), metrics=[METRICS["cwssim"], METRICS["ssim3d"]])
    keys = ["name", "cwssim_blurred", "cwssim_restored", "ssim3d_blurred", "ssim3d_restored"]
    for row, pair in zip(scores.rows, match_pairs(pairs_dir), strict=True):
        blurred, sharp = pair.read()
        assert list(row) == keys
        assert row["cwssim_restored"] == cw_ssim(sharp, brighter(blurred))
        assert row["ssim3d_blurred"] == ssim_3d(sharp, blurred)
    write_scores_csv(scores, tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text().splitlines()[0] == ",".join(keys)
    assert table(scores).splitlines()[0].split() == ["CW-SSIM", "SSIM", "3-D"]


def test_the_table_sums_up_baseline_and_gain(pairs_dir):
    distance = Metric("far", "Distance", "", "", lambda x, y: float(abs(x.mean() - y.mean())), lower_is_better=True)
    scores = evaluate(brighter, match_pairs(pairs_dir), metrics=[PSNR, distance])
    lines = table(scores).splitlines()
    start = lines.index("") + 1
    means = scores.means
    assert lines[start].split() == ["means", "PSNR,", "dB", "Distance"]
    for line, title, side in zip(
        lines[start + 1 : start + 3], ("blurred input (baseline)", "restored"), ("blurred", "restored"), strict=True
    ):
        assert line.startswith(title)
        values = [float(text) for text in line.removeprefix(title).split()]
        assert values == pytest.approx([means[f"psnr_{side}"], means[f"far_{side}"]], abs=0.005)
    assert means["far_restored"] > means["far_blurred"]
    assert [float(text) for text in lines[start + 3].removeprefix("gain").split()] == pytest.approx(
        [means["psnr_restored"] - means["psnr_blurred"], means["far_blurred"] - means["far_restored"]], abs=0.005
    )


def test_equal_scores_gain_nothing_even_infinite_ones():
    assert gain(PSNR, {"psnr_blurred": math.inf, "psnr_restored": math.inf}) == 0
    assert gain(PSNR, {"psnr_blurred": math.inf, "psnr_restored": 30}) == -math.inf


def test_pictures_are_shown_with_their_scores(pairs_dir):
    seen = []
    (pairs_dir / "A" / "one.png").write_bytes(b"")
    scores = evaluate(brighter, match_pairs(pairs_dir), show=lambda row, pictures: seen.append((row, pictures)))
    assert [row for row, _ in seen] == scores.rows
    for (_, pictures), pair in zip(seen, match_pairs(pairs_dir)[1:], strict=True):
        blurred, sharp = pair.read()
        for shown, expected in zip(pictures, (blurred, brighter(blurred), sharp), strict=True):
            np.testing.assert_array_equal(shown, expected)


def test_pairs_that_cannot_be_scored_are_reported_and_the_others_scored(pairs_dir):
    whole = (pairs_dir / "B" / "one.png").read_bytes()
    (pairs_dir / "B" / "one.png").write_bytes(whole[: len(whole) // 2])
    save(pairs_dir / "A" / "three.png", noise(20, 30))
    restored = []
    done = []
    scores = evaluate(
        lambda image: brighter(restored.append(image.shape) or image), match_pairs(pairs_dir), progress=done.append
    )
    assert [row["name"] for row in scores.rows] == ["two"]
    assert restored == [(64, 64, 3)]
    assert len(done) == 3
    unreadable, unequal = scores.failed
    assert unreadable.startswith(f"one: {pairs_dir / 'B' / 'one.png'}: ")
    assert unequal.startswith("three: ")
    assert "30x20 and 48x72" in unequal
    assert scores.means == {score: scores.rows[0][score] for score in SCORES}


def test_a_pair_that_the_network_refuses_is_reported(pairs_dir):
    def restore(image):
        if image.shape[0] == 60:
            raise InputError("image: too small")
        return image

    scores = evaluate(restore, match_pairs(pairs_dir))
    assert scores.failed == ["one: image: too small"]
    assert len(scores.rows) == 2


def test_no_scorable_pair_is_an_error_that_says_why(pairs_dir):
    for path in (pairs_dir / "A").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the pairs could be scored: one: .*one\.png: .*the file is empty"):
        evaluate(unchanged, match_pairs(pairs_dir))


@pytest.fixture
def compared(pairs_dir):
    """The scores of two networks beside each other, of which the second refuses the pair "three"."""

    def second(image):
        if image.shape[0] == 72:
            raise InputError("image: too large")
        return image

    one = evaluate(brighter, match_pairs(pairs_dir), name="one, two")
    return one.beside(evaluate(second, match_pairs(pairs_dir), name="b"))


def test_networks_are_compared_on_the_pairs_that_both_restored(compared, pairs_dir):
    assert [row["name"] for row in compared.rows] == ["one", "two"]
    assert compared.failed == ["b: three: image: too large"]
    assert compared.scores == (
        *("psnr_blurred", "psnr_one, two", "psnr_b"),
        *("ssim_blurred", "ssim_one, two", "ssim_b"),
    )
    for row, pair in zip(compared.rows, match_pairs(pairs_dir)[::2], strict=True):
        blurred, sharp = pair.read()
        assert row["psnr_one, two"] == pytest.approx(expected_scores(sharp, brighter(blurred))[0])
        assert row["psnr_b"] == row["psnr_blurred"] == pytest.approx(expected_scores(sharp, blurred)[0])
    assert compared.means["psnr_b"] == pytest.approx(np.mean([row["psnr_b"] for row in compared.rows]))


def test_compared_networks_are_in_csv_json_and_table_by_their_names(compared, tmp_path):
    write_scores_csv(compared, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", *compared.scores]
    assert [float(row["psnr_one, two"]) for row in rows] == [row["psnr_one, two"] for row in compared.rows]
    write_scores_json(compared, tmp_path / "scores.json", {"weights": ["one", "b"]})
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    means = compared.means
    assert content["means"] == means
    assert content["gains"]["b"] == {"psnr": 0, "ssim": 0}
    assert content["gains"]["one, two"]["psnr"] == means["psnr_one, two"] - means["psnr_blurred"]
    lines = table(compared).splitlines()
    assert [line.split()[:2] for line in lines[1:7:3]] == [["one", "blurred"], ["two", "blurred"]]
    assert lines[2].split()[:2] == ["one,", "two"]
    assert float(lines[2].split()[2]) == pytest.approx(compared.rows[0]["psnr_one, two"], abs=0.005)
    ends = {position for line in (lines[0], lines[2], lines[3]) for position in [len(line)]}
    assert len(ends) == 1
    start = lines.index("") + 2
    assert [line.split("  ")[0] for line in lines[start : start + 5]] == [
        *("blurred input (baseline)", "one, two", "b"),
        *("gain with one, two", "gain with b"),
    ]

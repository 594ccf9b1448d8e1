"""`deblurgan evaluate`: which metrics, which files. What it shares with other commands is in test_cli."""

import csv
import gc
import json
import os
import sys
import weakref

import numpy as np
import pytest
from PIL import Image

from deblurgan.cli import evaluating
from deblurgan.errors import InputError
from deblurgan.restoring import opening
from deblurgan.scoring import lpips, nanodet
from deblurgan.scoring.detections import Detections
from deblurgan.scoring.metrics import CW_SSIM, PSNR, SSIM, SSIM_3D, Metric, cw_ssim, psnr, ssim_3d
from tests.cli.program import deblurgan
from tests.scoring.pyiqa import stand_in


@pytest.fixture
def pairs(photos, tmp_path):
    """Folder with three pairs of 48x64 pictures in A and B, one with a name that is markup."""
    for side, photo in zip("AB", photos, strict=True):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        for number, name in enumerate(("0", "1", "<script>alert(1)")):
            Image.fromarray(photo[40 * number :][:48, :64]).save(tmp_path / "pairs" / side / f"{name}.png")
    return tmp_path / "pairs"


@pytest.fixture
def evaluate(pairs, monkeypatch):
    """Run the command on those pairs with a network that darkens pictures a little; returns click's result."""

    def darkened(image):
        return image - image // 8

    darkened.engine, darkened.engine_precision, darkened.quality = "tensorflow", None, None
    darkened.pixels_done = 0
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: darkened)

    def run(*arguments):
        return deblurgan("evaluate", "--input_dir", pairs, *arguments)

    return run


def error_of(result):
    assert result.exit_code != 0
    assert result.stdout == ""
    return result.stderr.splitlines()[-1].removeprefix("Error: ")


def test_without_options_psnr_and_ssim_are_printed_with_what_they_compare_with(evaluate):
    result = evaluate()
    assert result.exit_code == 0
    tail = [PSNR.protocol, f"  {PSNR.comparable}", SSIM.protocol, f"  {SSIM.comparable}"]
    assert result.stdout.splitlines()[-4:] == tail
    assert result.stdout.splitlines()[0].split() == ["PSNR,", "dB", "SSIM"]


def test_pairs_may_be_the_halves_of_files(evaluate, pairs, photos, tmp_path):
    (tmp_path / "halves").mkdir()
    Image.fromarray(np.concatenate([photo[:48, :64] for photo in reversed(photos)], axis=1)).save(
        tmp_path / "halves" / "0.png"
    )
    lines = evaluate().stdout.splitlines()
    of_halves = evaluate("--input_dir", f"combined={tmp_path / 'halves'},input=right").stdout.splitlines()
    assert [line.split() for line in lines if line.startswith("0 ")] == [of_halves[2].split()]


def test_a_network_that_gives_grey_is_compared_with_grey(evaluate, pairs, monkeypatch):
    def grey(image):
        return image

    grey.engine, grey.engine_precision, grey.quality, grey.channels = "tensorflow", None, None, (1, 1)
    grey.pixels_done = 0
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: grey)
    of_colours = evaluate()
    assert "Pictures are compared as grey (blurred) and grey (sharp), as the network has them" in of_colours.stderr
    for path in pairs.glob("*/*.png"):
        Image.open(path).convert("L").save(path)
    del grey.channels
    assert evaluate().stdout == of_colours.stdout


def test_chosen_metrics_are_in_table_csv_and_json(evaluate, pairs, tmp_path):
    result = evaluate(
        "--metrics", "ssim3d, CWSSIM", "--csv", tmp_path / "scores.csv", "--json", tmp_path / "scores.json"
    )
    assert result.exit_code == 0
    assert SSIM_3D.protocol in result.stdout
    assert CW_SSIM.comparable in result.stdout
    assert PSNR.protocol not in result.stdout
    content = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "ssim3d_blurred", "ssim3d_restored", "cwssim_blurred", "cwssim_restored"]
    for row, saved in zip(rows, content["pairs"], strict=True):
        blurred, sharp = (np.asarray(Image.open(pairs / side / f"{row['name']}.png")) for side in "AB")
        assert float(row["ssim3d_blurred"]) == saved["ssim3d_blurred"] == ssim_3d(sharp, blurred)
        assert float(row["cwssim_restored"]) == cw_ssim(sharp, blurred - blurred // 8)
    assert content["protocols"] == [SSIM_3D.protocol, CW_SSIM.protocol]


@pytest.mark.parametrize("names", ["psnr,,ssim", "psnr,psnr"])
def test_unknown_and_repeated_metrics_are_refused_and_the_known_listed(evaluate, names):
    known = "psnr, ssim, ssim3d, cwssim, lpips, detection"
    error = error_of(evaluate("--metrics", names))
    assert error == f"--metrics: expected some of {known}, each once, with commas between, received {names}"


def test_the_report_holds_the_pictures_asked_for_and_no_markup_of_names(evaluate, tmp_path):
    result = evaluate("--html", tmp_path / "new" / "report.html", "--html_pictures", 1)
    assert result.exit_code == 0
    assert result.stdout.endswith(f"\n\nReport: {tmp_path / 'new' / 'report.html'}\n")
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 6
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert SSIM.comparable.replace("'", "&#x27;") in page
    assert "blurred input (baseline)" in page


def test_the_report_without_pictures_is_small(evaluate, tmp_path):
    assert evaluate("--html", tmp_path / "report.html", "--html_pictures", 0).exit_code == 0
    assert "<img " not in (tmp_path / "report.html").read_text(encoding="utf-8")
    error = error_of(evaluate("--html", tmp_path / "report.html", "--html_pictures", -1))
    assert error == "html_pictures: expected a number from 0 on, received -1"


@pytest.mark.parametrize("options", [("--csv", "--json"), ("--csv", "--html"), ("--json", "--html")])
def test_two_files_of_one_name_are_refused(options, evaluate, tmp_path):
    first, second = options
    error = error_of(evaluate(first, tmp_path / "x", second, tmp_path / "x"))
    assert error == f"{second} {tmp_path / 'x'}: expected another file than {first}"
    assert os.listdir(tmp_path) == ["pairs"]


@pytest.fixture
def qualities(monkeypatch):
    """Let restorers differ by quality; return those that were loaded, by quality and as weak references."""
    loaded = []

    class Darkened:
        engine, engine_precision, pixels_done, channels = "tensorflow", None, 0, (3, 3)

        def __init__(self, quality):
            self.quality = quality

        def __call__(self, image):
            if self.quality == "fast" and image.max() == 0:
                raise InputError("image: black")
            return image - image // {"preview": 8, "fast": 4}[self.quality]

    def open_restorer(path, quality, **options):
        gc.collect()
        assert [name for name, restorer in loaded if restorer()] == [], "two networks in memory"
        if quality == "balanced":
            raise InputError("these weights have no quality")
        restorer = Darkened(quality)
        loaded.append((quality, weakref.ref(restorer)))
        return restorer

    monkeypatch.setattr(opening, "open_restorer", open_restorer)
    return loaded


def test_qualities_are_compared_one_network_at_a_time(evaluate, qualities, pairs, tmp_path):
    files = {
        f"--{kind}": tmp_path / name for kind, name in (("csv", "c.csv"), ("json", "j.json"), ("html", "h.html"))
    }
    arguments = [item for pair in files.items() for item in pair]
    result = evaluate("--quality", "preview", "--quality", "fast", *arguments, "--table", tmp_path / "t.md")
    assert result.exit_code == 0
    assert [name for name, _ in qualities] == ["preview", "fast"] * 2  # tried first, then used
    assert [line for line in result.stderr.splitlines() if line.startswith("Weights")] == [
        "Weights: maxim-gopro, quality preview",
        "Weights: maxim-gopro, quality fast",
    ]
    content = json.loads((tmp_path / "j.json").read_text(encoding="utf-8"))
    assert content["weights"] == ["maxim-gopro", "maxim-gopro"]
    assert content["quality"] == ["preview", "fast"]
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        blurred, sharp = (np.asarray(Image.open(pairs / side / f"{row['name']}.png")) for side in "AB")
        for quality, part in (("preview", 8), ("fast", 4)):
            assert float(row[f"psnr_maxim-gopro {quality}"]) == psnr(sharp, blurred - blurred // part)
    table = (tmp_path / "t.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == [
        *("| blurred input", "| maxim-gopro preview", "| maxim-gopro fast")
    ]
    assert (tmp_path / "h.html").read_text(encoding="utf-8").count("<img ") == 3 * 4


def test_a_pair_that_one_network_cannot_restore_is_left_out_of_all_and_told(evaluate, qualities, pairs):
    Image.new("RGB", (64, 48)).save(pairs / "A" / "1.png")
    result = evaluate("--quality", "preview", "--quality", "fast")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "failed: maxim-gopro fast: 1: image: black",
        "Error: 1 of 3 pairs failed",
    ]
    assert [line.split()[0] for line in result.stdout.splitlines()[1:8:3]] == ["0", "<script>alert(1)", "mean"]


def test_what_cannot_be_compared_is_told_before_any_work(evaluate, qualities, tmp_path):
    error = error_of(evaluate("--quality", "fast", "--quality", "balanced"))
    assert error == "these weights have no quality"
    error = error_of(evaluate("--weight_path", "maxim-gopro", "--weight_path", tmp_path / "missing.h5"))
    assert error == f"--weight_path {tmp_path / 'missing.h5'}: no such file"
    error = error_of(evaluate("--quality", "fast", "--quality", "fast"))
    assert error.endswith("expected different ones to compare, received maxim-gopro fast twice")
    error = error_of(evaluate("--table", tmp_path / "table.pdf"))
    assert error == f"{tmp_path / 'table.pdf'}: expected a name that ends in .md, .tex, .csv"


def test_lpips_takes_weights_from_the_file_named(evaluate, tmp_path, monkeypatch):
    asked = []

    def lpips_metric(path):
        asked.append(path)
        return Metric("lpips", "LPIPS", "LPIPS: a stand-in", "", lambda x, y: 0.25, lower_is_better=True)

    monkeypatch.setattr(lpips, "lpips_metric", lpips_metric)
    result = evaluate("--metrics", "psnr,lpips", "--lpips_weights", tmp_path / "lpips.pth")
    assert result.exit_code == 0
    assert asked == [tmp_path / "lpips.pth"]
    assert "LPIPS: a stand-in" in result.stdout
    assert evaluate("--metrics", "lpips").exit_code == 0
    assert asked[1:] == [None]


def test_lpips_without_weights_is_one_line_before_any_work(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "open_restorer", lambda *_, **options: pytest.fail("too late"))
    monkeypatch.setitem(sys.modules, "lpips", None)
    error = error_of(evaluate("--metrics", "lpips"))
    assert error.startswith("lpips: expected a file of weights (--lpips_weights) or the package")
    missing = tmp_path / "missing.pth"
    error = error_of(evaluate("--metrics", "lpips", "--lpips_weights", missing))
    assert error == f"{missing}: expected a PyTorch weight file, found nothing"


def test_weights_of_a_metric_that_is_not_asked_for_are_refused(evaluate, tmp_path):
    error = error_of(evaluate("--lpips_weights", tmp_path / "lpips.pth"))
    assert error == f"--lpips_weights {tmp_path / 'lpips.pth'}: expected lpips among --metrics"


class Bright:
    """A detector that finds the brightest quarter of a picture, if it is bright enough."""

    names = ("lamp",)

    def __init__(self, score):
        self.score = score

    def __call__(self, image):
        height, width = (side // 2 for side in image.shape[:2])
        means = {(x, y): image[y : y + height, x : x + width].mean() / 255 for x in (0, width) for y in (0, height)}
        (x, y), score = max(means.items(), key=lambda item: item[1])
        rows = [[x, y, x + width, y + height]] if score >= self.score else []
        return Detections(np.array(rows, float).reshape(-1, 4), np.full(len(rows), score), np.zeros(len(rows), int))


def test_detections_are_scored_and_drawn(evaluate, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(nanodet, "NanoDet", Bright)
    for name, sides in {"0": "rr", "1": "lr", "<script>alert(1)": "l."}.items():  # A, B: lamp left, right or nowhere
        for side, where in zip("AB", sides, strict=True):
            picture = np.zeros((48, 64, 3), np.uint8)
            picture[:24, {"l": slice(0, 32), "r": slice(32, 64), ".": slice(0, 0)}[where]] = 200
            Image.fromarray(picture).save(pairs / side / f"{name}.png")
    files = ["--csv", tmp_path / "s.csv", "--json", tmp_path / "s.json", "--html", tmp_path / "s.html"]
    result = evaluate("--metrics", "detection,psnr", "--detector_score", "0.5", *files)
    assert result.exit_code == 0
    assert "of the boxes of NanoDet-g 416 with a score from 0.5, against" in result.stdout
    content = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    kinds = ("precision", "recall", "f1")
    found = [tuple(row[f"{kind}_restored"] for kind in kinds) for row in content["pairs"]]
    assert found == [(1, 1, 1), (0, 0, 0), (0, None, 0)]
    assert [content["means"][f"{kind}_blurred"] for kind in kinds] == [1 / 3, 1 / 2, 2 / 5]
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    for kind, count in {"wanted": 2, "right": 2, "wrong": 4, "missed": 2}.items():
        assert page.count(f'<rect class="{kind}"') == count
    assert page.count("lamp 0.78</text>") == 2 + 1 + 2 + 2  # as it was; the darkened ones are at 0.69
    assert 'viewBox="0 0 64 48" font-size="1.8"' in page  # letters grow with the picture
    assert "green where found" in page


def test_a_detector_is_a_file_and_is_named_with_detection(evaluate, tmp_path):
    missing = tmp_path / "yolo.onnx"
    error = error_of(evaluate("--metrics", "detection", "--detector", missing))
    assert error == f"{missing}: expected a detector, found nothing"
    error = error_of(evaluate("--detector", missing))
    assert error == f"--detector {missing}: expected detection among --metrics"


@pytest.fixture
def pyiqa(tmp_path, monkeypatch):
    stand_in(tmp_path / "stand-ins", monkeypatch)


def test_other_names_need_pyiqa(evaluate, monkeypatch):
    monkeypatch.setattr(evaluating, "find_spec", lambda name: None)
    error = error_of(evaluate("--metrics", "psnr,niqe"))
    assert error.endswith("received psnr,niqe; those of pyiqa, such as niqe, need pip install 'deblurgan[iqa]'")


def test_pictures_without_sharp_ones_are_scored_without_reference(evaluate, pairs, pyiqa, tmp_path):
    page, table = tmp_path / "s.html", tmp_path / "s.csv"
    result = evaluate("--input_dir", pairs / "A", "--metrics", "darkness", "--html", page, "--csv", table)
    assert result.exit_code == 0
    assert "darkness: pyiqa's, of 8-bit RGB, without a sharp picture; lower is better" in result.stdout
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == sorted(path.name for path in (pairs / "A").iterdir())
    for row in rows:
        blurred = np.asarray(Image.open(pairs / "A" / row["name"]))
        assert float(row["darkness_blurred"]) == pytest.approx(1 - blurred.mean() / 255)
        assert float(row["darkness_restored"]) == pytest.approx(1 - (blurred - blurred // 8).mean() / 255)
    assert page.read_text(encoding="utf-8").count("<img ") == 2 * 3
    error = error_of(evaluate("--input_dir", pairs / "A", "--metrics", "darkness,psnr,apart"))
    assert error == f"--metrics: psnr, apart need sharp pictures; {pairs / 'A'} has no folders A and B"


def test_metrics_of_pyiqa_stand_beside_ours(evaluate, pairs, pyiqa, tmp_path):
    result = evaluate("--metrics", "psnr,apart", "--csv", tmp_path / "s.csv")
    assert result.exit_code == 0
    for row in csv.DictReader((tmp_path / "s.csv").read_text(encoding="utf-8").splitlines()):
        blurred, sharp = (np.asarray(Image.open(pairs / side / f"{row['name']}.png")) / 255 for side in "AB")
        assert float(row["apart_blurred"]) == pytest.approx(np.abs(blurred - sharp).mean())

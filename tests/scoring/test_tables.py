import csv
import math

import pytest

from deblurgan.errors import InputError
from deblurgan.scoring.evaluation import Evaluation
from deblurgan.scoring.metrics import PSNR, SSIM, Metric
from deblurgan.scoring.tables import write_table

DISTANCE = Metric("far", "Far_ness", "", "", lambda x, y: 0.0, digits=1, lower_is_better=True)


def written(tmp_path, name, names=("A", "B")):
    """A table of two networks whose PSNR and SSIM are equal as printed, not before."""
    row = {
        "psnr_blurred": 25.5,
        "psnr_a": 26.001,
        "psnr_b": 26.002,
        "ssim_blurred": 0.8,
        "ssim_a": 0.9,
        "ssim_b": 0.7,
        "far_blurred": 3.0,
        "far_a": 2.0,
        "far_b": 1.0,
    }
    evaluation = Evaluation([{"name": "0", **row}], metrics=(PSNR, SSIM, DISTANCE), restored=("a", "b"))
    write_table(evaluation, tmp_path / name, names)
    return (tmp_path / name).read_text(encoding="utf-8").splitlines()


def test_markdown_has_a_row_each_and_the_best_in_bold(tmp_path):
    assert written(tmp_path, "table.md", ("A|B", "line\nbreak")) == [
        "|  | PSNR, dB ↑ | SSIM ↑ | Far_ness ↓ |",
        "| --- | ---: | ---: | ---: |",
        "| blurred input | 25.50 | 0.8000 | 3.0 |",
        r"| A\|B | **26.00** | **0.9000** | 2.0 |",
        r"| 'line\nbreak' | **26.00** | 0.7000 | **1.0** |",
    ]


def test_latex_needs_no_package_and_escapes_what_it_would_interpret(tmp_path):
    assert written(tmp_path, "table.tex", ("runs/a_1 & 50%", r"C:\w{}~^$#")) == [
        r"\begin{tabular}{lrrr}",
        r"\hline",
        r" & PSNR, dB $\uparrow$ & SSIM $\uparrow$ & Far\_ness $\downarrow$ \\",
        r"\hline",
        r"blurred input & 25.50 & 0.8000 & 3.0 \\",
        r"runs/a\_1 \& 50\% & \textbf{26.00} & \textbf{0.9000} & 2.0 \\",
        r"C:\textbackslash{}w\{\}\textasciitilde{}\textasciicircum{}\$\# & \textbf{26.00} & 0.7000 & \textbf{1.0} \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_what_is_not_a_number_is_not_the_best(tmp_path):
    row = {"psnr_blurred": math.nan, "psnr_a": 26.0, "ssim_blurred": math.nan, "ssim_a": math.nan}
    write_table(Evaluation([{"name": "0", **row}], metrics=(PSNR, SSIM), restored=("a",)), tmp_path / "a.md", ["A"])
    assert (tmp_path / "a.md").read_text(encoding="utf-8").splitlines()[2:] == [
        "| blurred input | nan | nan |",
        "| A | **26.00** | nan |",
    ]


def test_csv_has_all_digits(tmp_path):
    rows = list(csv.reader(written(tmp_path, "table.CSV", ('a, "b"', "B"))))
    assert rows == [
        ["restored with", "psnr", "ssim", "far"],
        ["blurred input", "25.5", "0.8", "3.0"],
        ['a, "b"', "26.001", "0.9", "2.0"],
        ["B", "26.002", "0.7", "1.0"],
    ]


def test_another_extension_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"table\.xlsx: expected a name that ends in \.md, \.tex, \.csv"):
        written(tmp_path, "table.xlsx")

"""`combine` and `split` at the command line; `organize` and `synthesize` are tested with `train`."""

from tests.cli.program import deblurgan, error_of, succeeds
from tests.photographs import names, noise, save


def test_combine_and_split_say_what_became_of_the_files(tmp_path):
    for side in "AB":
        save(tmp_path / side / "1.png", noise(4, 6))
    both, out = tmp_path / "both", tmp_path / "out"
    assert succeeds("combine", tmp_path / "A", tmp_path / "B", "--output_dir", both).splitlines() == [
        f"1 files written into {both}, 0 already there"
    ]
    assert (
        succeeds("split", both, "--output_dir", out, "--input", "right")
        == f"2 files written into {out}, 0 already there\n"
    )
    assert succeeds("split", both, "--output_dir", out) == f"0 files written into {out}, 2 already there\n"


def test_a_pair_that_does_not_fit_ends_in_an_error_that_names_it(tmp_path):
    for side, width in (("A", 6), ("B", 7)):
        save(tmp_path / side / "good.png", noise(4, 6))
        save(tmp_path / side / "wide.png", noise(4, width))
    result = deblurgan(
        "combine", tmp_path / "A", tmp_path / "B", "--output_dir", tmp_path / "both", "--extension", ".jpg"
    )
    assert error_of(result, others=("failed: ", "JPEG is lossy: ")) == "1 of the pictures failed"
    assert f"failed: {tmp_path / 'A' / 'wide.png'} and {tmp_path / 'B' / 'wide.png'} differ: 6x4" in result.stderr
    assert names(tmp_path / "both") == ["good.jpg"]

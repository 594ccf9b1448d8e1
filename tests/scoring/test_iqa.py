import numpy as np
import pytest

from deblurgan.errors import FileError, InputError
from deblurgan.scoring.iqa import Server
from deblurgan.scoring.metrics import psnr
from tests.photographs import noise
from tests.scoring.pyiqa import stand_in


@pytest.fixture
def pyiqa(tmp_path, monkeypatch):
    stand_in(tmp_path / "stand-ins", monkeypatch)


def test_a_process_scores_pairs_and_single_pictures(pyiqa):
    apart, darkness = Server(["apart", "darkness"]).metrics
    assert [(metric.name, metric.reference, metric.lower_is_better) for metric in (apart, darkness)] == [
        ("apart", True, True),
        ("darkness", False, True),
    ]
    sharp, image = noise(20, 30), noise(20, 30) // 2
    for _ in range(2):
        assert apart.score(sharp, image) == pytest.approx(np.abs(sharp / 255 - image / 255).mean())
        assert darkness.score(sharp, image) == pytest.approx(1 - image.mean() / 255)


def test_a_failed_download_and_an_unknown_name_are_one_line(pyiqa):
    with pytest.raises(FileError, match=r"^downloaded: pyiqa URLError: <urlopen error no route to host>$"):
        Server(["apart", "downloaded"])
    with pytest.raises(InputError, match=r"^mse: pyiqa has no metric of that name$"):
        Server(["mse"])


def test_a_picture_that_cannot_be_scored_is_told_and_the_next_one_scored(pyiqa):
    (small,) = Server(["small"]).metrics
    with pytest.raises(FileError, match=r"^small: pyiqa ZeroDivisionError: division by zero$"):
        small.score(noise(8, 8), noise(8, 8))
    assert small.score(noise(9, 8), noise(9, 8)) == 1


@pytest.mark.torch
def test_the_package_itself_scores():
    pytest.importorskip("pyiqa")
    of_pyiqa, entropy = Server(["psnr", "entropy"]).metrics
    sharp, image = noise(64, 64), noise(64, 64) // 2
    assert of_pyiqa.score(sharp, image) == pytest.approx(psnr(sharp, image), abs=1e-3)
    counts = np.unique(np.rint(image @ [0.299, 0.587, 0.114]), return_counts=True)[1] / 64**2
    assert entropy.score(sharp, image) == pytest.approx(-(counts * np.log2(counts)).sum(), abs=0.1)
    assert (entropy.reference, entropy.lower_is_better) == (False, False)

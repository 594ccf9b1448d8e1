"""The tutorial's strips."""

import numpy as np
import pytest
from PIL import Image

from deblurgan.data.pairs import match_pairs
from deblurgan.errors import FileError, InputError
from deblurgan.jobs.strips import write_strips
from tests.jobs.doing import inverted
from tests.photographs import names, noise, pixels, save


def forbidden(image):
    pytest.fail("nothing should have been restored")


@pytest.fixture
def pairs(tmp_path):
    """Folder with three pairs of 24x32 pictures in A and B."""
    for seed, name in enumerate(("one", "three", "two")):
        save(tmp_path / "pairs" / "A" / f"{name}.png", noise(seed=seed))
        save(tmp_path / "pairs" / "B" / f"{name}.png", noise(seed=seed + 10))
    return tmp_path / "pairs"


def test_strips_show_sharp_blurred_and_restored_from_left_to_right(pairs, tmp_path):
    done = []
    report = write_strips(inverted, match_pairs(pairs), tmp_path / "out" / "strips", progress=done.append)
    assert report.written == [tmp_path / "out" / "strips" / f"results{number}.png" for number in range(3)]
    assert names(tmp_path / "out" / "strips") == ["results0.png", "results1.png", "results2.png"]
    assert done == [pair.blurred for pair in match_pairs(pairs)]
    for seed, path in enumerate(report.written):
        sharp, blurred, restored = np.split(pixels(path), 3, axis=1)
        np.testing.assert_array_equal(sharp, noise(seed=seed + 10))
        np.testing.assert_array_equal(blurred, noise(seed=seed))
        np.testing.assert_array_equal(restored, 255 - noise(seed=seed))


def test_strips_squash_both_pictures(pairs, tmp_path):
    write_strips(inverted, match_pairs(pairs), tmp_path / "out", squash=16)
    strip = pixels(tmp_path / "out" / "results0.png")
    assert strip.shape == (16, 48, 3)
    for part, seed in ((strip[:, :16], 10), (strip[:, 16:32], 0)):
        squashed = Image.fromarray(noise(seed=seed)).resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(part, np.asarray(squashed))


def test_strips_report_pairs_that_fail_and_number_the_others_as_before(pairs, tmp_path):
    (pairs / "A" / "three.png").write_bytes(b"")
    save(pairs / "B" / "two.png", noise(25, 32))
    report = write_strips(inverted, match_pairs(pairs), tmp_path / "out")
    assert report.written == [tmp_path / "out" / "results0.png"]
    assert len(report.failed) == 2
    assert report.failed[0].startswith(f"three: {pairs / 'A' / 'three.png'}: ")
    assert report.failed[1].startswith("two: ")
    assert "32x24 and 32x25" in report.failed[1]
    (pairs / "A" / "one.png").write_bytes(b"")
    save(pairs / "B" / "two.png", noise(24, 32))
    assert write_strips(inverted, match_pairs(pairs), tmp_path / "again").written == [
        tmp_path / "again" / "results2.png"
    ]


def test_strips_report_a_pair_that_the_network_refuses(pairs, tmp_path):
    def refuse(image):
        raise InputError("image: too small")

    report = write_strips(refuse, match_pairs(pairs)[:1], tmp_path / "out")
    assert report.failed == ["one: image: too small"]
    assert names(tmp_path / "out") == []


def test_strips_refuse_a_file_in_the_place_of_the_output_folder(pairs, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(FileError, match="out: expected a folder, found a file"):
        write_strips(forbidden, match_pairs(pairs), tmp_path / "out")

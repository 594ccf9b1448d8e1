"""Damaged and hostile files: each is refused in one line or used, within bounds of time and memory."""

import shutil

import pytest

from tests.faults import bombs, pictures, videos, weight_files
from tests.faults.cases import campaign

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]  # those of what writes the sound files

MEGABYTE = 2**20


def outcome(kind, folder, count=None, *, seconds, megabytes, every=1):
    """Run so many cases of a module, or one of `every` sample; return how many, and in words what came of them."""
    (folder / "samples").mkdir()
    kind.write_samples(folder / "samples")
    samples = sorted((folder / "samples").iterdir())
    for sample in set(samples) - set(samples[::every]):
        shutil.rmtree(sample)
    count = count or len(samples[::every])
    findings = campaign(
        kind.__name__, folder / "samples", folder / "work", count, seconds=seconds, growth=megabytes * MEGABYTE
    )
    assert not findings, "\n".join(findings)
    assert findings.outcomes.total() == count
    refused = findings.outcomes.pop("refused")
    used = findings.outcomes.total()
    words = f"{refused:,} refused in one line, {used:,} used"
    return count, f"{words}; each in less than {seconds} s and {megabytes} MB; no traceback, no file half written"


def test_mutated_pictures(tmp_path, often, note):
    count, words = outcome(pictures, tmp_path, often(1000, 10_000), seconds=20, megabytes=256)
    note("pictures of each format mutated, each restored beside a sound one", count, words)


def test_mutated_videos(tmp_path, often, note):
    count, words = outcome(videos, tmp_path, often(200, 2000), seconds=20, megabytes=256)
    note("videos of each container mutated, each restored beside a sound picture", count, words)


def test_mutated_weight_files(tmp_path, often, note):
    count, words = outcome(weight_files, tmp_path, often(200, 2000), seconds=60, megabytes=256)
    note("weight files of each kind mutated, and exported networks, detectors and recipes", count, words)


def test_bombs(tmp_path, often, note):
    count, words = outcome(bombs, tmp_path, seconds=30, megabytes=512, every=often(3, 1))
    note("files made to fill the memory, to be read for ever, or to lead to other files", count, words)

"""What is left, what results are called, and how it is shared out."""

import hashlib

import pyarrow as pa
import pytest

from deblurgan.batch.manifest import table_of
from deblurgan.batch.planning import MOST_IN_SHARE, planned
from deblurgan.jobs.planning import Where

NONE = table_of([]).select(["path", "output", "status"])


def named(*pictures, known=NONE, where=None):
    problems = []
    plan = planned(pictures, known, where or Where(), problems)
    assert problems == []
    return dict(zip(plan.due["path"].to_pylist(), plan.due["output"].to_pylist(), strict=True))


def known(*rows):
    return table_of([dict(zip(("path", "output", "status"), row, strict=True)) for row in rows]).select(
        ["path", "output", "status"]
    )


def hashed(path):
    return hashlib.sha256(path.encode()).hexdigest()[:12]


def test_results_have_the_names_of_their_pictures():
    pictures = [("/a/one.JPG", "one.JPG"), ("/a/x/two.psd", "x/two.psd"), ("/three", "three")]
    assert named(*pictures) == {"/a/one.JPG": "one.JPG", "/a/x/two.psd": "x/two.png", "/three": "three.png"}
    assert named(pictures[0], where=Where(file_format="png", suffix="_s")) == {"/a/one.JPG": "one_s.png"}


def test_pictures_that_would_have_one_result_get_a_hash_each_in_any_order():
    pictures = [
        ("/a/one.psd", "one.psd"),
        ("/a/one.png", "one.png"),
        ("/b/one.png", "one.png"),
        ("/a/2.png", "2.png"),
    ]
    expected = {path: f"one-{hashed(path)}.png" for path, _ in pictures[:3]} | {"/a/2.png": "2.png"}
    assert named(*pictures) == named(*reversed(pictures)) == expected


def test_what_the_manifest_has_is_left_out_and_keeps_its_name():
    pictures = [("/a.psd", "a.psd"), ("/b.png", "b.png"), ("/c.png", "c.png"), ("/c.png", "c.png")]
    before = known(("/b.png", "b.png", "restored"), ("/gone.png", "c.png", "restored"), ("/a.psd", "a.png", "failed"))
    plan = planned(pictures, before, Where(), [])
    assert (plan.total, plan.restored, plan.failed) == (3, 1, 1)
    assert plan.due.to_pylist() == [{"path": "/c.png", "output": f"c-{hashed('/c.png')}.png"}]


@pytest.mark.parametrize("folder", ["manifest.parquet", ".deblurgan-batch"])
def test_the_folders_of_the_batch_hold_no_results(folder):
    assert named(("/m", f"{folder}/x.png")) == {"/m": f"_{folder}/x.png"}


def test_paths_that_cannot_stand_in_a_manifest_are_problems():
    problems = []
    plan = planned([("/\udcff.png", "\udcff.png"), ("/", ""), ("/a\0.png", "a\0.png")], NONE, Where(), problems)
    assert (plan.total, plan.due.num_rows) == (0, 0)
    assert [line.split(": ", 1)[1] for line in problems] == [
        "expected a name in UTF-8, which alone a manifest holds",
        "expected the path of a picture",
        "expected the path of a picture",
    ]


def test_shares_are_small_where_workers_are_many_and_hold_everything():
    pictures = [(f"/{n}.png", f"{n}.png") for n in range(2000)]
    plan = planned(pictures, NONE, Where(), [])
    for actors, largest in ((1, MOST_IN_SHARE), (4, 32), (1000, 1)):
        shares = list(plan.shares(actors))
        assert max(map(len, shares)) == largest
        assert pa.concat_tables(shares).equals(plan.due.combine_chunks())

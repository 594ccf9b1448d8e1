"""A batch from beginning to end: with Ray once; else with outputs as killed runs leave them."""

import contextlib
import socket
from functools import partial

import pytest

from deblurgan.batch import cluster, running
from deblurgan.batch.cluster import Cluster, Group, group
from deblurgan.batch.manifest import Manifest, table_of
from deblurgan.batch.places import Place
from deblurgan.batch.running import restore_all
from deblurgan.batch.shares import FOLDER, OWN, Share
from deblurgan.errors import DeblurganError, InputError
from deblurgan.files import held
from tests.batch import standins
from tests.cli.program import deblurgan, error_of
from tests.jobs.doing import restored
from tests.photographs import names, noise, save

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # it warns of what it does itself


def run(source, output, opener=standins.opened, settings=None, **options):
    return restore_all(str(source), str(output), opener, settings=settings or {}, **options)


def worked_by(kind, monkeypatch):
    """Have a group of this kind, of one worker, do the work of Ray's."""
    monkeypatch.setattr(running, "started", lambda cluster, tell: contextlib.nullcontext(kind(1, 1, 0, 1)))


def rows_of(output):
    return {row["output"]: row for row in Manifest(Place(str(output))).read().to_pylist()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Twelve pictures, and one that is damaged."""
    folder = tmp_path_factory.mktemp("batch") / "in"
    for number in range(12):
        save(folder / f"{number}.png", noise(seed=number))
    (folder / "damaged.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def finished(source):
    """The output folder of a run on what Ray takes for a machine with a GPU, of whose two workers one was killed."""
    output = source.parent / "out"
    seen, where = [], cluster._where
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "_where", lambda *given: {**where(*given), "num_gpus": 1})
        summary = run(
            source,
            output,
            partial(standins.opened_but_killed_once, source.parent / "mark"),
            cluster=Cluster(actors=2, gpus_per_actor=0.5),
            progress=lambda so_far: seen.append(so_far.restored + so_far.failed),
        )
    assert (source.parent / "mark").exists()
    assert (summary.total, summary.restored, summary.failed, summary.before) == (13, 12, 1, 0)
    assert (seen[0], seen[-1]) == (0, 13)
    assert seen == sorted(seen)
    return output


def check_results(source, output):
    report = restored([path for path in source.iterdir() if path.stem.isdecimal()], source.parent / "expected")
    assert report.failed == []
    for name in names(source.parent / "expected"):
        assert (output / name).read_bytes() == (source.parent / "expected" / name).read_bytes()
    rows = rows_of(output)
    assert {name for name, row in rows.items() if row["status"] == "restored"} == {f"{n}.png" for n in range(12)}
    assert "not a readable image" in rows["damaged.png"]["error"]
    assert names(output / FOLDER) == []


def test_a_worker_that_is_killed_costs_no_result(source, finished):
    check_results(source, finished)


@pytest.mark.slow
def test_a_picture_that_ends_its_workers_costs_only_its_own_result(source, tmp_path):
    save(source / "poison.png", standins.poison())
    summary = run(source, tmp_path, standins.opened_but_killed_by_poison, cluster=Cluster(actors=2))
    (source / "poison.png").unlink()
    assert (summary.total, summary.restored, summary.failed) == (14, 12, 2)
    check_results(source, tmp_path)
    assert rows_of(tmp_path)["poison.png"]["error"] == f"{source}/poison.png: it ended its worker 3 times"


def test_a_second_run_finds_nothing_to_do(source, finished):
    before = rows_of(finished)
    summary = run(source, finished)
    assert (summary.total, summary.restored, summary.failed, summary.before) == (13, 12, 1, 12)
    assert rows_of(finished) == before


@pytest.fixture
def begun(source, tmp_path):
    """An output whose run was killed when all was done, but nothing was in the manifest."""
    place = Place(str(tmp_path))
    place.write(f"{OWN}/job.json", f'{{"input": "{source}"}}'.encode())
    share = Share(place, "earlier-0")
    for path in sorted(source.iterdir()):
        share.end({"path": str(path), "output": path.name, "status": "restored"})
    share.save()
    return tmp_path


def test_what_a_killed_run_has_done_comes_into_the_manifest_once(source, begun):
    kept = (begun / FOLDER / "earlier-0.json").read_bytes()
    for _ in range(2):  # the second time it was killed when the manifest was written, before the share was removed
        (begun / FOLDER / "earlier-0.json").write_bytes(kept)
        assert run(source, begun).before == 13
        assert Manifest(Place(str(begun))).read().num_rows == 13
        assert names(begun / FOLDER) == []


def test_what_failed_is_forgotten_when_it_is_to_be_tried_again(begun):
    manifest = Manifest(Place(str(begun)))
    share = Share.opened(Place(str(begun)), "earlier-0")
    share.fail("/a.png", "a.png", "no")
    manifest.add("one", table_of(share.rows))
    manifest.add("two", table_of(share.rows[-1:]))
    manifest.forget_failed()
    assert "a.png" not in rows_of(begun)
    assert len(rows_of(begun)) == 13
    assert names(begun / "manifest.parquet") == ["one.parquet"]


def test_what_had_been_given_up_is_tried_again(source, tmp_path, monkeypatch):
    place, path = Place(str(tmp_path)), str(source / "1.png")
    place.write(f"{OWN}/job.json", f'{{"input": "{source}"}}'.encode())
    share = Share(place, "earlier-0")
    share.fail(path, "1.png", "it ended its worker 3 times")
    share.deaths = {path: 3, str(source / "2.png"): 1}
    share.save()
    deaths = {}

    class Looking(Group):
        def restored(self, task, tables):
            for table in tables:
                deaths.update(Share.opened(place, table["share"][0].as_py()).deaths)
            yield from ()

    worked_by(Looking, monkeypatch)
    assert run(source, tmp_path, retry_failed=True).failed == 0
    assert deaths == {str(source / "2.png"): 1}


def test_what_workers_hand_back_is_in_the_manifest_whatever_can_be_seen_of_their_files(source, tmp_path, monkeypatch):
    class Elsewhere(Group):
        def restored(self, task, tables):
            for table in tables:
                paths = table["path"].to_pylist()
                rows = table_of({"path": path, "output": path, "status": "restored"} for path in paths)
                yield rows.append_column("share", table["share"])

    worked_by(Elsewhere, monkeypatch)
    assert run(source, tmp_path).restored == 13
    assert len(rows_of(tmp_path)) == 13


def test_a_batch_that_stops_lets_go_of_what_ray_gives_before_ray_ends(source, tmp_path, monkeypatch):
    events = []

    class Stopping(Group):
        def restored(self, task, shares):
            try:
                yield table_of([{"status": "stopped", "error": "no room"}]).append_column("share", [["share"]])
            finally:
                events.append("let go of")

        def stop(self):
            events.append("ended")

    worked_by(Stopping, monkeypatch)
    with pytest.raises(InputError, match="no room") as _held:  # by its traceback, what Ray gives
        run(source, tmp_path)
    assert events == ["let go of", "ended"]


@pytest.mark.parametrize("listens", [False, True])
def test_a_cluster_that_does_not_answer_is_told(source, tmp_path, monkeypatch, listens):
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:  # but says nothing
            taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"^--ray_address {address}: expected a Ray cluster, found none"):
            run(source, tmp_path, cluster=Cluster(address))


def test_workers_are_spread_over_the_machines_that_have_what_they_need():
    nodes = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 32.0, "GPU": 2.0}, {"GPU": 1.0}, {"CPU": 8.0}]
    assert group(Cluster(), nodes) == Group(4, 8, 1, 8)
    assert group(Cluster(gpus_per_actor=0.5), nodes) == Group(8, 4, 0.5, 4)
    assert group(Cluster(gpus_per_actor=0), nodes) == Group(3, 8, 0, 8)
    assert group(Cluster(actors=9), [{"CPU": 2.0}, {"CPU": 4.0}]) == Group(9, 0.4, 0, 1)
    with pytest.raises(
        InputError, match=r"^--gpus_per_actor 3: expected a machine with so many GPUs, found at most 2"
    ):
        group(Cluster(gpus_per_actor=3), nodes)
    with pytest.raises(InputError, match=r"^--actors 5: expected at most 4, of 1 GPUs each"):
        group(Cluster(actors=5), nodes)


def test_one_batch_at_a_time_works_in_a_folder(source, begun):
    with (
        held(begun / OWN, InputError("taken")),
        pytest.raises(InputError, match="another batch is at work in it"),
    ):
        run(source, begun)


def test_a_folder_is_this_batchs_alone(source, begun, tmp_path_factory):
    with pytest.raises(InputError, match=r'was begun with input ".*"; expected the same, or another folder'):
        run(source.parent, begun)
    other = tmp_path_factory.mktemp("other")
    (other / "file").write_text("")
    with pytest.raises(InputError, match="expected an empty folder, or one that `deblurgan batch` began"):
        run(source, other)
    assert names(other) == ["file"]


def test_an_input_without_pictures_does_not_bind_the_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (("none", "found nothing"), ("empty", "expected pictures, found none")):
        with pytest.raises(DeblurganError, match=f"^{tmp_path}/{name}: .*{message}"):
            run(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out" / running.JOB).exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DeblurganError, match=f"^{tmp_path}/file: .*a folder"):
        run(tmp_path / "empty", tmp_path / "file")


def test_relative_paths_are_those_of_the_folder_where_the_batch_began(source, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("".join(f"{path.name}\n" for path in source.iterdir()))
    place = Place(str(tmp_path / "out"))
    share = Share(place, "earlier-0")
    for path in source.iterdir():
        share.end({"path": str(path), "output": path.name, "status": "restored"})
    share.save()
    monkeypatch.chdir(source)
    assert run(tmp_path / "list.txt", tmp_path / "out").restored == 13
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f'was begun with folder of relative paths "{source}"; expected the same'):
        run(tmp_path / "list.txt", tmp_path / "out")


@pytest.mark.parametrize("content", [b"{", b"[1, 2]"])
def test_a_file_that_holds_no_settings_is_told(source, tmp_path, content):
    Place(str(tmp_path)).write(f"{OWN}/job.json", content)
    with pytest.raises(InputError, match="expected the settings of a batch"):
        run(source, tmp_path)


def test_the_command_tells_what_is_left_out_and_what_is_wrong(tmp_path):
    assert "expected a folder, a list (.txt) or a manifest (.parquet)" in error_of(
        deblurgan("batch", tmp_path / "none", tmp_path / "out")
    )
    result = deblurgan("batch", tmp_path, tmp_path / "out", "--weight_path", tmp_path / "none.h5")
    assert error_of(result) == f"--weight_path {tmp_path}/none.h5: no such file"

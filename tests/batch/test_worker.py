"""A worker, called without Ray, in this process: its results, and what it makes of the deaths of others."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from deblurgan.batch.places import Place
from deblurgan.batch.shares import DEATHS, FOLDER, OWN, Share
from deblurgan.batch.worker import Task, Worker, packed
from deblurgan.errors import FileError
from deblurgan.jobs.running import PictureOptions
from tests.batch import standins
from tests.jobs.doing import restored
from tests.photographs import noise, save


@pytest.fixture
def pictures(tmp_path):
    """Three of one size, a larger one, a damaged one and a video."""
    folder = tmp_path / "in"
    for number in range(3):
        save(folder / f"{number}.png", noise(seed=number))
    save(folder / "large.jpg", noise(64, 48))
    (folder / "damaged.png").write_bytes(b"no picture")
    (folder / "film.mp4").write_bytes(b"")
    return folder


def share_of(folder, names, name="share"):
    paths = [f"{folder}/{picture}" for picture in names]
    return pa.table({"path": paths, "output": list(names), "share": [name] * len(names)})


def work(output, share, opener=standins.opened):
    rows = Worker(Task(str(output), opener, PictureOptions()))(packed(share)).to_pylist()
    return {Path(row["path"]).name: row for row in rows}


def test_results_are_those_of_deblur(pictures, tmp_path):
    names = ["0.png", "1.png", "2.png", "large.jpg", "damaged.png", "film.mp4"]
    rows = work(tmp_path / "out", share_of(pictures, names))
    report = restored([pictures / name for name in names[:5]], tmp_path / "expected")
    for name in names[:4]:
        content = (tmp_path / "expected" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == content
        assert (rows[name]["status"], rows[name]["bytes"]) == ("restored", len(content))
        assert rows[name]["sha256"] == hashlib.sha256(content).hexdigest()
    assert (rows["large.jpg"]["height"], rows["large.jpg"]["width"]) == (64, 48)
    assert [rows["damaged.png"]["error"]] == report.failed
    assert "videos and zip files are for `deblurgan deblur`" in rows["film.mp4"]["error"]
    assert {row["device"] for row in rows.values() if row["status"] == "restored"} == {"stand-in"}


def test_pictures_and_results_in_a_store(pictures, tmp_path):
    source, output = f"memory://{tmp_path}/in", f"memory://{tmp_path}/out"
    for name in ("0.png", "damaged.png"):
        Place(source).write(name, (pictures / name).read_bytes())
    rows = work(output, share_of(source, ["0.png", "damaged.png", "none.png"]))
    restored([pictures / "0.png"], tmp_path / "expected")
    assert Place(output).read("0.png") == (tmp_path / "expected/0.png").read_bytes()
    assert rows["damaged.png"]["error"].startswith(f"{source}/damaged.png: not a readable image")
    assert rows["none.png"]["error"].startswith(f"{source}/none.png: cannot be read")


def test_what_another_worker_has_done_is_not_done_again(pictures, tmp_path):
    first = work(tmp_path, share_of(pictures, ["0.png"]))
    (tmp_path / "0.png").unlink()
    both = work(tmp_path, share_of(pictures, ["0.png", "1.png"]))
    assert both["0.png"] == first["0.png"]
    assert not (tmp_path / "0.png").exists()
    assert (tmp_path / "1.png").exists()


def test_what_was_in_hand_at_a_death_is_tried_last_and_alone(pictures, tmp_path):
    together = []

    class Noting:
        def __call__(self, image):
            together.append(1)
            return 255 - image

        def batch(self, images):
            together.append(len(images))
            return [255 - image for image in images]

    Share(Place(str(tmp_path)), "share").begin([f"{pictures}/0.png"])
    rows = work(tmp_path, share_of(pictures, ["0.png", "1.png", "2.png"]), lambda: (Noting(), "stand-in"))
    assert (together, list(rows)) == ([2, 1], ["1.png", "2.png", "0.png"])


def test_a_picture_that_ends_its_worker_again_and_again_is_given_up(pictures, tmp_path):
    save(pictures / "poison.png", standins.poison())
    share = share_of(pictures, ["0.png", "poison.png", "1.png"])
    for _ in range(DEATHS):
        with pytest.raises(MemoryError):
            work(tmp_path, share, standins.opened_but_out_of_memory_with_poison)
    rows = work(tmp_path, share, standins.opened_but_out_of_memory_with_poison)
    assert rows["poison.png"]["status"] == "failed"
    assert rows["poison.png"]["error"] == (
        f"{pictures}/poison.png: it ended its worker 3 times: MemoryError: no room for 5 bytes"
    )
    assert [rows[name]["status"] for name in ("0.png", "1.png")] == ["restored"] * 2


def test_a_network_that_ends_its_workers_stops_the_batch(pictures, tmp_path):
    def opener():
        raise MemoryError("no room")

    for _ in range(DEATHS):
        with pytest.raises(MemoryError):
            work(tmp_path, share_of(pictures, ["0.png"]), opener)
    (row,) = work(tmp_path, share_of(pictures, ["0.png"]), opener).values()
    assert row["status"] == "stopped"
    assert row["error"] == "the network: it ended its worker 3 times while it was loaded; MemoryError: no room"


def test_an_output_that_cannot_be_written_stops_the_batch(pictures, tmp_path):
    (tmp_path / "out").write_text("a file")
    (row,) = work(tmp_path / "out", share_of(pictures, ["0.png"])).values()
    assert (row["status"], row["error"].split(": ", 1)[1]) == ("stopped", "cannot be listed: Not a directory")


def test_a_full_disk_stops_the_batch_and_is_held_against_no_picture(pictures, tmp_path, monkeypatch):
    write = Place.write

    def no_room(place, name, content):
        if content.startswith(b"\x89PNG"):  # the small files of shares find some
            raise FileError(f"{name}: cannot be written: No space left on device")
        write(place, name, content)

    with monkeypatch.context() as full:
        full.setattr(Place, "write", no_room)
        (row,) = work(tmp_path, share_of(pictures, ["0.png", "1.png"])).values()
    assert (row["status"], row["error"]) == ("stopped", "0.png: cannot be written: No space left on device")
    share = Share.opened(Place(str(tmp_path)), "share")
    assert (share.rows, share.deaths) == ([], {})


def test_a_result_that_cannot_have_its_name_costs_only_itself(pictures, tmp_path):
    share = share_of(pictures, ["0.png", "1.png"]).set_column(1, "output", pa.array([f"{'x' * 256}.png", "1.png"]))
    rows = work(tmp_path, share)
    assert {name: row["status"] for name, row in rows.items()} == {"0.png": "failed", "1.png": "restored"}
    assert rows["0.png"]["error"].endswith("cannot be written: File name too long")
    assert [path.name for path in (tmp_path / OWN).iterdir()] == ["shares"]


STATE = b'{"rows": [], "deaths": {}, "cause": "", "in_hand": []}'


@pytest.mark.parametrize("content", [b"", b"[]", b'{"rows": []}', STATE.replace(b"[]", b"[1]", 1)])
def test_a_file_that_holds_no_share_is_told(tmp_path, content):
    Place(str(tmp_path)).write(f"{FOLDER}/share.json", content)
    with pytest.raises(FileError, match=r"share\.json: expected the state of a share"):
        Share.opened(Place(str(tmp_path)), "share")

import os
from pathlib import Path

from deblurgan.errors import FileError
from deblurgan.jobs.finding import Input, find_inputs
from deblurgan.jobs.watching import watched
from tests.photographs import names


def looked(folder, script, find=None):
    """What is taken at each look, while each of the script is done between two."""
    waiting = list(script)
    find = find or (lambda: ([Input(folder / name, Path(name)) for name in names(folder)], []))
    looks = watched(find, lambda: waiting.pop(0)())
    return [[source.path.name for source in next(looks).settled] for _ in range(len(script) + 1)]


def nothing():
    pass


def test_what_appears_is_taken_when_it_is_no_longer_written_and_only_once(tmp_path):
    script = [
        lambda: (tmp_path / "a.png").write_bytes(b"1"),
        lambda: (tmp_path / "a.png").write_bytes(b"12"),
        lambda: (tmp_path / "b.png").write_bytes(b"1"),
        nothing,
        nothing,
        lambda: (tmp_path / "a.png").write_bytes(b"123"),
        lambda: (tmp_path / "b.png").unlink(),
        lambda: (tmp_path / "c.png").symlink_to("missing"),
        nothing,
    ]
    assert looked(tmp_path, script) == [[], [], [], ["a.png"], ["b.png"], [], [], ["a.png"], [], []]


def test_another_picture_of_the_same_name_size_and_time_is_a_new_one(tmp_path):
    def put(content, how):
        other = tmp_path / "other"
        (other if how == "renamed" else tmp_path / "a.bmp").write_bytes(content)
        os.utime(other if how == "renamed" else tmp_path / "a.bmp", (10**10, 10**10))  # in the future
        if how == "renamed":
            os.replace(other, tmp_path / "a.bmp")

    def again():
        (tmp_path / "a.bmp").unlink()
        put(b"4", "written")

    script = [lambda: put(b"1", "written"), nothing, lambda: put(b"2", "renamed"), nothing]
    script += [lambda: put(b"3", "written"), nothing, again, nothing, nothing]
    script += [lambda: (tmp_path / "a.bmp").chmod(0o600), nothing]  # may have become readable
    assert looked(tmp_path, script) == [*[[], [], ["a.bmp"]], *[[], ["a.bmp"]] * 3, [], [], ["a.bmp"]]


def test_a_folder_may_go_and_come_again(tmp_path):
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    (folder / "a.png").touch()
    script = [nothing, lambda: folder.rename(away), nothing, lambda: away.rename(folder), nothing]
    script += [lambda: (folder / "a.png").rename(away), nothing, lambda: away.rename(folder / "a.png"), nothing]
    looks = watched(lambda: find_inputs([folder], may_be_empty=True), lambda: script.pop(0)())
    looks = [next(looks) for _ in range(len(script) + 1)]
    gone = f"{folder}: expected a picture or a folder of pictures, found nothing"
    assert [look.problems for look in looks] == [[], [], [gone], *[[]] * 7]  # is told once
    taken = [[source.path.name for source in look.settled] for look in looks]
    assert taken == [[], ["a.png"], *[[]] * 7, ["a.png"]]  # not again for the folder, but for the file
    assert [bool(look.there) for look in looks] == [True, True, False, False, True, True, False, False, True, True]


def test_a_folder_that_cannot_be_looked_into_is_told_again_when_it_could_be_meanwhile(tmp_path):
    answers = ["gone", "gone", None, "gone"]

    def find():
        answer = answers.pop(0)
        if answer:
            raise FileError(answer)
        return [], []

    looks = watched(find, nothing)
    assert [next(looks).problems for _ in range(4)] == [["gone"], [], [], ["gone"]]

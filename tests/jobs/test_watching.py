from pathlib import Path

from deblurgan.jobs.finding import Input
from deblurgan.jobs.watching import watched
from tests.photographs import names


def test_what_appears_is_taken_when_it_is_no_longer_written_and_only_once(tmp_path):
    script = [
        lambda: (tmp_path / "a.png").write_bytes(b"1"),
        lambda: (tmp_path / "a.png").write_bytes(b"12"),
        lambda: (tmp_path / "b.png").write_bytes(b"1"),
        lambda: None,
        lambda: None,
        lambda: (tmp_path / "a.png").write_bytes(b"123"),
        lambda: (tmp_path / "b.png").unlink(),
        lambda: (tmp_path / "c.png").symlink_to("missing"),
        lambda: None,
    ]

    def find():
        return [Input(tmp_path / name, Path(name)) for name in names(tmp_path)]

    looks = watched(find, lambda: script.pop(0)())
    assert [[source.path.name for source in next(looks)] for _ in range(10)] == [
        [], [], [], ["a.png"], ["b.png"], [], [], ["a.png"], [], [],
    ]  # fmt: skip

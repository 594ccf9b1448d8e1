import pytest


@pytest.fixture
def clip(tmp_path):
    """Ten frames in MP4 with sound."""
    clips = pytest.importorskip("tests.video.clips")
    return clips.write(tmp_path / "in" / "clip.mp4", clips.levels(10), sound="aac")


@pytest.fixture
def one_by_one(monkeypatch):
    """Frames come singly, and three make a part."""
    from deblurgan.video import restoring, resuming

    monkeypatch.setattr(restoring, "_BATCH_FRAMES", 1)
    monkeypatch.setattr(resuming, "_PART_FRAMES", 3)

from fractions import Fraction

import numpy as np
import pytest

from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import restore_video
from tests.video.clips import greys, identity, levels, packets, times, write

av = pytest.importorskip("av")


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_video_that_begins_after_its_sound_still_does(tmp_path, extension):
    sound = "libopus" if extension == ".webm" else "aac"
    source = write(tmp_path / f"x{extension}", levels(8), times=list(range(7, 15)), sound=sound)
    target = tmp_path / "out" / source.name
    restore_video(identity, source, target)
    assert times(target) == times(source)
    assert times(source)[0] == Fraction(7, 25)
    assert packets(target, "audio") == packets(source, "audio")


def test_a_cover_picture_is_copied(tmp_path):
    plain = write(tmp_path / "plain.mp4", levels(4))
    source, target = tmp_path / "x.mp4", tmp_path / "y.mp4"
    cover = write_cover(plain, source)
    assert restore_video(identity, source, target) == ()
    for path in (source, target):
        with av.open(str(path)) as file:
            _, picture = file.streams.video
            assert picture.disposition & av.stream.Disposition.attached_pic
            assert [bytes(p) for p in file.demux(picture) if p.size] == [cover]
    np.testing.assert_allclose(greys(target), greys(plain), atol=3)


def write_cover(plain, target):
    """Add a PNG picture to a video; return it."""
    with av.open(str(target), "w") as output, av.open(str(plain)) as file:
        stream = output.add_stream_from_template(file.streams.video[0], opaque=True)
        cover = output.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic.value
        (picture,) = cover.encode(av.VideoFrame.from_ndarray(levels(1, (16, 16))[0], format="rgb24"))
        for packet in file.demux():
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
        content = bytes(picture)
        output.mux(picture)
    return content


@pytest.mark.parametrize(("extension", "sound"), [(".mp4", "aac"), (".mkv", "flac"), (".webm", "libopus")])
def test_sound_metadata_and_chapters_are_copied(tmp_path, extension, sound):
    marks = [(0, 200, "begin"), (200, 400, "end")]
    unit = Fraction(1, 1000)
    chapters = [
        {"id": number, "start": start, "end": end, "time_base": unit, "metadata": {"title": title}}
        for number, (start, end, title) in enumerate(marks)
    ]
    source = write(tmp_path / f"x{extension}", levels(10), sound=sound, chapters=chapters, metadata={"title": "Über"})
    target = tmp_path / "out" / source.name
    assert restore_video(identity, source, target) == ()
    assert packets(target, "audio") == packets(source, "audio")
    assert len(packets(source, "audio")) > 3
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.metadata["title"] == "Über"
        (old,), (new,) = (file.streams.audio for file in (before, after))
        for tags in (old.metadata, new.metadata):
            assert (tags["language"], tags.get("title", tags.get("name"))) == ("swe", "As spoken")
        found = [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in after.chapters()]
        assert found == [(start * unit, end * unit, {"title": title}) for start, end, title in marks]
        assert abs(after.duration - before.duration) <= 20_000  # microseconds: of the last sound that is not played
        for old, new in zip(before.streams, after.streams, strict=True):
            assert (new.type, new.duration, new.disposition) == (old.type, old.duration, old.disposition)


def test_subtitles_are_copied(tmp_path):
    source = write(tmp_path / "x.mkv", levels(10), subtitles=True)
    assert restore_video(identity, source, tmp_path / "y.mkv") == ()
    assert (
        packets(tmp_path / "y.mkv", "subtitle") == packets(source, "subtitle") == [(0.08, b"hello"), (0.24, b"there")]
    )


def test_what_the_container_cannot_hold_is_said(tmp_path):
    source = write(tmp_path / "x.mkv", levels(4), subtitles=True)
    (notice,) = restore_video(identity, source, tmp_path / "y.mp4")
    assert notice == "stream 1 (subtitle) is not kept: mp4 cannot hold it"


def test_chapters_of_a_part_are_cut(tmp_path):
    unit = Fraction(1, 1000)
    marks = [(0, 100, "a"), (100, 300, "b"), (300, 400, "c")]
    chapters = [
        {"id": number, "start": start, "end": end, "time_base": unit, "metadata": {"title": title}}
        for number, (start, end, title) in enumerate(marks)
    ]
    source = write(tmp_path / "x.mkv", levels(10), chapters=chapters)
    restore_video(identity, source, tmp_path / "y.mkv", VideoOptions(start=0.2))
    with av.open(str(tmp_path / "y.mkv")) as file:
        found = [(float(c["start"] * c["time_base"]), c["metadata"]["title"]) for c in file.chapters()]
    assert found == [(0, "b"), (0.1, "c")]

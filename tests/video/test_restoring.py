import os
import resource
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from deblurgan.cli import main
from deblurgan.deblurrer import Deblurrer
from deblurgan.errors import FileError, InputError
from deblurgan.jobs.finding import find_inputs
from deblurgan.video import looking
from deblurgan.video import restoring as videos
from deblurgan.video.options import VideoOptions
from deblurgan.video.restoring import restore_video
from tests.jobs.doing import planned, restored
from tests.photographs import names
from tests.video.clips import EXTENSIONS, Stops, greys, identity, levels, packets, read, times, write, write_tone

av = pytest.importorskip("av")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_frames_are_restored_and_written_into_the_same_kind_of_file(tmp_path, extension):
    source = write(tmp_path / f"x{extension}", levels(10))
    target = tmp_path / "out" / source.name
    assert restore_video(lambda image: 255 - image, source, target) == ()
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.format.name == before.format.name
        assert after.streams.video[0].codec_context.name == ("vp9" if extension == ".webm" else "h264")
        assert after.streams.video[0].average_rate == before.streams.video[0].average_rate == 25
    np.testing.assert_allclose(greys(target), [255 - level for level in greys(source)], atol=3)
    assert times(target) == times(source)
    assert sorted(os.listdir(target.parent)) == [target.name]


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [
        ("x.avi", "mpeg4", "pcm_s16le"),
        ("x.flv", "flv1", None),
        ("x.mpg", "mpeg2video", None),
        ("x.WMV", "wmv2", None),
    ],
)
def test_a_video_in_a_container_that_is_only_read_becomes_matroska(tmp_path, name, codec, sound):
    form = {".avi": "avi", ".flv": "flv", ".mpg": "mpeg", ".WMV": "asf"}[Path(name).suffix]
    more = {"sound": sound} if sound else {}
    path = write(tmp_path / "in" / name, levels(10, (64, 48)), codec=codec, format=form, **more)
    report = restored([path.parent], tmp_path / "out")
    assert (report.written, report.failed) == ([tmp_path / "out" / "x.mkv"], [])
    assert report.notices == [f"{path}: {path.suffix[1:].lower()} is written as matroska"]
    np.testing.assert_allclose(greys(report.written[0]), [255 - level for level in greys(path)], atol=4)
    if sound:
        assert b"".join(content for _, content in packets(report.written[0], "audio"))


def test_small_frames_are_restored_several_at_once(clip, tmp_path):
    class Network:
        def __init__(self):
            self.counts = []

        def __call__(self, image):
            pytest.fail("one at a time")

        def batch(self, images):
            self.counts.append(len(images))
            return [255 - image for image in images]

    network = Network()
    restore_video(network, clip, tmp_path / "y.mp4")
    assert sum(network.counts) == 10
    assert max(network.counts) > 1
    np.testing.assert_allclose(greys(tmp_path / "y.mp4"), [255 - level for level in greys(clip)], atol=3)


def test_crf_trades_size_for_quality(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    source = write(tmp_path / "x.mp4", [noise] * 3)
    sizes = []
    for crf in (10, 40):
        restore_video(identity, source, tmp_path / "y.mp4", VideoOptions(crf=crf))
        sizes.append(os.path.getsize(tmp_path / "y.mp4"))
    assert sizes[0] > 1.5 * sizes[1]


@pytest.mark.parametrize("extension", [".mp4", ".mkv"])
def test_a_part_begins_and_ends_where_it_is_asked_to(tmp_path, extension):
    source = write(tmp_path / f"x{extension}", levels(10), sound="aac", options={"g": "4"})
    target = tmp_path / f"y{extension}"
    restore_video(identity, source, target, VideoOptions(start=0.12, end=0.28))
    np.testing.assert_allclose(greys(target), greys(source)[3:7], atol=3)
    assert times(target) == [Fraction(number, 25) for number in range(4)]
    wanted = [(time, content) for time, content in packets(source, "audio") if 0.12 <= time < 0.28]
    found = packets(target, "audio")
    assert [content for _, content in found] == [content for _, content in wanted]
    np.testing.assert_allclose([time for time, _ in found], [time - 0.12 for time, _ in wanted], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "start: expected seconds from 0 on, received -1"),
        ({"start": float("nan")}, "start: expected seconds from 0 on, received nan"),
        ({"start": "1"}, "start: expected seconds from 0 on, received '1'"),
        ({"crf": 64}, "crf: expected a whole number from 0 to 63, received 64"),
        ({"crf": -5}, "crf: expected a whole number from 0 to 63, received -5"),
        ({"start": 3, "end": 2}, "end: expected more than the start, 3 s, received 2 s"),
        ({"end": 0}, "end: expected more than the start, 0 s, received 0 s"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        VideoOptions(**options)


def test_a_start_behind_the_end_is_an_error(clip, tmp_path):
    with pytest.raises(FileError, match=r"clip\.mp4: expected frames from 7 s on, found none"):
        restore_video(identity, clip, tmp_path / "out" / "y.mp4", VideoOptions(start=7))
    assert os.listdir(tmp_path / "out") == []


def test_a_video_that_is_being_restored_is_not_begun_again(clip, tmp_path):
    target, met = tmp_path / "out" / "clip.mp4", []

    def restore(image):
        if not met:
            with pytest.raises(FileError) as caught:
                restore_video(identity, clip, target)
            met.append(str(caught.value))
        return image

    assert restore_video(restore, clip, target) == ()
    assert met == [f"{target}: another process is restoring a video into this file"]
    assert len(read(target)) == 10


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mkv").write_text("This is not a video.")
    Image.fromarray(levels(1)[0]).save(tmp_path / "picture.png")
    (tmp_path / "folder.mp4").mkdir()
    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        write_tone(file, file.add_stream("aac", rate=48000), 0.2)
    for name, message in (
        ("empty.mp4", "not a readable video: "),
        ("text.mkv", "not a readable video: Invalid data"),
        ("sound.mp4", "expected a video stream that can be decoded, found audio"),
        ("folder.mp4", "not a file"),
        ("missing.mp4", "no such file"),
    ):
        with pytest.raises(FileError, match=rf"{name}: {message}") as caught:
            restore_video(identity, tmp_path / name, tmp_path / "out" / "y.mp4")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_video_cut_off_before_its_index_is_an_error(clip, tmp_path):
    clip.write_bytes(clip.read_bytes()[: os.path.getsize(clip) // 2])
    with pytest.raises(FileError, match=r"clip\.mp4: "):
        restore_video(identity, clip, tmp_path / "out" / "y.mp4")


@pytest.mark.parametrize(("extension", "container"), [(".mkv", {}), (".mp4", {"movflags": "+faststart"})])
def test_of_a_truncated_video_what_is_there_is_restored_and_the_rest_told(tmp_path, extension, container):
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(90)]
    source = write(tmp_path / f"x{extension}", frames, container=container, sound="aac")
    source.write_bytes(source.read_bytes()[: os.path.getsize(source) // 3])
    (notice,) = restore_video(identity, source, tmp_path / f"y{extension}")
    assert notice.startswith("damaged: ")
    assert 10 < len(read(tmp_path / f"y{extension}")) < 60


def test_the_content_decides_what_is_read_and_the_name_what_is_written(tmp_path):
    source = write(tmp_path / "x.mp4", levels(4), format="matroska")
    assert restore_video(identity, source, tmp_path / "y.mp4") == ()
    with av.open(str(tmp_path / "y.mp4")) as file:
        assert "mp4" in file.format.name
    with pytest.raises(InputError, match=r"y\.avi: expected one of \.3g2 .*\.mkv \.mov \.mp4 .*\.webm, got '\.avi'"):
        restore_video(identity, source, tmp_path / "y.avi")


def test_very_large_frames_are_refused(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "_MOST_PIXELS", 32 * 24 - 1)
    with pytest.raises(FileError, match=r"clip\.mp4: expected frames of at most 767 pixels, found 32x24"):
        restore_video(identity, clip, tmp_path / "out.mp4")


@pytest.mark.parametrize("name", ["12:30.mp4", "concat:clip.mp4"])
def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path("clip.mp4"), levels(2))
    write(Path("other.mp4"), levels(4)).rename(name)
    assert restore_video(identity, name, f"out:{name}") == ()
    assert len(read(tmp_path / f"out:{name}")) == 4


def test_without_pyav_the_extra_is_named(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"videos need PyAV: pip install 'deblurgan\[video\]'"):
        restore_video(identity, clip, tmp_path / "y.mp4")


def test_a_target_that_cannot_be_written_is_named(clip, tmp_path):
    (tmp_path / "y.mp4").mkdir()
    with pytest.raises(FileError, match=r"y\.mp4: cannot be written: not a file"):
        restore_video(identity, clip, tmp_path / "y.mp4")
    with pytest.raises(FileError, match=r"clip\.mp4: expected a folder, found a file"):
        restore_video(identity, clip, clip / "y.mp4")


def test_a_video_that_goes_after_it_was_looked_at_is_named(tmp_path, monkeypatch):
    source = write(tmp_path / "x.mp4", levels(2))

    def looked_at(*arguments):
        video = look_at(*arguments)
        source.unlink()
        return video

    look_at = videos.look_at
    monkeypatch.setattr(videos, "look_at", looked_at)
    with pytest.raises(FileError, match=r"x\.mp4: cannot be read: No such file"):
        restore_video(identity, source, tmp_path / "out" / "x.mp4")
    assert os.listdir(tmp_path / "out") == []


def test_a_full_disk_leaves_no_broken_file(tmp_path):
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(30)]
    source = write(tmp_path / "x.mp4", frames)
    (tmp_path / "y.mp4").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(FileError, match="cannot be written: File too large"):
            restore_video(identity, source, tmp_path / "y.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "y.mp4").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["x.mp4", "y.mp4"]


def test_a_network_that_refuses_the_frames_is_told_with_the_name(clip, tmp_path):
    def refuse(image):
        raise InputError("image: expected at least 64x64 pixels")

    with pytest.raises(InputError, match=r"clip\.mp4: image: expected at least 64x64 pixels"):
        restore_video(refuse, clip, tmp_path / "out" / "y.mp4")
    assert os.listdir(tmp_path / "out") == []


@pytest.fixture
def mixed(clip):
    """The clip, a picture, and a video in a folder below."""
    Image.fromarray(levels(1)[0]).save(clip.parent / "a.png")
    write(clip.parent / "sub" / "deep.MKV", levels(3), format="matroska")
    return clip.parent


def test_videos_are_found_and_planned_beside_pictures(mixed):
    sources, _ = find_inputs([mixed], recursive=True)
    assert [str(job.target) for job in planned(sources, "out", suffix="_x", file_format="jpg")] == [
        "a_x.jpg",
        "clip_x.mp4",
        "sub/deep_x.MKV",
    ]
    sources, _ = find_inputs([str(mixed / "*.mp4")])
    assert [source.is_video for source in sources] == [True]


@pytest.mark.parametrize("output", ["out.zip", "-"])
def test_a_video_goes_into_a_folder(clip, output):
    sources, _ = find_inputs([clip])
    with pytest.raises(InputError, match=r"clip\.mp4: a video goes into a folder, received "):
        planned(sources, output)


def test_pictures_and_videos_are_restored_together_and_failures_told(mixed, tmp_path):
    (mixed / "broken.webm").write_text("no video")
    done = []
    options = {"recursive": True, "compare": tmp_path / "page.html", "progress": done.append}
    report = restored([mixed], tmp_path / "out", **options)
    assert [path.name for path in report.written] == ["a.png", "clip.mp4", "deep.MKV"]
    assert len(report.failed) == 1
    assert "broken.webm: not a readable video" in report.failed[0]
    assert len(done) == 4
    assert f"{mixed / 'clip.mp4'}: a video: not compared" in report.notices
    np.testing.assert_allclose(greys(tmp_path / "out" / "sub" / "deep.MKV"), [235, 215, 195], atol=3)
    report = restored([mixed], tmp_path / "out", recursive=True, skip_existing=True)
    assert [path.name for path in report.skipped] == ["a.png", "clip.mp4", "deep.MKV"]


@pytest.mark.parametrize("options", [{"resize": 16}, {"side_by_side": True}])
def test_the_tutorials_ways_of_looking_refuse_videos(clip, tmp_path, options):
    report = restored([clip], tmp_path / "out", identity, **options)
    assert report.failed == [f"{clip}: a video is restored at its own size, alone; expected neither of these options"]


def test_a_video_may_be_replaced_by_its_own_result(clip):
    before = greys(clip)
    report = restored([clip], clip.parent, overwrite=True)
    assert report.written == [clip]
    np.testing.assert_allclose(greys(clip), [255 - level for level in before], atol=3)
    assert packets(clip, "audio")


def test_a_deblurrer_restores_videos(clip, tmp_path):
    assert Deblurrer(lambda image: 255 - image).restore_video(clip, tmp_path / "y.mp4", VideoOptions(end=0.1)) == ()
    assert len(read(tmp_path / "y.mp4")) == 3


def test_the_command_restores_a_part_and_tells_what_was_interrupted(clip, tmp_path, monkeypatch):
    restore = Stops(100)
    monkeypatch.setattr("deblurgan.restoring.opening.open_restorer", lambda *arguments, **options: restore)
    monkeypatch.setattr(videos, "_BATCH_FRAMES", 1)
    out = tmp_path / "out"
    arguments = ["deblur", str(clip), "--output_dir", str(out), "--end", "0.2"]
    result = CliRunner().invoke(main, [*arguments, "--dry_run"])
    assert result.output == f"{clip} -> {out / 'clip.mp4'}\n"
    restore.left = 2
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 130
    assert f"{clip}: restored up to 0.040 s; the same command goes on from there" in result.output
    restore.left = 100
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, len(restore.seen)) == (0, 5)
    assert "1 of 1 pictures and videos restored" in result.output
    assert len(read(out / "clip.mp4")) == 5
    result = CliRunner().invoke(main, [*arguments, "--start", "0.3"])
    assert result.exit_code == 1
    assert "Error: end: expected more than the start, 0.3 s, received 0.2 s" in result.output


def test_a_list_of_other_files_in_the_name_of_a_video_is_not_followed(tmp_path):
    write(tmp_path / "private.mkv", levels(3))
    (tmp_path / "sent.mp4").write_text("ffconcat version 1.0\nfile 'private.mkv'\n")
    with pytest.raises(FileError, match=r"sent\.mp4: not a readable video"):
        restore_video(identity, tmp_path / "sent.mp4", tmp_path / "out.mp4")
    assert names(tmp_path) == ["private.mkv", "sent.mp4"]

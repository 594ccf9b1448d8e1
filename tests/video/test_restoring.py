import contextlib
import os
import resource
import subprocess
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
from deblurgan.jobs.finding import find_sources
from deblurgan.video import parts
from deblurgan.video import restoring as videos
from deblurgan.video.options import VideoOptions
from deblurgan.video.parts import parts_folder
from deblurgan.video.restoring import Interrupted, restore_video
from tests.jobs.doing import planned, restored

av = pytest.importorskip("av")

SIZE = (32, 24)
MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # ITU-T H.273's number: K_R and K_B
EXTENSIONS = [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".ts", ".mts", ".3gp", ".3g2"]
SRT = "1\n00:00:00,080 --> 00:00:00,200\nhello\n\n2\n00:00:00,240 --> 00:00:00,320\nthere\n"


def identity(image):
    return image


def levels(count, size=SIZE):
    """Flat grey frames, 20 levels apart, so that each can be told from the others."""
    return [np.full((size[1], size[0], 3), 20 + 20 * number, np.uint8) for number in range(count)]


FORMATS = {".mts": "mpegts"}  # that PyAV does not know by their names


def write(
    path, frames, *, codec=None, pix_fmt="yuv420p", tags=(1, 1, 1, 1), times=None, unit=Fraction(1, 25), **more
):
    """Write a video, with little loss, of RGB arrays or `VideoFrame`s; tags: range, primaries, transfer, matrix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = codec or ("libvpx-vp9" if path.suffix == ".webm" else "libx264")
    options = {"libvpx-vp9": {"crf": "4", "b:v": "0"}, "libx264": {"qp": "4", **more.get("options", {})}}.get(
        codec, {}
    )
    form = more.get("format", FORMATS.get(path.suffix))
    with av.open(str(path), "w", format=form, options=more.get("container", {})) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        first = frames[0]
        shape = (first.width, first.height) if isinstance(first, av.VideoFrame) else first.shape[1::-1]
        stream.width, stream.height = shape
        context = stream.codec_context
        context.pix_fmt, context.time_base = pix_fmt, unit
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = tags
        if "aspect" in more:
            context.sample_aspect_ratio = more["aspect"]
        if "matrix" in more:
            stream.set_display_matrix(more["matrix"])
        file.metadata.update(more.get("metadata", {}))
        if more.get("chapters"):
            file.set_chapters(more["chapters"])
        copied = [open_subtitles(path)] if more.get("subtitles") else []
        added = [file.add_stream_from_template(other.streams[0]) for other in copied]
        sound = file.add_stream(more["sound"], rate=48000) if "sound" in more else None
        if sound is not None:
            sound.metadata.update({"language": "swe", "title": "As spoken"})
        for number, frame in enumerate(frames):
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(frame, format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        for other, output in zip(copied, added, strict=True):
            for packet in other.demux():
                if packet.dts is not None:
                    packet.stream = output
                    file.mux(packet)
            other.close()
        if sound is not None:
            write_tone(file, sound, len(frames) / 25)
    return path


def open_subtitles(path):
    text = path.with_suffix(".srt")
    text.write_text(SRT)
    return av.open(str(text))


def write_tone(file, stream, seconds):
    size = stream.codec_context.frame_size or 960
    for number in range(round(seconds * 48000) // size):
        wave = np.sin((np.arange(size) + number * size) / 17) * 9000
        frame = av.AudioFrame.from_ndarray(wave.astype(np.int16).repeat(2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48000, number * size, Fraction(1, 48000)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def read(path):
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


def greys(path):
    """The mean level of each frame's luma, brought from limited range to 0 .. 255."""
    return [(plane(frame).mean() - 16) * 255 / 219 for frame in read(path)]


def times(path):
    return [frame.pts * frame.time_base for frame in read(path)]


def plane(frame, number=0, dtype=np.uint8):
    part = frame.planes[number]
    values = np.frombuffer(part, dtype).reshape(part.height, -1)
    return values[:, : part.width].astype(int)


def packets(path, kind):
    """Time in seconds and content of all packets of the first stream of a kind."""
    with av.open(str(path)) as file:
        stream = next(stream for stream in file.streams if stream.type == kind)
        return [(float(p.pts * p.time_base), bytes(p)) for p in file.demux(stream) if p.dts is not None]


def gradient(width, height):
    y, x = np.mgrid[:height, :width]
    return np.stack([30 + x * 190 // width, 30 + y * 190 // height, 200 - x * 150 // width], 2).astype(np.uint8)


def coded(rgb, matrix, full, bits):
    """RGB as Y, Cb, Cr at full resolution, by the formulas of ITU-T H.273."""
    red, blue = MATRICES[matrix]
    r, g, b = np.moveaxis(rgb / 255.0, 2, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = ((b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red)))
    top, scale, middle = 2**bits - 1, 2 ** (bits - 8), 2 ** (bits - 1)
    scaled = [luma * top] if full else [luma * 219 * scale + 16 * scale]
    scaled += [part * (top if full else 224 * scale) + middle for part in chroma]
    return [np.rint(part).astype(np.uint16 if bits > 8 else np.uint8) for part in scaled]


def frame_of(planes, pix_fmt):
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pix_fmt)
    for target, values in zip(frame.planes, planes, strict=True):
        row = np.zeros((target.height, target.line_size // values.itemsize), values.dtype)
        row[:, : target.width] = values
        target.update(row.tobytes())
    return frame


@pytest.fixture
def clip(tmp_path):
    """Ten frames in MP4 with sound."""
    return write(tmp_path / "in" / "clip.mp4", levels(10), sound="aac")


# What is kept


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


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_go_through_the_matrix_and_range_of_the_video_both_ways(tmp_path, matrix, full, bits):
    rgb = gradient(64, 48)
    pix_fmt = "yuv444p" if bits == 8 else "yuv444p10le"
    planes = coded(rgb, matrix, full, bits)
    tags = (2 if full else 1, 1, 1, matrix)
    source = write(tmp_path / "x.mp4", [frame_of(planes, pix_fmt)] * 3, pix_fmt=pix_fmt, tags=tags)
    seen = []
    assert restore_video(lambda image: seen.append(image) or image, source, tmp_path / "y.mp4") == ()
    assert seen[0].dtype == (np.uint8 if bits == 8 else np.uint16)
    top = 255 if bits == 8 else 65535
    assert np.abs(seen[0] / top - rgb / 255.0).max() < 5 / 255
    frame = read(tmp_path / "y.mp4")[1]
    assert frame.format.name.replace("j", "") == pix_fmt
    assert (frame.color_range, frame.colorspace) == tags[::3]
    for number, values in enumerate(planes):
        difference = np.abs(plane(frame, number, values.dtype) - values.astype(int))
        assert difference.mean() < 1.5 * 2 ** (bits - 8)


@pytest.mark.parametrize("extension", [".mp4", ".webm"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_halved_chroma_stays_where_it_is(tmp_path, matrix, full, extension):
    luma, *chroma = coded(gradient(64, 48), matrix, full, 8)
    halved = [np.rint(part.reshape(24, 2, 32, 2).mean((1, 3))).astype(np.uint8) for part in chroma]
    frame, tags = frame_of([luma, *halved], "yuv420p"), (2 if full else 1, 1, 1, matrix)
    source = write(tmp_path / f"x{extension}", [frame] * 3, tags=tags)
    assert restore_video(identity, source, tmp_path / f"y{extension}") == ()
    old, new = read(source)[1], read(tmp_path / f"y{extension}")[1]
    assert (new.color_range, new.colorspace) == (old.color_range, old.colorspace) == tags[::3]
    for number in range(3):
        assert np.abs(plane(new, number) - plane(old, number)).mean() < 1.5


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".webm", ".mov"])
@pytest.mark.parametrize("tags", [(1, 1, 13, 1), (1, 5, 6, 5), (2, 1, 1, 1)])
def test_colour_tags_and_pixel_aspect_stay(tmp_path, extension, tags):
    source = write(tmp_path / f"x{extension}", levels(3), tags=tags, aspect=Fraction(4, 3))
    restore_video(identity, source, tmp_path / "out" / source.name)
    with av.open(str(source)) as before, av.open(str(tmp_path / "out" / source.name)) as after:
        for file in (before, after):
            next(file.decode(video=0))
        old, new = before.streams.video[0], after.streams.video[0]
        for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
            assert getattr(new.codec_context, name) == getattr(old.codec_context, name)
        assert (old.codec_context.color_range, old.codec_context.color_primaries) == tags[:2]
        assert new.sample_aspect_ratio == old.sample_aspect_ratio
        assert extension == ".webm" or old.sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.skipif(not hasattr(av.video.stream.VideoStream, "set_display_matrix"), reason="PyAV 18 writes them")
@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("turn", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1), (-1, 0, 0, 1)])
def test_a_turned_video_is_restored_as_stored_and_stays_turned(tmp_path, extension, turn):
    if extension == ".mkv" and turn == (-1, 0, 0, 1):
        pytest.skip("Matroska has no mirrored videos")
    a, b, c, d = (value << 16 for value in turn)
    frames = [gradient(*SIZE)] * 3
    source = write(tmp_path / f"x{extension}", frames, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    seen = []
    restore_video(lambda image: seen.append(image) or image, source, tmp_path / "out" / source.name)
    assert np.abs(seen[0].astype(int) - gradient(*SIZE)).mean() < 6
    old, new = (bytes(read(path)[0].side_data["DISPLAYMATRIX"]) for path in (source, tmp_path / "out" / source.name))
    assert new == old
    assert tuple(np.frombuffer(old, np.int32)[[0, 1, 3, 4]] >> 16) == turn


@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".webm"])
def test_uneven_time_stamps_stay(tmp_path, extension):
    stamps = [0, 40, 41, 300, 333, 1000, 1001, 1500]
    source = write(tmp_path / f"x{extension}", levels(8), times=stamps, unit=Fraction(1, 1000))
    restore_video(identity, source, tmp_path / "out" / source.name)
    assert [time * 1000 for time in times(tmp_path / "out" / source.name)] == stamps
    np.testing.assert_allclose(greys(tmp_path / "out" / source.name), greys(source), atol=3)


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


@pytest.mark.parametrize("size", [(33, 24), (32, 25), (33, 25)])
def test_odd_sizes_stay(tmp_path, size):
    frames = [gradient(*size)] * 3
    webm = write(tmp_path / "x.webm", frames)
    assert restore_video(identity, webm, tmp_path / "out" / "x.webm") == ()
    mkv = write(tmp_path / "x.mkv", frames, codec="libvpx-vp9")
    (notice,) = restore_video(identity, mkv, tmp_path / "out" / "x.mkv")
    assert f"{size[0]}x{size[1]}, which H.264 holds as YUV 4:4:4 alone" in notice
    for name in ("x.webm", "x.mkv"):
        (frame, *_) = read(tmp_path / "out" / name)
        assert (frame.width, frame.height) == size
        assert np.abs(plane(frame) - plane(read(webm)[0])).mean() < 3


@pytest.mark.parametrize(
    ("pix_fmt", "extension", "written", "notice"),
    [
        ("yuv422p", ".mkv", "yuv422p", ()),
        ("yuv420p10le", ".mp4", "yuv420p10le", ()),
        ("nv12", ".mp4", "yuv420p", ()),
        ("gray", ".mkv", "yuv420p", ()),
        ("bgr0", ".mkv", "yuv444p", ("RGB becomes YUV 4:4:4",)),
        ("yuva420p", ".mkv", "yuv420p", ("its alpha is not kept",)),
        ("yuv420p10le", ".webm", "yuv420p", ("10 bits become 8",)),
    ],
)
def test_the_pixel_format_stays_where_the_encoder_has_it(tmp_path, pix_fmt, extension, written, notice):
    encoded = {"codec": "ffv1", "tags": (0, 2, 2, 2)} if pix_fmt in ("gray", "bgr0", "yuva420p") else {}
    source = write(tmp_path / "x.mkv", levels(3), pix_fmt=pix_fmt, **encoded)
    target = tmp_path / f"y{extension}"
    assert restore_video(identity, source, target) == notice
    assert read(target)[0].format.name == written


def test_interlaced_video_is_noticed(tmp_path):
    source = write(tmp_path / "x.mp4", levels(3, (64, 64)), options={"x264-params": "tff=1"})
    (notice,) = restore_video(identity, source, tmp_path / "y.mp4")
    assert notice.startswith("interlaced: both fields are restored as one picture")


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


# Parts


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


# Interruption


class Stops:
    """Restores so many frames and is interrupted then."""

    quality = None

    def __init__(self, count, error=KeyboardInterrupt):
        self.left, self.error, self.seen = count, error, []

    def __call__(self, image):
        if self.left == 0:
            raise self.error
        self.left -= 1
        self.seen.append(round(float(image.mean())))
        return image


@pytest.fixture
def one_by_one(monkeypatch):
    """Frames come singly, and three make a part."""
    monkeypatch.setattr(videos, "_BATCH_FRAMES", 1)
    monkeypatch.setattr(parts, "_PART_FRAMES", 3)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("extension", [".mp4", ".mkv", ".webm"])
@pytest.mark.parametrize("options", [VideoOptions(), VideoOptions(start=0.04, end=0.36)])
def test_after_ctrl_c_the_same_call_goes_on_where_it_stopped(tmp_path, extension, options):
    source = write(tmp_path / f"x{extension}", levels(10), options={"g": "5"})
    target, whole = tmp_path / "out" / source.name, tmp_path / "whole" / source.name
    restore_video(identity, source, whole, options)
    with pytest.raises(Interrupted, match=r"restored up to 0\.\d+ s; the same command goes on from there"):
        restore_video(Stops(5), source, target, options)
    assert os.listdir(target.parent) == [parts_folder(target).name]
    rest = Stops(100)
    restore_video(rest, source, target, options)
    assert len(rest.seen) == len(read(whole)) - 5
    assert times(target) == times(whole)
    np.testing.assert_allclose(greys(target), greys(whole), atol=3)
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.usefixtures("one_by_one")
def test_progress_counts_what_was_done_before(clip, tmp_path):
    told = []

    @contextlib.contextmanager
    def progress(path, done, total):
        told.append([path, done, total])
        yield lambda more: told[-1].append(more)

    for restore in (Stops(4), identity):
        with contextlib.suppress(Interrupted):
            restore_video(restore, clip, tmp_path / "y.mp4", VideoOptions(progress=progress))
    assert told == [[clip, 0, 10, *[1] * 4], [clip, 4, 10, *[1] * 6]]


@pytest.mark.usefixtures("one_by_one")
def test_parts_of_other_settings_or_another_video_are_not_gone_on_with(clip, tmp_path):
    target = tmp_path / "out" / "clip.mp4"
    for settings, changed in (("a", False), ("b", False), ("b", True)):
        if changed:
            os.utime(clip, (1, 1))
        again = Stops(4)
        with pytest.raises(Interrupted):
            restore_video(again, clip, target, VideoOptions(settings=settings))
        np.testing.assert_allclose(again.seen, [20, 40, 60, 80], atol=3)  # from the beginning
    rest = Stops(100)
    restore_video(rest, clip, target, VideoOptions(settings="b"))
    assert len(rest.seen) == 6


def test_finished_parts_outlast_a_kill(clip, tmp_path):
    program = (
        "import os, sys; from deblurgan.video import parts, restoring as video; "
        "video._BATCH_FRAMES, parts._PART_FRAMES = 1, 3; seen = []\n"
        "video.restore_video(lambda x: x if seen.append(1) or len(seen) < 9 else os._exit(9), *sys.argv[1:])"
    )
    target = tmp_path / "out" / "clip.mp4"
    done = subprocess.run([sys.executable, "-c", program, clip, target], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    assert not target.exists()
    rest = Stops(100)
    restore_video(rest, clip, target)
    assert len(rest.seen) in (4, 7)  # seven or eight were handed over to be written, so that one or two parts were
    np.testing.assert_allclose(greys(target), greys(clip), atol=3)
    assert os.listdir(target.parent) == ["clip.mp4"]


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("damaged", [0, 1])
def test_parts_from_a_damaged_one_on_are_made_again(clip, tmp_path, damaged):
    target = tmp_path / "out" / "clip.mp4"
    with pytest.raises(Interrupted):
        restore_video(Stops(8), clip, target)
    sorted(parts_folder(target).glob("*.mp4"), key=lambda path: int(path.stem))[damaged].write_bytes(b"")
    rest = Stops(100)
    restore_video(rest, clip, target)
    assert len(rest.seen) == 10 - 3 * damaged
    np.testing.assert_allclose(greys(target), greys(clip), atol=3)


def test_ctrl_c_at_the_first_frame_leaves_nothing(clip, tmp_path):
    with pytest.raises(Interrupted, match="interrupted before a frame was restored"):
        restore_video(Stops(0), clip, tmp_path / "out" / "y.mp4")
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


# Bad input


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


# Among pictures


@pytest.fixture
def mixed(clip):
    """The clip, a picture, and a video in a folder below."""
    Image.fromarray(levels(1)[0]).save(clip.parent / "a.png")
    write(clip.parent / "sub" / "deep.MKV", levels(3), format="matroska")
    return clip.parent


def test_videos_are_found_and_planned_beside_pictures(mixed):
    sources, _ = find_sources([mixed], recursive=True)
    assert [str(job.target) for job in planned(sources, "out", suffix="_x", file_format="jpg")] == [
        "a_x.jpg",
        "clip_x.mp4",
        "sub/deep_x.MKV",
    ]
    sources, _ = find_sources([str(mixed / "*.mp4")])
    assert [source.is_video for source in sources] == [True]


@pytest.mark.parametrize("output", ["out.zip", "-"])
def test_a_video_goes_into_a_folder(clip, output):
    sources, _ = find_sources([clip])
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
    monkeypatch.setattr("deblurgan.cli.restoring.restorer", lambda *arguments: restore)
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

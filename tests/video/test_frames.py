from fractions import Fraction

import numpy as np
import pytest

from deblurgan.video.restoring import restore_video
from tests.video.clips import SIZE, gradient, greys, identity, levels, plane, read, times, write

av = pytest.importorskip("av")

MATRICES = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # ITU-T H.273's number: K_R and K_B


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

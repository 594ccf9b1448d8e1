import itertools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deblurgan.data.crops import CropStream, texture
from deblurgan.data.opening import open_source
from deblurgan.errors import FileError, InputError
from deblurgan.pictures.pixels import nearest
from tests.photographs import save


def write_maps(folder, count, height=20, width=30, first=0):
    """Pairs whose every pixel tells its row (red), its column (green), its picture and its side (blue)."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    for number, (side, letter) in itertools.product(range(first, first + count), enumerate("AB")):
        blue = np.full_like(rows, 2 * number + side)
        save(folder / letter / f"{number:03}.png", np.dstack([rows, columns, blue]))
    return open_source({"folder": folder})


def stream(*sources, crop_size=8, batch_size=4, **options):
    return CropStream(sources, crop_size=crop_size, batch_size=batch_size, **options)


def to_bytes(image):
    """Undo the scaling to [-1, 1]; fails where the values are not those of 8-bit pixels."""
    assert image.dtype == np.float32
    pixels = (np.asarray(image, np.float64) + 1) * 127.5
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-4)
    return np.rint(pixels).astype(int)


def pictures_of(crops, indices):
    """The number of the picture of each crop of `write_maps`."""
    return [int(to_bytes(crops.crop(index)[0])[0, 0, 2]) // 2 for index in indices]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# Crops


def test_both_sides_of_a_crop_are_the_same_window_of_one_picture(tmp_path):
    crops = stream(write_maps(tmp_path, 3))
    corners = set()
    for index in range(60):
        blurred, sharp = map(to_bytes, crops.crop(index))
        assert blurred.shape == (8, 8, 3)
        np.testing.assert_array_equal(blurred[:, :, :2], sharp[:, :, :2])
        np.testing.assert_array_equal(blurred[:, :, 2] + 1, sharp[:, :, 2])
        rows, columns = np.unique(sharp[:, :, 0]), np.unique(sharp[:, :, 1])
        np.testing.assert_array_equal(rows, np.arange(8) + rows[0])
        np.testing.assert_array_equal(columns, np.arange(8) + columns[0])
        corners.add((rows[0], columns[0]))
    assert max(row for row, _ in corners) > 6
    assert max(column for _, column in corners) > 11
    assert len(corners) > 40


def test_jitter_of_pix2pix_is_a_nearest_resize_a_paired_crop_and_a_mirror(tmp_path):
    file = np.random.default_rng(7).integers(0, 256, (20, 48, 3), np.uint8)
    save(tmp_path / "0.png", file)
    halves = open_source({"kind": "combined", "folder": tmp_path, "direction": "BtoA"})
    crops = stream(halves, crop_size=24, resize=30, augment="mirror", crops_per_picture=1, seed=5)
    resized = tf.image.resize(np.stack([file[:, 24:], file[:, :24]]), (30, 30), method="nearest").numpy()
    seen = set()
    for step in range(60):
        rng = np.random.default_rng([5, 2, 0, step, 0])
        (top, left), mirrored = rng.integers(0, 7, (1, 2))[0], rng.integers(2, size=1)[0]
        expected = resized[:, top : top + 24, left : left + 24]
        np.testing.assert_array_equal(
            [to_bytes(side) for side in crops.crop(step)], expected[:, :, ::-1] if mirrored else expected
        )
        seen |= {("top", top), ("left", left), ("mirrored", mirrored)}
    assert len(seen) == 7 + 7 + 2


@pytest.mark.parametrize("height", [*range(1, 40), 256, 286, 600])
def test_the_nearest_pixel_is_that_of_tensorflow(height):
    rows = np.arange(height, dtype=np.uint16)[:, None, None].repeat(2, axis=1)
    for side in (1, 23, 143, 256, 286):
        expected = tf.image.resize(rows.astype(np.float32), (side, 5), method="nearest").numpy()
        np.testing.assert_array_equal(nearest(rows, (side, 5)), expected)


@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (1, 1)], ids=str)
def test_either_side_of_a_crop_may_be_grey(tmp_path, channels):
    save(tmp_path / "0.png", np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8))
    photographs = open_source({"kind": "colourise", "folder": tmp_path})
    colours, crops = stream(photographs), stream(photographs, channels=channels)
    for index in range(8):
        sides = [to_bytes(side).astype(np.uint8) for side in colours.crop(index)]
        for side, count, found in zip(sides, channels, crops.crop(index), strict=True):
            grey = np.asarray(Image.fromarray(side).convert("L"))[:, :, None]
            np.testing.assert_array_equal(to_bytes(found), side if count == 3 else grey)
    (batch,) = crops.batches(0, 1)
    assert [side.shape for side in batch] == [(4, 8, 8, count) for count in channels]


@pytest.mark.parametrize(("alias", "meaning"), [("all", True), ("none", False)])
def test_words_for_how_crops_are_turned(tmp_path, alias, meaning):
    pairs = write_maps(tmp_path, 2)
    named, other = stream(pairs, augment=alias), stream(pairs, augment=meaning)
    assert all(same(named.crop(index), other.crop(index)) for index in range(20))


def test_a_side_to_resize_to_has_to_hold_a_crop(tmp_path):
    pairs = write_maps(tmp_path, 1)
    with pytest.raises(InputError, match="resize: expected at least 16, received 15"):
        stream(pairs, resize=15, downscale=2)
    with pytest.raises(InputError, match="resize: expected none with preprocess=resize, received 20"):
        stream(pairs, resize=20, preprocess="resize")


def test_crops_without_a_sharp_side_have_nan_there(tmp_path):
    pairs = write_maps(tmp_path / "pairs", 3)
    alone = open_source({"kind": "blurred", "folder": write_maps(tmp_path / "alone", 3).folder / "A", "weight": 3})
    crops = stream(alone, pairs, candidates=2, downscale=2)
    found = [crops.crop(index) for index in range(200)]
    missing = [np.isnan(sharp).all() for _, sharp in found]
    assert sum(missing) == pytest.approx(100, abs=25)  # as their weights say
    for (blurred, sharp), none in zip(found, missing, strict=True):
        assert (blurred.shape, blurred.dtype, sharp.shape, sharp.dtype) == ((8, 8, 3), np.float32) * 2
        assert np.isfinite(blurred).all()
        assert none or np.isfinite(sharp).all()


def test_crops_are_mirrored_and_turned_in_all_eight_ways(tmp_path):
    source = write_maps(tmp_path, 2)
    ways = set()
    crops = stream(source)
    for index in range(150):
        sharp = to_bytes(crops.crop(index)[1])
        down, right = sharp[1, 0, :2] - sharp[0, 0, :2], sharp[0, 1, :2] - sharp[0, 0, :2]
        ways.add((*down, *right))
    assert len(ways) == 8
    plain = stream(source, augment=False)
    for index in range(30):
        sharp = to_bytes(plain.crop(index)[1])
        np.testing.assert_array_equal(sharp[:, :, :2] - sharp[0, 0, :2], np.moveaxis(np.mgrid[:8, :8], 0, -1))


def test_mirroring_alone_turns_nothing(tmp_path):
    crops = stream(write_maps(tmp_path, 2), augment="mirror")
    ways = set()
    for index in range(40):
        sharp = to_bytes(crops.crop(index)[1])
        ways.add((*(sharp[1, 0, :2] - sharp[0, 0, :2]), *(sharp[0, 1, :2] - sharp[0, 0, :2])))
    assert ways == {(1, 0, 0, 1), (1, 0, 0, -1)}


def test_resizing_squashes_whole_pictures_as_pillow_does(tmp_path, photos):
    for letter, photo in zip("AB", photos, strict=True):
        save(tmp_path / letter / "photo.png", photo[:100])
    crops = stream(open_source({"folder": tmp_path}), crop_size=32, preprocess="resize", downscale=2)
    for index in range(9):  # nothing is mirrored
        for image, photo in zip(crops.crop(index), photos, strict=True):
            squashed = np.asarray(Image.fromarray(photo[:100]).resize((32, 32), Image.Resampling.BICUBIC))
            np.testing.assert_array_equal(to_bytes(image), squashed)


def test_a_picture_of_the_size_of_the_crop_is_taken_whole(tmp_path):
    crops = stream(write_maps(tmp_path, 2, height=8, width=8), augment=False)
    for index in range(8):
        np.testing.assert_array_equal(to_bytes(crops.crop(index)[1])[:, :, 0], np.mgrid[:8, :8][0])


def test_downscaling_is_the_mean_of_blocks(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for letter, picture in zip("AB", pictures, strict=True):
        save(tmp_path / letter / "a.png", picture)
    source = open_source({"folder": tmp_path})
    halved = stream(source, downscale=2, augment=False).crop(0)
    for image, picture in zip(halved, pictures, strict=True):
        expected = [[picture[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)) for j in range(8)] for i in range(8)]
        np.testing.assert_allclose(to_bytes(image), expected, atol=0.5)
    with pytest.raises(InputError, match=r"smaller than the 18x18 pixels needed: .*a\.png \(16x16\)"):
        stream(source, crop_size=9, downscale=2)


def test_textured_crops_are_preferred(tmp_path):
    picture = np.full((40, 160, 3), 128, np.uint8)
    picture[:, 140:] = np.random.default_rng(0).integers(0, 256, (40, 20, 3))
    for letter in "AB":
        save(tmp_path / letter / "a.png", picture)
    source = open_source({"folder": tmp_path})

    def mean_texture(candidates):
        crops = stream(source, candidates=candidates)
        return np.mean([np.std(crops.crop(index)[1]) for index in range(80)])

    assert mean_texture(8) > 2 * mean_texture(1)


def test_texture_is_the_mean_difference_between_neighbours():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    green = image[:, :, 1].tolist()
    down = [abs(green[i + 1][j] - green[i][j]) for i in range(4) for j in range(6)]
    right = [abs(green[i][j + 1] - green[i][j]) for i in range(5) for j in range(5)]
    assert texture(image) == pytest.approx(sum(down) / len(down) + sum(right) / len(right))


# Order


def test_a_crop_depends_on_the_arguments_and_its_place_alone(tmp_path):
    source = write_maps(tmp_path, 7)
    forward = stream(source)
    expected = [forward.crop(index) for index in range(200)]
    backward = stream(source, workers=1, cache_mb=64)
    for index in reversed(range(200)):
        assert same(backward.crop(index), expected[index])
    with ThreadPoolExecutor(4) as threads:
        for crop, other in zip(threads.map(stream(source).crop, range(200)), expected, strict=True):
            assert same(crop, other)
    assert not all(same(stream(source, seed=1).crop(index), expected[index]) for index in range(20))


def test_each_pass_visits_every_picture_once_in_an_order_of_its_own(tmp_path):
    crops = stream(write_maps(tmp_path, 10), crops_per_picture=1)
    passes = [pictures_of(crops, range(10 * number, 10 * number + 10)) for number in range(4)]
    assert all(sorted(one_pass) == list(range(10)) for one_pass in passes)
    assert len(set(map(tuple, passes))) == 4


def test_so_many_pictures_of_each_source_are_drawn_with_the_seed(tmp_path):
    sources = write_maps(tmp_path / "a", 20), write_maps(tmp_path / "b", 5, first=20)
    found = [set(pictures_of(stream(*sources, n_images=8, seed=seed), range(900))) for seed in (3, 3, 4)]
    assert found[0] == found[1] != found[2]
    assert all(len(few) == 8 + 5 and few >= set(range(20, 25)) for few in found)
    assert stream(*sources, n_images=8).pictures == 13
    with pytest.raises(InputError, match="n_images: expected a positive number, or -1 for all, received 0"):
        stream(*sources, n_images=0)


def test_several_crops_are_cut_at_each_visit_and_spread_over_the_stream(tmp_path):
    crops = stream(write_maps(tmp_path, 40), crops_per_picture=4)
    numbers = pictures_of(crops, range(400))
    assert all(len(set(numbers[start : start + 8])) == 8 for start in range(0, 160, 4))
    inner = numbers[64:]  # in the first rounds the earlier visits are missing
    counts = [inner.count(number) for number in range(40)]
    assert max(counts) - min(counts) <= 4 * 2


def test_sources_get_their_share_by_weight_and_the_number_of_pictures_by_default(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    write_maps(folders[0], 2)
    write_maps(folders[1], 6, first=2)

    def share(*weights):
        specs = [{"folder": folder} for folder in folders]
        for spec, weight in zip(specs, weights, strict=False):
            spec["weight"] = weight
        crops = stream(*map(open_source, specs), crops_per_picture=1)
        return [sum(number < 2 for number in pictures_of(crops, range(start, start + 100))) for start in (0, 100)]

    assert share() == [25, 25]
    assert share(1, 1) == [50, 50]
    assert share(2, 1) == [67, 67]
    assert share(1, 10000) == [1, 1]  # but never none


def test_many_sources_of_little_weight_share_out_exactly(tmp_path):
    folder = tmp_path / "a"
    write_maps(folder, 1)
    sources = [open_source({"folder": folder, "weight": weight}) for weight in (*[0.1] * 60, 1000)]
    percents = [source["percent"] for source in stream(*sources).summary()]
    assert percents == [*[1] * 60, 40]


# Batches


def test_batches_go_on_anywhere_with_the_very_same_crops(tmp_path):
    source = write_maps(tmp_path, 5)
    crops = stream(source)
    whole = list(crops.batches(0, 9).as_numpy_iterator())
    assert len(whole) == 9
    for step, (blurred, sharp) in enumerate(whole):
        for place in range(4):
            assert same((blurred[place], sharp[place]), crops.crop(4 * step + place))
    rest = list(stream(source, cache_mb=3).batches(5, 4).as_numpy_iterator())
    assert len(rest) == 4
    assert all(same(batch, other) for batch, other in zip(rest, whole[5:], strict=True))


def test_batches_have_a_static_shape(tmp_path):
    spec = stream(write_maps(tmp_path, 2), batch_size=3).batches(0, 1).element_spec
    assert [(tuple(side.shape), side.dtype.name) for side in spec] == [((3, 8, 8, 3), "float32")] * 2


# Files


def write_four(folder):
    for number in range(4):
        for letter in "AB":
            save(folder / letter / f"{number}.png", np.full((8, 8, 3), number, np.uint8))


def test_the_next_picture_takes_the_place_of_one_that_cannot_be_read(tmp_path):
    write_four(tmp_path)
    good = stream(open_source({"folder": tmp_path}), crops_per_picture=2)
    expected = [to_bytes(good.crop(index)[0])[0, 0, 0] for index in range(64)]
    content = (tmp_path / "B/1.png").read_bytes()
    (tmp_path / "B/1.png").write_bytes(content[: len(content) // 2 + 8])  # the header is whole
    damaged = stream(open_source({"folder": tmp_path}), crops_per_picture=2)
    assert damaged.bad == {}
    numbers = [to_bytes(damaged.crop(index)[0])[0, 0, 0] for index in range(64)]
    assert numbers == [2 if number == 1 else number for number in expected]
    assert list(damaged.bad) == [str(tmp_path / "B/1.png")]
    assert "not a readable image" in damaged.bad[str(tmp_path / "B/1.png")]
    assert damaged.pictures == 4


def test_a_file_whose_header_is_damaged_is_known_from_the_start(tmp_path):
    write_four(tmp_path)
    (tmp_path / "A/2.png").write_bytes(b"no picture")
    crops = stream(open_source({"folder": tmp_path}))
    assert crops.pictures == 3
    assert list(crops.bad) == [str(tmp_path / "2")]


def test_when_no_picture_can_be_read_any_more_it_is_an_error(tmp_path):
    write_four(tmp_path / "a")
    crops = stream(open_source({"folder": tmp_path / "a"}))
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileError, match=r"a: no picture can be read any more: .*png: not a readable image"):
        crops.crop(0)


def test_the_cache_keeps_what_fits_and_no_more(tmp_path, monkeypatch):
    from deblurgan.data import crops as module

    source = write_maps(tmp_path, 12, height=100, width=100)  # 24 files of 30000 bytes
    read = []

    def counted(path):
        read.append(path)
        return original(path)

    original = module.read_channels
    monkeypatch.setattr(module, "read_channels", counted)

    def files_read(cache_mb):
        read.clear()
        crops = stream(source, crops_per_picture=1, cache_mb=cache_mb)
        for index in range(120):
            crops.crop(index)
            assert crops._visits.bytes + crops._files.bytes <= cache_mb * 2**20
        return len(read)

    assert files_read(1) == 24
    assert files_read(0.2) > 48
    assert files_read(0.003) == 240


def test_large_pictures_are_cached_as_they_are(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (300, 310, 3), np.uint8)
    for letter in "AB":
        save(tmp_path / letter / "a.png", picture)
    crops = stream(open_source({"folder": tmp_path}), crop_size=300, crops_per_picture=1, augment=False)
    for _ in range(2):
        for image in crops.crop(0):
            left = np.argmin([np.abs(picture[0, x : x + 5] - to_bytes(image)[0, :5]).sum() for x in range(11)])
            np.testing.assert_array_equal(to_bytes(image), picture[:, left : left + 300])


# What the stream says


def test_the_summary_is_json_and_tells_the_sources_and_their_options(tmp_path, photos):
    save(tmp_path / "sharp" / "a.png", photos[1])
    sharp = open_source({"kind": "sharp", "folder": tmp_path / "sharp", "weight": 3, "noise": [0, 5]})
    crops = stream(write_maps(tmp_path / "pairs", 1), sharp, seed=7)
    pairs, photographs = json.loads(json.dumps(crops.summary()))
    assert crops.pictures == 2
    files = pairs.pop("files")
    assert pairs == {
        "kind": "pairs",
        "folder": str(tmp_path / "pairs"),
        "pictures": 1,
        "weight": 1,
        "percent": 25,
        "options": {},
    }
    (tmp_path / "pairs").rename(tmp_path / "moved")
    moved = open_source({"folder": tmp_path / "moved"})
    assert stream(moved).summary()[0]["files"] == files  # their names count, not where they are
    assert stream(write_maps(tmp_path / "moved", 2)).summary()[0]["files"] != files
    options = {"kernel": "paper", "length": 60.0, "gamma": None, "noise": [0, 5], "jpeg": None}
    assert (photographs["weight"], photographs["percent"], photographs["options"]) == (3, 75, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 0}, "crop_size: expected at least 1, received 0"),
        ({"downscale": 0}, "downscale: expected at least 1, received 0"),
        ({"preprocess": "pad"}, "preprocess: expected one of crop, resize, received 'pad'"),
        ({"augment": "turn"}, "augment: expected one of True, False, all, mirror, none, received 'turn'"),
        ({"channels": (4, 3), "downscale": 2}, r"downscale: expected 1 for \(4, 3\) channels, received 2"),
        (
            {"channels": (4, 3), "preprocess": "resize"},
            r"preprocess: expected crop for \(4, 3\) channels, received resize",
        ),
        ({"seed": -1}, "seed: expected at least 0, received -1"),
        ({"cache_mb": 0}, "cache_mb: expected at least 1 for 8 crops of 8x8 a picture, received 0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(tmp_path, options, message):
    source = write_maps(tmp_path, 1)
    with pytest.raises(InputError, match=message):
        stream(source, **options)
    with pytest.raises(InputError, match="sources: expected 1 to 100, received 0"):
        stream()

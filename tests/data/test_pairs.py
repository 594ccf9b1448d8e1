import itertools
import os
import time

import numpy as np
import pytest
from PIL import Image

from deblurgan.data import pairs as module
from deblurgan.data.pairs import Pair, PairStream, check_pairs, choose_pairs, match_pairs
from deblurgan.errors import FileError, InputError


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_pairs(folder, count, side=8):
    """Pairs 00, 01, ... of one colour each: red tells the pair, green the side (blurred 100, sharp 200)."""
    for number, (letter, green) in itertools.product(range(count), (("A", 100), ("B", 200))):
        write(folder / letter / f"{number:02}.png", np.full((side, side, 3), (number, green, 0), np.uint8))
    return match_pairs(folder)


def write_maps(folder, height, width, names=("map",)):
    """Pairs whose every pixel tells its row (red), its column (green) and its picture (blue)."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    for number, name in enumerate(names):
        for letter, blue in (("A", 2 * number), ("B", 2 * number + 1)):
            write(folder / letter / f"{name}.png", np.dstack([rows, columns, np.full_like(rows, blue)]))
    return match_pairs(folder)


def to_bytes(images):
    """Undo the scaling to [-1, 1]; fails where the values are not those of 8-bit pixels."""
    pixels = (np.asarray(images, np.float64) + 1) * 127.5
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-4)
    return np.rint(pixels).astype(int)


def as_arrays(dataset):
    return [(blurred.numpy(), sharp.numpy()) for blurred, sharp in dataset]


def pair_numbers(dataset):
    """The pairs of `write_pairs` in the order in which they come."""
    return [number for blurred, _ in dataset for number in to_bytes(blurred)[:, 0, 0, 0]]


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


# Pairing


def test_pairs_go_by_name_where_the_order_of_the_files_differs(tmp_path):
    """Sorted with their extensions, x comes after x.u in A and before it in B."""
    picture = np.zeros((4, 4, 3), np.uint8)
    for file in ("A/x.webp", "A/x.u.png", "B/x.u.png", "B/x.png"):
        write(tmp_path / file, picture)
    pairs = match_pairs(tmp_path)
    assert {(p.name, p.blurred.name, p.sharp.name) for p in pairs} == {
        ("x", "x.webp", "x.png"),
        ("x.u", "x.u.png", "x.u.png"),
    }
    assert all((p.blurred.parent, p.sharp.parent) == (tmp_path / "A", tmp_path / "B") for p in pairs)


def test_pairs_are_sorted_and_other_files_ignored(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    for name in ("10", "9", "b", "a"):
        write(tmp_path / "A" / f"{name}.png", picture)
        write(tmp_path / "B" / f"{name}.JPG", picture)
    (tmp_path / "A" / "notes.txt").write_text("not a picture")
    (tmp_path / "A" / ".hidden.png").write_bytes(b"")
    (tmp_path / "B" / "folder.png").mkdir()
    assert [pair.name for pair in match_pairs(str(tmp_path))] == ["10", "9", "a", "b"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileError, match=r"nowhere: expected a folder with A \(blurred\) and B \(sharp\)"):
        match_pairs(tmp_path / "nowhere")
    with pytest.raises(FileError, match="expected a folder A with the blurred pictures, found none"):
        match_pairs(tmp_path)
    (tmp_path / "A").mkdir()
    (tmp_path / "B").write_text("a file")
    with pytest.raises(FileError, match="expected a folder B with the sharp pictures, found none"):
        match_pairs(tmp_path)


def test_empty_folders_are_an_error(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "B").mkdir()
    with pytest.raises(InputError, match="expected pictures in A and B, found none"):
        match_pairs(tmp_path)


def test_pictures_without_a_partner_are_listed_although_the_numbers_agree(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    for file in ("A/a.png", "A/b.png", "B/a.png", "B/c.jpg"):
        write(tmp_path / file, picture)
    with pytest.raises(InputError, match=r"2 pictures have no partner of the same name: A/b\.png, B/c\.jpg$"):
        match_pairs(tmp_path)


def test_a_long_list_is_cut_short(tmp_path):
    write_pairs(tmp_path, 13)
    for number in range(12):
        (tmp_path / "B" / f"{number:02}.png").unlink()
    with pytest.raises(InputError, match=r"12 pictures .*: A/00\.png, .* A/09\.png and 2 more$"):
        match_pairs(tmp_path)


def test_two_pictures_of_one_name_are_an_error(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    for file in ("A/a.png", "B/a.jpg", "B/a.png"):
        write(tmp_path / file, picture)
    with pytest.raises(InputError, match=r"B.a\.png: its name is also that of a\.jpg"):
        match_pairs(tmp_path)


# Choosing


def pairs_named(count, tmp_path):
    return [Pair(str(i), tmp_path / f"A{i}", tmp_path / f"B{i}") for i in range(count)]


def test_choice_is_drawn_with_the_seed_and_keeps_the_order(tmp_path):
    pairs = pairs_named(50, tmp_path)
    chosen = choose_pairs(pairs, 20, seed=3)
    positions = [int(pair.name) for pair in chosen]
    assert len(set(positions)) == 20
    assert positions == sorted(positions)
    assert choose_pairs(pairs, 20, seed=3) == chosen
    assert choose_pairs(pairs, 20, seed=4) != chosen
    assert positions != list(range(20))


@pytest.mark.parametrize("n_images", [-1, -7, 5, 6, 1000])
def test_all_pairs_are_chosen_when_no_fewer_are_wanted(n_images, tmp_path):
    pairs = pairs_named(5, tmp_path)
    assert choose_pairs(pairs, n_images, seed=0) == pairs


def test_choosing_none_or_with_a_negative_seed_is_an_error(tmp_path):
    with pytest.raises(InputError, match="n_images: expected a positive number, or -1 for all, received 0"):
        choose_pairs(pairs_named(5, tmp_path), 0, seed=0)
    with pytest.raises(InputError, match="seed: expected at least 0, received -2"):
        choose_pairs(pairs_named(5, tmp_path), 3, seed=-2)


# Checking


def test_check_lists_every_pair_whose_sizes_differ(tmp_path):
    write_pairs(tmp_path, 3)
    write(tmp_path / "A" / "01.png", np.zeros((6, 8, 3), np.uint8))
    write(tmp_path / "B" / "02.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"^2 pairs differ in size.*: \S+01\.png \(8x6 and 8x8\), \S+02\.png \(8x8 and 9x8\)$"
    ):
        check_pairs(match_pairs(tmp_path))


def test_check_lists_every_picture_that_is_too_small(tmp_path):
    write_pairs(tmp_path, 3)
    for letter in "AB":
        write(tmp_path / letter / "01.png", np.zeros((30, 7, 3), np.uint8))
        write(tmp_path / letter / "02.png", np.zeros((6, 30, 3), np.uint8))
    pairs = match_pairs(tmp_path)
    with pytest.raises(
        InputError, match=r"^2 pictures are smaller than the 8x8 .*01\.png \(7x30\), .*02\.png \(30x6\)$"
    ):
        check_pairs(pairs, least=8)
    assert check_pairs(pairs, least=6) == (pairs, {})


@pytest.mark.parametrize("letter", ["A", "B"])
def test_check_leaves_out_what_cannot_be_opened_and_says_why(letter, tmp_path):
    pairs = write_pairs(tmp_path, 3)
    (tmp_path / letter / "01.png").write_text("not a picture")
    good, bad = check_pairs(pairs)
    assert [pair.name for pair in good] == ["00", "02"]
    assert list(bad) == ["01"]
    assert str(tmp_path / letter / "01.png") in bad["01"]
    assert "not a readable image" in bad["01"]


# Streaming


def test_batches_are_float32_in_minus_one_to_one(tmp_path):
    shades = np.arange(64, dtype=np.uint8).reshape(8, 8)[:, :, None] * np.uint8([4, 2, 1]) + np.uint8([3, 0, 0])
    for name in ("a", "b", "c"):
        write(tmp_path / "A" / f"{name}.png", shades)
        write(tmp_path / "B" / f"{name}.png", 255 - shades)
    (blurred, sharp), *rest = as_arrays(PairStream(match_pairs(tmp_path), batch_size=2, size=8).epoch(1))
    assert not rest
    for images in (blurred, sharp):
        assert images.dtype == np.float32
        assert images.shape == (2, 8, 8, 3)
    assert (blurred.min(), blurred.max()) == (-1, 1)
    np.testing.assert_allclose(sharp, -blurred, atol=1e-6)  # value and pairing: 255 - v is the opposite


def test_both_crops_of_a_pair_are_cut_at_one_place_and_mirrored_together(tmp_path):
    stream = PairStream(write_maps(tmp_path, 40, 60, ["a", "b", "c", "d"]), batch_size=2, size=16)
    ways = set()
    for number in range(10):
        for blurred, sharp in stream.epoch(number):
            for left, right in zip(to_bytes(blurred), to_bytes(sharp), strict=True):
                rows, columns, picture = np.moveaxis(left, -1, 0)
                np.testing.assert_array_equal(left[:, :, :2], right[:, :, :2])
                np.testing.assert_array_equal(right[:, :, 2], picture + 1)  # the partner of the same pair
                assert len(np.unique(picture)) == 1
                step = columns[0, 1] - columns[0, 0]
                np.testing.assert_array_equal(rows - rows[0, 0], np.indices((16, 16))[0])
                np.testing.assert_array_equal(columns - columns[0, 0], step * np.indices((16, 16))[1])
                ways.add((rows[0, 0], columns.min(), step))
    tops, lefts, steps = (set(values) for values in zip(*ways, strict=True))
    assert steps == {-1, 1}
    assert min(len(tops), len(lefts)) > 8


def test_crops_reach_every_edge(tmp_path):
    """A picture one pixel larger than the crop has four crops, each of them also mirrored."""
    stream = PairStream(write_maps(tmp_path, 9, 9, "abcdefgh"), batch_size=8, size=8)
    ways = set()
    for number in range(10):
        for blurred, _ in stream.epoch(number):
            for rows, columns, _ in np.moveaxis(to_bytes(blurred), -1, 1):
                ways.add((rows.min(), columns.min(), columns[0, 0] < columns[0, 1]))
    assert ways == set(itertools.product((0, 1), (0, 1), (False, True)))


def test_an_epoch_has_every_pair_once_in_another_order_each_time(tmp_path):
    stream = PairStream(write_pairs(tmp_path, 12), batch_size=3, size=8)
    assert stream.steps == 4
    epochs = [pair_numbers(stream.epoch(number)) for number in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(12))]}) == 5


def test_what_does_not_fill_a_batch_is_dropped(tmp_path):
    stream = PairStream(write_pairs(tmp_path, 11), batch_size=4, size=8)
    assert stream.steps == 2
    numbers = pair_numbers(stream.epoch(0))
    assert len(numbers) == len(set(numbers)) == 8
    dropped = {number for epoch in range(8) for number in set(range(11)) - set(pair_numbers(stream.epoch(epoch)))}
    assert len(dropped) > 3, "the same pairs are left out of each epoch"


def test_an_epoch_is_a_function_of_seed_and_number_alone(tmp_path):
    pairs = write_maps(tmp_path, 30, 30, ["a", "b", "c", "d"])
    fresh = {number: as_arrays(PairStream(pairs, 2, 16, seed=5).epoch(number)) for number in (1, 2)}
    stream = PairStream(pairs, 2, 16, seed=5)
    iterator = iter(stream.epoch(1))
    next(iterator)  # an epoch that is left early
    for number in (2, 1, 2):
        np.testing.assert_array_equal(as_arrays(stream.epoch(number)), fresh[number])
    other_seed = as_arrays(PairStream(pairs, 2, 16, seed=6).epoch(1))
    assert not np.array_equal(fresh[1], fresh[2])
    assert not np.array_equal(fresh[1], other_seed)


@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_skipping_gives_the_tail_of_the_epoch(done, tmp_path):
    pairs = write_maps(tmp_path, 30, 30, "abcdefgh")
    truncate(pairs[3].sharp)
    whole = as_arrays(PairStream(pairs, 2, 16, seed=1).epoch(7))
    tail = as_arrays(PairStream(pairs, 2, 16, seed=1).epoch(7).skip(done))
    assert len(whole) == 3
    assert len(tail) == max(0, 3 - done)
    for batch, expected in zip(tail, whole[done:], strict=True):
        np.testing.assert_array_equal(batch, expected)


@pytest.mark.parametrize("letter", ["A", "B"])
def test_a_truncated_file_is_left_out_and_reported(letter, tmp_path):
    for name, red in (("00", 0), ("01", 1), ("02", 2), ("03", 3), ("04", 4)):
        for side in "AB":
            noise = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
            noise[0] = red
            write(tmp_path / side / f"{name}.png", noise)
    broken = tmp_path / letter / "02.png"
    truncate(broken)
    good, bad = check_pairs(match_pairs(tmp_path))
    assert (len(good), bad) == (5, {}), "its header is whole"

    stream = PairStream(good, batch_size=2, size=8)
    numbers = pair_numbers(stream.epoch(0))
    assert sorted(numbers) == [0, 1, 3, 4]
    assert list(stream.bad) == ["02"]
    assert str(broken) in stream.bad["02"]


def test_resize_squashes_the_whole_picture_as_pillow_does(tmp_path, photos):
    for letter, photo in zip("AB", photos, strict=True):
        write(tmp_path / letter / "photo.png", photo[:100])
    ((blurred, sharp),) = as_arrays(PairStream(match_pairs(tmp_path), 1, size=32, preprocess="resize").epoch(3))
    for images, photo in zip((blurred, sharp), photos, strict=True):
        squashed = np.asarray(Image.fromarray(photo[:100]).resize((32, 32), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(to_bytes(images)[0], squashed)


@pytest.mark.parametrize("batch_size", [0, 5])
def test_a_batch_that_the_pairs_cannot_fill_is_an_error(batch_size, tmp_path):
    with pytest.raises(InputError, match=f"batch_size: expected 1 to 4, the number of pairs, received {batch_size}"):
        PairStream(pairs_named(4, tmp_path), batch_size)


def test_an_unknown_preprocess_is_an_error(tmp_path):
    with pytest.raises(InputError, match="preprocess: expected one of crop, resize, received 'pad'"):
        PairStream(pairs_named(4, tmp_path), 1, preprocess="pad")


def test_no_more_than_a_few_batches_are_read_ahead(tmp_path, monkeypatch):
    """So memory does not grow with the number of pairs."""
    write_pairs(tmp_path, 1)
    pairs = [Pair(str(i), tmp_path / "A" / "00.png", tmp_path / "B" / "00.png") for i in range(2000)]
    read: list[os.PathLike] = []

    def counted(path, read_rgb=module.read_rgb):
        read.append(path)
        return read_rgb(path)

    monkeypatch.setattr(module, "read_rgb", counted)
    iterator = iter(PairStream(pairs, batch_size=4, size=8).epoch(0))
    for taken, step in ((1, 1), (2, 1), (50, 48)):
        for _ in range(step):
            next(iterator)
        before = -1
        while len(read) > before:  # let it read as far as it will
            before = len(read)
            time.sleep(0.2)
        assert 4 * taken <= len(read) // 2 <= 4 * (taken + 10)

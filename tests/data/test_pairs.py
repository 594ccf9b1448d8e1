import itertools

import numpy as np
import pytest

from deblurgan.data.pairs import Pair, check_pairs, choose_pairs, match_pairs
from deblurgan.errors import FileError, InputError
from tests.photographs import save


def write_pairs(folder, count, side=8):
    """Pairs 00, 01, ... of one colour each: red tells the pair, green the side (blurred 100, sharp 200)."""
    for number, (letter, green) in itertools.product(range(count), (("A", 100), ("B", 200))):
        save(folder / letter / f"{number:02}.png", np.full((side, side, 3), (number, green, 0), np.uint8))
    return match_pairs(folder)


# Pairing


def test_pairs_go_by_name_where_the_order_of_the_files_differs(tmp_path):
    """Sorted with their extensions, x comes after x.u in A and before it in B."""
    picture = np.zeros((4, 4, 3), np.uint8)
    for file in ("A/x.webp", "A/x.u.png", "B/x.u.png", "B/x.png"):
        save(tmp_path / file, picture)
    pairs = match_pairs(tmp_path)
    assert {(p.name, p.blurred.name, p.sharp.name) for p in pairs} == {
        ("x", "x.webp", "x.png"),
        ("x.u", "x.u.png", "x.u.png"),
    }
    assert all((p.blurred.parent, p.sharp.parent) == (tmp_path / "A", tmp_path / "B") for p in pairs)


def test_pairs_are_sorted_and_other_files_ignored(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    for name in ("10", "9", "b", "a"):
        save(tmp_path / "A" / f"{name}.png", picture)
        save(tmp_path / "B" / f"{name}.JPG", picture)
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
        save(tmp_path / file, picture)
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
        save(tmp_path / file, picture)
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
    save(tmp_path / "A" / "01.png", np.zeros((6, 8, 3), np.uint8))
    save(tmp_path / "B" / "02.png", np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"^2 pairs differ in size.*: \S+01\.png \(8x6 and 8x8\), \S+02\.png \(8x8 and 9x8\)$"
    ):
        check_pairs(match_pairs(tmp_path))


def test_check_lists_every_picture_that_is_too_small(tmp_path):
    write_pairs(tmp_path, 3)
    for letter in "AB":
        save(tmp_path / letter / "01.png", np.zeros((30, 7, 3), np.uint8))
        save(tmp_path / letter / "02.png", np.zeros((6, 30, 3), np.uint8))
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

import numpy as np
import pytest
from PIL import Image

from deblurgan.data.blur import SyntheticBlur, apply_kernel
from deblurgan.data.opening import guess, open_pairs, open_source, parse_source
from deblurgan.errors import FileError, InputError
from deblurgan.pictures.reading import read_rgb
from tests.photographs import save

WINDOWS = [(0, 0, 4, 4), (3, 5, 4, 4)]


def random_pictures(count, size=(10, 12), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


def write_frames(folder, frames, first=1):
    for number, frame in enumerate(frames, first):
        save(folder / f"frame{number}.png", frame)


def crops(source, index=0, windows=WINDOWS, seed=0):
    return source.crops(index, lambda sharp: windows, np.random.default_rng(seed), read_rgb)


def cut(image, window):
    top, left, height, width = window
    return image[top : top + height, left : left + width]


# Pairs and GOPRO


def test_pairs(tmp_path):
    blurred, sharp = random_pictures(2), random_pictures(2, seed=1)
    for number in range(2):
        save(tmp_path / "A" / f"{number}.png", blurred[number])
        save(tmp_path / "B" / f"{number}.png", sharp[number])
    source = open_source({"kind": "pairs", "folder": str(tmp_path), "weight": 3})
    assert (source.kind, source.folder, source.weight, len(source), source.options()) == ("pairs", tmp_path, 3, 2, {})
    for index in range(2):
        for (a, b), window in zip(crops(source, index), WINDOWS, strict=True):
            np.testing.assert_array_equal(a, cut(blurred[index], window))
            np.testing.assert_array_equal(b, cut(sharp[index], window))


@pytest.mark.parametrize("below", ["train/scene1", "scene1", ""])
def test_gopro_as_a_whole_its_train_folder_or_one_scene(tmp_path, below):
    pictures = random_pictures(2)
    for side, picture in (("blur", pictures[0]), ("sharp", pictures[1])):
        save(tmp_path / below / side / "000001.png", picture)
        if "train" in below:
            save(tmp_path / "test/scene2" / side / "000001.png", picture)
    source = open_source({"folder": tmp_path})
    assert (source.kind, len(source), source.options()) == ("gopro", 1, {"blur": "blur"})
    ((a, b),) = crops(source, windows=WINDOWS[:1])
    np.testing.assert_array_equal(a, cut(pictures[0], WINDOWS[0]))
    np.testing.assert_array_equal(b, cut(pictures[1], WINDOWS[0]))


def test_gopro_takes_the_blur_that_is_asked_for_or_there(tmp_path):
    picture = random_pictures(1)[0]
    for folder in ("both/blur", "both/blur_gamma", "both/sharp", "other/blur_gamma", "other/sharp"):
        save(tmp_path / folder / "1.png", picture)
    assert len(open_source({"folder": tmp_path})) == 1
    assert len(open_source({"folder": tmp_path, "blur": "blur_gamma"})) == 2
    assert open_source({"folder": tmp_path / "other"}).options() == {"blur": "blur_gamma"}
    with pytest.raises(InputError, match="expected scenes with the folders blur and sharp, found none"):
        open_source({"folder": tmp_path / "other", "blur": "blur"})
    with pytest.raises(InputError, match="blur: expected one of blur, blur_gamma, received 'sharp'"):
        open_source({"folder": tmp_path, "kind": "gopro", "blur": "sharp"})


def test_two_scenes_may_number_their_frames_alike(tmp_path):
    for number, picture in enumerate(random_pictures(4)):
        save(tmp_path / f"scene{number // 2}" / ("blur", "sharp")[number % 2] / "000001.png", picture)
    source, bad = open_source({"folder": tmp_path}).checked(4)
    assert [pair.name for pair in source.pairs] == ["scene0/000001", "scene1/000001"]
    assert bad == {}


# Photographs without partners


def test_blurred_photographs_have_no_sharp_ones(tmp_path):
    pictures = random_pictures(3)
    for number, name in enumerate(["a.png", "b/c.png", "b/d.png"]):
        save(tmp_path / name, pictures[number])
    save(tmp_path / "small.png", random_pictures(1, (3, 12))[0])
    source, bad = open_source({"kind": "blurred", "folder": tmp_path, "weight": 2}).checked(4)
    assert (source.kind, source.weight, source.has_sharp, len(source)) == ("blurred", 2, False, 3)
    assert source.options() == {}
    assert list(bad) == [str(tmp_path / "small.png")]
    for index in range(3):
        for (blurred,), window in zip(crops(source, index), WINDOWS, strict=True):
            np.testing.assert_array_equal(blurred, cut(pictures[index], window))
    assert parse_source("blurred=x,weight=2") == {"kind": "blurred", "folder": "x", "weight": 2.0}


# Two pictures in one file


@pytest.mark.parametrize(
    ("options", "half"),
    [("", 0), (",input=left", 0), (",direction=AtoB", 0), (",input=right", 1), (",input=right,direction=BtoA", 1)],
)
def test_halves_of_a_file_are_a_pair(tmp_path, options, half):
    pictures = random_pictures(2, (10, 24))
    for number, picture in enumerate(pictures):
        save(tmp_path / f"{number}.png", picture)
    source, bad = open_source(parse_source(f"combined={tmp_path}{options},weight=2")).checked(10)
    assert (source.weight, len(source), source.options(), bad) == (2, 2, {"input": ("left", "right")[half]}, {})
    halves = [np.stack([picture[:, :12], picture[:, 12:]]) for picture in pictures]
    for index, sides in enumerate(halves):
        for (blurred, sharp), window in zip(crops(source, index), WINDOWS, strict=True):
            np.testing.assert_array_equal(blurred, cut(sides[half], window))
            np.testing.assert_array_equal(sharp, cut(sides[1 - half], window))
    for pair, sides in zip(open_pairs(f"combined={tmp_path}{options}"), halves, strict=True):
        np.testing.assert_array_equal(np.stack(pair.read()), sides[[half, 1 - half]])
    assert [pair.name for pair in source.whole()] == ["0", "1"]


def test_files_that_are_not_two_halves_are_named(tmp_path):
    for name, width in (("even", 24), ("odd", 25), ("none", 24)):
        save(tmp_path / f"{name}.png", random_pictures(1, (10, width))[0])
    (tmp_path / "none.png").write_text("no picture")
    source = open_source({"kind": "combined", "folder": tmp_path})
    with pytest.raises(InputError, match=r"1 pictures are not two .*, their width is odd: \S*odd.png \(25x10\)$"):
        source.checked(4)
    with pytest.raises(InputError, match=r"odd.png: expected two pictures .*, an even width, found 25"):
        crops(source, 2)
    (tmp_path / "odd.png").unlink()
    source = open_source({"kind": "combined", "folder": tmp_path})
    with pytest.raises(InputError, match=r"smaller than the 11x11 pixels needed: \S*even.png$"):
        source.checked(11)
    source, bad = source.checked(10)
    assert ([path.stem for path in source.paths], list(bad)) == (["even"], [str(tmp_path / "none.png")])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("input=right,direction=AtoB", "input, direction: .*; AtoB is left, not right"),
        ("input=middle", "input: expected left or right, received 'middle'"),
        ("direction=BtoB", "direction: expected AtoB or BtoA, received 'BtoB'"),
        ("input=left", "expected pictures with two halves, found no pictures"),
    ],
)
def test_what_says_nothing_about_halves_is_refused(tmp_path, options, reason):
    with pytest.raises(InputError, match=reason):
        open_source(parse_source(f"combined={tmp_path},{options}"))


# Colours to be learnt


def test_colour_photographs_are_pairs_with_their_grey(tmp_path):
    colours = random_pictures(2)
    for number, name in enumerate(("a.png", "below/b.png")):
        save(tmp_path / name, colours[number])
    source = open_source({"kind": "colourise", "folder": tmp_path})
    for index, picture in enumerate(colours):
        grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
        for (blurred, sharp), window in zip(crops(source, index), WINDOWS, strict=True):
            np.testing.assert_array_equal(blurred, cut(grey, window))
            np.testing.assert_array_equal(sharp, cut(picture, window))
    assert [pair.name for pair in open_pairs(f"colourise={tmp_path}")] == ["a", "below/b"]
    assert len(source.drawn(1, 0)) == 1


# Frames


@pytest.mark.parametrize("gamma", [None, 2.2])
@pytest.mark.parametrize("size", [3, 5, 4])
def test_frames_are_averaged_around_the_sharp_one(tmp_path, size, gamma):
    frames = random_pictures(12)
    write_frames(tmp_path, frames)  # frame9 comes before frame10
    source = open_source(
        {"kind": "frames", "folder": tmp_path, "window": [size, size], "odd": size != 4, "gamma": gamma}
    )
    assert len(source) == 12 - size + 1
    power = gamma or 1
    for index in range(len(source)):
        light = (frames[index : index + size].astype(np.float64) / 255) ** power
        average = 255 * (light.sum(axis=0) / size) ** (1 / power)
        for (blurred, sharp), window in zip(crops(source, index), WINDOWS, strict=True):
            np.testing.assert_allclose(blurred, cut(average, window), atol=0.501)
            np.testing.assert_array_equal(sharp, cut(frames[index + size // 2], window))


def test_the_number_of_frames_is_drawn_from_the_odd_ones_that_fit(tmp_path):
    frames = np.zeros((9, 4, 4, 3), np.uint8)
    frames[:] = np.arange(9)[:, None, None, None] ** 2  # averages of different numbers of frames differ
    write_frames(tmp_path, frames)
    source = open_source({"kind": "frames", "folder": tmp_path, "window": [2, 8]})
    found = [set() for _ in range(len(source))]
    for index in range(len(source)):
        for seed in range(40):
            ((blurred, sharp),) = crops(source, index, WINDOWS[:1], seed)
            middle = int(sharp[0, 0, 0] ** 0.5)
            found[index] |= {
                size
                for size in (2, 3, 4, 5, 6, 7, 8)
                if blurred[0, 0, 0] == np.rint(np.mean(np.arange(9)[max(middle - size // 2, 0) :][:size] ** 2.0))
            }
    assert {3} <= found[0] <= {3, 2}  # the second number: the same average by chance
    assert {3, 5, 7} <= found[3]


def test_each_folder_of_frames_is_a_film_of_its_own(tmp_path):
    frames = random_pictures(8)
    write_frames(tmp_path / "one", frames[:5])
    write_frames(tmp_path / "two", frames[5:])
    source = open_source({"kind": "frames", "folder": tmp_path, "window": 3})
    assert len(source) == 3 + 1
    ((_, sharp),) = crops(source, 3, WINDOWS[:1])
    np.testing.assert_array_equal(sharp, cut(frames[6], WINDOWS[0]))


def test_an_unreadable_frame_parts_those_before_from_those_after(tmp_path):
    write_frames(tmp_path, random_pictures(9))
    (tmp_path / "frame5.png").write_bytes(b"no picture")
    source, bad = open_source({"kind": "frames", "folder": tmp_path, "window": 3}).checked(4)
    assert len(source) == 2 + 2
    assert list(bad) == [str(tmp_path / "frame5.png")]
    assert "not a readable image" in bad[str(tmp_path / "frame5.png")]


def test_frames_of_different_sizes_are_named(tmp_path):
    write_frames(tmp_path, random_pictures(5))
    save(tmp_path / "frame3.png", random_pictures(1, (9, 12))[0])
    with pytest.raises(InputError, match=r"1 frames differ in size .* 12x10: .*frame3\.png \(12x9\)$"):
        open_source({"kind": "frames", "folder": tmp_path, "window": 3}).checked(4)


# Sharp photographs


def test_each_crop_of_a_photograph_has_its_own_blur_in_which_its_surroundings_take_part(tmp_path, photos):
    save(tmp_path / "below" / "a.png", photos[1])
    source = open_source({"kind": "sharp", "folder": tmp_path, "kernel": "linear", "length": 20, "gamma": 2.2})
    windows = [(0, 0, 40, 40), (100, 120, 40, 40), (248, 248, 40, 40)]
    rng = np.random.default_rng(0)
    blur = SyntheticBlur("linear", length=20)
    kernels = []
    for (blurred, sharp), window in zip(crops(source, windows=windows), windows, strict=True):
        kernels.append(blur.draw_kernel(rng))
        whole = apply_kernel(photos[1], kernels[-1], gamma=2.2)
        assert np.abs(blurred.astype(int) - cut(whole, window)).max() <= 1
        np.testing.assert_array_equal(sharp, cut(photos[1], window))
    assert len({kernel.tobytes() for kernel in kernels}) == 3


def test_photographs_are_found_below_and_small_ones_left_out(tmp_path):
    save(tmp_path / "a.png", random_pictures(1)[0])
    save(tmp_path / "below" / "deep" / "b.png", random_pictures(1, (8, 30))[0])
    save(tmp_path / ".hidden" / "c.png", random_pictures(1)[0])
    (tmp_path / "below" / "up").symlink_to(tmp_path)
    (tmp_path / "below" / "d.png").write_bytes(b"")
    source = open_source({"kind": "sharp", "folder": tmp_path})
    assert len(source) == 3
    source, bad = source.checked(9)
    assert [path.name for path in source.paths] == ["a.png"]
    assert {name.rsplit("/", 1)[1] for name in bad} == {"b.png", "d.png"}
    assert "smaller than the 9x9 pixels needed: 30x8" in bad[str(tmp_path / "below" / "deep" / "b.png")]
    with pytest.raises(InputError, match=r"2 pictures are smaller than the 11x11 pixels needed: .*a\.png"):
        open_source({"kind": "sharp", "folder": tmp_path}).checked(11)


# What checks and reading find


def test_pairs_that_are_too_small_are_listed(tmp_path):
    for side in ("A", "B"):
        save(tmp_path / side / "x.png", random_pictures(1)[0])
    with pytest.raises(InputError, match=r"1 pictures are smaller than the 11x11 pixels needed: .*x\.png \(12x10\)"):
        open_source({"folder": tmp_path}).checked(11)


def test_a_source_without_a_readable_picture_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    for spec in ({"kind": "sharp"}, {"kind": "frames", "window": 1}):
        with pytest.raises(InputError, match=r"no picture can be used: .*a\.png: not a readable image"):
            open_source({**spec, "folder": tmp_path}).checked(4)


# Specifications


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("images/train", {"folder": "images/train"}),
        (
            "frames=FOLDER,weight=2,window=7-15,gamma=2.2",
            {"kind": "frames", "folder": "FOLDER", "weight": 2.0, "window": [7, 15], "gamma": 2.2},
        ),
        (
            "frames=f,window=9,odd=no,gamma=none",
            {"kind": "frames", "folder": "f", "window": 9, "odd": False, "gamma": None},
        ),
        (
            "sharp=a=b,c,noise=0-2.5,jpeg=70-95,kernel=both,length=40",
            {
                "kind": "sharp",
                "folder": "a=b,c",
                "noise": [0, 2.5],
                "jpeg": [70, 95],
                "kernel": "both",
                "length": 40.0,
            },
        ),
        ("a=b", {"folder": "a=b"}),
        ("gopro=x,year=2017", {"kind": "gopro", "folder": "x,year=2017"}),
        (
            "gopro=x,weight=1,year=2017,blur=blur_gamma",
            {"kind": "gopro", "folder": "x,weight=1,year=2017", "blur": "blur_gamma"},
        ),
    ],
)
def test_sources_on_the_command_line(text, spec):
    assert parse_source(text) == spec
    assert list(parse_source(text)) == list(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frames=f,widnow=7-15", "unknown option 'widnow'; did you mean window"),
        ("frames=f,weight=1,weight=2", "expected weight once, received it twice"),
        ("frames=", "expected a folder, received none"),
        ("sharp=,weight=2", "sharp=,weight=2: "),
    ],
)
def test_sources_that_cannot_be_read_on_the_command_line(text, message):
    with pytest.raises(InputError, match=message):
        parse_source(text)


def test_a_folder_that_exists_may_look_like_a_misspelt_option(tmp_path):
    folder = tmp_path / "f,widnow=3"
    folder.mkdir()
    assert parse_source(f"sharp={folder}") == {"kind": "sharp", "folder": str(folder)}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "frames", "widnow": 3}, "unknown option 'widnow'; did you mean window"),
        ({"kind": "sharp", "window": 3}, "unknown option 'window'; expected one of weight, kernel, length"),
        ({"kind": ["pairs"]}, r"unknown kind \['pairs'\]; did you mean pairs"),
        ({"kind": "frame"}, "unknown kind 'frame'; did you mean frames"),
        ({"kind": "sharp", "weight": 0}, "weight: expected a positive number, received 0"),
        ({"kind": "sharp", "weight": "2"}, "weight: expected a number or null, received '2'"),
        ({"kind": "sharp", "weight": True}, "weight: expected a number or null, received True"),
        ({"kind": "sharp", "weight": float("nan")}, "weight: expected a number or null, received nan"),
        ({"kind": "sharp", "jpeg": [70, 95.5]}, r"jpeg: expected one or two whole numbers .*received \[70, 95.5\]"),
        ({"kind": "sharp", "noise": [1, 2, 3]}, r"noise: expected one or two numbers .*received \[1, 2, 3\]"),
        ({"kind": "frames", "window": 7.5}, "window: expected one or two whole numbers, received 7.5"),
        ({"kind": "frames", "odd": "maybe"}, "odd: expected true or false, received 'maybe'"),
        ({"kind": "sharp", "noise": [3, 1]}, "sharp=.*: noise: expected a range in 0 to 255, received 3 to 1"),
        ({"kind": "sharp", "kernel": "papper"}, "kernel: expected one of paper, linear, both"),
        ({"kind": "frames", "gamma": 0}, "frames=.*: gamma: expected a positive number, received 0"),
        ({"kind": "frames", "window": [0, 3]}, "window: expected a range of 1 frame or more, received 0 to 3"),
        ({"kind": "frames", "window": 8}, "window: expected an odd number of frames, or odd=no, received 8 to 8"),
        ({"kind": "frames"}, "expected 7 consecutive frames or more, found 1 at most"),
        ({"kind": "pairs"}, "expected a folder A with the blurred pictures"),
        ({"kind": "gopro"}, "expected scenes with the folders blur or blur_gamma and sharp, found none"),
        ({}, "expected A and B, or scenes with blur and sharp; .* frames=.* sharp="),
    ],
)
def test_specifications_that_do_not_fit(tmp_path, spec, message):
    save(tmp_path / "a.png", random_pictures(1)[0])
    with pytest.raises((InputError, FileError), match=message) as caught:
        open_source({**spec, "folder": str(tmp_path)})
    assert str(caught.value).count(str(tmp_path)) == 1 or not spec


def test_folders_that_are_missing_or_empty(tmp_path):
    with pytest.raises(FileError, match="nowhere: expected a folder, found nothing"):
        open_source({"kind": "sharp", "folder": tmp_path / "nowhere"})
    with pytest.raises(FileError, match="nowhere: expected a folder, found nothing"):
        guess(tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected a folder, received None"):
        open_source({"kind": "sharp"})
    for kind in ("sharp", "frames"):
        with pytest.raises(InputError, match="found no pictures"):
            open_source({"kind": kind, "folder": tmp_path})


def test_options_and_kind_open_the_same_source_again(tmp_path):
    write_frames(tmp_path, random_pictures(9))
    for text in (f"frames={tmp_path},window=3-5,gamma=2.2", f"sharp={tmp_path},noise=0-5,jpeg=70-95,weight=2"):
        source = open_source(parse_source(text))
        again = {"kind": source.kind, "folder": str(source.folder), "weight": source.weight, **source.options()}
        assert open_source({key: value for key, value in again.items() if value is not None}) == source

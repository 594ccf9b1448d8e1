import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from deblurgan.data import gopro
from deblurgan.errors import DeblurganError, FileError, InputError

SCENES = {"train": ("GOPR0372_07_00", "GOPR0374_11_00"), "test": ("GOPR0384_11_00",)}
FRAMES = ("000047.png", "000048.png")


def write_image(path: Path, shape: tuple[int, int, int] = (4, 4, 3)) -> None:
    """Write noise that depends on the path's last parts, so that no two frames are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes("/".join(path.parts[-4:]).encode(), "little")
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def make_dataset(root: Path, kinds: tuple[str, ...] = ("blur", "blur_gamma", "sharp")) -> Path:
    for split, scenes in SCENES.items():
        for scene in scenes:
            for kind in kinds:
                for frame in FRAMES:
                    write_image(root / split / scene / kind / frame)
    return root


def zip_folder(folder: Path, archive: Path, top: str = "", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(archive, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{top}{path.relative_to(folder).as_posix()}")
    return archive


def zip_members(archive: Path, *names: str) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            member = zipfile.ZipInfo("placeholder")
            member.filename = member.orig_filename = name
            file.writestr(member, b"image")
    return archive


def expected_files(root: Path, blur: str = "blur") -> dict[str, bytes]:
    return {
        f"{split}/{side}/{scene}_{frame}": (root / split / scene / kind / frame).read_bytes()
        for split, scenes in SCENES.items()
        for scene in scenes
        for frame in FRAMES
        for side, kind in (("A", blur), ("B", "sharp"))
    }


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def identities(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


def organize(source: Path, target: Path, blur: str = "blur", link: str = "copy") -> gopro.Summary:
    return gopro.apply(gopro.plan(source, target, blur), link)


def only_split(summary: gopro.Summary) -> gopro.SplitSummary:
    (split,) = summary.splits
    return split


SOURCES: dict[str, Callable[[Path, Path], Path]] = {
    "folder": lambda root, folder: root,
    "folder above": lambda root, folder: root.parent,
    "zip": lambda root, folder: zip_folder(root, folder / "gopro.zip"),
    "zip with top folder": lambda root, folder: zip_folder(root, folder / "gopro.zip", "GOPRO_Large/"),
    "zip with ./": lambda root, folder: zip_folder(root, folder / "gopro.zip", "./"),
    "compressed zip": lambda root, folder: zip_folder(root, folder / "g.bin", "x/", zipfile.ZIP_DEFLATED),
}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data" / "GOPRO_Large")


@pytest.fixture(params=["folder", "zip"])
def source(request: pytest.FixtureRequest, dataset: Path, tmp_path: Path) -> Path:
    return SOURCES[request.param](dataset, tmp_path)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.mark.parametrize("blur", ["blur", "blur_gamma"])
@pytest.mark.parametrize("kind", SOURCES)
def test_each_frame_lands_in_a_or_b_under_its_scene_name(
    dataset: Path, target: Path, tmp_path: Path, kind: str, blur: str
) -> None:
    summary = organize(SOURCES[kind](dataset, tmp_path), target, blur)
    assert files_in(target) == expected_files(dataset, blur)
    assert [(s.name, s.pairs, s.copied, s.present, s.failed) for s in summary.splits] == [
        ("train", 4, 8, 0, ()),
        ("test", 2, 4, 0, ()),
    ]


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_split_alone_is_enough(dataset: Path, target: Path, split: str) -> None:
    shutil.rmtree(dataset / ("test" if split == "train" else "train"))
    assert only_split(organize(dataset, target)).name == split
    assert [path.name for path in target.iterdir()] == [split]


def test_planning_writes_nothing(source: Path, target: Path, tmp_path: Path) -> None:
    before = identities(tmp_path)
    gopro.plan(source, target)
    assert identities(tmp_path) == before
    assert not target.exists()


def test_progress_counts_every_file_of_both_splits(source: Path, target: Path) -> None:
    calls: list[tuple[int, int, Path]] = []
    gopro.apply(gopro.plan(source, target), progress=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(n, 12) for n in range(1, 13)]
    assert {call[2] for call in calls} == {path for path in target.rglob("*") if path.is_file()}


@pytest.mark.parametrize("link", gopro.LINKS)
def test_a_second_run_rewrites_nothing(dataset: Path, target: Path, link: str) -> None:
    organize(dataset, target, link=link)
    before = identities(target)
    summary = organize(dataset, target, link=link)
    assert identities(target) == before
    assert [(s.copied, s.present) for s in summary.splits] == [(0, 8), (0, 4)]


def test_a_second_run_from_a_zip_rewrites_nothing(dataset: Path, target: Path, tmp_path: Path) -> None:
    archive = zip_folder(dataset, tmp_path / "gopro.zip")
    organize(archive, target)
    before = identities(target)
    organize(archive, target)
    assert identities(target) == before


def test_a_missing_target_comes_back_and_one_of_another_size_is_replaced(source: Path, target: Path) -> None:
    organize(source, target)
    whole = files_in(target)
    (target / "train/A/GOPR0372_07_00_000047.png").unlink()
    (target / "train/B/GOPR0372_07_00_000048.png").write_bytes(b"half")
    assert organize(source, target).splits[0].copied == 2
    assert files_in(target) == whole


def test_files_that_the_plan_does_not_know_stay(source: Path, target: Path) -> None:
    stale = target / "train/A/old_000001.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    organize(source, target)
    assert stale.read_bytes() == b"old"


@pytest.mark.parametrize("link", gopro.LINKS)
def test_an_interrupted_run_leaves_whole_files_and_the_next_one_finishes(
    dataset: Path, target: Path, link: str
) -> None:
    def interrupt(done: int, total: int, path: Path) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gopro.apply(gopro.plan(dataset, target), link, interrupt)
    expected = expected_files(dataset)
    assert len(files_in(target)) == 5
    assert files_in(target).items() <= expected.items()
    assert [s.present for s in organize(dataset, target, link=link).splits] == [5, 0]
    assert files_in(target) == expected


class BrokenStream:
    """Hands out half of a file, then raises."""

    def __init__(self, stream: object, error: BaseException) -> None:
        self.stream, self.error, self.calls = stream, error, 0

    def read(self, size: int) -> bytes:
        self.calls += 1
        if self.calls > 1:
            raise self.error
        return b"the first half"

    def __enter__(self) -> "BrokenStream":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.close()  # type: ignore[attr-defined]


def break_reading(monkeypatch: pytest.MonkeyPatch, frame: str, error: BaseException) -> None:
    whole = gopro._Folder.open
    monkeypatch.setattr(
        gopro._Folder,
        "open",
        lambda tree, name: BrokenStream(whole(tree, name), error) if str(name) == frame else whole(tree, name),
    )


def test_ctrl_c_in_the_middle_of_a_file_leaves_no_part_of_it(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_reading(patch, "train/GOPR0372_07_00/blur/000048.png", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            organize(dataset, target)
    assert sorted(files_in(target)) == [
        "train/A/GOPR0372_07_00_000047.png",
        "train/B/GOPR0372_07_00_000047.png",
    ]
    organize(dataset, target)
    assert files_in(target) == expected_files(dataset)


def test_a_file_that_fails_while_being_read_is_reported_and_the_others_done(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = "train/GOPR0372_07_00/blur/000048.png"
    break_reading(monkeypatch, frame, PermissionError(13, "Permission denied"))
    summary = organize(dataset, target)
    assert summary.splits[0].failed == (gopro.Failure(PurePosixPath(frame), "Permission denied"),)
    assert (summary.splits[0].copied, summary.splits[0].present) == (6, 0)
    expected = expected_files(dataset)
    for side in "AB":  # a picture alone would keep training from starting
        del expected[f"train/{side}/GOPR0372_07_00_000048.png"]
    assert files_in(target) == expected


@pytest.mark.parametrize("link", gopro.LINKS)
def test_a_dangling_link_in_the_source_is_reported(dataset: Path, target: Path, link: str) -> None:
    frame = dataset / "test/GOPR0384_11_00/sharp/000047.png"
    frame.unlink()
    frame.symlink_to("gone.png")
    split = organize(dataset, target, link=link).splits[1]
    assert split.failed == (gopro.Failure(PurePosixPath(*frame.parts[-4:]), "No such file or directory"),)
    assert split.copied == 2  # the other pair


def test_a_folder_named_like_a_frame_is_reported(dataset: Path, target: Path) -> None:
    for kind in ("blur", "sharp"):
        (dataset / "test/GOPR0384_11_00" / kind / "000001.png").mkdir()
    split = organize(dataset, target).splits[1]
    assert [failure.reason for failure in split.failed] == ["not a regular file"] * 2
    assert split.copied == 4


def test_failed_writing_stops_with_one_line(dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(FileError, match=r"train/A/GOPR0372_07_00_000047\.png: .*No space left"):
        organize(dataset, target)
    assert files_in(target) == {}


def test_hard_links_share_the_inode(dataset: Path, target: Path) -> None:
    organize(dataset, target, link="hard")
    for name in ("000047.png", "000048.png"):
        original = dataset / "train/GOPR0374_11_00/sharp" / name
        assert os.path.samefile(original, target / "train/B" / f"GOPR0374_11_00_{name}")
        assert original.stat().st_nlink == 2
    assert files_in(target) == expected_files(dataset)


def test_symbolic_links_resolve_from_a_relative_source(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset.parent)
    organize(Path("GOPRO_Large"), target, link="symlink")
    monkeypatch.chdir("/")
    assert all(path.is_symlink() for path in (target / "train/A").iterdir())
    assert files_in(target) == expected_files(dataset)


def test_hard_linking_a_link_reaches_the_file_behind_it(dataset: Path, target: Path, tmp_path: Path) -> None:
    frame = dataset / "test/GOPR0384_11_00/sharp/000047.png"
    frame.rename(tmp_path / "elsewhere.png")
    frame.symlink_to("../../../../../elsewhere.png")
    organize(dataset, target, link="hard")
    brought = target / "test/B/GOPR0384_11_00_000047.png"
    assert not brought.is_symlink()
    assert os.path.samefile(brought, tmp_path / "elsewhere.png")


def test_hard_link_over_its_own_inode_leaves_no_temporary_file(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    organize(dataset, target, link="hard")
    monkeypatch.setattr(os.path, "getsize", lambda path: -1)
    assert [s.copied for s in organize(dataset, target, link="hard").splits] == [8, 4]
    assert files_in(target) == expected_files(dataset)


@pytest.mark.parametrize("link", ["hard", "symlink"])
def test_copying_over_an_outdated_link_leaves_the_linked_file_alone(
    dataset: Path, target: Path, tmp_path: Path, link: str
) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(b"someone else's")
    place = target / "train/A/GOPR0372_07_00_000047.png"
    place.parent.mkdir(parents=True)
    if link == "hard":
        place.hardlink_to(other)
    else:
        place.symlink_to(other)
    organize(dataset, target)
    assert other.read_bytes() == b"someone else's"
    assert files_in(target) == expected_files(dataset)


def test_hard_links_across_devices_suggest_the_alternatives(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cross_device(*paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", cross_device)
    with pytest.raises(FileError, match=r"^--link hard: .*cross-device link; use copy or symlink$"):
        organize(dataset, target, link="hard")
    assert files_in(target) == {}


@pytest.mark.parametrize("link", ["hard", "symlink"])
def test_links_into_a_zip_are_refused(dataset: Path, target: Path, tmp_path: Path, link: str) -> None:
    with pytest.raises(InputError, match=rf"--link {link}: .*gopro\.zip is an archive"):
        organize(zip_folder(dataset, tmp_path / "gopro.zip"), target, link=link)
    assert not target.exists()


def test_unknown_options_are_refused(dataset: Path, target: Path) -> None:
    with pytest.raises(InputError, match="--blur gamma: expected one of blur, blur_gamma"):
        gopro.plan(dataset, target, "gamma")
    with pytest.raises(InputError, match="--link soft: expected one of copy, hard, symlink"):
        gopro.apply(gopro.plan(dataset, target), "soft")


NOISE = ("._000047.png", ".DS_Store", "Thumbs.db", ".hidden.png", "notes.txt", "000047.png.txt", "png")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_noise_is_passed_over(dataset: Path, target: Path, tmp_path: Path, kind: str) -> None:
    expected = expected_files(dataset)
    scene = dataset / "train/GOPR0372_07_00"
    folders = (dataset, dataset / "train", scene, scene / "blur", scene / "sharp", dataset / "test/.hidden/blur")
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in NOISE:
            (folder / name).write_bytes(b"noise")
    write_image(dataset / "train/000047.png")
    write_image(scene / "000047.png")
    write_image(dataset / "__MACOSX/train/scene/blur/._000047.png")
    write_image(dataset / "train/__MACOSX/blur/000047.png")
    summary = organize(SOURCES[kind](dataset, tmp_path), target)
    assert files_in(target) == expected
    assert [(s.unpaired, s.incomplete) for s in summary.splits] == [((), ())] * 2


def test_macos_zip_with_resource_forks_beside_the_top_folder(dataset: Path, target: Path, tmp_path: Path) -> None:
    archive = zip_folder(dataset, tmp_path / "gopro.zip", "GOPRO_Large/")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/train/GOPR0372_07_00/blur/._000047.png", b"noise")
    organize(archive, target)
    assert files_in(target) == expected_files(dataset)


@pytest.mark.parametrize("zipped", [False, True])
def test_pairs_go_by_name_then_by_stem_and_the_rest_is_listed(tmp_path: Path, target: Path, zipped: bool) -> None:
    scene = tmp_path / "GOPRO_Large/train/s"
    names = {
        "blur": (
            "1.png",
            "2.jpg",
            "3.PNG",
            "4.png",
            "5.png",
            "5.jpg",
            "6.png",
            "6.jpg",
            "7.b.jpeg",
            "9.png",
            "9.jpg",
        ),
        "sharp": ("1.png", "2.png", "3.png", "8.png", "5.png", "6.jpeg", "6.JPG", "7.b.png", "9.png", "9.jpg"),
    }
    for kind, frames in names.items():
        for frame in frames:
            write_image(scene / kind / frame)
    root = scene.parents[1]
    split = only_split(organize(zip_folder(root, tmp_path / "g.zip") if zipped else root, target))
    pairs = [("1.png", "1.png"), ("2.jpg", "2.png"), ("3.PNG", "3.png"), ("5.png", "5.png"), ("7.b.jpeg", "7.b.png")]
    pairs += [("9.jpg", "9.jpg"), ("9.png", "9.png")]
    assert files_in(target) == {
        f"train/{side}/s_{name}": (scene / kind / name).read_bytes()
        for pair in pairs
        for side, kind, name in zip("AB", ("blur", "sharp"), pair, strict=True)
    }
    assert [str(path) for path in split.unpaired] == [
        f"train/s/{name}"
        for name in (
            "blur/4.png",
            "blur/5.jpg",
            "blur/6.jpg",
            "blur/6.png",
            "sharp/6.JPG",
            "sharp/6.jpeg",
            "sharp/8.png",
        )
    ]
    assert split.pairs == len(pairs)


@pytest.mark.parametrize("empty", ["blur", "sharp"])
def test_an_empty_folder_leaves_its_partners_unpaired(dataset: Path, target: Path, empty: str) -> None:
    scene = dataset / "test/GOPR0384_11_00"
    for frame in (scene / empty).iterdir():
        frame.unlink()
    split = organize(dataset, target).splits[1]
    other = "sharp" if empty == "blur" else "blur"
    assert [str(path) for path in split.unpaired] == [f"test/GOPR0384_11_00/{other}/{frame}" for frame in FRAMES]
    assert split.pairs == 0


def test_scenes_without_a_folder_asked_for_are_listed_and_the_others_done(
    dataset: Path, target: Path, tmp_path: Path
) -> None:
    shutil.rmtree(dataset / "train/GOPR0374_11_00/blur_gamma")
    shutil.rmtree(dataset / "test/GOPR0384_11_00/sharp")
    (dataset / "test/empty").mkdir()
    for root in (dataset, zip_folder(dataset, tmp_path / "g.zip")):
        splits = organize(root, target, "blur_gamma").splits
        assert splits[0].incomplete == ("train/GOPR0374_11_00: no blur_gamma folder",)
        assert splits[1].incomplete == (
            "test/GOPR0384_11_00: no sharp folder",
            "test/empty: no blur_gamma and no sharp folder",
        )
        assert [s.pairs for s in splits] == [2, 0]


def test_no_scene_with_the_blur_asked_for_is_an_error(tmp_path: Path, target: Path) -> None:
    root = make_dataset(tmp_path / "GOPRO_Large", ("blur", "sharp"))
    message = f"--blur blur_gamma: no scene under {root} has a blur_gamma folder; found blur, sharp"
    with pytest.raises(InputError) as caught:
        gopro.plan(root, target, "blur_gamma")
    assert str(caught.value) == message


def test_no_scene_with_sharp_frames_is_an_error(tmp_path: Path, target: Path) -> None:
    root = make_dataset(tmp_path / "GOPRO_Large", ("blur",))
    with pytest.raises(InputError, match=r"^no scene under .* has a sharp folder; found blur$"):
        gopro.plan(root, target)


@pytest.mark.parametrize("frames", [("c.png", "b_c.png"), ("c.png", "b_c.jpg")])
def test_two_frames_for_one_output_name_are_refused(tmp_path: Path, target: Path, frames: tuple[str, str]) -> None:
    for scene, frame in zip(("a_b", "a"), frames, strict=True):
        for kind in ("blur", "sharp"):
            write_image(tmp_path / "G/train" / scene / kind / frame)
    with pytest.raises(InputError, match=r"train/a/blur/b_c\.\w+ and train/a_b/blur/c\.png .* as a_b_c;"):
        gopro.plan(tmp_path / "G", target)


def test_the_same_names_in_two_splits_are_no_clash(tmp_path: Path, target: Path) -> None:
    for split in ("train", "test"):
        for kind in ("blur", "sharp"):
            write_image(tmp_path / "G" / split / "s" / kind / "1.png")
    assert [s.copied for s in organize(tmp_path / "G", target).splits] == [2, 2]


@pytest.mark.parametrize("inside", ["", "train", "train/GOPR0372_07_00", "images", "../GOPRO_Large", "new/deep"])
def test_a_target_in_the_source_is_refused(dataset: Path, inside: str) -> None:
    with pytest.raises(InputError, match="expected a target outside the source"):
        gopro.plan(dataset, dataset / inside)


@pytest.mark.parametrize("link", ["", "train", "test/B"])
def test_a_target_that_reaches_the_source_through_a_link_is_refused(dataset: Path, target: Path, link: str) -> None:
    (target / link).parent.mkdir(parents=True, exist_ok=True)
    (target / link).symlink_to(dataset / "train")
    with pytest.raises(InputError, match="expected a target outside the source"):
        gopro.plan(dataset, target)


def test_a_target_in_the_folder_behind_a_linked_source_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(dataset)
    with pytest.raises(InputError, match="expected a target outside the source"):
        gopro.plan(tmp_path / "linked", dataset / "images")


def test_a_source_in_the_target_is_fine(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "images" / "GOPRO_Large")
    expected = expected_files(dataset)
    organize(dataset, tmp_path / "images")
    shutil.rmtree(dataset)
    assert files_in(tmp_path / "images") == expected


def test_a_folder_with_train_is_the_dataset_whatever_else_it_holds(dataset: Path, target: Path) -> None:
    expected = expected_files(dataset)
    make_dataset(dataset / "backup")
    organize(dataset, target)
    assert files_in(target) == expected


def test_unusable_sources_say_what_was_found(tmp_path: Path, target: Path) -> None:
    empty, other, bare, two = (tmp_path / name for name in ("empty", "other", "bare", "two"))
    empty.mkdir()
    (other / "val").mkdir(parents=True)
    (bare / "train").mkdir(parents=True)
    (two / "x/train").mkdir(parents=True)
    (two / "y/test").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("not a zip")
    (tmp_path / "nothing.zip").write_bytes(b"")
    for name, error, message in (
        ("missing", FileError, "expected a folder or a zip archive, found nothing there"),
        ("notes.txt", FileError, "expected a folder or a whole zip archive"),
        ("nothing.zip", FileError, "expected a folder or a whole zip archive"),
        ("empty", InputError, "expected a folder train or test, as GOPRO_Large has, found no folders"),
        ("other", InputError, "expected a folder train or test, as GOPRO_Large has, found val"),
        ("bare", InputError, "expected scenes .*found none"),
        ("two", InputError, "expected one folder with train or test, found x, y; name one of them"),
    ):
        with pytest.raises(error, match=f"{name}: {message}") as caught:
            gopro.plan(tmp_path / name, target)
        assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_named(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir = os.listdir

    def denied(path: Path) -> list[str]:
        if path.name == "sharp":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(FileError, match="sharp: the folder cannot be read: Permission denied"):
        gopro.plan(dataset, target)


def test_an_unwritable_target_is_one_line(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file", tmp_path / "file/images"):
        with pytest.raises(FileError, match=r"^[^\n]*file[^\n]*$"):
            organize(dataset, target)


@pytest.mark.parametrize(
    "name",
    [
        "../train/s/blur/1.png",
        "train/s/blur/../../../../1.png",
        "/train/s/blur/1.png",
        "C:/train/s/blur/1.png",
        "train/C:s/blur/1.png",
        "train\\s\\blur\\1.png",
        "train/s/blur/..\\1.png",
        "train/s/blur/1.png\0.txt",
        "__MACOSX/../../1.png",
    ],
)
def test_members_that_point_outside_are_refused_by_name(tmp_path: Path, name: str) -> None:
    archive = zip_members(tmp_path / "g.zip", "train/s/blur/2.png", "train/s/sharp/2.png", name)
    with pytest.raises(InputError) as caught:
        gopro.plan(archive, tmp_path / "images")
    assert repr(name) in str(caught.value)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_of_two_members_with_one_name_counts(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as file:
        for content in (b"old", b"newer"):
            for kind in ("blur", "sharp"):
                file.writestr(f"train/s/{kind}/1.png", content)
    assert only_split(organize(tmp_path / "g.zip", target)).copied == 2
    assert files_in(target) == {"train/A/s_1.png": b"newer", "train/B/s_1.png": b"newer"}


def corrupt(archive: Path, name: str, offset: int = 0) -> None:
    """Flip the bits of one byte of a member's data."""
    with zipfile.ZipFile(archive) as file:
        member = file.getinfo(name)
    content = bytearray(archive.read_bytes())
    lengths = struct.unpack("<HH", content[member.header_offset + 26 : member.header_offset + 30])
    content[member.header_offset + 30 + sum(lengths) + offset] ^= 0xFF
    archive.write_bytes(content)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_reported_and_the_others_done(
    dataset: Path, target: Path, tmp_path: Path, compression: int
) -> None:
    frame = "train/GOPR0372_07_00/sharp/000047.png"
    archive = zip_folder(dataset, tmp_path / "g.zip", compression=compression)
    corrupt(archive, frame)
    split = organize(archive, target).splits[0]
    assert [failure.source for failure in split.failed] == [PurePosixPath(frame)]
    assert split.failed[0].reason
    expected = expected_files(dataset)
    for side in "AB":
        del expected[f"train/{side}/GOPR0372_07_00_000047.png"]
    assert files_in(target) == expected


def test_damage_past_the_first_chunk_leaves_no_half_file(tmp_path: Path, target: Path) -> None:
    frame = tmp_path / "G/train/s/blur/1.png"
    write_image(frame, (800, 800, 3))
    write_image(frame.parents[1] / "sharp/1.png")
    assert frame.stat().st_size > gopro._CHUNK_BYTES
    archive = zip_folder(tmp_path / "G", tmp_path / "g.zip")
    corrupt(archive, "train/s/blur/1.png", gopro._CHUNK_BYTES + 1)
    (failure,) = only_split(organize(archive, target)).failed
    assert "CRC" in failure.reason
    assert list(files_in(target)) == []  # its sharp picture has no use alone


def test_a_truncated_zip_is_refused(dataset: Path, target: Path, tmp_path: Path) -> None:
    archive = zip_folder(dataset, tmp_path / "g.zip")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(FileError, match=r"g\.zip: expected a folder or a whole zip archive"):
        gopro.plan(archive, target)


def change_member(archive: Path, change: Callable[[zipfile.ZipInfo], None]) -> None:
    """Rewrite the archive's list of members after `change` has been at each of them."""
    with zipfile.ZipFile(archive, "a") as file:
        for member in file.infolist():
            change(member)
        file.writestr("readme.txt", b"")


def test_an_encrypted_zip_is_refused(tmp_path: Path, target: Path) -> None:
    archive = zip_members(tmp_path / "g.zip", "train/s/blur/1.png", "train/s/sharp/1.png")
    change_member(archive, lambda member: setattr(member, "flag_bits", 1))
    with pytest.raises(FileError, match=r"g\.zip: train/s/blur/1\.png is encrypted"):
        gopro.plan(archive, target)


def test_a_zip_of_symbolic_links_is_refused(tmp_path: Path, target: Path) -> None:
    archive = zip_members(tmp_path / "g.zip", "train/s/blur/1.png", "train/s/sharp/1.png")
    change_member(archive, lambda member: setattr(member, "external_attr", (stat.S_IFLNK | 0o777) << 16))
    with pytest.raises(FileError, match=r"g\.zip: train/s/blur/1\.png is a symbolic link"):
        gopro.plan(archive, target)


def test_a_zip_of_an_unknown_method_is_refused(dataset: Path, target: Path, tmp_path: Path) -> None:
    archive = zip_folder(dataset, tmp_path / "g.zip")
    change_member(archive, lambda member: setattr(member, "compress_type", 9))
    with pytest.raises(FileError, match=r"000047\.png is packed by method 9"):
        gopro.plan(archive, target)


def test_a_source_that_is_gone_when_applied_is_an_error(source: Path, target: Path) -> None:
    plan = gopro.plan(source, target)
    source.rename(source.with_name("moved"))
    with pytest.raises(DeblurganError, match="found nothing there"):
        gopro.apply(plan)


def test_a_member_that_is_gone_when_applied_is_reported(dataset: Path, target: Path, tmp_path: Path) -> None:
    plan = gopro.plan(zip_folder(dataset, tmp_path / "g.zip"), target)
    (dataset / "test/GOPR0384_11_00/sharp/000047.png").unlink()
    zip_folder(dataset, tmp_path / "g.zip")
    (failure,) = gopro.apply(plan).splits[1].failed
    assert (failure.source.name, failure.reason) == ("000047.png", "no longer in the archive")


def test_a_picture_that_was_there_before_stays_when_its_partner_fails(
    dataset: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    organize(dataset, target)
    (target / "train/A/GOPR0372_07_00_000048.png").unlink()
    break_reading(monkeypatch, "train/GOPR0372_07_00/blur/000048.png", PermissionError(13, "Permission denied"))
    organize(dataset, target)
    assert "train/B/GOPR0372_07_00_000048.png" in files_in(target)

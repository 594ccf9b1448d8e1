"""The GOPRO dataset, from its official layout to the one that training reads.

`plan` looks at `GOPRO_Large/{train,test}/<scene>/{blur,blur_gamma,sharp}/<frame>.png`, a folder or the downloaded zip
archive, and says what goes where; `apply` brings it to `{train,test}/{A,B}/<scene>_<frame>.png`, A blurred, B sharp.
"""

import contextlib
import errno
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from deblurgan.errors import FileError, InputError
from deblurgan.files import atomic_path, ensure_folder

SPLITS = ("train", "test")
BLURS = ("blur", "blur_gamma")
LINKS = ("copy", "hard", "symlink")

_SHARP = "sharp"
_SIDES = ("A", "B")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_CHUNK_BYTES = 1 << 20
_UNREADABLE = (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile, zlib.error)

Progress = Callable[[int, int, Path], None]
"""Called after each file with: files done, files in all, the path in the target."""


@dataclass(frozen=True)
class Copy:
    """One file to bring: `source`, relative to the plan's source, becomes the path `target`."""

    source: PurePosixPath
    target: Path


@dataclass(frozen=True)
class SplitPlan:
    """What is to be done for "train" or "test".

    `copies` holds two files for each pair, the blurred one first. `unpaired` are frames with no partner, relative to
    the plan's source; `incomplete` names the scenes without a folder of blurred or of sharp frames, and which.
    """

    name: str
    copies: tuple[Copy, ...]
    unpaired: tuple[PurePosixPath, ...]
    incomplete: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return len(self.copies) // 2


@dataclass(frozen=True)
class Plan:
    """What `apply` will do: one `SplitPlan` for each split that the source (a folder or a zip archive) has."""

    source: Path
    target: Path
    splits: tuple[SplitPlan, ...]


@dataclass(frozen=True)
class Failure:
    """A file that could not be read: its path relative to the source, and why."""

    source: PurePosixPath
    reason: str


@dataclass(frozen=True)
class SplitSummary:
    """What was done for "train" or "test".

    `copied` (or linked), `present` (already there) and `failed` are about files, two to a pair. `unpaired` and
    `incomplete` are those of the `SplitPlan`.
    """

    name: str
    pairs: int
    copied: int
    present: int
    unpaired: tuple[PurePosixPath, ...]
    incomplete: tuple[str, ...]
    failed: tuple[Failure, ...]


@dataclass(frozen=True)
class Summary:
    """What `apply` did, split by split."""

    splits: tuple[SplitSummary, ...]


def plan(source: str | os.PathLike[str], target: str | os.PathLike[str], blur: str = "blur") -> Plan:
    """Say which files of a GOPRO dataset go where. Changes nothing.

    Frames pair by file name within a scene, or by stem where the extensions differ (000047.png with 000047.jpg).
    Hidden files and files that are not PNG or JPEG by name are passed over.

    Args:
        source: the folder or zip archive that holds `train`, `test` or both, or holds the one folder that does.
        target: the folder to write to; it need not exist.
        blur: "blur" or "blur_gamma", the blurred frames to take.

    Raises:
        InputError: the layout is not that of GOPRO, no scene has the folder asked for, two frames would be written
            under one name, a member of the archive points outside it, or the target lies in the source.
        FileError: the source is missing, unreadable, encrypted, damaged, or a file that is not a zip archive.
    """
    if blur not in BLURS:
        raise InputError(f"--blur {blur}: expected one of {', '.join(BLURS)}")
    source, target = Path(source), Path(target)
    with _opened(source) as tree:
        _refuse_target_in_source(source, target)
        root = _dataset_root(tree, source)
        splits = [split for split in SPLITS if tree.is_folder(root / split)]
        scenes = {split: [root / split / scene for scene in tree.folders(root / split)] for split in splits}
        _require_folders(tree, source / root, [scene for split in splits for scene in scenes[split]], blur)
        return Plan(source, target, tuple(_plan_split(tree, scenes[split], target / split, blur) for split in splits))


def apply(plan: Plan, link: str = "copy", progress: Progress | None = None) -> Summary:
    """Bring the files of a plan to their places.

    A target of the size of its source counts as already there and is left alone; one of another size is replaced.
    Every file appears whole or not at all, so a run that was interrupted goes on where it stopped. A source file that
    cannot be read is listed in the summary, its partner is not left alone in the target, and the others are done.

    Args:
        plan: what `plan` returned.
        link: "copy", "hard" (hard links) or "symlink" (absolute symbolic links).
        progress: called after each file, whatever became of it.

    Raises:
        InputError: `link` is not one of these, or asks for links into a zip archive.
        FileError: the target cannot be written to, a link cannot be made, or the source is no longer there.
    """
    if link not in LINKS:
        raise InputError(f"--link {link}: expected one of {', '.join(LINKS)}")
    if link != "copy" and os.path.isfile(plan.source):
        raise InputError(f"--link {link}: {plan.source} is an archive, and links cannot point into one; use copy")
    total = sum(len(split.copies) for split in plan.splits)
    done = 0
    summaries = []
    with _opened(plan.source) as tree:
        for split in plan.splits:
            for folder in sorted({copy.target.parent for copy in split.copies}):
                ensure_folder(folder)
            copied = 0
            failed = []
            present = 0
            for pair in zip(split.copies[::2], split.copies[1::2], strict=True):
                brought: list[Copy] = []
                for copy in pair:
                    try:
                        if _bring(tree, copy, link):
                            brought.append(copy)
                        else:
                            present += 1
                    except _ReadError as error:
                        failed.append(Failure(copy.source, str(error)))
                    done += 1
                    if progress is not None:
                        progress(done, total, copy.target)
                if failed and failed[-1].source in (copy.source for copy in pair):
                    while brought:  # a picture without its partner is of no use to training, which would refuse it
                        brought.pop().target.unlink()
                copied += len(brought)
            summaries.append(
                SplitSummary(
                    split.name, split.pairs, copied, present, split.unpaired, split.incomplete, tuple(failed)
                )
            )
    return Summary(tuple(summaries))


class _ReadError(Exception):
    """One file of the source cannot be read; the message says why."""


class _Folder:
    """A dataset unpacked on disk. Paths given to its methods are relative to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_folder(self, at: PurePosixPath) -> bool:
        return os.path.isdir(self._path / at)

    def folders(self, at: PurePosixPath) -> list[str]:
        return [name for name in self._names(at) if not _is_hidden(name) and self.is_folder(at / name)]

    def images(self, at: PurePosixPath) -> list[str]:
        return [name for name in self._names(at) if _is_image(name)]

    def size(self, name: PurePosixPath) -> int:
        status = os.stat(self._path / name)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return status.st_size

    def open(self, name: PurePosixPath) -> IO[bytes]:
        return (self._path / name).open("rb")

    def real_path(self, name: PurePosixPath) -> Path:
        return (self._path / name).resolve(strict=True)

    def _names(self, at: PurePosixPath) -> list[str]:
        try:
            return sorted(os.listdir(self._path / at))
        except OSError as error:
            raise FileError(f"{self._path / at}: the folder cannot be read: {error.strerror}") from error


class _Archive:
    """A dataset in a zip archive, with the methods of `_Folder` that do not need a disk."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[PurePosixPath, zipfile.ZipInfo] = {}
        self._images: dict[PurePosixPath, set[str]] = {}
        self._folders = {PurePosixPath()}
        for member in archive.infolist():
            path = _member_path(archive, member)
            folder = path if member.is_dir() else path.parent
            self._folders.update((folder, *folder.parents))
            if not member.is_dir() and _is_image(path.name):
                _refuse_unreadable_member(archive, member)
                self._images.setdefault(folder, set()).add(path.name)
                self._members[path] = member

    def is_folder(self, at: PurePosixPath) -> bool:
        return at in self._folders

    def folders(self, at: PurePosixPath) -> list[str]:
        inside = (folder.name for folder in self._folders if folder.parent == at and folder != at)
        return sorted(name for name in inside if not _is_hidden(name))

    def images(self, at: PurePosixPath) -> list[str]:
        return sorted(self._images.get(at, ()))

    def size(self, name: PurePosixPath) -> int:
        if name not in self._members:
            raise FileNotFoundError(errno.ENOENT, "no longer in the archive")
        return self._members[name].file_size

    def open(self, name: PurePosixPath) -> IO[bytes]:
        return self._archive.open(self._members[name])


_Tree = _Folder | _Archive


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[_Tree]:
    if os.path.isdir(source):
        yield _Folder(source)
        return
    if not os.path.isfile(source):
        raise FileError(f"{source}: expected a folder or a zip archive, found nothing there")
    try:
        archive = zipfile.ZipFile(source)
    except OSError as error:
        raise FileError(f"{source}: the file cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise FileError(f"{source}: expected a folder or a whole zip archive: {error}") from error
    with archive:
        yield _Archive(archive)


def _member_path(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> PurePosixPath:
    name = member.orig_filename
    path = PurePosixPath(name)
    drive = any(re.match("[A-Za-z]:", part) for part in path.parts)
    if path.is_absolute() or ".." in path.parts or drive or "\\" in name or "\0" in name:
        raise InputError(f"{archive.filename}: expected members with plain relative names, found {name!r}")
    return path


def _refuse_unreadable_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    where = f"{archive.filename}: {member.filename}"
    if member.flag_bits & 0x1:
        raise FileError(f"{where} is encrypted; unpack the archive and name the folder")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileError(f"{where} is packed by method {member.compress_type}, expected 0 (stored) or 8 (deflated)")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise FileError(f"{where} is a symbolic link; expected an archive of the files themselves")


def _refuse_target_in_source(source: Path, target: Path) -> None:
    real_source = os.path.realpath(source)
    for folder in (target / split / side for split in SPLITS for side in _SIDES):
        if Path(os.path.realpath(folder)).is_relative_to(real_source):
            raise InputError(f"{target}: expected a target outside the source {source}")


def _dataset_root(tree: _Tree, source: Path) -> PurePosixPath:
    here = PurePosixPath()
    folders = tree.folders(here)
    roots = [
        root for root in (here, *map(PurePosixPath, folders)) if any(tree.is_folder(root / split) for split in SPLITS)
    ]
    if not roots:
        raise InputError(f"{source}: expected a folder train or test, as GOPRO_Large has, found {_some(folders)}")
    if roots[0] != here and len(roots) > 1:
        found = _some([str(root) for root in roots])
        raise InputError(f"{source}: expected one folder with train or test, found {found}; name one of them")
    return roots[0]


def _require_folders(tree: _Tree, root: Path, scenes: list[PurePosixPath], blur: str) -> None:
    if not scenes:
        raise InputError(f"{root}: expected scenes (train/<scene>/{blur}, train/<scene>/{_SHARP}), found none")
    found = {name for scene in scenes for name in tree.folders(scene)}
    for kind, option in ((blur, f"--blur {blur}: "), (_SHARP, "")):
        if kind not in found:
            raise InputError(f"{option}no scene under {root} has a {kind} folder; found {_some(sorted(found))}")


def _plan_split(tree: _Tree, scenes: list[PurePosixPath], target: Path, blur: str) -> SplitPlan:
    copies: list[Copy] = []
    unpaired: list[PurePosixPath] = []
    incomplete: list[str] = []
    taken: dict[str, PurePosixPath] = {}
    for scene in scenes:
        folders = (scene / blur, scene / _SHARP)
        missing = [folder.name for folder in folders if not tree.is_folder(folder)]
        if missing:
            incomplete.append(f"{scene}: no {' and no '.join(missing)} folder")
            continue
        blurred, sharp = (tree.images(folder) for folder in folders)
        pairs = _pair(blurred, sharp)
        for pair in pairs:
            paths = [folder / name for folder, name in zip(folders, pair, strict=True)]
            stem = f"{scene.name}_{paths[0].stem}"
            other = taken.setdefault(stem, paths[0])
            if other.parent != paths[0].parent:
                raise InputError(f"{other} and {paths[0]} would both be written as {stem}; rename one of the scenes")
            for path, side in zip(paths, _SIDES, strict=True):
                copies.append(Copy(path, target / side / f"{scene.name}_{path.name}"))
        paired = {name for pair in pairs for name in pair}
        for folder, names in zip(folders, (blurred, sharp), strict=True):
            unpaired += [folder / name for name in names if name not in paired]
    return SplitPlan(target.name, tuple(copies), tuple(unpaired), tuple(incomplete))


def _pair(blurred: list[str], sharp: list[str]) -> list[tuple[str, str]]:
    same = set(blurred) & set(sharp)
    pairs = [(name, name) for name in same]
    by_stem = [_by_stem(name for name in names if name not in same) for names in (blurred, sharp)]
    for stem in by_stem[0].keys() & by_stem[1].keys():
        if len(by_stem[0][stem]) == len(by_stem[1][stem]) == 1:
            pairs.append((by_stem[0][stem][0], by_stem[1][stem][0]))
    return sorted(pairs)


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(PurePosixPath(name).stem, []).append(name)
    return stems


def _bring(tree: _Tree, copy: Copy, link: str) -> bool:
    """Copy or link one file and return True; return False where the target is there with the same size."""
    with _reading():
        size = tree.size(copy.source)
    if os.path.isfile(copy.target) and os.path.getsize(copy.target) == size:
        return False
    if link != "copy" and isinstance(tree, _Folder):
        with _reading():
            original = tree.real_path(copy.source)
        _make_link(original, copy.target, link)
    else:
        with (
            contextlib.closing(_content(tree, copy.source)) as content,
            atomic_path(copy.target) as temporary,
            temporary.open("wb") as file,
        ):
            file.writelines(content)
    return True


def _content(tree: _Tree, name: PurePosixPath) -> Generator[bytes, None, None]:
    with _reading(), tree.open(name) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise _ReadError(reason or str(error) or "it ends early") from error


def _make_link(original: Path, target: Path, link: str) -> None:
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            if link == "hard":
                os.link(original, temporary)
            else:
                temporary.symlink_to(original)
        except OSError as error:
            others = " or ".join(other for other in LINKS if other != link)
            raise FileError(
                f"--link {link}: {target} cannot be linked to {original}: {error.strerror}; use {others}"
            ) from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(_IMAGE_SUFFIXES)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "no folders"

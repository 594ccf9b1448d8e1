"""Writing files so that they appear whole or not at all, and naming them in messages of one line."""

import contextlib
import errno
import glob
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deblurgan.errors import DeblurganError, FileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ENDING = 16  # characters: enough for .weights.h5, and short where a name has a point early on
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/+[^/]", re.IGNORECASE)  # of two letters or more: C:/ is a drive
_STAND_INS = {  # how files begin that are not what their names say
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` gets the file itself",
    b"/annex/objects/": "a git-annex pointer; `git annex get` gets the file itself",
    b"<!doctype html": "a web page, which a server sent in place of the file",
    b"<html": "a web page, which a server sent in place of the file",
}


def shown(path: str | os.PathLike[str]) -> str:
    """Return the path as it can stand in a one-line message: escaped where it holds unprintable characters."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def reason(error: Exception) -> str:
    """Return in one line what an exception says went wrong."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno:
        text = os.strerror(error.errno)
        if error.errno == errno.ENOLCK:  # of HDF5
            text += "; with HDF5_USE_FILE_LOCKING=FALSE in the environment it does without"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return " ".join(text.split())


def check_no_address(path: object) -> None:
    """Raise FileError where `path` is an address of the network, `https://...`, which nothing here reads."""
    if isinstance(path, (str, os.PathLike)) and _ADDRESS.match(os.fspath(path)) and not os.path.lexists(path):
        raise FileError(f"{shown(path)}: expected a file, received an address; download it first")


def stand_in(start: bytes) -> str | None:
    """Say what a file is that begins with `start`, where it only stands for the one that was wanted; else None."""
    start = start.lstrip().lower()
    return next((what for mark, what in _STAND_INS.items() if start.startswith(mark)), None)


def check_replaceable(path: Path) -> None:
    """Raise FileError where something stands that is no plain file and would be lost."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(f"{shown(path)}: cannot be written: not a file but a folder, a device or a pipe")


@contextlib.contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise a FileError that says that `path` cannot be written where the block raises an OSError of another kind."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{shown(path)}: cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its extensions, that becomes `path` when the block ends well.

    On any exception (Ctrl-C included) the temporary file is removed and whatever stood at `path` is left as it was.
    When the block has ended, the file and its name are on the disk and outlast a power cut, and so does `path` as it
    was until then. That takes a millisecond or two for a picture, some tens where disks are slow.

    Raises:
        FileError: the folder does not exist or cannot be written to, something stands there that is not a plain file
            and would be lost (a folder, a link to a device), or writing failed (disk full).
    """
    path = Path(path)
    check_replaceable(path)
    try:
        ending = "".join(path.suffixes[-2:])[-_ENDING:]
        temporary = path.with_name(f".{secrets.token_hex(6)}.tmp{ending}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (OSError, ValueError) as error:  # ValueError: there is no name, as in "." and "/"
        raise FileError(f"{shown(path)}: cannot be written: {reason(error)}") from error
    try:
        with written(path):
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # of a disk that has meanwhile become read-only: it is told already
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, on systems and file systems where one can."""
    if fcntl is None:
        return
    try:
        _sync(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):  # not for folders there; not readable
            raise


def _sync(path: Path, flags: int = os.O_RDWR) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield a temporary folder on the file system of `target`, removed when the block ends."""
    with written(target), tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=target.parent) as folder:
        yield Path(folder)


@contextlib.contextmanager
def held(folder: Path, taken: DeblurganError) -> Iterator[None]:
    """Hold a folder, which is there, against whoever else would; nothing is held where there are no locks.

    Raises:
        DeblurganError: it is held already: `taken`.
        FileError: it is gone, or cannot be opened.
    """
    if fcntl is None:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise FileError(f"{shown(folder)}: the folder cannot be opened: {reason(error)}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise taken from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def without_wildcards(path: Path) -> Iterator[Path]:
    """Yield a name of `path`, a folder or the beginning of several files' names, that TensorFlow finds them under.

    TensorFlow takes a `[1]` in the name of a checkpoint, or of a folder above it, for a pattern.
    """
    if not glob.has_magic(str(path.absolute())):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in path.absolute().parent.iterdir():
            if file.name == path.name or file.name.startswith(f"{path.name}."):
                Path(folder, f"plain{file.name.removeprefix(path.name)}").symlink_to(file)
        yield Path(folder, "plain")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; the copy appears whole or not at all, as `atomic_path` has it."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def ensure_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder `path` with its parents where missing, and return it.

    Raises:
        FileError: something that is not a folder stands there, or it cannot be created or written to.
    """
    path = Path(path)
    missing = [each for each in (path, *path.parents) if not os.path.lexists(each)]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for each in missing:
            sync_folder(each.parent)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(each for each in (path, *path.parents) if os.path.lexists(each))
        raise FileError(f"{shown(file)}: expected a folder, found a file") from error
    except OSError as error:
        raise FileError(f"{shown(path)}: the folder cannot be created: {reason(error)}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FileError(f"{shown(path)}: the folder is not writable")
    return path


def weights_of_run(path: str | os.PathLike[str]) -> Path:
    """Return the best weights of a training run where `path` is its folder, or its name in `weights`; else `path`."""
    for folder in (Path(path), Path("weights", path)):
        for name in ("generator_best.weights.h5", "generator_last.weights.h5"):
            if os.path.isfile(folder / name):
                return folder / name
    return Path(path)

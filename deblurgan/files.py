"""Writing files so that they appear whole or not at all, and naming them in messages of one line."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deblurgan.errors import FileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ENDING = 16  # characters: enough for .weights.h5, and short where a name has a point early on


def shown(path: str | os.PathLike[str]) -> str:
    """Return the path as it can stand in a one-line message: escaped where it holds unprintable characters."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)


def reason(error: Exception) -> str:
    """Return in one line what an exception says went wrong."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = os.strerror(error.errno) if error.errno else error.strerror
    return " ".join(text.split())


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its extensions, that becomes `path` when the block ends well.

    On any exception (Ctrl-C included) the temporary file is removed and whatever stood at `path` is left as it was.

    Raises:
        FileError: the folder does not exist or cannot be written to, something stands there that is not a plain file
            and would be lost (a folder, a link to a device), or writing failed (disk full).
    """
    path = Path(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(f"{shown(path)}: cannot be written: not a file but a folder, a device or a pipe")
    try:
        ending = "".join(path.suffixes[-2:])[-_ENDING:]
        temporary = path.with_name(f".{secrets.token_hex(6)}.tmp{ending}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (OSError, ValueError) as error:  # ValueError: there is no name, as in "." and "/"
        raise FileError(f"{shown(path)}: cannot be written: {reason(error)}") from error
    try:
        yield temporary
        os.replace(temporary, path)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{shown(path)}: cannot be written: {reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield a temporary folder on the file system of `target`, removed when the block ends."""
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=target.parent) as folder:
            yield Path(folder)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{shown(target)}: cannot be written: {reason(error)}") from error


@contextlib.contextmanager
def held(folder: Path, taken: str) -> Iterator[None]:
    """Hold a folder, which is there, against whoever else would; nothing is held where there are no locks.

    Raises:
        FileError: it is held already; its message is `taken`.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileError(taken) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


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
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise FileError(f"{shown(path)}: expected a folder, found a file") from error
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

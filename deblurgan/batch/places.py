"""Folders on this machine and in object stores, by path or address: files in them are read, written whole, listed."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from deblurgan.errors import FileError
from deblurgan.files import atomic_path, ensure_folder, reason, shown

# Of stores in which a file appears when all of it is there; elsewhere it gets its name then.
_WHOLE = frozenset({"abfs", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a"})
# What the packages behind fsspec raise besides OSError.
_OTHERS = {
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}


def is_address(path: str) -> bool:
    """Whether this is an address such as `s3://bucket/folder`, and not a path of this machine."""
    return "://" in path and not os.path.lexists(path)


def absolute(path: str) -> str:
    """Return the path as all processes of this machine understand it; addresses stay as they are."""
    for local in ("file://", "local://"):
        path = path.removeprefix(local)
    if not is_address(path):
        return os.path.abspath(path)
    return path if path.endswith("://") else path.rstrip("/")


@contextlib.contextmanager
def storage(address: str, what: str) -> Iterator[None]:
    """Raise a FileError that says `what` about the address where the block meets an error of the storage."""
    try:
        yield
    except FileError:
        raise
    except (OSError, ImportError, ValueError, *_others()) as error:  # type: ignore[misc]
        raise FileError(f"{shown(address)}: {what}: {reason(error)}") from error


def _others() -> list[type[Exception]]:
    found = [
        (sys.modules[module], name) for module, names in _OTHERS.items() if module in sys.modules for name in names
    ]
    return [getattr(module, name) for module, name in found if hasattr(module, name)]


@dataclass(frozen=True)
class Place:
    """A folder, or a file, that fsspec knows; names in it have `/` between folders.

    Attributes:
        address: as `absolute` gives it.
    """

    address: str

    @cached_property
    def fs(self) -> Any:
        """The file system.

        Raises:
            FileError: no such kind is known, or a package for it is not installed.
        """
        with storage(self.address, "cannot be reached"):
            return fsspec.core.url_to_fs(self.address)[0]

    @cached_property
    def root(self) -> str:
        """What the file system calls it."""
        return str(self.fs._strip_protocol(self.address)).rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return isinstance(self.fs, LocalFileSystem)

    def __getstate__(self) -> dict[str, str]:
        return {"address": self.address}

    def at(self, name: str) -> str:
        """Return what the file system calls a file in it."""
        return f"{self.root}/{name}" if name else self.root

    def called(self, name: str) -> str:
        """Return how to call a file in it in messages."""
        return f"{self.address.rstrip('/')}/{name}"

    def is_folder(self) -> bool:
        """Whether a folder is there."""
        with storage(self.address, "cannot be looked at"):
            return bool(self.fs.isdir(self.root))

    def names(self, folder: str = "") -> list[str]:
        """Return the names directly in a folder in it, sorted; none where there is no such folder."""
        with storage(self.called(folder), "cannot be listed"):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(self.at(folder), detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)

    def read(self, name: str = "") -> bytes:
        """Return what a file holds."""
        with storage(self.called(name) if name else self.address, "cannot be read"):
            return bytes(self.fs.cat_file(self.at(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in folders made where missing; it appears whole or not at all."""
        path = self.at(name)
        if self.is_local:
            ensure_folder(Path(path).parent)
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            return
        with storage(self.called(name), "cannot be written"):
            if not _WHOLE.isdisjoint([self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol):
                self.fs.pipe_file(path, content)
                return
            folder = path.rsplit("/", 1)[0]
            self.fs.makedirs(folder, exist_ok=True)
            temporary_path = f"{folder}/.{secrets.token_hex(6)}.tmp"
            self.fs.pipe_file(temporary_path, content)
            self.fs.mv(temporary_path, path)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with storage(self.called(name), "cannot be removed"), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.at(name))

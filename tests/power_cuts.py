"""A disk that forgets, when the power is cut, what was not synced."""

import os
import stat


class Disk:
    """Notes what is synced below a folder, and before each sync and each new name what a power cut would leave.

    That is asked of two file systems: one has forgotten all since the last sync of a file or folder; the other has
    kept each new name at once, but of files only the content that was synced.

    Args:
        folder: whose names are on the disk.
        monkeypatch: of pytest.

    Attributes:
        left: what the cuts would leave, each as the contents of files by their paths; what is left twice stands once.
    """

    def __init__(self, folder, monkeypatch):
        self.folder, self.left = folder, []
        self._contents, self._names, self._open = {}, {}, []
        fsync, replace = os.fsync, os.replace

        def syncing(descriptor):
            self._cut()
            fsync(descriptor)
            self._synced(descriptor)

        def replacing(source, target):
            self._cut()
            replace(source, target)
            self._cut()

        monkeypatch.setattr(os, "fsync", syncing)
        monkeypatch.setattr(os, "replace", replacing)

    def _synced(self, descriptor):
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            self._names[state.st_ino] = _entries(descriptor)
        else:
            self._open.append(os.dup(descriptor))  # so that no other file gets its number
            self._contents[state.st_ino] = os.pread(descriptor, state.st_size, 0)

    def _cut(self):
        for remembered in (lambda folder: self._names.get(os.stat(folder).st_ino, []), _entries):
            if (left := dict(self._files(self.folder, remembered))) not in self.left:
                self.left.append(left)

    def _files(self, folder, remembered):
        for name, number, is_folder in remembered(folder):
            if is_folder:
                yield from self._files(folder / name, remembered)
            else:
                yield folder.relative_to(self.folder) / name, self._contents.get(number, b"")

    def close(self):
        """Let the files go."""
        for descriptor in self._open:
            os.close(descriptor)


def _entries(folder):
    with os.scandir(folder) as entries:
        return [(entry.name, entry.inode(), entry.is_dir()) for entry in entries]


def put(files, folder):
    """Write what a cut left into a new folder."""
    folder.mkdir()
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder

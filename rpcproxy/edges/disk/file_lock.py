"""One process at a time for a file: a lock beside it, and the names of a directory on the disk.

State: one ``FileLock`` per file and process, used by one thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path


class FileInUse(Exception):
    """Another process has the lock; ``holder`` is its id as it wrote it down, or "unknown"."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"in use by process {holder}")
        self.holder = holder


class FileLock:
    """Held by one process per file: the kernel releases it with the process, however it ends.

    Makes the directory where it is missing. Raises ``FileInUse``, and ``OSError``.
    """

    def __init__(self, path: Path) -> None:
        make_directory(path.parent)
        self._path = beside(path, ".lock")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 20, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise FileInUse(holder or "unknown") from None
        except OSError:
            os.close(self._file)
            raise
        # For people only: a disk that is full does not matter here.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def is_in_place(self) -> bool:
        """Whether nobody removed it, or put another one there."""
        return is_same_file(self._path, os.fstat(self._file))

    def release(self) -> None:
        os.close(self._file)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def make_directory(path: Path) -> None:
    """With those above it, for the owner alone; their names are on the disk on return.
    Raises ``OSError``.
    """
    if not path.is_dir():
        make_directory(path.parent)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            # Another chain's thread may have made it meanwhile.
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is no directory", str(path)) from None
        sync_directory(path.parent)


def make_file(path: Path) -> None:
    """For nobody else's eyes; SQLite gives its log the same mode. Raises ``OSError``."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def sync_directory(path: Path) -> None:
    """Names in it are on the disk on return. Raises ``OSError``."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def is_same_file(path: Path, known: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), known)
    except OSError:
        return False

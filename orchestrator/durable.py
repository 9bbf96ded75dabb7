"""Files that must survive a crash, and locks that must not."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk, or of a user's part of it, that is full."""
_PAUSE_S = 0.02


def unwritable(name: object, error: OSError, advice: str) -> str:
    """Return the sentences for a file that cannot be written.

    Args:
        name: The file or folder.
        error: The reason.
        advice: Next step, unless the disk is full: another name does not help then.
    """
    step = "Make room, then try again." if error.errno in DISK_FULL else advice
    return f"{name} cannot be written: {reason_of(error)}. {step}"


def reason_of(error: OSError) -> str:
    """Return why a file cannot be used: a broken link on its path, or what the system says.

    The system says "File exists" or "Not a directory" of such a link.
    """
    for name in (error.filename, error.filename2):
        if isinstance(name, str | os.PathLike) and (link := broken_link(Path(name))):
            return link
    return error.strerror or str(error)


def broken_link(path: Path) -> str:
    """Return what is wrong with a symbolic link at a path or above it; empty if none is broken."""
    for each in (path, *path.parents):
        if each.is_symlink() and not each.exists():
            return f"{each} is a symbolic link that leads nowhere (to {each.readlink()})"
        if each.exists():
            break
    return ""


class FileLock:
    """An advisory lock (``flock``) on a file, held by at most one process and ended with it.

    The library filelock does not fit: it cannot tell a reader whether a lock is held, it does not
    notice that the file of a held lock was removed and made again, and version 3.16 of it empties
    the file that it locks, which may be a report. Not ``lockf``: that lock is lost as soon as the
    process closes the file once, and a report is also opened to be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def is_held(self) -> bool:
        """True if this object holds the lock, on the file that others see under this path."""
        return self._file is not None and self._is_at_path(self._file)

    def acquire(self, tries: int = 1) -> bool:
        """Take the lock; return False if another holds it.

        Args:
            tries: A process that only calls ``is_free`` holds the lock for an instant. With more
                than one try, 20 ms apart, it is not mistaken for the holder.

        Raises:
            OSError: The file cannot be opened or locked.
        """
        for left in reversed(range(tries)):
            if self._try(fcntl.LOCK_EX | fcntl.LOCK_NB):
                return True
            if left:
                threading.Event().wait(_PAUSE_S)
        return False

    def wait(self) -> None:
        """Take the lock as soon as its holder gives it back."""
        while not self._try(fcntl.LOCK_EX):
            pass

    def is_free(self) -> bool:
        """Return True if no process holds the lock. Creates no file."""
        probe = FileLock(self.path)
        try:
            return probe._try(fcntl.LOCK_SH | fcntl.LOCK_NB, os.O_RDONLY)
        except FileNotFoundError:
            return True
        finally:
            probe.release()

    def release(self, *, removes: bool = False) -> None:
        """Give the lock back, and remove its file if it is still the one that is locked."""
        if removes and self.is_held:
            # While it is locked: a process that has opened the file sees that it is gone.
            self.path.unlink(missing_ok=True)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def read(self) -> bytes:
        """Return the content of the locked file."""
        assert self._file is not None  # noqa: S101 - the caller holds the lock
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def write(self, content: bytes) -> None:
        """Write over the beginning of the locked file; neither synced nor atomic.

        Raises:
            OSError: The disk does not take it; a part may have been written.
        """
        assert self._file is not None  # noqa: S101 - the caller holds the lock
        if os.pwrite(self._file, content, 0) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _try(self, kind: int, flags: int = os.O_RDWR | os.O_CREAT) -> bool:
        file = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, kind)
            if self._is_at_path(file):
                self._file = file
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
        finally:
            if self._file != file:
                os.close(file)
        return self._file == file

    def _is_at_path(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of ``path`` at the end, synced.

    Readers see the old content or the new, never a part. If the block raises, nothing changes.

    Raises:
        OSError: The disk does not take it; the old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, whole or not at all.

    Raises:
        FileExistsError: It exists.
        OSError: It cannot be written.
    """
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink()
            raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, synced, so that readers see the old content or the new, never a part.

    Raises:
        OSError: The disk does not take it; the old file is unchanged.
    """
    with replacing(path) as file:
        file.write(content)

"""A temporary file for the data of a large plan."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from orchestrator.errors import ConfigError

# /tmp is often in memory. The file has no name, so it cannot be guessed.
_LASTING = Path("/var/tmp")  # noqa: S108


class FileScratch:
    """Bytes in a temporary file without a name, created with the first bytes.

    If the file cannot be created or the disk is full, the bytes stay in memory, because a full disk
    is not a reason to refuse a plan.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._is_refused = False
        self._in_file = 0
        self._kept = bytearray()  # bytes that are not in the file

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if not self._is_refused:
            try:
                self._write(data)
            except OSError:
                self._is_refused = True
            else:
                return
        self._kept += data

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = _make()
        if os.pwrite(self._file, data, self._in_file) < len(data):
            raise OSError  # the disk is full
        self._in_file += len(data)

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, which were appended together.

        Raises:
            ConfigError: If the disk fails.
        """
        if offset < self._in_file and self._file is not None:
            try:
                return os.pread(self._file, size, offset)
            except OSError as error:
                raise ConfigError(
                    f"The temporary file of the plan cannot be read back: "
                    f"{error.strerror or error}. Choose another disk with TMPDIR."
                ) from error
        offset -= self._in_file
        return bytes(self._kept[offset : offset + size])

    def close(self) -> None:
        """Close the file, which also removes it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        """Close the file of an abandoned plan."""
        with contextlib.suppress(OSError):
            self.close()


def _make() -> int:
    folder = None if "TMPDIR" in os.environ or not os.access(_LASTING, os.W_OK) else _LASTING
    with tempfile.TemporaryFile(dir=folder, prefix="orchestrator-plan-") as file:
        return os.dup(file.fileno())

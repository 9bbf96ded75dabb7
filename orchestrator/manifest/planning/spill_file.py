"""A temporary file for what a large plan need not keep in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from orchestrator.errors import ConfigError

_LASTING = Path("/var/tmp")  # noqa: S108 - only a folder to make a file in that has no name; /tmp is often memory


class FileScratch:
    """Bytes in a temporary file that has no name and is gone with the process. It is made when the first bytes come.

    Where no file can be made, or it can grow no further, the bytes stay in memory: a full disk is no reason to refuse a plan.
    """

    def __init__(self) -> None:
        self._file: int | None = None
        self._is_refused = False
        self._in_file = 0
        self._kept = bytearray()  # what the file did not take

    def append(self, data: bytes) -> None:
        """Keep these too, behind all others."""
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
            raise OSError  # the next byte would not have been taken: there is no room
        self._in_file += len(data)

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on, as they were appended together.

        Raises:
            ConfigError: If the disk does not give them back.
        """
        if offset < self._in_file and self._file is not None:
            try:
                return os.pread(self._file, size, offset)
            except OSError as error:
                message = f"The temporary file of the plan cannot be read back: {error.strerror or error}. Name a sound disk with TMPDIR."
                raise ConfigError(message) from error
        offset -= self._in_file
        return bytes(self._kept[offset : offset + size])

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        """A plan that is given up leaves no open file behind."""
        with contextlib.suppress(OSError):
            self.close()


def _make() -> int:
    folder = None if "TMPDIR" in os.environ or not os.access(_LASTING, os.W_OK) else _LASTING
    with tempfile.TemporaryFile(dir=folder, prefix="orchestrator-plan-") as file:
        return os.dup(file.fileno())

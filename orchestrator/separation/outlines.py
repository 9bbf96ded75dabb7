"""Process that outlines sounds: ``python -m orchestrator.separation.outlines MEMORY_BYTES``.

Media of unknown origin are decoded in a process of their own, with bounded memory, so that a
hostile file cannot harm the program that wants to draw it. The process reads paths from standard
input, one JSON line each, and writes one JSON line for each: the outline in base64, or an empty
text. It ignores Ctrl-C, which its parent handles, and ends with its parent.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.separation.errors import SeparationFailed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

MEMORY_BYTES = 1 << 30
"""An hour of sound needs some MB; decoders of odd formats need more."""


class OutlineProcess:
    """Outlines files in a process, which is started when it is needed; use as a context manager.

    Args:
        patience_s: Longest time for one file.
        memory_bytes: Most private memory of the process.
    """

    def __init__(self, patience_s: float, memory_bytes: int = MEMORY_BYTES) -> None:
        self._patience_s = patience_s
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Return the process; it is not started yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._end()

    def outline(self, path: Path) -> bytes:
        """Return the outline of a file; empty if it cannot be decoded, or not in time."""
        process = self._started()
        assert process.stdin is not None  # noqa: S101 - it has pipes
        try:
            process.stdin.write(orjson.dumps(os.fsencode(path).hex()) + b"\n")
            process.stdin.flush()
            answer = self._line(process)
        except OSError:
            answer = b""
        if not answer:  # it hangs, or has died of the file
            self._end()
            return b""
        return base64.b64decode(orjson.loads(answer))

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the next line of the process, empty if there is none in time."""
        assert process.stdout is not None  # noqa: S101 - it has pipes
        is_there, _, _ = select.select([process.stdout], [], [], self._patience_s)
        return process.stdout.readline() if is_there else b""

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-P", "-m", "orchestrator.separation.outlines"]
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None


def outline_of(path: Path) -> bytes:
    """Return the outline of a file, empty if it cannot be decoded."""
    from orchestrator.separation.media.waveform import waveform

    try:
        return waveform(path)
    except (SeparationFailed, OSError, MemoryError):
        return b""


def main(memory_bytes: int) -> None:
    """Outline files until standard input ends."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # prints of libraries must not mix with the answers
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    for line in sys.stdin.buffer:
        path = Path(os.fsdecode(bytes.fromhex(orjson.loads(line))))
        out.write(orjson.dumps(base64.b64encode(outline_of(path)).decode()) + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))

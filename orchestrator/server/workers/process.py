"""A worker process: ``python -m orchestrator.server.workers.process MODULE:FUNCTION [MEMORY_BYTES]``.

It is a child of its own command line, not of ``multiprocessing``, so it inherits nothing of the parent (no listening socket, no ledger, no
half-imported main module). Tasks come on standard input, one JSON line each; progress and results go out on standard output.
It ignores Ctrl-C, because the parent decides, and ends with its parent however that ends.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import orjson

from orchestrator.server.workers.protocol import Work, WorkFailed, WorkTask

if TYPE_CHECKING:
    from typing import BinaryIO

_PR_SET_PDEATHSIG = 1
PROGRESS_STEP = 0.01
"""Smaller steps of progress are not told."""


def _die_with_parent() -> None:
    """Ask Linux to kill us when the parent is gone; elsewhere the end of standard input does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(size_bytes: int) -> None:
    """Bound the private memory, so that a poisoned file exhausts this process and not the machine."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, size_bytes))


def load(name: str) -> Work:
    """The function ``module:function``."""
    module, _, function = name.partition(":")
    return cast("Work", getattr(importlib.import_module(module), function))


def _read_tasks(source: BinaryIO, tasks: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        tasks.put(line)
    os._exit(0)  # the parent closed the pipe or died: what is being done here is wanted by nobody


class _Channel:
    """The way back to the parent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._told = 0.0

    def send(self, message: dict[str, object]) -> None:
        self._out.write(orjson.dumps(message) + b"\n")
        self._out.flush()

    def begin(self) -> None:
        self._told = 0.0

    def progress(self, part: float) -> None:
        if part - self._told >= PROGRESS_STEP:
            self._told = part
            self.send({"progress": part})


def _carry_out(work: Work, line: bytes, channel: _Channel) -> None:
    channel.begin()
    try:
        result = work(WorkTask(**orjson.loads(line)), channel.progress)
    except WorkFailed as error:
        channel.send({"failed": {"code": error.code, "message": error.message}})
    except MemoryError:
        channel.send(
            {
                "failed": {
                    "code": "InternalError",
                    "message": "The file needs more memory than one worker may use.",
                }
            }
        )
    except Exception as error:  # noqa: BLE001 - a poisoned file fails its own job; the process stays
        message = f"The work on this file failed: {type(error).__name__}: {error}"
        channel.send({"failed": {"code": "InternalError", "message": message[:1000]}})
    else:
        channel.send({"done": asdict(result)})


def main(arguments: list[str]) -> None:
    """Work until standard input ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get between our messages
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(
        target=_read_tasks, args=(os.fdopen(os.dup(0), "rb"), tasks), daemon=True
    ).start()
    channel = _Channel(out)
    try:
        work = load(arguments[0])
    except Exception as error:  # noqa: BLE001 - the parent must hear why
        channel.send({"unusable": f"{type(error).__name__}: {error}"})
        return
    if len(arguments) > 1:
        _limit_memory(int(arguments[1]))
    channel.send({"ready": os.getpid()})
    while True:
        _carry_out(work, tasks.get(), channel)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Worker process: ``python -m orchestrator.server.workers.process MODULE:FUNCTION [MEMORY_BYTES]``.

It has its own command line instead of ``multiprocessing``, so it inherits nothing from its parent
(no listening socket, no ledger, no half-imported main module). It reads tasks from standard input,
one JSON line each, and writes progress and results to standard output. It ignores Ctrl-C, which
the parent handles, and ends with its parent however that ends.
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

from orchestrator.server.workers.protocol import MachineAtFault, Work, WorkFailed, WorkTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

_PR_SET_PDEATHSIG = 1
PROGRESS_STEP = 0.01
"""Smallest reported step of progress."""


def _die_with_parent() -> None:
    """Let Linux kill us with the parent; elsewhere the end of standard input ends us."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(size_bytes: int) -> None:
    """Limit the private memory, so that a bad file exhausts this process, not the machine."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, size_bytes))


def load(name: str) -> Work:
    """Import the function ``module:function``."""
    module, _, function = name.partition(":")
    return cast("Work", getattr(importlib.import_module(module), function))


def _read_tasks(source: BinaryIO, tasks: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        tasks.put(line)
    os._exit(0)  # the parent closed the pipe or died: the result has no reader


class _Channel:
    """Sends messages to the parent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._reported = -1.0

    def begin(self) -> None:
        """Take the next task; its first progress is reported, whatever it is."""
        self._reported = -1.0

    def send(self, message: dict[str, object]) -> None:
        self._out.write(orjson.dumps(message) + b"\n")
        self._out.flush()

    def progress(self, part: float) -> None:
        if part - self._reported >= PROGRESS_STEP:
            self._reported = part
            self.send({"progress": part})


def outcome_of(
    work: Work, task: WorkTask, on_progress: Callable[[float], None]
) -> dict[str, object]:
    """Do a task and return its outcome as a message: ``done``, ``failed`` or ``at_fault``."""
    try:
        result = work(task, on_progress)
    except MachineAtFault as error:
        return {"at_fault": {"code": error.code, "message": error.message}}
    except WorkFailed as error:
        return {"failed": {"code": error.code, "message": error.message}}
    except MemoryError:
        message = "The file needs more memory than one worker may use."
        return {"failed": {"code": "InternalError", "message": message}}
    except Exception as error:  # noqa: BLE001 - a bad file fails only its own job
        message = f"The work on this file failed: {type(error).__name__}: {error}"
        return {"failed": {"code": "InternalError", "message": message[:1000]}}
    return {"done": asdict(result)}


def main(arguments: list[str]) -> None:
    """Do tasks until standard input ends."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of libraries must not mix with our messages
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(
        target=_read_tasks, args=(os.fdopen(os.dup(0), "rb"), tasks), daemon=True
    ).start()
    channel = _Channel(out)
    try:
        work = load(arguments[0])
    except Exception as error:  # noqa: BLE001 - the parent reports it
        channel.send({"unusable": f"{type(error).__name__}: {error}"})
        return
    if len(arguments) > 1:
        _limit_memory(int(arguments[1]))
    channel.send({"ready": os.getpid()})
    while True:
        task = WorkTask(**orjson.loads(tasks.get()))
        channel.begin()
        channel.send(outcome_of(work, task, channel.progress))


if __name__ == "__main__":
    main(sys.argv[1:])

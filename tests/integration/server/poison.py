"""Work for the worker processes under test: the content of the input selects a behavior."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.server.workers.protocol import (
    MachineAtFault,
    WorkFailed,
    WorkResult,
    WorkTask,
    simulate,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _die(order: str) -> None:
    """End the process, if that is the order."""
    if order == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order == "segfault":
        ctypes.string_at(0)
    elif order == "exit":
        sys.stderr.write("something terrible\n")
        os._exit(3)


def behave(task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
    """Behave as the input says."""
    order = Path(task.source).read_text()
    on_progress(0.42)
    _die(order)
    if order == "hungry":
        bytearray(1 << 40)
    elif order == "raises":
        message = "a library's complaint"
        raise ValueError(message)
    elif order == "refused":
        raise WorkFailed("ResourceNotSupported", "The file has no sound.")
    elif order == "at fault":
        with Path(f"{task.source}.tries").open("a") as tries:
            tries.write("x")
        raise MachineAtFault("InternalError", "The disk is full.")
    elif order == "chatty":
        print("noise on standard output")  # noqa: T201 - as libraries do
        os.write(1, b"more noise\n")
    elif order == "endless":
        signal.pause()
    elif order == "noted":
        return replace(simulate(task, 3.0), message="1 hole & more became silence.")
    elif order == "threads":
        said = f"threads: {task.threads}"
        return replace(simulate(task, 3.0), message=said, engine=f"a network, {said}")
    elif order.startswith("until "):
        return _wait_for(Path(order.partition(" ")[2]), task, on_progress)
    return simulate(task, 3.0)


def _wait_for(gate: Path, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
    """Note that this process works, wait for the gate, and write its number as every stem."""
    logging.getLogger("orchestrator.separation").info("working behind %s", gate.name)
    Path(f"{gate}.{os.getpid()}").touch()
    while not gate.exists():
        on_progress(0.42)
        threading.Event().wait(0.02)
    result = simulate(task, 3.0)
    for path in task.outputs.values():
        Path(path).write_text(str(os.getpid()))
    return result

"""The worker processes: kept between jobs, started when first needed, replaced when one dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.server.workers.protocol import Probe, WorkFailed, WorkResult

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from orchestrator.server.workers.protocol import WorkTask

log = logging.getLogger(__name__)
MAX_MESSAGE_BYTES = 1 << 20  # a result with every probe is some kilobytes
LAST_WORDS_BYTES = 2000
START_TIMEOUT_S = 120  # loading the engine's libraries from a cold disk takes seconds
ADVICE = "What real separation needs comes with: pip install 'voiceseparate-orchestrator[local]'"
ENGINE_THREADS = "ORCHESTRATOR_ENGINE_THREADS"


class WorkerDied(WorkFailed):
    """The process ended while it worked: killed, crashed, out of memory, or out of time."""


class Worker:
    """One process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._last_words = bytearray()
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, work: str, memory_bytes: int | None, threads: int) -> Worker:
        """Start a process that does ``work``.

        Raises:
            WorkFailed: ``EngineNotInstalled`` if it cannot be started.
        """
        command = [
            sys.executable,
            "-m",
            "orchestrator.server.workers.process",
            work,
            *([str(memory_bytes)] if memory_bytes else []),
        ]
        # The same modules as here, also where they were found by a path that only this process knows.
        environment = {
            ENGINE_THREADS: str(threads),
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            limit=MAX_MESSAGE_BYTES,
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                message = await worker._read()
        except TimeoutError:
            await worker.stop()
            raise WorkFailed(
                "InternalError",
                f"No worker process could be started within {START_TIMEOUT_S} s; the machine is overloaded.",
            ) from None
        except BaseException:
            await worker.stop()
            raise
        if "ready" not in message:
            await worker.stop()
            raise WorkFailed(
                "EngineNotInstalled",
                f"The work cannot be loaded on this machine: {message.get('unusable', 'no answer')}. {ADVICE}",
            )
        return worker

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - asked for as a pipe
        while data := await self._process.stderr.read(4096):
            self._last_words += data
            del self._last_words[:-LAST_WORDS_BYTES]

    async def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - asked for as a pipe
        line = await self._process.stdout.readline()
        if not line:
            raise WorkerDied("InternalError", await self._why())
        message: dict[str, Any] = orjson.loads(line)
        return message

    async def _why(self) -> str:
        code = await self._process.wait()
        await self._listener
        if code < 0:
            how = f"was ended by {signal.Signals(-code).name}" + (
                " (often: out of memory)" if -code == signal.SIGKILL else ""
            )
        else:
            how = f"ended with status {code}"
        words = self._last_words.decode("utf-8", "replace").strip().splitlines()
        return f"The worker process {how} while it worked on this file." + (
            f" Its last words: {words[-1][:300]}" if words else ""
        )

    async def run(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do one task.

        Raises:
            WorkFailed: If it cannot be done.
            WorkerDied: If the process ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - asked for as a pipe
        try:
            self._process.stdin.write(orjson.dumps(asdict(task)) + b"\n")
            await self._process.stdin.drain()
        except OSError:
            raise WorkerDied("InternalError", await self._why()) from None
        while True:
            message = await self._read()
            if "progress" in message:
                on_progress(message["progress"])
            elif "failed" in message:
                raise WorkFailed(**message["failed"])
            else:
                files = message["done"]["files"]
                return WorkResult({stem: Probe(**probe) for stem, probe in files.items()})

    async def stop(self) -> None:
        """Kill the process: what it writes is temporary, so it has nothing to save."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._listener
        self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio closes the pipes no other way before 3.13


class Pool:
    """Workers for at most as many tasks at once as the caller asks for."""

    def __init__(
        self, work: str, *, memory_bytes: int | None, timeout_s: float, threads: int
    ) -> None:
        self._work = work
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._threads = threads
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    async def run(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do one task in an idle worker, or in a new one.

        Raises:
            WorkFailed: If it cannot be done, if its worker died, or if it took too long.
        """
        worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = await Worker.start(self._work, self._memory_bytes, self._threads)
            self._all.add(worker)
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await worker.run(task, on_progress)
        except WorkerDied as error:
            log.warning("worker %s died: %s", worker.pid, error.message)
            await self._drop(worker)
            raise
        except WorkFailed:
            self._idle.append(worker)
            raise
        except TimeoutError:
            await self._drop(worker)
            message = f"The work took longer than {self._timeout_s:g} s, the bound of this service, and was ended."
            raise WorkerDied("InternalError", message) from None
        except BaseException:
            await self._drop(worker)
            raise
        self._idle.append(worker)
        return result

    async def _drop(self, worker: Worker) -> None:
        self._all.discard(worker)
        await worker.stop()

    async def close(self) -> None:
        """Kill every worker."""
        workers, self._all = list(self._all), set()
        self._idle.clear()
        await asyncio.gather(*(worker.stop() for worker in workers))

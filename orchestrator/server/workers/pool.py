"""Pool of worker processes: started on demand, kept between jobs, replaced when one dies."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import PIPE
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.engines import EngineChoice
from orchestrator.separation.child_process import ending, environment, last_output
from orchestrator.separation.errors import ENGINE_FAILED, ENGINE_NOT_INSTALLED
from orchestrator.separation.invocation import command
from orchestrator.server.workers.protocol import MachineAtFault, WorkFailed, result_of_message

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from orchestrator.server.workers.protocol import WorkResult, WorkTask

log = logging.getLogger(__name__)
MAX_MESSAGE_BYTES = 1 << 20  # a result with all probes has some kilobytes
LAST_OUTPUT_BYTES = 2000
START_TIMEOUT_S = 120  # loading the engine's libraries from a cold disk takes seconds
ADVICE = "Install real separation with: pip install 'voiceseparate-orchestrator[local]'"


class WorkerDied(WorkFailed):
    """The process ended during the work: killed, crashed, out of memory, or out of time."""


class DiedLoading(WorkerDied, MachineAtFault):
    """The process ended while it loaded the default engine: no file can be separated now."""


class _Ended(Exception):
    """The process has closed its output."""


class Worker:
    """One worker process.

    Attributes:
        threads: Threads of its last task, for which its engine is loaded.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self.threads = 0
        self._is_loaded = False
        self._last_output = bytearray()
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, work: str, memory_bytes: int | None) -> Worker:
        """Start a process that does ``work``.

        Raises:
            MachineAtFault: ``EngineNotInstalled`` if it cannot be started.
        """
        # -P: a file av.py in the user's folder of media is not the library.
        words = [sys.executable, "-P", "-m", "orchestrator.server.workers.process", work]
        if memory_bytes:
            words.append(str(memory_bytes))
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment(),
            limit=MAX_MESSAGE_BYTES,
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                message = await worker._read()
        except TimeoutError:
            await worker.stop()
            raise MachineAtFault(
                ENGINE_NOT_INSTALLED,
                f"No worker process was ready within {START_TIMEOUT_S} s: the machine is "
                "overloaded, or a library hangs while it is loaded. Run fewer jobs at once, and "
                f"check it with: {command('doctor')}",
            ) from None
        except _Ended:  # a library that crashes when it is loaded: no file is the reason
            why = await worker._why("before it could begin")  # a kill would hide its status
            await worker.stop()
            raise MachineAtFault(ENGINE_NOT_INSTALLED, f"{why} {ADVICE}") from None
        except BaseException:
            await worker.stop()
            raise
        if "ready" not in message:
            await worker.stop()
            raise MachineAtFault(
                ENGINE_NOT_INSTALLED,
                f"The work cannot be loaded on this machine: "
                f"{message.get('unusable', 'no answer')}. {ADVICE}",
            )
        return worker

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    async def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - opened as a pipe
        while data := await self._process.stderr.read(4096):
            self._last_output += data
            del self._last_output[:-LAST_OUTPUT_BYTES]

    async def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        line = await self._process.stdout.readline()
        if not line:
            raise _Ended
        message: dict[str, Any] = orjson.loads(line)
        return message

    async def _why(self, when: str) -> str:
        code = await self._process.wait()
        await self._listener
        how = f"was {ending(code)}" if code < 0 else ending(code)
        how += " (often: out of memory)" if -code == signal.SIGKILL else ""
        return f"The worker process {how} {when}.{last_output(self._last_output)}"

    async def run(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do one task.

        Raises:
            WorkFailed: If the work failed.
            WorkerDied: If the process ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
        self.threads = task.threads
        has_begun = False
        try:
            self._process.stdin.write(orjson.dumps(asdict(task)) + b"\n")
            await self._process.stdin.drain()
            while "progress" in (message := await self._read()):
                has_begun = self._is_loaded = True
                on_progress(message["progress"])
        except (_Ended, OSError):
            raise await self._death(task, has_begun=has_begun) from None
        if "at_fault" in message:
            raise MachineAtFault(**message["at_fault"])
        if "failed" in message:
            raise WorkFailed(**message["failed"])
        return result_of_message(message["done"])

    async def _death(self, task: WorkTask, *, has_begun: bool) -> WorkerDied:
        """Return the error of a process that ended: the file, the engine or neither is at fault."""
        if has_begun:
            return WorkerDied("InternalError", await self._why("while it worked on this file"))
        if self._is_loaded:  # by an earlier task
            return WorkerDied("InternalError", await self._why("before it began with this file"))
        engine = EngineChoice(Path(task.model) if task.model else None, task.plugin)
        why = await self._why(f"while it loaded {engine.named}")
        if self._process.returncode == -signal.SIGKILL:
            advice = "Free some memory, or run fewer jobs at once."
            return WorkerDied("InternalError", f"{why} {advice}")
        if not engine.is_default:
            return WorkerDied(ENGINE_FAILED, f"{why} Replace it, or ask its maker.")
        return DiedLoading(ENGINE_NOT_INSTALLED, f"{why} Check it with: {command('doctor')}")

    async def stop(self) -> None:
        """Kill the process, which has no data to save, and close its pipes."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._listener
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        await self._process.stdout.read()  # asyncio closes the pipes once all output is read


class Pool:
    """Worker processes of this machine, as many as tasks run at the same time."""

    def __init__(self, work: str, *, size: int, memory_bytes: int | None, timeout_s: float) -> None:
        self._work = work
        self._size = size
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    @property
    def capacity(self) -> int:
        """See :class:`Workers`."""
        return self._size

    async def open(self, on_capacity: Callable[[], None]) -> None:
        """Do nothing: processes start on demand, and the capacity never changes."""

    async def run(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do one task in an idle worker, or in a new one.

        Raises:
            WorkFailed: If the work failed, its worker died, or it took too long.
        """
        worker = self._take_idle(task.threads)
        if worker is None:
            worker = await Worker.start(self._work, self._memory_bytes)
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
            message = (
                f"The work took longer than {self._timeout_s:g} s, this service's limit, "
                "and was stopped."
            )
            raise WorkerDied("InternalError", message) from None
        except BaseException:
            await self._drop(worker)
            raise
        self._idle.append(worker)
        return result

    def _take_idle(self, threads: int) -> Worker | None:
        """Return an idle worker, if possible one whose engine need not be loaded again."""
        if not self._idle:
            return None
        worker = next((one for one in self._idle if one.threads == threads), self._idle[-1])
        self._idle.remove(worker)
        return worker

    async def _drop(self, worker: Worker) -> None:
        self._all.discard(worker)
        await worker.stop()

    async def close(self) -> None:
        """Kill every worker."""
        workers, self._all = list(self._all), set()
        self._idle.clear()
        await asyncio.gather(*(worker.stop() for worker in workers))

"""Workers on a Ray cluster, through the bridge: a process that runs Ray's own code."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import socket
import sys
from asyncio.subprocess import PIPE
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from orchestrator.domain.wording import counted
from orchestrator.errors import ConfigError
from orchestrator.separation.child_process import environment
from orchestrator.separation.cores import usable_cores
from orchestrator.server.workers.protocol import (
    MachineAtFault,
    WorkerLost,
    WorkFailed,
    result_of_message,
)

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

    from orchestrator.domain.ports import Clock
    from orchestrator.server.settings import LocalSettings, RaySettings
    from orchestrator.server.workers.exchange import Assignment, Exchange
    from orchestrator.server.workers.protocol import WorkResult, WorkTask

log = logging.getLogger(__name__)
MAX_MESSAGE_BYTES = 1 << 24
CONNECT_TIMEOUT_S = 120.0
AGAIN_S = 5.0  # interval of attempts to connect to a cluster that is gone
LOOKS_PER_SILENCE = 10
END_TIMEOUT_S = 25.0
_BRIDGE = "orchestrator.server.workers.ray_bridge"
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}
_LOST = "The connection to the Ray cluster is lost"


def demand_ray(settings: RaySettings) -> None:
    """Check that Ray is installed, with what the kind of address needs.

    Raises:
        ConfigError: If it is not.
    """
    needed = ["ray", "grpc"] if settings.address else ["ray"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "Ray is not installed here. Install it with: "
            "pip install 'voiceseparate-orchestrator[ray,local]'"
        )


class RayWorkers:
    """The actors of a Ray cluster as :class:`Workers` of the service."""

    def __init__(self, settings: LocalSettings, clock: Clock, exchange: Exchange) -> None:
        assert settings.ray is not None  # noqa: S101 - the caller has checked it
        self._settings = settings
        self._ray = settings.ray
        self._clock = clock
        self._exchange = exchange
        self._capacity = 0
        self._is_up = False
        self._was_up = False
        self._process: Process | None = None
        self._runs: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._started: dict[str, dict[str, Any]] = {}
        self._avoid: dict[str, list[str]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._on_capacity: Callable[[], None] = lambda: None

    @property
    def capacity(self) -> int:
        """See :class:`Workers`."""
        return self._capacity

    # --- the bridge

    async def open(self, on_capacity: Callable[[], None]) -> None:
        """Connect to the cluster; its nodes become usable one by one."""
        self._on_capacity = on_capacity
        demand_ray(self._ray)
        self._check_address()
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(ready), name="ray-bridge")
        await ready

    def _check_address(self) -> None:
        """Check that nodes elsewhere can reach this service.

        Raises:
            ConfigError: It listens on this machine's loopback address only.
        """
        remote = urlsplit(self._ray.address).hostname or ""
        host = self._settings.host
        if remote and _is_loopback(host) and not _is_loopback(remote):
            raise ConfigError(
                f"The nodes of {self._ray.address} cannot reach this service on {host}, which is "
                "this machine alone. Let it listen on an address that they reach: "
                "--listen ADDRESS:PORT."
            )

    async def _keep(self, ready: asyncio.Future[None]) -> None:
        """Run the bridge, and start it again when it has ended."""
        last = ""
        while True:
            reason = await self._run_bridge(ready)
            if not ready.done():
                ready.set_exception(ConfigError(reason))
                return
            if reason != last:  # once for each reason, not for each try
                log.warning("%s; trying again every %g s", reason, AGAIN_S)
            last = "" if self._was_up else reason
            self._set_capacity(0)
            for future in self._runs.values():
                if not future.done():
                    future.set_result({"lost": {"message": f"{_LOST}.", "is_counted": False}})
            await self._clock.sleep(AGAIN_S)

    async def _run_bridge(self, ready: asyncio.Future[None]) -> str:
        """Run the bridge until it ends, and return the reason."""
        self._was_up = False
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", _BRIDGE),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment(),
            limit=MAX_MESSAGE_BYTES,
            start_new_session=True,
        )
        self._process = process
        errors = asyncio.create_task(_last_output(process))
        reason = ""
        try:
            self._send(self._bridge_settings())
            assert process.stdout is not None  # noqa: S101 - opened as a pipe
            while line := await process.stdout.readline():
                message = orjson.loads(line)
                if message["is"] == "unusable":
                    reason = message["text"]
                elif message["is"] == "ready":
                    self._is_up = self._was_up = True
                    if not ready.done():
                        ready.set_result(None)
                else:
                    self._hear(message)
        finally:
            self._is_up = False
            await _end(process)
            said = await errors
        where = self._ray.address or "of this machine"
        return f"The Ray cluster {where} cannot be used: {reason or said or 'the bridge ended'}"

    def _bridge_settings(self) -> dict[str, Any]:
        ray = self._ray
        return {
            "address": ray.address,
            "cpus": ray.cpus,
            "gpus": ray.gpus,
            "memory_bytes": ray.memory_bytes,
            "work": self._settings.work,
            "model": str(self._settings.engine.model or ""),
            "plugin": self._settings.engine.plugin,
            "service": self._exchange.url,
            "authority": self._authority(),
            "local_cpus": usable_cores(),
        }

    def _authority(self) -> str:
        tls = self._settings.tls
        return tls.authority.read_text() if tls is not None and tls.authority is not None else ""

    def _send(self, message: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it has ended: the keeper finds out
                self._process.stdin.write(orjson.dumps(message) + b"\n")

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["is"]
        if kind == "capacity":
            self._set_capacity(message["slots"])
        elif kind == "log":
            log.log(_LEVELS[message["level"]], "%s", message["text"])
        elif kind == "started":
            self._started[message["assignment"]] = message
        elif (future := self._runs.get(message["assignment"])) and not future.done():
            future.set_result(message)

    def _set_capacity(self, slots: int) -> None:
        if slots != self._capacity:
            log.info("the cluster has room for %s at once", counted(slots, "job"))
            self._capacity = slots
            self._on_capacity()

    # --- the work

    async def run(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do one task on a node; see :class:`Workers`."""
        if not self._is_up:
            raise WorkerLost(f"{_LOST}.", is_counted=False)
        assignment = self._exchange.open(task, on_progress)
        future = asyncio.get_running_loop().create_future()
        self._runs[assignment.name] = future
        avoid = self._avoid.pop(task.job, [])
        self._send(
            {
                "do": "start",
                "assignment": assignment.name,
                "avoid": avoid,
                "order": self._order(task, assignment),
            }
        )
        try:
            outcome = await self._outcome(assignment, future)
            return self._read(outcome, assignment)
        except WorkerLost as error:
            where = self._started.get(assignment.name)
            if where is not None:
                self._avoid[task.job] = [*avoid, where["node"]]
            raise error from None
        finally:
            self._exchange.close(assignment)
            self._started.pop(assignment.name, None)
            del self._runs[assignment.name]
            if not future.done():
                self._send({"do": "stop", "assignment": assignment.name})

    def _order(self, task: WorkTask, assignment: Assignment) -> dict[str, Any]:
        """Return a task as it travels: with links instead of paths."""
        threads = max(1, round(self._ray.cpus))
        sent = {**asdict(task), "source": "", "outputs": {}, "threads": threads}
        suffixes = {stem: PurePath(path).suffix for stem, path in task.outputs.items()}
        return {
            "task": sent,
            "suffixes": {**suffixes, "source": PurePath(task.source).suffix[:16]},
            "links": self._exchange.links(assignment),
            "authority": self._authority(),
            "report_s": self._ray.silence_s / LOOKS_PER_SILENCE,
        }

    async def _outcome(
        self, assignment: Assignment, future: asyncio.Future[dict[str, Any]]
    ) -> dict[str, Any]:
        """Wait for the end of an assignment, while its worker shows that it lives.

        Raises:
            WorkerLost: The worker is silent.
            WorkFailed: The work takes too long.
        """
        silence_s, limit_s = self._ray.silence_s, self._settings.job_timeout_s
        look_s = silence_s / LOOKS_PER_SILENCE
        started_at, now = None, self._clock.monotonic()
        while True:
            before = now
            await asyncio.wait({future}, timeout=look_s)
            if future.done():
                return future.result()
            now = self._clock.monotonic()
            # A pause of this process is not the worker's: its reports wait to be read.
            assignment.heard_at += max(0.0, now - before - look_s)
            if assignment.name not in self._started:
                continue
            if started_at is None:
                started_at = assignment.heard_at = now
            if now - assignment.heard_at > silence_s:
                name = self._started[assignment.name]["name"]
                raise WorkerLost(f"The worker on {name} has not answered for {silence_s:g} s.")
            if now - started_at > limit_s:
                raise WorkFailed(
                    "InternalError",
                    f"The work took longer than {limit_s:g} s, this service's limit, and was "
                    "stopped.",
                )

    def _read(self, outcome: dict[str, Any], assignment: Assignment) -> WorkResult:
        if "done" in outcome:
            result = result_of_message(outcome["done"])
            if missing := set(result.files) - assignment.stored:
                names = ", ".join(sorted(missing))
                raise WorkerLost(f"The worker did not send {names}.")
            return result
        if "failed" in outcome:
            raise WorkFailed(**outcome["failed"])
        # The job can run on another node.
        if "no_worker" in outcome:
            raise WorkerLost(outcome["no_worker"]["message"], is_counted=False)
        if "at_fault" in outcome:
            fault = MachineAtFault(**outcome["at_fault"])
            raise WorkerLost(fault.message, is_counted=False, fault=fault)
        raise WorkerLost(**outcome["lost"])

    async def close(self) -> None:
        """End the bridge, and with it all that it started."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)


async def _last_output(process: Process) -> str:
    """Return the last line that a process writes to its standard error."""
    assert process.stderr is not None  # noqa: S101 - opened as a pipe
    last = b""
    while line := await process.stderr.readline():
        last = line.strip() or last
    return last.decode("utf-8", "replace")[:300]


async def _end(process: Process) -> None:
    """Close the pipe to the bridge, which ends it; kill it if it takes too long."""
    assert process.stdin is not None  # noqa: S101 - opened as a pipe
    process.stdin.close()
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_url(url: str, ray_address: str) -> str:
    """Return the address of the service as nodes reach it.

    A service that listens on all addresses is reached at the one that leads to the cluster.
    """
    parts = urlsplit(url)
    if parts.hostname not in {"0.0.0.0", "::"}:
        return url
    there = urlsplit(ray_address)
    host = "127.0.0.1"
    if there.hostname:
        found = socket.getaddrinfo(there.hostname, there.port or 1, type=socket.SOCK_DGRAM)
        family, kind, proto, _, address = found[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(address)  # sends nothing
            host = probe.getsockname()[0]
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}"

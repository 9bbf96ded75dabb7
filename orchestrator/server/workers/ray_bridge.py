"""Process between the service and a Ray cluster: ``python -m ...ray_bridge``.

Ray's own code runs here and not in the service, because it may end its process when its cluster
dies. The first line of standard input has the settings; further lines start and stop assignments.
Standard output has the answers, one JSON line each. The end of standard input ends this process,
and with it everything that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from orchestrator.domain.clock import SystemClock
from orchestrator.server.workers.node import Facts, Order, Separator, facts
from orchestrator.server.workers.placement import Board, Need, Node
from orchestrator.server.workers.protocol import WorkTask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from typing import BinaryIO

_CARRIED = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception): ")
LOOK_S = 1.0  # interval of looks at the nodes
ASK_TIMEOUT_S = 30.0  # a node loads Python and this package to answer
START_TIMEOUT_S = 120.0  # loading the engine's libraries from a cold disk takes seconds
FRESH_S = 60.0  # age of a figure of free memory that is good enough
HOLD_S = 30.0  # pause of a node after a fault
IDLE_S = 60.0  # an idle worker gives its resources back to the cluster after this time
KNOCK_TIMEOUT_S, CONNECT_TRIES = 10.0, 3
REMOVALS, REMOVAL_S = 50, 0.1
END_S = 20.0  # limit of an orderly end


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the bridge.

    Attributes:
        address: ``ray://HOST:PORT``, or empty for a cluster of this machine.
        cpus: Processors of one job.
        gpus: Graphics processors of one job.
        memory_bytes: Memory of one job.
        work: ``module:function`` that does the work.
        model: Path of the model file on every node; empty: another engine.
        plugin: Engine of another package; empty, too: the default one.
        service: Address of the service, as nodes reach it.
        authority: Certificates that vouch for the service, in PEM.
        local_cpus: Processors of a cluster of this machine.
    """

    address: str
    cpus: float
    gpus: float
    memory_bytes: int
    work: str
    model: str
    plugin: str
    service: str
    authority: str
    local_cpus: int


@dataclass(eq=False, slots=True)
class _Actor:
    """One worker: the actor and its node."""

    handle: Any
    node: Node
    idle_since: float = 0.0


@dataclass(slots=True)
class _Run:
    """One assignment that is being carried out."""

    cancel: Callable[[], object] = bool
    actor: _Actor | None = None


class Bridge:
    """Starts actors, gives them the assignments, and looks after the nodes."""

    def __init__(self, settings: Settings, out: BinaryIO) -> None:
        self.settings = settings
        self._out = out
        self._clock = SystemClock()
        self._board = Board(Need(settings.cpus, settings.gpus, settings.memory_bytes))
        self._reference = facts(settings.model, settings.plugin)
        self._idle: list[_Actor] = []
        self._runs: dict[str, _Run] = {}
        self._asking: set[str] = set()
        self._changed = asyncio.Event()
        self._slots = -1
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, kind: str, **content: Any) -> None:
        """Send a message to the service."""
        self._out.write(orjson.dumps({"is": kind, **content}) + b"\n")
        self._out.flush()

    # --- the nodes

    async def look(self) -> None:
        """Look at the nodes again and again; the end of the connection ends this process."""
        while True:
            await self._look_once()
            await self._clock.sleep(LOOK_S)

    async def _look_once(self) -> None:
        ray = _ray()
        alive = {each["NodeID"]: each for each in await asyncio.to_thread(ray.nodes)
                 if each["Alive"]}  # fmt: skip
        nodes = self._board.nodes
        for node_id in set(nodes) - set(alive):
            self.send("log", level="warning", text=f"node {nodes[node_id].name} has left")
            del nodes[node_id]
        for actor in [each for each in self._idle if each.node.node_id not in nodes]:
            self._idle.remove(actor)
        for node_id, each in alive.items():
            if node_id not in nodes:
                has = each["Resources"]
                nodes[node_id] = Node(
                    node_id,
                    each["NodeManagerAddress"],
                    has.get("CPU", 0.0),
                    has.get("GPU", 0.0),
                    has.get("memory", float("inf")),
                )
                self._say_if_small(nodes[node_id])
        now = self._clock.monotonic()
        for node in list(nodes.values()):
            is_stale = bool(self._runs) and now - node.asked_at > FRESH_S
            is_due = not node.is_checked or node.fault or is_stale
            if self._board.slots(node) and is_due and now >= node.held_until:
                self._begin(self._ask(node))
        await self._give_back()
        self._tell()

    def _say_if_small(self, node: Node) -> None:
        """Log that a node has too little for even one job."""
        if not self._board.slots(node):
            need = self._board.need
            text = (
                f"node {node.name} gets no jobs: a job needs {need.cpus:g} CPUs, {need.gpus:g} "
                f"GPUs and {need.memory_bytes >> 20} MiB, and it offers {node.cpus:g}, "
                f"{node.gpus:g} and {node.memory_bytes / (1 << 20):.0f} MiB"
            )
            self.send("log", level="warning", text=text)

    async def _ask(self, node: Node) -> None:
        """Ask a node for its facts, and compare them."""
        if node.node_id in self._asking:
            return
        self._asking.add(node.node_id)
        try:
            found = await self._facts_of(node)
            fault = self._difference(found)
            node.free_bytes = found.free_bytes
        except Exception as error:  # noqa: BLE001 - whatever a foreign node raises
            # A busy node may answer late; if it is dead, its workers are lost, and it is new again.
            is_good = node.is_checked and not node.fault
            fault = "" if is_good else f"it does not answer ({reason_of(error)})"
        finally:
            self._asking.discard(node.node_id)
        node.asked_at = self._clock.monotonic()
        if fault:
            node.held_until = node.asked_at + HOLD_S
        if fault != node.fault or not node.is_checked:
            text = (
                f"node {node.name} gets no jobs: {fault}" if fault else f"node {node.name} is ready"
            )
            self.send("log", level="warning" if fault else "info", text=text)
        node.fault, node.is_checked = fault, True
        self._tell()

    async def _facts_of(self, node: Node) -> Facts:
        ray = _ray()
        settings = self.settings
        ask = ray.remote(facts).options(
            num_cpus=0, max_retries=0, scheduling_strategy=_on(node.node_id)
        )
        ref = await asyncio.to_thread(
            ask.remote, settings.model, settings.plugin, settings.service, settings.authority
        )
        async with asyncio.timeout(ASK_TIMEOUT_S):
            found: Facts = await _result(ref)
        return found

    def _difference(self, found: Facts) -> str:
        """Return what makes a node unusable, or an empty text."""
        ours = self._reference
        if found.unreachable:
            return (
                f"it does not reach this service ({found.unreachable}); start the service with "
                "--listen and an address of this machine that all nodes reach"
            )
        if found.version != ours.version:
            wanted = f"voiceseparate-orchestrator[ray,local]=={ours.version}"
            return (
                f"it has version {found.version} of this program, and not {ours.version}; "
                f"install the same there: pip install '{wanted}'"
            )
        if not found.engine:
            return "it has no separation engine; run there: orchestrator fetch-engine"
        if not ours.engine:  # this machine separates nothing: the first node sets the measure
            self._reference = Facts(ours.version, found.engine, 0)
        elif found.engine != ours.engine and self.settings.plugin:
            return (
                f"it has the engine {found.engine}, and not {ours.engine}; "
                "install the same package there"
            )
        elif found.engine != ours.engine:
            return (
                f"its engine has the SHA-256 {found.engine[:12]}..., and not "
                f"{ours.engine[:12]}...; run there: orchestrator fetch-engine"
            )
        return ""

    def _tell(self) -> None:
        """Send the capacity, if it has changed."""
        slots = self._board.capacity(self._clock.monotonic())
        if slots != self._slots:
            self._slots = slots
            self.send("capacity", slots=slots)
        self._changed.set()

    # --- the actors

    async def _take(self, avoid: Collection[str]) -> _Actor:
        """Return an idle actor, or start one where the most memory is free."""
        deadline = self._clock.monotonic() + START_TIMEOUT_S
        while True:
            now = self._clock.monotonic()
            for any_node in (False, True):
                for actor in reversed(self._idle):
                    if (
                        any_node or actor.node.node_id not in avoid
                    ) and now >= actor.node.held_until:
                        self._idle.remove(actor)
                        return actor
                node = self._board.choose(now, () if any_node else avoid)
                if node is not None and (any_node or node.node_id not in avoid):
                    return await self._start(node)
            self._changed.clear()
            async with asyncio.timeout(deadline - now):
                await self._changed.wait()

    async def _start(self, node: Node) -> _Actor:
        ray = _ray()
        settings = self.settings
        node.workers += 1
        node.free_bytes -= settings.memory_bytes  # until the node is asked again
        make = ray.remote(Separator).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            memory=settings.memory_bytes or None,
            max_restarts=0,  # the queue of the service starts a job again, not Ray
            max_task_retries=0,
            scheduling_strategy=_on(node.node_id),
        )
        handle = None
        try:
            handle = await asyncio.to_thread(
                make.remote, settings.work, settings.model, settings.plugin
            )
            async with asyncio.timeout(START_TIMEOUT_S):
                await _result(await asyncio.to_thread(handle.ready.remote))
        except BaseException as error:
            if handle is not None:
                await _kill(handle)
            self._forget(node)
            if isinstance(error, Exception):  # not if the job was cancelled
                node.held_until = self._clock.monotonic() + HOLD_S
            raise
        return _Actor(handle, node)

    def _forget(self, node: Node) -> None:
        """Note that a worker of a node has ended."""
        node.workers -= 1
        node.free_bytes += self.settings.memory_bytes
        self._changed.set()

    async def _drop(self, actor: _Actor) -> None:
        self._forget(actor.node)
        await _kill(actor.handle)

    async def _lose(self, actor: _Actor) -> None:
        """Note that an actor has died or is silent: its node must answer before it gets another."""
        actor.node.is_checked = False
        await self._drop(actor)

    async def _give_back(self) -> None:
        """Stop workers that were idle for long."""
        limit = self._clock.monotonic() - IDLE_S
        unused = [actor for actor in self._idle if actor.idle_since < limit]
        self._idle = [actor for actor in self._idle if actor not in unused]
        for actor in unused:
            await self._drop(actor)

    # --- the assignments

    def start(self, message: dict[str, Any]) -> None:
        """Start an assignment."""
        run = self._runs[message["assignment"]] = _Run()
        run.cancel = self._begin(self._carry_out(run, message))

    async def stop(self, name: str) -> None:
        """Stop an assignment; its worker is killed, wherever it is in its work."""
        run = self._runs.pop(name, None)
        if run is None:
            return
        run.cancel()
        if run.actor is not None:
            await self._lose(run.actor)
        self._tell()

    async def _carry_out(self, run: _Run, message: dict[str, Any]) -> None:
        name = message["assignment"]
        try:
            run.actor = await self._take(message["avoid"])
        except Exception as error:  # noqa: BLE001 - of Ray or of a node
            if self._runs.pop(name, None):
                text = f"No worker could be started: {reason_of(error)}"
                self.send("ended", assignment=name, no_worker={"message": text})
            self._tell()
            return
        actor = run.actor
        node = actor.node
        self.send("started", assignment=name, node=node.node_id, name=node.name)
        try:
            ref = await asyncio.to_thread(actor.handle.separate.remote, _order(message))
            outcome = await _result(ref)
        except Exception as error:  # noqa: BLE001 - of Ray: the actor, its node or its memory
            outcome = {"lost": {"message": f"The worker on {node.name} died: {reason_of(error)}"}}
            is_alive = False
        else:
            is_alive = True
        if self._runs.pop(name, None) is None:
            return
        self.send("ended", assignment=name, **outcome)
        if "at_fault" in outcome:
            node.held_until = self._clock.monotonic() + HOLD_S
        if is_alive and "lost" not in outcome:
            actor.idle_since = self._clock.monotonic()
            self._idle.append(actor)
        else:
            await self._lose(actor)
        self._tell()

    def _begin(self, act: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Start a task, and return what cancels it."""
        task = asyncio.create_task(act)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task.cancel


def _ray() -> Any:
    """Return Ray, which is imported only when its variables are set."""
    return importlib.import_module("ray")


def _on(node_id: str) -> Any:
    strategies: Any = importlib.import_module("ray.util.scheduling_strategies")
    return strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)


async def _result(ref: Any) -> Any:
    return await asyncio.wrap_future(ref.future())


async def _kill(handle: Any) -> None:
    ray = _ray()
    try:
        await asyncio.to_thread(ray.kill, handle, no_restart=True)
    except Exception as error:  # noqa: BLE001 - it is gone, or its cluster
        sys.stderr.write(f"cannot stop a worker: {reason_of(error)}\n")


def _order(message: dict[str, Any]) -> Order:
    order = dict(message["order"])
    return Order(WorkTask(**order.pop("task")), **order)


def reason_of(error: BaseException) -> str:
    """Return why something failed, in one line.

    Ray's errors have many lines. One that carries an error of a node ends with that; the others
    begin with the reason.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    carried = [line for line in lines if _CARRIED.match(line)]
    if carried:
        return carried[-1][:300]
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}".rstrip(": ")


def _connect(settings: Settings) -> None:
    """Connect to the cluster, or start one on this machine."""
    ray = _ray()
    if settings.address:
        there = urlsplit(settings.address)
        # Ray itself tries for half a minute, and does not say what is wrong.
        socket.create_connection((there.hostname, there.port), KNOCK_TIMEOUT_S).close()
        for left in reversed(range(CONNECT_TRIES)):
            try:
                ray.init(settings.address, log_to_driver=False)
            except ConnectionError:  # the head is there, but it may be busy
                if not left:
                    raise
            else:
                return
    else:
        ray.init(
            address="local",
            num_cpus=settings.local_cpus,
            include_dashboard=False,
            log_to_driver=False,
        )


async def _serve(bridge: Bridge, source: asyncio.StreamReader) -> None:
    bridge.send("ready")
    looking = asyncio.create_task(bridge.look())
    reading = asyncio.create_task(_obey(bridge, source))
    done, _ = await asyncio.wait({looking, reading}, return_when=asyncio.FIRST_COMPLETED)
    if looking in done:
        bridge.send("unusable", text="it is gone, or the network to it")


async def _obey(bridge: Bridge, source: asyncio.StreamReader) -> None:
    """Carry out the messages of the service, until it ends or closes the pipe."""
    while line := await source.readline():
        message = orjson.loads(line)
        if message["do"] == "start":
            bridge.start(message)
        else:
            await bridge.stop(message["assignment"])


def environment(folder: str, *, is_local: bool) -> dict[str, str]:
    """Return the variables of Ray and of everything that it starts here.

    Nothing is reported to anyone, and files are only in ``folder``. A cluster of this machine has a
    token of its own, so that no other user of the machine can use it; that of another cluster is
    the user's.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {
        **(token if is_local else {}),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": folder,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # the nodes have this package installed
        "RAY_worker_niceness": "0",  # as worker processes have; it is 15 by default
        "RAY_ADDRESS": "",  # only the address of the settings counts
    }


async def _main(bridge: Bridge) -> None:
    loop = asyncio.get_running_loop()
    source = asyncio.StreamReader(limit=1 << 24)
    pipe = os.fdopen(os.dup(0), "rb", buffering=0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), pipe)
    await _serve(bridge, source)


def main() -> None:
    """Work until standard input ends, then stop what was started."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of Ray must not mix with our messages
    settings = Settings(**orjson.loads(_first_line()))
    folder = tempfile.mkdtemp(prefix="orch-ray-")  # short: sockets in it have 107 bytes
    os.environ.update(environment(folder, is_local=not settings.address))
    bridge = Bridge(settings, out)
    try:
        # In this thread, which lives to the end: the processes that Ray starts end with the
        # thread that has started them.
        _connect(bridge.settings)
        asyncio.run(_main(bridge))
    except Exception as error:  # noqa: BLE001 - the service reports it
        with contextlib.suppress(OSError):
            bridge.send("unusable", text=reason_of(error))
    finally:
        _end(folder)


def _first_line() -> bytes:
    """Read the settings, and no byte of what follows them."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _end(folder: str) -> None:
    """Stop what was started, and remove its files."""
    # The service may be gone, and with it the reader of what is printed from now on.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    last = threading.Timer(END_S, os._exit, (1,))
    last.daemon = True
    last.start()
    try:
        _ray().shutdown()
    finally:
        for _ in range(REMOVALS):  # processes that are ending still write there
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            threading.Event().wait(REMOVAL_S)


if __name__ == "__main__":
    main()

"""The local service: builds, opens and closes its parts in order."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from orchestrator.domain.wording import counted
from orchestrator.durable import DISK_FULL, FileLock, reason_of
from orchestrator.errors import ConfigError, DiskFull, LocalRootLocked
from orchestrator.server.api.control import state_of
from orchestrator.server.app import App, Listener
from orchestrator.server.faults.player import FaultPlayer
from orchestrator.server.faults.script import Faults
from orchestrator.server.http.auth import Verifier
from orchestrator.server.jobs.callbacks import Callbacks
from orchestrator.server.jobs.database import Database
from orchestrator.server.jobs.ids import Ids
from orchestrator.server.jobs.job_work import JobWork
from orchestrator.server.jobs.queues import Queues
from orchestrator.server.jobs.scheduler import Scheduler
from orchestrator.server.jobs.store import JobStore
from orchestrator.server.jobs.templates import Templates
from orchestrator.server.parts import Parts
from orchestrator.server.settings import SPACE_BYTES
from orchestrator.server.storage.keys import RESERVED
from orchestrator.server.storage.metadata import ObjectIndex
from orchestrator.server.storage.multipart import Uploads
from orchestrator.server.storage.objects import Objects
from orchestrator.server.workers.exchange import Exchange
from orchestrator.server.workers.pool import Pool

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from orchestrator.domain.ports import Clock
    from orchestrator.server.settings import LocalSettings
    from orchestrator.server.workers.protocol import Workers

log = logging.getLogger(__name__)
DISK_THREADS = 4  # reads, hashes and syncs overlap; more threads would only queue in the disk
RETENTION_S = 30 * 86400
"""Time that ended jobs are kept (the vendor's console: a month)."""
RETENTION_SWEEP_S = 3600
UPLOAD_RETENTION_S = 7 * 86400
"""Time after its last part that an unfinished upload is kept (the vendor keeps it forever)."""


class LocalService:
    """CI and COS on one address, ``url``, while the service is open (``async with``)."""

    def __init__(self, settings: LocalSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.url = ""
        self._lock: FileLock | None = None
        self._parts: Parts | None = None
        self._database: Database | None = None
        self._index: ObjectIndex | None = None
        self._uploads: Uploads | None = None
        self._workers: Workers | None = None
        self._exchange = Exchange(clock) if settings.ray is not None else None
        self._disk = ThreadPoolExecutor(DISK_THREADS, "local-disk")
        self._runner: web.ServerRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def parts(self) -> Parts:
        """Parts of the open service."""
        if self._parts is None:
            message = "The local service is not open."
            raise ConfigError(message)
        return self._parts

    def state(self) -> dict[str, Any]:
        """Return counts: requests by route, faults played, jobs by state, duplicates, callbacks."""
        return state_of(self.parts)

    async def __aenter__(self) -> Self:
        """Open the root and listen.

        Raises:
            LocalRootLocked: Another service uses this root.
            ConfigError: The root, its files or the address cannot be used.
        """
        try:
            self._open()
            await self._listen()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; running jobs start again with the next service."""
        await self.close()

    def _open(self) -> None:
        settings = self.settings
        own = settings.root / RESERVED
        try:
            settings.root.mkdir(parents=True, exist_ok=True)
            is_real = not settings.progression.simulated
            if is_real and shutil.disk_usage(settings.root).free < SPACE_BYTES:
                raise _disk_full(settings.root)
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
            if settings.bucket:
                (settings.root / settings.bucket).mkdir(exist_ok=True)
            self._lock = _take_lock(settings)
            self._database = Database(own / "queue.db", durable=settings.durable)
            self._index = ObjectIndex(own / "objects.db")
            objects = Objects(
                settings.root, self._index, settings.buckets, durable=settings.durable
            )
            self._uploads = Uploads(own / "uploads.db", objects)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise _disk_full(settings.root) from error
            raise ConfigError(
                f"The folder {settings.root} cannot hold the local service: {reason_of(error)}."
            ) from error
        except sqlite3.Error as error:
            raise ConfigError(
                f"The local service's files in {own} cannot be used: {error}. "
                "Move that folder away to start with an empty queue."
            ) from error
        self._parts = self._build(self._database, objects, self._uploads)

    def _build(self, database: Database, objects: Objects, uploads: Uploads) -> Parts:
        settings, clock, disk = self.settings, self.clock, self._disk
        workers = self._workers = _workers(settings, clock, self._exchange)
        store = JobStore(database)
        ids = Ids(settings.seed, store.total())
        interrupted = store.recover()
        if interrupted:
            log.info("restarting %s", counted(interrupted, "interrupted job"))
        queues = Queues(database, settings, ids)
        player = FaultPlayer(settings.faults or Faults(), clock, settings.seed)
        callbacks = Callbacks(settings.callbacks, clock, queues, player)
        work = JobWork(settings, clock, objects, workers, disk)
        return Parts(
            settings=settings,
            clock=clock,
            ids=ids,
            store=store,
            queues=queues,
            templates=Templates(database),
            objects=objects,
            uploads=uploads,
            disk=disk,
            scheduler=Scheduler(settings, clock, store, queues, work, callbacks.job_ended),
            callbacks=callbacks,
            player=player,
            exchange=self._exchange,
        )

    async def _listen(self) -> None:
        settings = self.settings
        if not _is_loopback(settings.host):
            log.warning(
                "LISTENING BEYOND THIS MACHINE on %s: anyone on the network with a key pair can "
                "read and write %s. Use 127.0.0.1 unless this is intended.",
                settings.host,
                settings.root,
            )
        app = App(self.parts, Verifier(settings.credentials))
        listener = Listener(app, settings.idle_timeout_s)
        self._runner = web.ServerRunner(listener, shutdown_timeout=settings.drain_s)
        await self._runner.setup()
        tls = settings.tls.context() if settings.tls is not None else None
        site = web.TCPSite(
            self._runner, settings.host, settings.port, backlog=1024, ssl_context=tls
        )
        try:
            await site.start()
        except OSError as error:
            why = (
                "the address is in use. Choose another port, or 0 for a free one"
                if error.errno == errno.EADDRINUSE
                else str(error)
            )
            raise ConfigError(
                f"The local service cannot listen on {settings.host}:{settings.port}: {why}."
            ) from error
        host, port = self._runner.addresses[0][:2]
        scheme = "https" if tls is not None else "http"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        await self._open_workers()
        self.parts.scheduler.open()
        self._sweeper = asyncio.create_task(self._sweep(), name="local-retention")
        log.info("listening on %s, objects in %s", self.url, settings.root)

    async def _open_workers(self) -> None:
        settings = self.settings
        if self._exchange is not None and settings.ray is not None:
            from orchestrator.server.workers.ray import reachable_url

            self._exchange.url = reachable_url(self.url, settings.ray.address)
        if self._workers is not None:
            await self._workers.open(self.parts.scheduler.wake)

    async def _sweep(self) -> None:
        while True:
            now, parts = self.clock.now(), self.parts
            await parts.store.forget_ended_before(now - RETENTION_S)
            await parts.on_disk(parts.uploads.forget_unused_since, now - UPLOAD_RETENTION_S)
            await self.clock.sleep(RETENTION_SWEEP_S)

    async def close(self) -> None:
        """Stop listening, drop the running jobs, and close every file. Safe to call twice."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._parts is not None:
            await self._parts.scheduler.close()
            await self._parts.callbacks.close()
        if self._workers is not None:
            await self._workers.close()
        if self._database is not None:
            await self._database.close()
        self._disk.shutdown(wait=True)
        for table in (self._index, self._uploads):
            if table is not None:
                table.close()
        if self._lock is not None:
            self._lock.release()
        self._sweeper = self._runner = self._parts = self._workers = self._database = None
        self._index = self._uploads = self._lock = None


def _disk_full(root: Path) -> DiskFull:
    return DiskFull(
        f"The disk of {root} has no space for stems (less than {SPACE_BYTES >> 20} MB is free). "
        "Make room, then run again."
    )


def _workers(settings: LocalSettings, clock: Clock, exchange: Exchange | None) -> Workers:
    """Return the workers that the settings name."""
    if exchange is not None:
        from orchestrator.server.workers.ray import RayWorkers

        return RayWorkers(settings, clock, exchange)
    return Pool(
        settings.work,
        size=settings.workers,
        memory_bytes=settings.worker_memory_bytes,
        timeout_s=settings.job_timeout_s,
    )


def _take_lock(settings: LocalSettings) -> FileLock:
    """Lock the root, and write the number of this process into the lock file."""
    lock = FileLock(settings.root / RESERVED / "lock")
    if not lock.acquire():
        holder = lock.path.read_text("ascii")[:20].strip() or "unknown"
        raise LocalRootLocked(
            f"Another local service (process {holder}) uses {settings.root}: "
            "use its address, stop it, or choose another root."
        )
    lock.path.write_text(str(os.getpid()), "ascii")
    return lock


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

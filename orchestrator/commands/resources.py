"""Open what a manifest needs and close it again: ledger, service, storage, ports of a run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import secrets
import sys
from typing import TYPE_CHECKING

from orchestrator.commands.options import runner_settings
from orchestrator.domain.run import Holder
from orchestrator.domain.value_formats import LOCAL_BUCKET
from orchestrator.domain.wording import is_utf_8, not_utf_8
from orchestrator.errors import ConfigError, LedgerLocked, OrchestratorError
from orchestrator.ledger import ledger_path as ledger_file
from orchestrator.ledger import open_ledger
from orchestrator.ledger.lease import in_use
from orchestrator.manifest import EndpointSettings, LocalServiceSettings
from orchestrator.postgresql import is_address, with_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from orchestrator.client.credentials import CredentialSource
    from orchestrator.client.service import CloudService
    from orchestrator.commands.options import RunOptions
    from orchestrator.domain.ports import Clock, EventSink, Ledger, ObjectStore
    from orchestrator.manifest import Manifest
    from orchestrator.runner.ports import Ports
    from orchestrator.server.http.key_pairs import KeyPair
    from orchestrator.server.service import LocalService


LOOKS_PER_S = 100.0
"""Looks for stems per second. The vendor documents no limit for reads of the storage; 32 at a time
that take 0.3 s each make about as many."""
_LOOK_S = 1.0
"""A run that waits for the ledger tries this often to take it."""


def ledger_exists(location: str) -> bool:
    """Return False if a ledger is a file that is not there."""
    return is_address(location) or ledger_file(location).exists()


def ledger_path(manifest: Manifest, ledger: str | None = None) -> str:
    """Return the path of a manifest's ledger: by default ``.orchestrator/<name>.db`` beside it.

    In a database each manifest has a ledger under its own name, unless the address has another.

    Raises:
        ConfigError: If its name is not UTF-8, or the address of a database cannot be used.
    """
    if ledger is not None:
        if not is_utf_8(ledger):
            raise ConfigError(f"--ledger: {not_utf_8(ledger)}")
        return with_name(ledger, manifest.name) if is_address(ledger) else ledger
    return str(_own_folder(manifest) / f"{manifest.name}.db")


def _own_folder(manifest: Manifest) -> Path:
    """Return the folder for what belongs to a manifest and was not given another place."""
    return manifest.path.resolve().parent / ".orchestrator"


def manifest_id(manifest: Manifest, ledger: str) -> str:
    """Return the identity of a manifest among those that share a ledger.

    It is the path from the ledger's folder, which stays the same if both are moved together. In a
    database it is the name: the manifest may have another path on each host.
    """
    if is_address(ledger):
        return manifest.name
    return os.path.relpath(manifest.path.resolve(), ledger_file(ledger).resolve().parent)


def has_manifest(ledger: str, identity: str) -> bool:
    """Return True if the manifest with this identity exists, perhaps on another host."""
    return is_address(ledger) or (ledger_file(ledger).resolve().parent / identity).exists()


def service_name(manifest: Manifest, ledger: str) -> str:
    """Return the name by which the ledger knows the service: job ids are valid at one only."""
    match manifest.service:
        case LocalServiceSettings():
            # Each host has a local service of its own.
            host = f"{platform.node()}:" if is_address(ledger) else ""
            return f"local:{host}{local_root(manifest, ledger)}"
        case EndpointSettings(ci=ci):
            return f"endpoint:{ci}"
        case _:
            return "tencent"


def service_place(manifest: Manifest, ledger: str) -> str:
    """Return where a local service is, seen from the ledger; empty if its root is new or remote.

    A folder that is moved with its ledger keeps this place, and has the service's own files in it.
    """
    if not isinstance(manifest.service, LocalServiceSettings) or is_address(ledger):
        return ""
    root = local_root(manifest, ledger)
    if not (root / ".service" / "queue.db").exists():
        return ""
    return os.path.relpath(root, ledger_file(ledger).resolve().parent)


def state_folder(manifest: Manifest, ledger: str) -> Path:
    """Return the folder of the ledger, or if that is in a database, where its file would be."""
    return _own_folder(manifest) if is_address(ledger) else ledger_file(ledger).parent


def local_root(manifest: Manifest, ledger: str) -> Path:
    """Return the folder of the local service's objects, by default ``objects`` at the ledger."""
    root = manifest.service.root if isinstance(manifest.service, LocalServiceSettings) else None
    return (root or state_folder(manifest, ledger) / "objects").resolve()


def local_buckets(manifest: Manifest, ledger: str) -> set[str] | None:
    """Return the buckets of a local manifest; None if they are not known, or not on this machine.

    They are not known before the first bucket's folder was made.
    """
    if not isinstance(manifest.service, LocalServiceSettings):
        return None
    root = local_root(manifest, ledger)
    folders = root.iterdir() if root.is_dir() else ()
    found = {folder.name for folder in folders if LOCAL_BUCKET.fullmatch(folder.name)}
    return (found | set(manifest.service.buckets)) or None


def random_keys(name: str) -> KeyPair:
    """Return a key pair for one embedded service, so that no other program can use it."""
    from orchestrator.server.http.key_pairs import KeyPair

    return KeyPair(f"{name}-{secrets.token_hex(8)}", secrets.token_hex(32))


@contextlib.asynccontextmanager
async def open_service(
    manifest: Manifest, ledger: str, clock: Clock
) -> AsyncIterator[CloudService]:
    """Open the client of the manifest's service; start an embedded service for it if it is local.

    Raises:
        CredentialsMissing: If there is no key pair for a remote service.
        LedgerLocked: If another process serves the same root.
        DiskFull: If the local root has no space for stems.
    """
    if isinstance(manifest.service, LocalServiceSettings):
        from orchestrator.server.service import LocalService
        from orchestrator.server.settings import LocalSettings

        root = local_root(manifest, ledger)
        service_settings = manifest.service
        settings = LocalSettings(
            root=root,
            credentials=(random_keys("local"),),
            buckets=service_settings.buckets,
            engine=service_settings.engine,
        )
        async with (
            LocalService(settings, clock) as local,
            open_client(manifest, clock, local) as client,
        ):
            yield client
    else:
        async with open_client(manifest, clock) as client:
            yield client


@contextlib.asynccontextmanager
async def open_client(
    manifest: Manifest, clock: Clock, local: LocalService | None = None
) -> AsyncIterator[CloudService]:
    """Open a client: of ``local`` if given, else of the manifest's remote service."""
    from orchestrator.client.credentials import Discovered, Static
    from orchestrator.client.endpoint import Endpoint, Timeouts
    from orchestrator.client.service import CloudService
    from orchestrator.client.wire.signature import Credentials

    limits, service = manifest.limits, manifest.service
    source: CredentialSource = Discovered(profile=manifest.profile)
    if local is not None:
        keys = local.settings.credentials[0]
        source = Static(Credentials(keys.secret_id, keys.secret_key))
        endpoint = Endpoint(ci_url=local.url, cos_url=local.url)
    elif isinstance(service, EndpointSettings):
        endpoint = Endpoint(ci_url=service.ci, cos_url=service.cos)
    else:
        endpoint = Endpoint()
    async with CloudService(
        endpoint,
        source,
        clock,
        connections=limits.connections,
        timeouts=Timeouts.within(limits.timeout_s),
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def open_store(manifest: Manifest, ledger: str, clock: Clock) -> AsyncIterator[ObjectStore]:
    """Open the storage of the manifest's objects to read it, also while a run uses a local root.

    Raises:
        CredentialsMissing: If there is no key pair for a remote service.
    """
    if isinstance(manifest.service, LocalServiceSettings):
        from orchestrator.server.storage.folder_store import FolderStore

        root = local_root(manifest, ledger)
        async with FolderStore(root, manifest.service.buckets) as store:
            yield store
    else:
        async with open_client(manifest, clock) as client:
            yield client


@contextlib.asynccontextmanager
async def hold_ledger(
    location: str,
    service: str,
    clock: Clock,
    place: str = "",
    waiting: Callable[[str], None] | None = None,
) -> AsyncIterator[Ledger]:
    """Open the ledger of ``service`` (see :func:`service_name`) and take its lease.

    Args:
        location: The ledger.
        service: Name of the service.
        clock: Time.
        place: Place of a local service (:func:`service_place`).
        waiting: If given, wait while another run holds the ledger; called once with a sentence.

    Raises:
        LedgerLocked: If another run holds it.
        LedgerError: If it cannot be opened.
        ConfigError: If it belongs to another service.
    """
    ledger = await _opened(location)
    try:
        command = " ".join(sys.argv[:3])
        await _acquire(ledger, location, command, clock, waiting)
        await check_service(ledger, location, service, place)
        await ledger.remember("service", service.encode())
        yield ledger
    finally:
        await ledger.close()


async def _opened(location: str) -> Ledger:
    """Open a ledger; a database that does not answer must not keep signals from being heard."""
    if not is_address(location):
        return open_ledger(location)
    opening = asyncio.create_task(asyncio.to_thread(open_ledger, location))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(OrchestratorError):
            await (await opening).close()
        raise


async def _acquire(
    ledger: Ledger,
    location: str,
    command: str,
    clock: Clock,
    waiting: Callable[[str], None] | None,
) -> None:
    is_announced = False
    while True:
        try:
            await ledger.acquire(Holder(platform.node(), os.getpid(), clock.now(), command))
        except LedgerLocked:
            if waiting is None:
                raise
            if not is_announced:
                why = in_use(location, await ledger.holder())
                waiting(f"{why} This run waits until it ends, because of --wait.")
                is_announced = True
            await clock.sleep(_LOOK_S)
        else:
            return


async def check_service(ledger: Ledger, location: str, name: str, place: str = "") -> None:
    """Check that a ledger belongs to a service; only reads.

    Raises:
        ConfigError: If it belongs to another one.
    """
    known = (await ledger.recall("service") or name.encode()).decode()
    if known == name:
        return
    is_moved = place and place == (await ledger.recall("service.place") or b"").decode()
    if not is_moved:
        raise ConfigError(
            f"The ledger {location} belongs to the service {known}, and this run is for "
            f"{name}. Give this run its own ledger with --ledger FILE (jobs that one service has "
            "done are not done at another)."
        )


async def remember_place(ledger: Ledger, place: str) -> None:
    """Keep where the local service is, to know it again when its folder was moved."""
    if place:
        await ledger.remember("service.place", place.encode())


@contextlib.asynccontextmanager
async def open_patient_store(manifest: Manifest, ledger: str) -> AsyncIterator[ObjectStore]:
    """Open the storage to list prefixes without a run; reads are repeated a few times.

    Raises:
        OrchestratorError: See ``open_store``.
    """
    from orchestrator.domain.clock import SystemClock
    from orchestrator.live.sinks import Sinks
    from orchestrator.runner.settings import RunnerSettings
    from orchestrator.runner.storage_retries import LISTING_TRIES, RetryingStore

    clock, settings, tries = SystemClock(), RunnerSettings(), LISTING_TRIES
    async with open_store(manifest, ledger, clock) as store:
        rng = random.Random()  # noqa: S311 - jitter, not a secret
        yield RetryingStore(store, clock, rng, Sinks(), settings, tries, tries)


@contextlib.asynccontextmanager
async def share_limits(
    manifest: Manifest, ledger: str, ports: Ports, clock: Clock
) -> AsyncIterator[None]:
    """Share the rate limits of the manifest's account with the other runs of this machine.

    If the ledger is in a database, they are shared with all runs that use it, on any host. The
    embedded service is not an account: it serves this run alone.

    Raises:
        CredentialsMissing: If there is no key pair.
    """
    from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
    from orchestrator.client.limits.shared_limit import shared_limits
    from orchestrator.domain.events import Noticed

    kinds = {
        "submit": ports.submit_limiter,
        "query": ports.query_limiter,
        "list": ports.list_limiter,
    }
    limiters = {kind: one for kind, one in kinds.items() if isinstance(one, AdaptiveLimiter)}
    if isinstance(manifest.service, LocalServiceSettings):
        yield
        return
    account = f"{service_name(manifest, ledger)}\n{_account(manifest)}"
    database = ledger if is_address(ledger) else None

    def notice(text: str) -> None:
        ports.sink.emit(Noticed(text))

    async with shared_limits(account, limiters, clock, notice, database):
        yield


def _account(manifest: Manifest) -> str:
    """Return what tells the manifest's account from others.

    The account number ends the name of each bucket. A key pair tells less, because an account may
    have several; it counts if the buckets are named in list files only.
    """
    from orchestrator.client.credentials import Discovered

    buckets = [manifest.bucket, *(source.bucket or "" for source in manifest.inputs)]
    numbers = sorted(bucket.rpartition("-")[2] for bucket in buckets if bucket)
    return numbers[0] if numbers else Discovered(profile=manifest.profile).load().secret_id


def ports_of(
    manifest: Manifest,
    options: RunOptions,
    ledger: Ledger,
    service: CloudService,
    *,
    sink: EventSink,
    clock: Clock,
) -> Ports:
    """Return the ports of a run over an open ledger and service."""
    from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
    from orchestrator.client.service_clock import ServiceClock
    from orchestrator.client.wire.error_codes import is_transient_job_code
    from orchestrator.live.sinks import Sinks
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.storage_retries import LISTING_TRIES, RetryingStore

    limits = manifest.limits
    sink = Sinks(sink)  # a sink that raises must not break the run
    time = ServiceClock(clock, service)
    rng = random.Random()  # noqa: S311 - jitter, not a secret
    settings = runner_settings(manifest, options)
    submit_limiter = AdaptiveLimiter(limits.submit_per_s, clock)
    service.space_submits(submit_limiter)
    service.guard_submits(ledger.may_send)
    return Ports(
        ledger=ledger,
        service=service,
        store=RetryingStore(service, time, rng, sink, settings, LISTING_TRIES),
        submit_limiter=submit_limiter,
        query_limiter=AdaptiveLimiter(limits.query_per_s, clock),
        list_limiter=AdaptiveLimiter(limits.query_per_s, clock),
        look_limiter=AdaptiveLimiter(LOOKS_PER_S, clock),
        clock=time,
        rng=rng,
        sink=sink,
        is_transient=is_transient_job_code,
        off_loop=asyncio.to_thread,
        settings=settings,
    )

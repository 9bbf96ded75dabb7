"""Opens what a manifest needs - its ledger, its service - and closes it again."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import sys
from typing import TYPE_CHECKING

from orchestrator.domain.run import Holder
from orchestrator.errors import ConfigError
from orchestrator.ledger import ledger_path as ledger_file
from orchestrator.ledger import open_ledger
from orchestrator.manifest import EndpointSettings, LocalServiceSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.client.credentials import CredentialSource
    from orchestrator.client.service import CloudService
    from orchestrator.domain.ports import Clock, Ledger, ObjectStore
    from orchestrator.manifest import Manifest


def ledger_path(manifest: Manifest, ledger: str | None = None) -> str:
    """Where the ledger of a manifest lies: ``.orchestrator/<name>.db`` beside it, unless said otherwise."""
    return (
        ledger
        if ledger is not None
        else str(manifest.path.resolve().parent / ".orchestrator" / f"{manifest.name}.db")
    )


def service_name(manifest: Manifest, ledger: str) -> str:
    """What the ledger remembers the service by: a job id of one means nothing to another."""
    match manifest.service:
        case LocalServiceSettings():
            return f"local:{local_root(manifest, ledger)}"
        case EndpointSettings(ci=ci):
            return f"endpoint:{ci}"
        case _:
            return "tencent"


def local_root(manifest: Manifest, ledger: str) -> Path:
    """Folder of the local service's objects: as the manifest says, or ``objects`` beside the ledger."""
    root = manifest.service.root if isinstance(manifest.service, LocalServiceSettings) else None
    return (root or ledger_file(ledger).parent / "objects").resolve()


@contextlib.asynccontextmanager
async def open_service(
    manifest: Manifest, ledger: str, clock: Clock
) -> AsyncIterator[CloudService]:
    """The client of the manifest's service; an embedded service is started, and stopped at the end.

    Raises:
        CredentialsMissing: If there is no key pair for a remote service.
        LedgerLocked: If another process serves the same root.
    """
    from orchestrator.client.credentials import Discovered, Static
    from orchestrator.client.endpoint import Endpoint, Timeouts
    from orchestrator.client.service import CloudService
    from orchestrator.client.wire.signature import Credentials

    async with contextlib.AsyncExitStack() as stack:
        source: CredentialSource = Discovered()
        endpoint = Endpoint()
        match manifest.service:
            case LocalServiceSettings():
                from orchestrator.server.http.key_pairs import KeyPair
                from orchestrator.server.service import LocalService
                from orchestrator.server.settings import LocalSettings

                # Random for each run: nobody else on this machine may talk to the embedded service.
                keys = KeyPair(f"local-{secrets.token_hex(8)}", secrets.token_hex(32))
                settings = LocalSettings(root=local_root(manifest, ledger), credentials=(keys,))
                local = await stack.enter_async_context(LocalService(settings, clock))
                endpoint = Endpoint(ci_url=local.url, cos_url=local.url)
                source = Static(Credentials(keys.secret_id, keys.secret_key))
            case EndpointSettings(ci=ci, cos=cos):
                endpoint = Endpoint(ci_url=ci, cos_url=cos)
            case _:
                pass
        limits = manifest.limits
        client = CloudService(
            endpoint,
            source,
            clock,
            connections=limits.connections,
            timeouts=Timeouts.within(limits.timeout_s),
        )
        yield await stack.enter_async_context(client)


@contextlib.asynccontextmanager
async def open_store(manifest: Manifest, ledger: str, clock: Clock) -> AsyncIterator[ObjectStore]:
    """Where the manifest's objects lie, to look at them only: also while a run works on the same local root.

    Raises:
        CredentialsMissing: If there is no key pair for a remote service.
    """
    if isinstance(manifest.service, LocalServiceSettings):
        from orchestrator.server.storage.folder_store import FolderStore

        async with FolderStore(local_root(manifest, ledger)) as store:
            yield store
        return
    async with open_service(manifest, ledger, clock) as service:
        yield service


@contextlib.asynccontextmanager
async def hold_ledger(location: str, service: str, clock: Clock) -> AsyncIterator[Ledger]:
    """The ledger at ``location``, with its lease; it must be about ``service`` (``service_name``), or new.

    Raises:
        LedgerLocked: If another run holds it.
        LedgerError: If it cannot be opened.
        ConfigError: If it belongs to another service.
    """
    ledger = open_ledger(location)
    try:
        await ledger.acquire(
            Holder(platform.node(), os.getpid(), clock.now(), " ".join(sys.argv[:3]))
        )
        await _check_service(ledger, location, service)
        yield ledger
    finally:
        await ledger.close()


async def _check_service(ledger: Ledger, location: str, name: str) -> None:
    """A ledger is about the jobs of one service: what was done on another one is not done here."""
    known = await ledger.recall("service")
    if known is None:
        await ledger.remember("service", name.encode())
    elif known.decode() != name:
        raise ConfigError(
            f"The ledger {location} is about the service {known.decode()}, and this run is for {name}. "
            "Give this run a ledger of its own with --ledger FILE (a rehearsal proves nothing about what another service has done)."
        )

"""Every implementation of the ledger, behind one fixture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.domain.ports import Ledger
    from tests.postgres_server import PostgresServer

T0 = 1_795_309_200.0
"""2026-11-22T01:00:00Z."""


@dataclass
class Home:
    """A place for one ledger, and the ledgers opened on it."""

    kind: str
    folder: Path
    server: PostgresServer | None = None
    store: MemoryStore = field(default_factory=MemoryStore)
    opened: list[Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.server.url() if self.server else ""

    def open(self) -> Ledger:
        """Open the ledger once more, as another process would."""
        ledger: Ledger
        if self.kind == "memory":
            ledger = MemoryLedger(self.store)
        else:
            ledger = open_ledger(self.url or self.folder / "ledger.db")
        self.opened.append(ledger)
        return ledger

    def lose_lease(self) -> None:
        """Remove the lock without the holder's knowledge."""
        if self.kind == "memory":
            self.store.lose_holder()
        elif self.server is not None:
            self.server.change(self.url, "UPDATE lease SET expires_at = 0")
        else:
            (self.folder / "ledger.db.lock").unlink()

    async def reopen(self, ledger: Ledger) -> Ledger:
        """Close the ledger and open it again."""
        await ledger.close()
        again = self.open()
        await again.acquire(make_holder())
        return again


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    """A place for a ledger."""
    kind = request.param
    server = request.getfixturevalue("postgres") if kind == "postgres" else None
    home = Home(kind, tmp_path, server)
    yield home
    for ledger in home.opened:
        await ledger.close()


@pytest.fixture
async def ledger(home: Home) -> Ledger:
    """A new ledger whose lease is held."""
    ledger = home.open()
    await ledger.acquire(make_holder())
    return ledger

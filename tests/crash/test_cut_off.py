"""A host that is cut off from the ledger's database, and not from the service.

The host is a network namespace of its own, whose way to the database ends and comes back.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Self

import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import LocalSettings
from tests.crash.test_takeover import JOBS, LEASE_S, SEED, SLOW_S, TIMES, Hosts, wait
from tests.e2e.playground import KEYS, QUICK, RunningService
from tests.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.crash,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("ip") is None, reason="only root makes network namespaces"
    ),
]
TCP_TIMEOUT_MS = 3000
_turns = count()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Island:
    """A network namespace with ways to the service and to the database."""

    name: str
    net: str

    def __enter__(self) -> Self:
        ip("netns", "add", self.name)
        try:
            self._connect()
        except subprocess.CalledProcessError:
            self.__exit__()
            raise
        return self

    def _connect(self) -> None:
        far = f"{self.name}b"
        ip("link", "add", f"{self.name}a", "type", "veth", "peer", "name", far, "netns", self.name)
        for number in (1, 2):
            ip("addr", "add", f"{self.net}.{number}/24", "dev", f"{self.name}a")
        ip("link", "set", f"{self.name}a", "up")
        ip("-n", self.name, "addr", "add", f"{self.net}.3/24", "dev", far)
        ip("-n", self.name, "link", "set", far, "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def __exit__(self, *_: object) -> None:
        ip("netns", "del", self.name)

    @property
    def service(self) -> str:
        """Address of the service."""
        return f"{self.net}.1"

    @property
    def database(self) -> str:
        """Address of the database."""
        return f"{self.net}.2"

    def cut(self) -> None:
        """End the way to the database."""
        ip("-n", self.name, "route", "add", "blackhole", f"{self.database}/32")

    def repair(self) -> None:
        """Open the way to the database."""
        ip("-n", self.name, "route", "del", "blackhole", f"{self.database}/32")


@pytest.fixture
def island() -> Iterator[Island]:
    number = (os.getpid() * 20 + next(_turns)) % 60_000  # the last one may still be going away
    name = f"orc{number}"
    try:
        with Island(name, f"10.{number // 250 + 10}.{number % 250}") as island:
            yield island
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr!r}")


@pytest.fixture
def hosts(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    island: Island,
    record_property: Callable[[str, object], None],
) -> Iterator[Hosts]:
    seed = SEED + request.param
    record_property("ORCH_SEED", seed)
    settings = LocalSettings(
        tmp_path / "root",
        host=island.service,
        credentials=(KEYS,),
        progression=Progression(Pace.HOLD),
        durable=False,
        max_concurrent=20,
    )
    listening = {"listen_addresses": f"127.0.0.1,{island.database}"}
    with ExitStack() as stack:
        server = stack.enter_context(PostgresServer(settings=listening))
        server.let_in(f"{island.net}.0/24")
        service = stack.enter_context(RunningService(settings))
        for number in range(JOBS):
            service.store(f"incoming/{number}.mp3")
        url = server.url().replace("127.0.0.1", island.database)
        url += f"&lease={LEASE_S:g}&tcp_user_timeout={TCP_TIMEOUT_MS}"
        yield Hosts(service, url, tmp_path, random.Random(seed))


@pytest.mark.parametrize("hosts", range(TIMES), indirect=True)
def test_a_host_that_is_cut_off_from_the_ledger_is_overtaken_and_sends_nothing(
    hosts: Hosts, island: Island
) -> None:
    clock = SystemClock()
    first = hosts.run(hosts.host("a"), prefix=["ip", "netns", "exec", island.name])
    first.wait_for('"job_accepted"')
    second = hosts.run(hosts.host("b"), "--wait")
    second.wait_for("This run waits")
    wait(hosts.rng.uniform(0.0, 1.0))
    island.cut()
    cut_at = clock.monotonic()
    second.wait_for('"run_started"')
    assert clock.monotonic() - cut_at <= 1.5 * LEASE_S + SLOW_S
    hosts.service.pace(QUICK)
    if hosts.rng.random() < 0.5:
        island.repair()
        overtaken, done = first.finish(60), second.finish(60)
    else:
        done = second.finish(60)
        island.repair()
        overtaken = first.finish(60)

    assert done.code == 0, done.err
    assert overtaken.code == 5, overtaken.err
    assert "another run took it" in overtaken.err
    hosts.check()
    assert len(Counter(hosts.service.keys())) == JOBS

"""Two hosts run one manifest with its ledger in PostgreSQL; one is stopped, killed or cut off.

The other takes over within the lease. When the first wakes up, it sends nothing more: no job is
charged twice. ``ORCH_TEST_TAKEOVERS=<number>`` repeats that often. The instants come from a seed
that is recorded, and ``ORCH_SEED=<number>`` repeats it, as far as process scheduling allows.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import LocalSettings
from tests.e2e.playground import KEYS, QUICK, Playground, RunningService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.e2e.playground import Going
    from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.crash, pytest.mark.slow]
SEED = int(os.environ.get("ORCH_SEED") or random.SystemRandom().getrandbits(32))
TIMES = int(os.environ.get("ORCH_TEST_TAKEOVERS") or 1)
JOBS = 100
LEASE_S = 2.0
SLOW_S = 10.0
"""The first steps of a run that has taken over, on a busy machine."""


@dataclass
class Hosts:
    """Two folders with the same manifest, one ledger, and one service."""

    service: RunningService
    url: str
    folder: Path
    rng: random.Random

    def host(self, name: str) -> Playground:
        """Return the manifest on one host."""
        folder = self.folder / name
        folder.mkdir()
        place = Playground(folder, self.service)
        names = [f"incoming/{number}.mp3" for number in range(JOBS)]
        place.write(*names, limits={"submit_per_s": 25, "query_per_s": 100, "timeout_s": 1})
        return place

    def run(self, place: Playground, *options: str, prefix: Sequence[str] = ()) -> Going:
        """Start a run on a host."""
        words = ["run", place.path.name, "--ledger", self.url, "--log-json", *options]
        return place.start(*words, prefix=prefix)

    def check(self) -> None:
        """Check that each job was made once."""
        times = Counter(self.service.keys())
        assert {key: count for key, count in times.items() if count > 1} == {}, "charged twice"
        assert len(times) == JOBS


@pytest.fixture
def hosts(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    postgres: PostgresServer,
    record_property: Callable[[str, object], None],
) -> Iterator[Hosts]:
    seed = SEED + getattr(request, "param", 0)
    record_property("ORCH_SEED", seed)
    rng = random.Random(seed)
    settings = LocalSettings(
        tmp_path / "root",
        credentials=(KEYS,),
        progression=Progression(Pace.HOLD),
        durable=False,
        max_concurrent=20,
    )
    with RunningService(settings) as service:
        for number in range(JOBS):
            service.store(f"incoming/{number}.mp3")
        url = postgres.url() + f"&lease={LEASE_S:g}"
        yield Hosts(service, url, tmp_path, rng)


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.mark.parametrize("hosts", range(TIMES), indirect=True)
def test_a_stopped_holder_is_fenced_off_when_it_wakes_up(hosts: Hosts) -> None:
    clock = SystemClock()
    first = hosts.run(hosts.host("a"))
    first.wait_for('"job_accepted"')
    second = hosts.run(hosts.host("b"), "--wait")
    second.wait_for("This run waits")
    wait(hosts.rng.uniform(0.0, 1.0))
    first.send(signal.SIGSTOP)
    stopped_at = clock.monotonic()
    second.wait_for('"run_started"')
    took_over_after_s = clock.monotonic() - stopped_at
    hosts.service.pace(QUICK)
    if hosts.rng.random() < 0.5:
        wait(hosts.rng.uniform(0.0, 1.0))  # the first wakes up while the second works
        first.send(signal.SIGCONT)
        done = second.finish()
    else:
        done = second.finish()
        first.send(signal.SIGCONT)
    woken = first.finish()

    assert done.code == 0, done.err
    assert woken.code == 5, woken.err
    assert "another run took it" in woken.err
    assert took_over_after_s <= 1.5 * LEASE_S + SLOW_S
    hosts.check()


@pytest.mark.parametrize("hosts", range(TIMES), indirect=True)
def test_a_killed_holder_is_succeeded_within_the_lease(hosts: Hosts) -> None:
    clock = SystemClock()
    first = hosts.run(hosts.host("a"))
    first.wait_for('"job_accepted"')
    second = hosts.run(hosts.host("b"), "--wait")
    second.wait_for("This run waits")
    wait(hosts.rng.uniform(0.0, 1.0))
    assert first.kill().code == -signal.SIGKILL
    killed_at = clock.monotonic()
    second.wait_for('"run_started"')
    assert clock.monotonic() - killed_at <= 1.5 * LEASE_S + SLOW_S
    hosts.service.pace(QUICK)
    done = second.finish()

    assert done.code == 0, done.err
    hosts.check()


def test_a_run_that_waits_takes_over_at_once_when_the_other_ends(hosts: Hosts) -> None:
    first = hosts.run(hosts.host("a"))
    first.wait_for('"job_accepted"')
    refused = hosts.run(hosts.host("c")).finish()
    assert refused.code == 5
    assert "has been working on the ledger" in refused.err
    second = hosts.run(hosts.host("b"), "--wait")
    second.wait_for("This run waits")
    first.send(signal.SIGINT)
    assert first.finish().code == 130
    hosts.service.pace(QUICK)
    assert second.finish().code == 0
    hosts.check()

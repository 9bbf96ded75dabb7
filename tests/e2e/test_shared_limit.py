"""Two runs of one account stay within its limit together, also when one of them is killed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from orchestrator.client.limits.shared_limit import STATE_VARIABLE
from tests.e2e.playground import Playground
from tests.unit.client.limits.test_departures import mean_per_s, most_in_a_second

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.playground import RunningService
    from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.crash]
RATE = 20


def prepared(folder: Path, service: RunningService, state: Path, jobs: int) -> Playground:
    """Return a place with a manifest of its own, beside others of the same account."""
    folder.mkdir()
    place = Playground(folder, service)
    place.environment[STATE_VARIABLE] = str(state)
    names = [f"{folder.name}/{number}.mp3" for number in range(jobs)]
    for name in names:
        service.store(name)
    limits = {"submit_per_s": RATE, "query_per_s": RATE}
    place.write(*names, name=folder.name, limits=limits)
    return place


def accepted_at(service: RunningService, prefix: str = "") -> list[float]:
    return sorted(job.created_at for job in service.jobs() if job.input_object.startswith(prefix))


@pytest.mark.parametrize("is_on_one_host", [True, False])
def test_two_runs_share_the_limit_and_a_killed_one_leaves_it_to_the_other(
    tmp_path: Path, service: RunningService, postgres: PostgresServer, is_on_one_host: bool
) -> None:
    """On hosts of their own, they share it through the database of their ledgers."""
    state = tmp_path / "state"
    ledger = [] if is_on_one_host else ["--ledger", postgres.url()]
    first = prepared(tmp_path / "first", service, state, 150)
    second = prepared(tmp_path / "second", service, state, 120 if is_on_one_host else 200)

    killed = first.start("run", first.path.name, "--log-json", *ledger)
    going = second.start("run", second.path.name, "--log-json", *ledger)
    going.wait_for('"job_accepted"')
    for _ in range(20):
        killed.wait_for('"job_accepted"')
    assert (state / "limits").exists() == is_on_one_host
    assert killed.kill().code == -signal.SIGKILL
    died_at = max(accepted_at(service, "first/"))
    assert going.finish().code == 0

    times = accepted_at(service)
    joined_at = max(min(accepted_at(service, name)) for name in ("first/", "second/"))
    both = [at for at in times if joined_at <= at <= died_at]
    alone = [
        at
        for at in accepted_at(service, "second/")
        if at > died_at + (2.5 if is_on_one_host else 5.0)
    ]
    # The service's own delays move some; two runs that share nothing send twice the limit. What is
    # exact is tested in virtual time: a busy machine makes both runs slower.
    assert most_in_a_second(times) <= 1.5 * RATE
    assert mean_per_s(both) >= 0.25 * RATE, "both at work"
    assert mean_per_s(alone) >= 0.55 * RATE, "the survivor has more than its own half"

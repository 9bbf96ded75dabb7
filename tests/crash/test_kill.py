"""SIGKILL of the installed command at random instants, while the service misbehaves.

No job is lost or charged twice, and no report is torn. The instants come from a seed that is
printed; ``ORCH_SEED=<number>`` repeats them, as far as process scheduling allows.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import LocalSettings
from tests.e2e.playground import BUCKET, KEYS, Playground, RunningService
from tests.e2e.test_embedded import write_tone

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.crash, pytest.mark.slow]
SEED = int(os.environ.get("ORCH_SEED") or random.SystemRandom().getrandbits(32))
KILLS = 6
JOBS = 60

FAULTS: dict[str, list[dict[str, Any]]] = {
    "answers are lost": [
        {"route": "submit", "do": "lose_answer", "share": 0.15},
        {"route": "submit", "do": "fail_after", "code": "InternalError", "share": 0.1},
    ],
    "requests are refused or late": [
        {"route": "submit", "do": "refuse", "code": "SlowDown", "share": 0.1},
        {"route": "submit", "do": "delay_answer", "delay_s": 0.3, "share": 0.2},
        {"route": "submit", "do": "delay", "delay_s": 0.3, "share": 0.1},
    ],
    "queries fail too": [
        {"route": "submit", "do": "drop", "share": 0.1},
        {"route": "submit", "do": "truncate", "share": 0.1},
        {"route": "query", "do": "drop", "share": 0.2},
        {"route": "list", "do": "refuse", "code": "InternalError", "share": 0.3},
        {"route": "head", "do": "drop", "share": 0.1},
    ],
    "listings lag": [{"route": "submit", "do": "lose_answer", "share": 0.2}],
}
LAG_S = {"listings lag": 0.7}


def kill_at_some_instant(place: Playground, rng: random.Random) -> bool:
    """Start the command and kill it: mostly while it works, sometimes while it starts.

    Returns:
        False if the command had ended before the kill.
    """
    running = place.start("run", place.path.name, "--log-json")
    if rng.random() > 0.15:
        running.wait_for('"run_started"')
        instant_s = rng.expovariate(1 / 0.4)
    else:
        instant_s = rng.uniform(0.2, 1.5)
    threading.Event().wait(instant_s)
    return running.kill().code == -signal.SIGKILL


def check_reports(place: Playground, keys: set[str]) -> None:
    """Check that the reports have whole lines, and each key once.

    There are several if a run was killed after its last row: the next one finds all done.
    """
    found: list[str] = []
    for report in place.reports():
        lines = report.read_bytes().splitlines(keepends=True)
        assert all(line.endswith(b"\n") for line in lines)
        rows = [json.loads(line) for line in lines]
        assert {row["state"] for row in rows} <= {"succeeded"}
        found += [row["key"] for row in rows]
    assert sorted(found) == sorted(keys)


@pytest.mark.parametrize("faults", FAULTS)
def test_a_killed_run_charges_every_job_once_and_reports_it_once(
    tmp_path: Path, faults: str
) -> None:
    print(f"ORCH_SEED={SEED}")  # noqa: T201 - shown when the test fails
    rng = random.Random(f"{SEED} {faults}")
    settings = LocalSettings(
        tmp_path / "root",
        credentials=(KEYS,),
        progression=Progression(Pace.SECONDS, finish_after=0.3),
        durable=False,
        max_concurrent=20,
    )
    with RunningService(settings) as service:
        service.spoil(*FAULTS[faults], seed=rng.getrandbits(31), listing_lag_s=LAG_S.get(faults, 0))
        place = Playground(tmp_path, service)
        place.write(
            *({"object": f"in/{number}.mp3", "level": number % 3} for number in range(JOBS)),
            limits={
                "submit_per_s": 30,
                "query_per_s": 100,
                "in_flight": 25,
                "connections": 8,
                "timeout_s": 1,
            },
            retry={"initial_s": 0.05, "cap_s": 0.5, "settle_s": 1.0, "attempts": 20},
        )
        hits = [kill_at_some_instant(place, rng) for _ in range(KILLS)]
        assert sum(hits) >= KILLS / 2, "the runs are too short to be killed"

        last = place.run("--quiet", limit_s=90)

        assert last.code == 0, last.err
        keys = Counter(service.keys())
        assert len(keys) == JOBS
        assert set(keys.values()) == {1}, (
            f"charged more than once: {[key for key, times in keys.items() if times > 1]}"
        )
        check_reports(place, set(keys))


@pytest.mark.engine
def test_a_killed_run_with_the_embedded_service_does_each_job_once(tmp_path: Path) -> None:
    """The service dies with the command, in the middle of its own work, and resumes it."""
    print(f"ORCH_SEED={SEED}")  # noqa: T201 - shown when the test fails
    rng = random.Random(f"{SEED} embedded")
    place = Playground(tmp_path)
    place.environment = {
        "TENCENTCLOUD_SECRET_ID": None,
        "TENCENTCLOUD_SECRET_KEY": None,
        CACHE_VARIABLE: str(cache_dir()),
    }
    objects = [f"in/{number}.wav" for number in range(6)]
    for name in objects:
        write_tone(tmp_path / "media" / BUCKET / name, 0.5)
    place.write(
        *objects,
        service={"local": {"root": "media"}},
        limits={"timeout_s": 1},
        retry={"initial_s": 0.05, "cap_s": 0.5, "settle_s": 0.5},
    )
    for _ in range(2):
        kill_at_some_instant(place, rng)

    last = place.run("--quiet", limit_s=90)

    assert last.code == 0, last.err
    with sqlite3.connect(tmp_path / "media" / ".service" / "queue.db") as queue:
        done = Counter(name for (name,) in queue.execute("SELECT input_object FROM jobs"))
    queue.close()
    assert done == Counter(objects)
    rows = [row for number in range(len(place.reports())) for row in place.rows(number)]
    check_reports(place, {row["key"] for row in rows})
    assert Counter(row["input"]["object"] for row in rows) == Counter(objects)

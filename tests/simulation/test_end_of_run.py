"""A run ends soon after its last job, whatever the service, within the budget of calls.

``ORCH_SEEDS`` and ``ORCH_SEED`` are those of ``test_simulation.py``; one of forty seeds is run.
"""

from __future__ import annotations

import math
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.simulation.endings import ALL, SOON, SOON_S, Case, end_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.endings import Ending

ALONE = os.environ.get("ORCH_SEED")
SEEDS = [int(ALONE)] if ALONE else range(int(os.environ.get("ORCH_SEEDS", "2000")) // 40)
CHUNK = 10
FEW = 10


# --- what everyday users meet


def test_twelve_files_of_half_a_minute_on_two_workers_end_on_time_within_the_budget(
    tmp_path: Path,
) -> None:
    ending = end_of(tmp_path, Case([30.0] * 12, workers=2))

    assert ending.is_on_time, ending
    assert ending.calls_per_job <= 1.5


@pytest.mark.parametrize("workers", [1, 2, 3, 10, ALL])
@pytest.mark.parametrize("jobs", [1, 2, 9, 11, 40, 400])
@pytest.mark.parametrize("run_s", [2.0, 8.0])
def test_short_jobs_end_on_time(tmp_path: Path, jobs: int, workers: int, run_s: float) -> None:
    ending = end_of(tmp_path, Case([run_s] * jobs, workers))

    assert ending.is_on_time, ending


@pytest.mark.parametrize("workers", [1, 2, 10, ALL])
@pytest.mark.parametrize("jobs", [1, 3, 9, 12, 60])
@pytest.mark.parametrize("run_s", [30.0, 90.0, 300.0])
def test_jobs_of_one_length_end_on_time(
    tmp_path: Path, jobs: int, workers: int, run_s: float
) -> None:
    ending = end_of(tmp_path, Case([run_s] * jobs, workers))

    assert ending.is_on_time, ending


@pytest.mark.parametrize("jobs", [2, 5, 9])
@pytest.mark.parametrize("workers", [1, 2, ALL])
@pytest.mark.parametrize("film", ["first", "last"])
def test_a_film_among_a_few_clips_delays_nothing(
    tmp_path: Path, jobs: int, workers: int, film: str
) -> None:
    clips = [10.0] * (jobs - 1)

    ending = end_of(
        tmp_path, Case([3600.0, *clips] if film == "first" else [*clips, 3600.0], workers)
    )

    assert ending.is_on_time, ending


# --- calls


@pytest.mark.parametrize("has_callbacks", [False, True])
@pytest.mark.parametrize(
    ("jobs", "workers", "run_s"),
    [(400, 1, 30.0), (400, 2, 90.0), (400, 10, 30.0), (400, ALL, 90.0), (2000, 50, 200.0)],
)
def test_many_jobs_are_within_the_budget_of_calls(
    tmp_path: Path, jobs: int, workers: int, run_s: float, *, has_callbacks: bool
) -> None:
    heard = 1.0 if has_callbacks else None

    ending = end_of(tmp_path, Case([run_s] * jobs, workers, heard=heard))

    assert ending.calls_per_job <= (1.2 if has_callbacks else 1.5), ending
    assert ending.is_on_time, ending


# --- when nothing can be known


@pytest.mark.parametrize("jobs", [9, 400])
@pytest.mark.parametrize("workers", [1, 10, ALL])
def test_a_service_that_holds_all_jobs_for_an_hour_is_queried_often_enough(
    tmp_path: Path, jobs: int, workers: int
) -> None:
    """All of them may then end in a burst; it is seen within 2 % of the hour."""
    ending = end_of(tmp_path, Case([8.0] * jobs, workers, held_s=3600.0))

    assert ending.delay_s <= (SOON_S if jobs < FEW else 0.02 * 3600 + SOON_S), ending
    assert ending.calls_per_job <= 1.0 + 900 / jobs


def test_a_paused_queue_costs_few_calls_also_with_few_jobs(tmp_path: Path) -> None:
    ending = end_of(tmp_path, Case([8.0] * 5, workers=1, paused_s=3600.0))

    assert ending.delay_s <= 0.02 * 3600 + SOON_S, ending
    assert ending.queries <= 220, "one every four seconds would be 900"


@pytest.mark.parametrize("jobs", [3, 60])
@pytest.mark.parametrize("lasts_s", [30.0, 1200.0])
def test_after_an_outage_the_end_is_seen_as_soon_as_the_service_is_reached(
    tmp_path: Path, jobs: int, lasts_s: float
) -> None:
    ending = end_of(tmp_path, Case([20.0] * jobs, ALL, outages=((15.0, lasts_s),)))

    assert ending.is_on_time, ending


@pytest.mark.parametrize("jobs", [5, 200])
@pytest.mark.parametrize("workers", [2, ALL])
def test_without_a_single_callback_a_run_ends_on_time(
    tmp_path: Path, jobs: int, workers: int
) -> None:
    ending = end_of(tmp_path, Case([20.0] * jobs, workers, heard=0.0))

    assert ending.is_on_time, ending


# --- drawn


def draw(seed: int) -> Case:
    """Draw a service and its jobs: from one clip to thousands, from seconds to hours."""
    rng = random.Random(f"end of run {seed}")
    jobs = int(10 ** rng.uniform(0, rng.choice([1.0, 1.5, 2.0, 2.0, 2.5, 3.3])))
    typical_s = 10 ** rng.uniform(0.3, 3.0)
    spread = rng.choice([0.0, 0.3, 0.6, 1.0, 1.5])
    run_s = [
        min(max(typical_s * math.exp(rng.gauss(0, spread)), 2.0), 4 * 3600) for _ in range(jobs)
    ]
    workers = rng.choice([1, 2, rng.randint(1, 50), ALL])
    if sum(run_s) / min(workers, jobs) > 20_000:
        workers = ALL  # hours of waiting take long even in virtual time
    return Case(
        run_s,
        workers,
        rate_per_s=rng.choice([1.0, 5.0, 20.0]),
        heard=rng.choice([None, None, 1.0, 0.9, 0.0]),
        held_s=rng.choice([0.0, 0.0, 0.0, 10.0, 100.0, 1000.0]),
        has_sizes=rng.random() < 0.3,
        seed=seed,
    )


def is_certain(case: Case) -> bool:
    """Return True if the run must end on time without any luck: no job waits, or they are few."""
    return len(case.run_s) < FEW or (case.workers >= len(case.run_s) and not case.held_s)


def lookouts(ending: Ending) -> float:
    """Return how many queries it takes to find an end whose time is not known.

    They come every few seconds, and later whenever another 15 % of the time have passed.
    """
    return 8 + 8.5 * math.log(max(ending.ended_at, 30.0) / 30.0)


def check(case: Case, ending: Ending) -> None:
    """Check what holds in every run."""
    jobs = len(case.run_s)
    if is_certain(case):
        assert ending.is_on_time
    assert ending.delay_s <= max(SOON_S, SOON * ending.ended_at), "later than 15 % of the whole run"
    if jobs < FEW or case.held_s:
        return
    share = 0.5 if case.heard is None or case.heard < 1.0 else 0.2
    assert ending.queries <= share * jobs + 2 * lookouts(ending), "more calls than the budget"


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_a_run_ends_soon_after_its_last_job_on_any_service(tmp_path: Path, first: int) -> None:
    at = SEEDS.index(first)
    late = 0
    for seed in SEEDS[at : at + CHUNK]:
        case = draw(seed)
        ending = end_of(tmp_path / str(seed), case)
        try:
            check(case, ending)
        except AssertionError as error:
            error.add_note(f"seed {seed}: {ending}\n{len(case.run_s)} jobs, {case}"[:2000])
            raise
        late += not ending.is_on_time
    assert late <= 2, "runs of ten jobs or more are late where calls are used up, and only there"

"""What a look at the job list may rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from orchestrator.domain.states import JobState
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.settling.job_list import Listing
from orchestrator.runner.settling.list_search import ListSearch
from orchestrator.testing.builders import make_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.ports import Clock
    from orchestrator.domain.remote import JobFilter
    from orchestrator.domain.spec import Place
    from orchestrator.runner.settling.job_list import JobList

NOW, WALL = 500.0, 10_000.0


class _Still:
    """A clock that stands still."""

    def now(self) -> float:
        return WALL

    def monotonic(self) -> float:
        return NOW


@pytest.mark.parametrize(
    ("took_s", "sent_s"),
    [(0.2, 0.2), (50.0, 50.0), (3600.0, 60.0), (-3600.0, 60.0)],
    ids=["soon", "late", "the clock jumped ahead", "the clock jumped back"],
)
def test_a_list_has_come_as_far_as_the_request_not_as_its_answer(
    took_s: float, sent_s: float
) -> None:
    """The answer may come long after the job was accepted, and others were sent meanwhile."""
    looks = ListSearch(cast("JobList", None), cast("Clock", _Still()), RunnerSettings())
    job = make_job(
        state=JobState.SUBMITTED, job_id="j1", intent_at=WALL - took_s, submitted_at=WALL
    )

    looks.know(job, is_new=True)

    (witness,) = looks.trust(job.spec.media.place).witnesses
    assert witness.sent_at == pytest.approx(NOW - sent_s)


class _Crowded:
    """A list with too many jobs to be read by time; it notes the filters that were used."""

    def __init__(self, *, is_crowded: bool = True) -> None:
        self.is_crowded = is_crowded
        self.wanted: list[JobFilter] = []

    async def read(self, place: Place, wanted: JobFilter, *_: object) -> Listing:
        self.wanted.append(wanted)
        return Listing(is_whole=bool(wanted.input_object) or not self.is_crowded)

    @property
    def by_time(self) -> int:
        return sum(not wanted.input_object for wanted in self.wanted)


async def test_a_stretch_of_time_that_was_too_long_is_not_read_again_for_a_few_objects() -> None:
    """Fifty pages would be read in vain before each look."""
    job_list = _Crowded()
    search = ListSearch(cast("JobList", job_list), cast("Clock", _Still()), RunnerSettings())
    place = make_job().spec.media.place
    jobs = [make_job(number, intent_at=WALL) for number in range(60)]

    for _ in range(3):
        await search.look(place, jobs[:40], is_proof=False)
    assert job_list.by_time == 1
    assert len(job_list.wanted) == 1 + 3 * 40

    await search.look(place, jobs, is_proof=False)
    assert job_list.by_time == 2, "it would cost less than the names"

    job_list.is_crowded = False
    await search.look(place, jobs, is_proof=False)
    await search.look(place, jobs[:40], is_proof=False)
    assert job_list.by_time == 4, "the stretch is short again"


class _Busy:
    """A list during whose reading another job is accepted."""

    def __init__(self) -> None:
        self.accept: Callable[[], None] = lambda: None

    async def read(self, *_: object) -> Listing:
        self.accept()
        return Listing()


async def test_a_job_that_is_accepted_while_the_list_is_read_is_not_late() -> None:
    """It would be taken for a list that lags, and jobs in doubt would wait many times as long."""
    job_list = _Busy()
    search = ListSearch(cast("JobList", job_list), cast("Clock", _Still()), RunnerSettings())
    new = make_job(99, state=JobState.SUBMITTED, job_id="j99", intent_at=WALL, submitted_at=WALL)
    job_list.accept = lambda: search.know(new, is_new=True)
    trust = search.trust(new.spec.media.place)
    jobs = [make_job(number, intent_at=WALL) for number in range(10)]

    await search.look(new.spec.media.place, jobs, is_proof=False)

    assert [known.job_id for known in trust.witnesses] == ["j99"]
    assert trust.late == set()

    job_list.accept = lambda: None
    await search.look(new.spec.media.place, jobs, is_proof=False)
    assert trust.late == {"j99"}, "this list must show it"

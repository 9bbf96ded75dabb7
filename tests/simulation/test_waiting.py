"""A run never keeps silent: while nothing moves, it says once a minute what it waits for."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.events import Event, Waiting
from orchestrator.errors import ApiAnswer, ServerFault, Throttled
from orchestrator.live.event_log import JsonLogSink, LineSink
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.weather import Fault, Spell, Trouble, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.remote import JobPage, SubmitReply
    from orchestrator.domain.spec import JobSpec

HOUR_S = 3600.0


@dataclass
class Timed:
    """Sink that keeps the events with their instants."""

    clock: LoopClock
    events: list[tuple[float, Event]] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append((self.clock.monotonic(), event))

    def reasons(self) -> list[str]:
        return ["; ".join(event.reasons) for _, event in self.events if isinstance(event, Waiting)]

    def longest_silence_s(self) -> float:
        times = [at for at, _ in self.events]
        return max(after - before for before, after in pairwise(times))


def play(
    tmp_path: Path,
    weather: Weather,
    jobs: int = 3,
    rate_per_s: float = 50.0,
    **options: Any,
) -> Timed:
    """Run jobs in this weather, and return what was said."""

    async def main() -> Timed:
        clock = LoopClock(asyncio.get_running_loop())
        timed = Timed(clock)
        rig = Rig(tmp_path, weather=weather, rate_per_s=rate_per_s, sink=timed)
        await rig.run(make_specs(jobs), **options)
        return timed

    return run_virtual(main())


def test_a_run_whose_jobs_take_long_says_so_each_minute(tmp_path: Path) -> None:
    said = play(tmp_path, Weather(job_s=600, concurrency=2))

    assert len(said.reasons()) >= (said.events[-1][0] - said.events[0][0]) / 60 - 2 > 4
    assert said.longest_silence_s() <= 61
    assert "2 jobs running at the service" in said.reasons()[0]
    assert "1 job in the service's queue, the oldest since 20" in said.reasons()[0]


def test_a_run_whose_jobs_end_all_the_time_does_not_say_that_it_waits(tmp_path: Path) -> None:
    said = play(tmp_path, Weather(job_s=10, concurrency=10), jobs=400)

    assert said.events[-1][0] - said.events[0][0] > 180
    assert said.reasons() == []


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (Trouble.DOWN, "the service, which does not answer"),
        (Trouble.CUT, "the service, which does not answer"),
        (Trouble.QUEUE_FULL, "the end of a pause"),
    ],
)
def test_a_run_names_the_trouble_of_the_service(
    tmp_path: Path, trouble: Trouble, expected: str
) -> None:
    weather = Weather(job_s=5, spells=(Spell(trouble, 0.0, HOUR_S),))

    said = play(tmp_path, weather, jobs=30, lookback_s=0)

    assert len(said.reasons()) >= 10
    assert any(expected in reason for reason in said.reasons())
    assert said.longest_silence_s() <= 61


def test_a_run_names_the_list_of_jobs_that_it_must_see_first(tmp_path: Path) -> None:
    weather = Weather(job_s=5, spells=(Spell(Trouble.DOWN, 0.0, HOUR_S),))

    said = play(tmp_path, weather)

    (reason,) = set(said.reasons()[:10])
    assert "the list of jobs of " in reason
    assert "which shows what was done already (" in reason
    assert said.longest_silence_s() <= 61


def test_a_run_names_the_jobs_in_doubt_and_why_they_are_not_settled(tmp_path: Path) -> None:
    async def main() -> Timed:
        timed = Timed(LoopClock(asyncio.get_running_loop()))
        rig = Rig(tmp_path, weather=Weather(faults={Fault.ACCEPT_THEN_500: 1.0}), sink=timed)
        until = timed.clock.monotonic() + 600

        real = rig.service.list_jobs

        async def fail(*args: Any) -> JobPage:
            if timed.clock.monotonic() < until:
                raise ServerFault(ApiAnswer(500, "InternalError", "broken list"))
            return await real(*args)

        replace_method(rig.service, "list_jobs", fail)
        await rig.run(make_specs(2), lookback_s=0)
        return timed

    said = run_virtual(main())

    assert any("2 jobs in doubt" in reason for reason in said.reasons())
    assert any("broken list" in reason for reason in said.reasons())


def test_a_run_names_the_silence_that_the_service_asked_for(tmp_path: Path) -> None:
    async def main() -> Timed:
        timed = Timed(LoopClock(asyncio.get_running_loop()))
        rig = Rig(tmp_path, weather=Weather(job_s=1), sink=timed)
        asked = iter([Throttled(ApiAnswer(429, "SlowDown", "rest", "r1"), retry_after_s=290)])

        real = rig.service.submit

        async def throttle(spec: JobSpec) -> SubmitReply:
            if (error := next(asked, None)) is not None:
                raise error
            return await real(spec)

        replace_method(rig.service, "submit", throttle)
        await rig.run(make_specs(1))
        return timed

    reasons = run_virtual(main()).reasons()

    assert len(reasons) == 4
    assert "the 230 s that the service asked to wait (SlowDown: rest)" in reasons[0]


def test_a_run_names_the_rate_limit_that_keeps_it(tmp_path: Path) -> None:
    said = play(tmp_path, Weather(job_s=1), jobs=3, rate_per_s=1 / 200)

    assert any("the rate limit: 0.005 submits/s" in reason for reason in said.reasons())


def test_a_run_names_the_canary_that_keeps_the_other_jobs(tmp_path: Path) -> None:
    said = play(tmp_path, Weather(job_s=300), canary=1)

    assert "the canary, before more is sent; 1 job running at the service" in said.reasons()[0]


def test_the_text_log_and_the_json_log_have_the_reasons() -> None:
    text, lines = io.StringIO(), io.StringIO()
    event = Waiting(("2 jobs in doubt", "the rate limit"))

    async def main() -> None:
        LineSink(text).emit(event)
        JsonLogSink(lines, LoopClock(asyncio.get_running_loop())).emit(event)

    run_virtual(main())

    assert "waiting for 2 jobs in doubt; the rate limit" in text.getvalue()
    logged = json.loads(lines.getvalue())
    assert (logged["event"], logged["reasons"]) == (
        "waiting",
        ["2 jobs in doubt", "the rate limit"],
    )

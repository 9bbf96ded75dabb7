"""A full queue pauses the submits and then lowers their rate; both are reported as events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.domain.events import SubmitPaused, SubmitResumed
from orchestrator.domain.states import JobState
from orchestrator.errors import ApiAnswer, QueueUnavailable
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.events import Event
    from orchestrator.domain.remote import SubmitReply
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult


def test_a_full_queue_lowers_the_rate_once_per_burst_and_the_end_of_the_pause_is_reported(
    tmp_path: Path,
) -> None:
    """Eight requests meet the full queue at once: one burst, not eight."""
    sent_at: list[float] = []
    timed: list[tuple[float, Event]] = []

    async def main() -> tuple[RunResult, list[float]]:
        clock = LoopClock(asyncio.get_running_loop())
        limiter = AdaptiveLimiter(100.0, clock)
        rig = Rig(tmp_path, submit_limiter=limiter)
        submit = rig.service.submit
        rates: list[float] = []

        async def full(spec: JobSpec) -> SubmitReply:
            sent_at.append(clock.monotonic())
            if clock.monotonic() < 0.5:
                await clock.sleep(0.3)
                raise QueueUnavailable(ApiAnswer(403, "QueueSaturated", "full"))
            rates.append(limiter.rate_per_s)
            return await submit(spec)

        replace_method(rig.service, "submit", full)
        replace_method(rig.recorder, "emit", lambda event: timed.append((clock.monotonic(), event)))
        return await rig.run(make_specs(60)), rates

    result, rates = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 60
    assert 69 < min(rates) < 75, "one decrease, to 70 %"
    paused_at = max(at for at, event in timed if isinstance(event, SubmitPaused))
    ((resumed_at, resumed),) = [
        (at, event) for at, event in timed if isinstance(event, SubmitResumed)
    ]
    assert resumed == SubmitResumed("the pause has ended")
    assert resumed_at - paused_at > 0.5
    assert not [at for at in sent_at if paused_at + 0.05 < at < resumed_at], (
        "permits taken before the pause had been used by then"
    )
    assert [at for at in sent_at if at >= resumed_at]


def test_a_job_that_gets_its_permit_during_the_pause_waits_for_its_end(tmp_path: Path) -> None:
    """At a low rate, a job nearly always waits for its permit when the queue becomes full."""
    sent_at: list[float] = []
    timed: list[tuple[float, Event]] = []

    async def main() -> RunResult:
        clock = LoopClock(asyncio.get_running_loop())
        rig = Rig(tmp_path, submit_limiter=AdaptiveLimiter(2.0, clock))
        submit = rig.service.submit

        async def full(spec: JobSpec) -> SubmitReply:
            sent_at.append(clock.monotonic())
            if len(sent_at) == 1:
                raise QueueUnavailable(ApiAnswer(403, "QueueSaturated", "full"), retry_after_s=10.0)
            return await submit(spec)

        replace_method(rig.service, "submit", full)
        replace_method(rig.recorder, "emit", lambda event: timed.append((clock.monotonic(), event)))
        return await rig.run(make_specs(6))

    result = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 6
    (paused_at,) = [at for at, event in timed if isinstance(event, SubmitPaused)]
    (resumed_at,) = [at for at, event in timed if isinstance(event, SubmitResumed)]
    assert resumed_at - paused_at == pytest.approx(10.0)
    assert not [at for at in sent_at if paused_at < at < resumed_at]

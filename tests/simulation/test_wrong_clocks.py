"""A clock that is corrected during a run causes no second charge and does not stop the run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.states import JobState
from orchestrator.errors import ApiAnswer, ClockSkewed, CredentialsExpired, OrchestratorError
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.remote import SubmitReply
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult

HOUR_S = 3600.0


class Refusing:
    """Lets a rig's service refuse the first submits of each job with these errors."""

    def __init__(self, rig: Rig, *refusals: OrchestratorError) -> None:
        self._submit = rig.service.submit
        self._refusals = refusals
        self._seen: dict[str, int] = {}
        replace_method(rig.service, "submit", self.submit)

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """Refuse or accept a job."""
        turn = self._seen.get(spec.key, 0)
        self._seen[spec.key] = turn + 1
        if turn < len(self._refusals):
            raise self._refusals[turn]
        return await self._submit(spec)


def test_an_intent_dated_by_a_wrong_clock_is_recorded_again_when_the_clock_is_set(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        clock, store = LoopClock(asyncio.get_running_loop()), MemoryStore()
        slow = MemoryLedger(store, pause=lambda: clock.sleep(0.2))  # the intent takes 0.4 s
        weather = Weather(faults={Fault.HANG: 1.0}, job_s=5, reply_timeout_s=5)
        rig = Rig(
            tmp_path,
            settings=RunnerSettings(reply_timeout_s=5.0),
            weather=weather,
            store=store,
            ledger=slow,
        )
        rig.ledger = slow
        rig.service.clock = clock  # the service's clock is right
        rig.clock.epoch += HOUR_S
        # Between an intent and its request.
        rig.after(0.95, lambda: setattr(rig.clock, "epoch", clock.epoch))
        return await rig.run(make_specs(1)), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 1
    assert rig.service.calls["submit"] == 1
    assert [job.adopted for job in rig.store.jobs.values()] == [True]


def test_a_corrected_clock_and_a_fresh_key_are_two_different_corrections(
    tmp_path: Path,
) -> None:
    skewed = ClockSkewed(ApiAnswer(403, "RequestTimeTooSkewed", "the clocks differ"))
    expired = CredentialsExpired(ApiAnswer(403, "ExpiredToken", "the token has expired"))

    async def main(*refusals: OrchestratorError) -> RunResult:
        rig = Rig(
            tmp_path / str(len(refusals)) / refusals[-1].__class__.__name__,
            weather=Weather(job_s=5),
        )
        Refusing(rig, *refusals)
        return await rig.run(make_specs(5))

    assert of_result(run_virtual(main(skewed, expired))) is ExitCode.OK
    assert of_result(run_virtual(main(skewed, skewed))) is ExitCode.CREDENTIALS
    assert of_result(run_virtual(main(expired, expired))) is ExitCode.CREDENTIALS

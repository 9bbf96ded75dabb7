"""A stopped run records every answer, and its report agrees with the ledger."""

from __future__ import annotations

import errno
import random
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.events import Noticed
from orchestrator.domain.states import OPEN, JobState
from orchestrator.errors import Interruption
from orchestrator.reporting.report_file import ReportFile
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.settling.settler import UNSHOWN_S
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.drawing import draw_weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult


class FullDisk:
    """A report file on a disk that is full after ``left`` bytes; the last write is partial."""

    def __init__(self, file: Any, left: int) -> None:
        self._file = file
        self._left = left

    def write(self, data: bytes) -> int:
        if not self._left:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = bytes(data[: self._left])
        self._left -= len(part)
        return int(self._file.write(part))

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def test_a_full_disk_under_the_report_loses_no_answer_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_report = ReportFile.open

    async def open_on_a_small_disk(report: ReportFile) -> None:
        await open_report(report)
        report._file = FullDisk(report._file, 2500)  # type: ignore[assignment]  # a file

    async def main() -> tuple[RunResult, RunResult, int]:
        weather = Weather(job_s=10, latency_s=4, concurrency=10, reply_timeout_s=60)
        rig = Rig(tmp_path, settings=RunnerSettings(connections=8), weather=weather)
        with monkeypatch.context() as patch:
            patch.setattr(ReportFile, "open", open_on_a_small_disk)
            stopped = await rig.run(make_specs(60))
        torn = rig.report.read_bytes().count(b"\n")
        again = Rig(tmp_path, store=rig.store, service=rig.service)
        return stopped, await again.run(make_specs(60)), torn

    stopped, finished, whole_rows = run_virtual(main())

    assert of_result(stopped) is ExitCode.LEDGER
    assert stopped.counts.of(JobState.SUBMITTING, JobState.IN_DOUBT) == 0, "an answer was lost"
    assert whole_rows < stopped.counts.of(JobState.SUCCEEDED)
    assert finished.counts.of(JobState.SUCCEEDED) == 60
    assert len((tmp_path / "report.jsonl").read_bytes().splitlines()) == 60


@pytest.mark.parametrize(
    ("query_fails", "most_s"),
    [(1.0, 30 + 5 + UNSHOWN_S + 5), (0.0, 30 + 5 + 95 + 5)],
    ids=["no list", "a list that proves nothing"],
)
def test_a_run_that_ends_waits_for_jobs_in_doubt_for_a_bounded_time_and_says_so(
    tmp_path: Path, query_fails: float, most_s: float
) -> None:
    async def main() -> tuple[Rig, RunResult]:
        weather = Weather(faults={Fault.HANG_LOST: 1.0}, query_fails=query_fails, reply_timeout_s=5)
        settings = RunnerSettings(reply_timeout_s=5)
        rig = Rig(tmp_path, weather=weather, settings=settings)
        return rig, await rig.run(make_specs(3), deadline_s=30.0, lookback_s=0)

    rig, result = run_virtual(main())

    assert of_result(result) is ExitCode.STOPPED
    assert rig.clock.monotonic() <= most_s
    notices = [event.text for event in rig.recorder.events if isinstance(event, Noticed)]
    assert "Waiting for 3 jobs in doubt before the run ends, 95 s at most" in notices
    assert re.fullmatch(r"3 jobs are left in doubt after \d+ s; .* again \(.+\)", notices[-1])


def test_an_interrupt_ends_the_wait_for_jobs_in_doubt(tmp_path: Path) -> None:
    async def main(*, is_interrupted: bool) -> tuple[RunResult, float]:
        weather = Weather(faults={Fault.HANG_LOST: 1.0}, query_fails=1.0, reply_timeout_s=5)
        rig = Rig(tmp_path / str(is_interrupted), weather=weather)
        if is_interrupted:
            rig.after(40, lambda: rig.stop(Interruption("signal")))
        return await rig.run(make_specs(3), deadline_s=30.0, lookback_s=0), rig.clock.monotonic()

    patient, patient_s = run_virtual(main(is_interrupted=False))
    hurried, hurried_s = run_virtual(main(is_interrupted=True))

    assert patient_s >= 50
    assert hurried_s < 41
    assert of_result(patient) is of_result(hurried) is ExitCode.STOPPED


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["signal", "budget", "error"])
def test_a_run_stopped_at_any_instant_has_recorded_every_request_and_can_be_resumed(
    tmp_path: Path, kind: str
) -> None:
    async def main(seed: int) -> None:
        rng = random.Random(seed)
        weather = draw_weather(rng)
        settings = RunnerSettings(
            in_flight=rng.choice([2, 50]), connections=rng.choice([1, 8]), settle_s=20, cap_s=10,
            attempts=20, reply_timeout_s=weather.reply_timeout_s, window=rng.choice([3, 100]),
        )  # fmt: skip
        rig = Rig(tmp_path / str(seed), settings=settings, weather=weather)
        rig.after(10 ** rng.uniform(-2, 2.5), lambda: rig.stop(Interruption(kind)))
        specs = make_specs(30)
        stopped = await rig.run(specs[:20], specs[20:], pause_s=rng.choice([0.0, 1.0]))

        assert stopped.counts.of(JobState.SUBMITTING) == 0, "a request was not waited for"
        assert len(rig.rows()) == stopped.counts.total - stopped.counts.of(*OPEN), (
            "the report lacks a row that the ledger has"
        )
        weather.faults, weather.query_fails, weather.job_falters = {Fault.NONE: 1.0}, 0.0, 0.0
        weather.oddities = replace(weather.oddities, early_until=0.0)  # keys can be read again
        again = Rig(tmp_path / str(seed), settings=settings, store=rig.store, service=rig.service)
        finished = await again.run(specs)

        assert finished.is_complete
        made = [job.spec.key for job in rig.service.jobs.values() if not job.code]
        assert len(made) == len(set(made)), "a job was charged twice"
        assert sorted(row["key"] for row in again.rows()) == sorted(spec.key for spec in specs)

    for seed in range(40):
        run_virtual(main(seed))

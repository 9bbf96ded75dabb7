"""Jobs that are no longer in the manifest: settled if in doubt, then kept, finished or dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult

SETTINGS = RunnerSettings(reply_timeout_s=10.0)


async def leave_in_doubt(folder: Path, fault: Fault) -> Rig:
    """Return a rig with four jobs that were sent and never answered."""
    rig = Rig(
        folder, settings=SETTINGS, weather=Weather(faults={fault: 1.0}, job_s=5, reply_timeout_s=10)
    )
    rig.after(10.6, lambda: rig.stop(Interruption("signal")))
    result = await rig.run(make_specs(4))
    assert result.counts.of(JobState.IN_DOUBT) == 4
    return rig


async def resume(
    folder: Path, before: Rig, pause_s: float, **options: Any
) -> tuple[RunResult, Rig]:
    """Resume with job 1 at once, then job 2 and a new one; the manifest lacks 3 and 4."""
    before.service.weather.faults = {Fault.NONE: 1.0}
    rig = Rig(folder, settings=SETTINGS, store=before.store, service=before.service)
    return await rig.run(
        make_specs(1),
        make_specs(1, first=2) + make_specs(1, first=10),
        pause_s=pause_s,
        **options,
    ), rig


def states(rig: Rig) -> dict[str, JobState]:
    return {job.spec.user_data: job.state for job in rig.store.jobs.values()}


PAUSES_S = pytest.mark.parametrize("pause_s", [0.0, 25.0, 40.0, 41.0, 42.0, 45.0, 200.0])
DONE = dict.fromkeys(["1", "2", "10"], JobState.SUCCEEDED)


@PAUSES_S
def test_a_job_no_longer_in_the_manifest_is_kept_unsent_when_it_is_proven_absent(
    tmp_path: Path, pause_s: float
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        return await resume(tmp_path, await leave_in_doubt(tmp_path, Fault.HANG_LOST), pause_s)

    result, rig = run_virtual(main())

    assert sorted(job.spec.user_data for job in rig.service.jobs.values()) == ["1", "10", "2"]
    assert result.is_over
    assert states(rig) == DONE | dict.fromkeys(["3", "4"], JobState.PLANNED)
    assert sorted(row["user_data"] for row in rig.rows()) == ["1", "10", "2"]
    assert (result.counts.left, result.counts.total) == (2, 3)
    assert of_result(result) is ExitCode.OK


@PAUSES_S
def test_a_job_no_longer_in_the_manifest_is_sent_when_leftovers_are_finished(
    tmp_path: Path, pause_s: float
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        before = await leave_in_doubt(tmp_path, Fault.HANG_LOST)
        return await resume(tmp_path, before, pause_s, leftovers="finish")

    result, rig = run_virtual(main())

    assert result.is_over
    assert states(rig) == DONE | dict.fromkeys(["3", "4"], JobState.SUCCEEDED)
    assert len(rig.service.jobs) == len(rig.rows()) == 5
    assert result.counts.left == 0


@PAUSES_S
def test_a_job_no_longer_in_the_manifest_is_dropped_when_it_is_proven_absent(
    tmp_path: Path, pause_s: float
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        before = await leave_in_doubt(tmp_path, Fault.HANG_LOST)
        return await resume(tmp_path, before, pause_s, leftovers="drop")

    result, rig = run_virtual(main())

    assert sorted(job.spec.user_data for job in rig.service.jobs.values()) == ["1", "10", "2"]
    assert result.is_complete
    assert states(rig) == DONE | dict.fromkeys(["3", "4"], JobState.CANCELLED)
    assert sorted(row["user_data"] for row in rig.rows()) == ["1", "10", "2", "3", "4"]
    assert of_result(result) is ExitCode.JOBS_FAILED


def test_a_job_no_longer_in_the_manifest_that_exists_at_the_service_is_tracked_to_its_end(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        return await resume(tmp_path, await leave_in_doubt(tmp_path, Fault.HANG), 60.0)

    result, rig = run_virtual(main())

    assert result.is_complete
    assert states(rig) == dict.fromkeys(["1", "2", "3", "4", "10"], JobState.SUCCEEDED)


def test_a_run_of_part_of_the_manifest_leaves_the_other_jobs_to_a_whole_run(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        return await resume(
            tmp_path, await leave_in_doubt(tmp_path, Fault.HANG_LOST), 0.0, is_whole=False
        )

    result, rig = run_virtual(main())

    assert sorted(job.spec.user_data for job in rig.service.jobs.values()) == ["1", "10", "2"]
    assert (states(rig)["3"], states(rig)["4"]) == (JobState.PLANNED, JobState.PLANNED)
    assert of_result(result) is ExitCode.UNFINISHED


# --- nights that were stopped, and manifests that follow each other


async def night(
    folder: Path, numbers: tuple[int, int], before: Rig | None, **options: Any
) -> tuple[RunResult, Rig]:
    """Run the jobs of one night on the ledger of the night before."""
    rig = Rig(
        folder,
        settings=replace(SETTINGS, in_flight=2),
        weather=Weather(job_s=10),
        store=before.store if before else None,
        service=before.service if before else None,
    )
    first, last = numbers
    return await rig.run(make_specs(last - first + 1, first=first), **options), rig


@pytest.mark.parametrize("leftovers", ["keep", "finish", "drop"])
def test_a_night_that_was_stopped_is_done_in_the_end_and_nothing_twice(
    tmp_path: Path, leftovers: str
) -> None:
    async def main() -> tuple[list[RunResult], Rig]:
        first, rig = await night(tmp_path, (1, 8), None, deadline_s=15.0, leftovers=leftovers)
        assert of_result(first) is ExitCode.STOPPED
        assert first.counts.of(JobState.PLANNED) > 0
        second, rig = await night(tmp_path, (11, 14), rig, leftovers=leftovers)
        assert second.is_over
        third, rig = await night(tmp_path, (1, 8), rig, leftovers=leftovers)
        assert third.is_over
        if third.kept_back:  # it was dropped in a run that was still open
            third, rig = await night(tmp_path, (1, 8), rig, leftovers=leftovers)
        return [second, third], rig

    (second, third), rig = run_virtual(main())

    made = sorted(int(job.spec.user_data) for job in rig.service.jobs.values())
    assert made == [*range(1, 9), *range(11, 15)]
    assert set(states(rig).values()) == {JobState.SUCCEEDED}
    assert (second.counts.left > 0) is (leftovers == "keep")
    assert third.counts.left == 0


@pytest.mark.parametrize("leftovers", ["keep", "finish", "drop"])
def test_the_jobs_of_another_manifest_on_the_same_ledger_are_kept(
    tmp_path: Path, leftovers: str
) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        _, rig = await night(tmp_path, (1, 8), None, deadline_s=15.0, manifest="../a.yaml")
        options = {"leftovers": leftovers, "manifest": "../b.yaml"}
        other, rig = await night(tmp_path, (11, 12), rig, **options)
        own, rig = await night(tmp_path, (21, 22), rig, leftovers="finish", manifest="../a.yaml")
        return other, own, rig

    other, own, rig = run_virtual(main())

    assert other.is_over
    assert other.counts.left > 0
    assert not other.counts.of(JobState.CANCELLED)
    made = sorted(int(job.spec.user_data) for job in rig.service.jobs.values())
    assert made == [*range(1, 9), 11, 12, 21, 22]
    assert own.counts.left == 0


def test_the_jobs_of_a_manifest_that_is_gone_are_ours(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        _, rig = await night(tmp_path, (1, 8), None, deadline_s=15.0, manifest="../old.yaml")
        return await night(
            tmp_path,
            (11, 12),
            rig,
            leftovers="finish",
            manifest="../new.yaml",
            exists=lambda manifest: manifest != "../old.yaml",
        )

    result, rig = run_virtual(main())

    assert result.counts.left == 0
    assert len(rig.service.jobs) == 10


def test_leftovers_that_are_finished_have_rows_and_kept_ones_have_none(tmp_path: Path) -> None:
    async def main() -> tuple[set[str], set[str]]:
        _, rig = await night(tmp_path / "1", (1, 8), None, deadline_s=15.0)
        # The open run ends with what it has, and its leftovers wait outside any run.
        _, rig = await night(tmp_path / "1", (11, 12), rig)
        kept = {row["user_data"] for row in rig.rows()}
        _, rig = await night(tmp_path / "2", (21, 22), rig, leftovers="finish")
        return kept, {row["user_data"] for row in rig.rows()}

    kept, finished = run_virtual(main())

    assert kept | finished == {str(number) for number in (*range(1, 9), 11, 12, 21, 22)}
    assert not kept & finished
    assert {"21", "22", "8"} <= finished

"""Checks at the end of a run: one charge per job, one report row per job, and no open job."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING

from orchestrator.domain.remote import RemoteState
from orchestrator.domain.states import OPEN, JobState

if TYPE_CHECKING:
    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobKey
    from orchestrator.runner.result import RunResult
    from orchestrator.testing.service import FakeJob
    from tests.simulation.world import World


def check(world: World, result: RunResult) -> None:
    """Check everything that must hold at the end of a run."""
    assert result.is_complete, result.counts
    open_jobs = [job for job in world.store.jobs.values() if job.state in OPEN]
    assert all(is_left(world, job) for job in open_jobs), open_jobs
    assert result.counts.left == len(open_jobs)
    assert not world.store.is_open
    _check_charged_once(world)
    _check_report(world, result)
    _check_arrivals(world)
    if world.counts_depth:
        _check_depth(world)


def is_left(world: World, job: Job) -> bool:
    """Return True if a job was planned once, has left the manifest, and is kept."""
    is_kept = job.state is JobState.PLANNED and not job.run_no and world.leftovers == "keep"
    return is_kept and job.spec.key not in world.manifest.keys


def _check_charged_once(world: World) -> None:
    made: dict[JobKey, list[FakeJob]] = defaultdict(list)
    for job in world.service.jobs.values():
        if world.manifest.owns(job.spec.key):
            made[job.spec.key].append(job)
    is_known = made.keys() <= world.store.jobs.keys()
    assert is_known or world.has_lost_ledger, "the ledger does not know a job that was created"
    for key, record in world.store.jobs.items():
        _check_job(world, record, made[key])


def _check_job(world: World, record: Job, made: list[FakeJob]) -> None:
    key, state = record.spec.key, record.state
    known = {record.job_id, *record.past_job_ids}
    if world.has_lost_ledger:  # failed attempts of a lost ledger need not be known
        known |= {job.job_id for job in made if job.state is RemoteState.FAILED}
        if key in world.removed:
            return  # it left the manifest before it could be found again
        if state in (JobState.FAILED, JobState.REJECTED) and _is_older(record, made):
            return  # a ledger from before a retry keeps its row until the next one
    assert {job.job_id for job in made} <= known, (
        f"{key} has a job at the service that the ledger does not know"
    )
    is_one_run = world.run_count == 1 and not world.has_lost_ledger
    assert world.has_lost_ledger or len(made) <= world.settings.attempts * world.run_count
    ended_well = [job for job in made if job.state is not RemoteState.FAILED]
    assert len(ended_well) <= 1, f"{key} was charged {len(ended_well)} times"
    if ended_well:
        assert ended_well[0].state is RemoteState.SUCCEEDED, (
            f"{key} is left {ended_well[0].state} at the service"
        )
        assert (state, record.job_id) == (JobState.SUCCEEDED, ended_well[0].job_id), (
            f"{key} is {state}"
        )
    if is_one_run:
        _check_attempts(world, record, made)
    if ended_well or is_left(world, record):
        return
    may_be = {JobState.FAILED, JobState.REJECTED}
    if key in world.removed and world.leftovers == "drop":
        may_be.add(JobState.CANCELLED)
    assert state in may_be, f"{key} is {state}, and the service has {[job.code for job in made]}"
    if is_one_run:
        # Each new job at the service followed a transient failure of the one before.
        assert all(
            job.code == "InternalError"
            for job in sorted(made, key=lambda job: job.accepted_at)[:-1]
        )
    if state is JobState.REJECTED:
        assert key in world.service.rejected


def _is_older(record: Job, made: list[FakeJob]) -> bool:
    """Return True if a failed job ended before any other one with its key was made."""
    ended_at = max([job.ended_at or 0.0 for job in made if job.job_id == record.job_id] or [0.0])
    known = {record.job_id, *record.past_job_ids}
    return all(job.accepted_at > ended_at for job in made if job.job_id not in known)


def _check_attempts(world: World, record: Job, made: list[FakeJob]) -> None:
    """Check the attempts: POSTs that made a job, or were refused; all are used before giving up."""
    key = record.spec.key
    arrived = len(made) + (record.state is JobState.REJECTED)
    assert record.attempts == arrived, f"{key} counts {record.attempts} attempts of {arrived}"
    has_failed_permanently = bool(made) and made[-1].code not in ("", "InternalError")
    has_never_arrived = "did not reach the service" in record.message
    if record.state is JobState.FAILED and not (has_failed_permanently or has_never_arrived):
        assert record.attempts == world.settings.attempts, (
            f"{key} was given up after {record.attempts} attempts"
        )


def _check_report(world: World, result: RunResult) -> None:
    lines = world.report.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    rows = [json.loads(line) for line in lines]
    named = {
        key
        for key in world.named[result.run.number]
        # The run did not work on one that is kept, or was skipped.
        if not is_left(world, world.store.jobs[key])
        and (world.reports_all or not world.store.jobs[key].skipped)
    }
    assert Counter(row["key"] for row in rows) == Counter(named), "a row is lost or doubled"
    assert {row["run"] for row in rows} <= {result.run.id}
    for row in rows:
        record = world.store.jobs[row["key"]]
        assert row["state"] == ("skipped" if record.skipped else record.state.value)
        assert row["attempts"] <= world.settings.attempts
        if row["state"] in ("succeeded", "skipped"):
            if world.has_lost_ledger:
                continue  # it may have been sent by a run that the ledger does not know
            is_earlier = world.run_of_send[row["key"]] != result.run.number
            assert is_earlier is (row["state"] == "skipped"), (
                f"{row['key']} is reported as {row['state']}"
            )
    counted = {state.value: number for state, number in result.counts.by_state.items() if number}
    if result.counts.skipped and world.reports_all:
        counted["skipped"] = result.counts.skipped
    assert counted == Counter(row["state"] for row in rows), "counts and report differ"


def _check_arrivals(world: World) -> None:
    """Check the rate of arrivals.

    Travel times differ, so requests may arrive closer together than they left. Each process starts
    a pace of its own.
    """
    arrivals = sorted(at for at, key in world.service.arrivals if world.manifest.owns(key))
    most = world.rate_per_s * (1 + world.weather.latency_s) + 1 + len(world.processes)
    end = 0
    for at, first in enumerate(arrivals):
        while end < len(arrivals) and arrivals[end] < first + 1.0:
            end += 1
        assert end - at <= most, "the rate limit was exceeded"


def _check_depth(world: World) -> None:
    """Check ``in_flight`` again from the service's jobs alone: jobs queued there lose our order."""
    jobs = world.service.jobs.values()
    changes = sorted(
        [(job.accepted_at, 1) for job in jobs] + [(job.ended_at or world.now, -1) for job in jobs]
    )
    assert max(accumulate(change for _, change in changes), default=0) <= world.settings.in_flight
    assert world.service.most_at_once <= world.settings.in_flight
    assert world.service.at_once == 0, "something is left at the service"

"""Many calls at once, failing commits, a lost lease: only acknowledged changes are stored."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.states import JobState, Step
from orchestrator.errors import LedgerError
from orchestrator.ledger import intents, open_ledger
from orchestrator.ledger.group_commit import GroupWriter
from orchestrator.ledger.lease import FileLease, LedgerLock
from orchestrator.ledger.sql_ledger import SqlLedger
from orchestrator.ledger.sqlite import SqliteStore
from orchestrator.testing.builders import make_holder, make_specs

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.ledger.unit_of_work import UnitOfWork

T0 = 1_795_309_200.0
JOBS = 60


class _FailingStore(SqliteStore):
    """A disk that refuses some commits."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        super().__init__(path)
        self.fails = 0.0
        self._chance = chance

    def commit(self, unit: UnitOfWork) -> None:
        if self._chance.random() < self.fails:
            raise sqlite3.OperationalError("disk I/O error")
        super().commit(unit)


class _Play:
    """A ledger whose jobs are sent, accepted and returned at random, many calls at a time."""

    def __init__(self, path: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.path = path
        self.fails = self.random.choice([0.0, 0.3])
        self.known: dict[int, dict[str, Any]] = {}
        """The acknowledged fields of each job, by id."""

    async def open(self) -> None:
        """Work on the ledger as a new process does, even if another still believes it holds it."""
        lock = self.path.with_name(self.path.name + ".lock")
        lock.unlink(missing_ok=True)
        self.store = _FailingStore(self.path, self.random)
        self.ledger = SqlLedger(GroupWriter(self.store), FileLease(LedgerLock(lock)), "x")
        await self.ledger.acquire(make_holder())
        self.run = await self.ledger.begin_run("n", T0, "r")
        self.jobs = await self.ledger.add(self.run, make_specs(JOBS))
        for job in self.jobs:
            assert self.known.setdefault(job.id, _fields(job)) | {"seq": job.seq} == _fields(job)
            self.known[job.id] = _fields(job)

    async def step(self) -> None:
        """Make some calls at once, while commits may fail; then compare everything."""
        free = self.random.sample(self.jobs, JOBS)
        calls = []
        for _ in range(self.random.randint(1, 6)):
            state = self.random.choice([JobState.PLANNED, JobState.SUBMITTING, JobState.SUBMITTED])
            batch = [job for job in free if job.state is state][: self.random.randint(1, 8)]
            free = [job for job in free if job not in batch]
            calls.append(self._change(batch))
        self.store.fails = self.fails
        await asyncio.gather(*calls)
        self.store.fails = 0.0
        await self.compare(self.ledger)

    async def _change(self, batch: list[Job]) -> None:
        if not batch:
            return
        ways = {
            JobState.PLANNED: [Step.SEND],
            JobState.SUBMITTING: [Step.ACCEPT, Step.ACCEPT, Step.NOT_SENT, Step.LOSE_ANSWER],
            JobState.SUBMITTED: [Step.START],
        }
        step = self.random.choice(ways[batch[0].state])
        for job in batch:
            job.step(step)
            if step is Step.SEND:
                job.attempts, job.intent_at = job.attempts + 1, T0 + self.random.randint(1, 99)
            elif step is Step.ACCEPT:
                job.job_id = job.queue_id = "v"
                job.submitted_at, job.message, job.not_before = (
                    T0,
                    "",
                    self.random.choice([0.0, job.not_before]),
                )
            elif self.random.random() < 0.5:
                job.message, job.not_before = "why", self.random.choice([0.0, T0])
        try:
            await (self.ledger.intend(batch) if step is Step.SEND else self.ledger.save(batch))
        except LedgerError:
            for job in batch:
                for name, value in self.known[job.id].items():
                    setattr(job, name, value)
        else:
            self.known |= {job.id: _fields(job) for job in batch}

    async def compare(self, ledger: Ledger) -> None:
        """Compare the answer to every question with the acknowledged fields."""
        found = await ledger.find([job.spec.key for job in self.jobs])
        assert {job.id: _fields(job) for job in found.values()} == self.known
        states = {number: known["state"] for number, known in self.known.items()}
        assert (await ledger.counts(self.run)).by_state == {
            state: [*states.values()].count(state) for state in set(states.values())
        }
        for wanted in (
            {JobState.PLANNED},
            {JobState.SUBMITTING},
            {JobState.PLANNED, JobState.SUBMITTED},
        ):
            listed = [job.id for job in await ledger.in_states(wanted, 7, 9)]
            assert (
                listed
                == sorted(number for number in states if number > 7 and states[number] in wanted)[
                    :9
                ]
            )
        ready = await ledger.ready(self.run, 0, "inputs[0]", 9, (), T0 + 100)
        assert [job.id for job in ready] == [
            job.id for job in self.jobs if states[job.id] is JobState.PLANNED
        ][:9]

    async def change_hands(self) -> None:
        """Let another process take the ledger: this one gets an error, and does no harm."""
        before, jobs = self.ledger, [replace(job) for job in self.jobs]
        await self.open()
        for job in jobs:
            if job.state is JobState.PLANNED:
                job.step(Step.SEND)
                job.intent_at = T0
                with pytest.raises(LedgerError):
                    await before.intend([job])
        await before.close()
        await self.compare(self.ledger)


def _fields(job: Job) -> dict[str, Any]:
    return {field.name: getattr(job, field.name) for field in fields(job)}


@pytest.mark.parametrize("seed", range(12))
async def test_exactly_the_acknowledged_changes_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    play = _Play(tmp_path / "ledger.db", seed)
    monkeypatch.setattr(intents, "_MOST", play.random.choice([3, 10, 512]))
    await play.open()
    reader = open_ledger(play.path, read_only=True)
    for _ in range(play.random.randint(10, 25)):
        await play.step()
        await play.compare(reader)
        if play.random.random() < 0.1:
            await play.change_hands()
    await reader.close()
    await play.ledger.close()

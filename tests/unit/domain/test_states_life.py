"""The life of one job: exactly the events that can happen at the service are legal steps."""

from __future__ import annotations

from enum import Enum

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.domain import states
from orchestrator.domain.states import OPEN, TERMINAL, JobState, Step
from orchestrator.errors import LedgerMismatch
from orchestrator.testing.builders import make_job


class Known(Enum):
    """Knowledge of the job at the service."""

    NONE = "no job exists"
    SENT = "the request was sent, and no answer has arrived"
    UNCLEAR = "a job may exist"
    WAITS = "the job waits"
    RUNS = "the job runs"
    OVER = "the job has ended or was given up"


class Life(RuleBasedStateMachine):
    """One job; ``exists`` is the truth at the service, which the job's state cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.job = make_job(1)
        self.known = Known.NONE
        self.exists = False
        self.has_ended = False  # for this run, without a job at the service
        self.has_id = False

    def may(self) -> set[Step]:
        """Return the steps that can happen now; written from the design, without the table."""
        if self.has_ended:
            was_there = {JobState.UNFINISHED, JobState.SUCCEEDED, JobState.FAILED}
            return {Step.RETRY} | ({Step.ADOPT} if self.job.state in was_there else set())
        return {
            Known.NONE: {
                Step.SEND,
                Step.CANCEL,
                Step.FAIL,
                Step.REJECT,
                Step.ADOPT,
                Step.FIND_DONE,
            },
            Known.SENT: {Step.NOT_SENT, Step.REFUSED, Step.REJECT, Step.LOSE_ANSWER, Step.ACCEPT},
            Known.UNCLEAR: {Step.ADOPT, Step.PROVE_ABSENT},
            Known.WAITS: {
                Step.START,
                Step.LOSE,
                Step.SUCCEED,
                Step.FAIL,
                Step.CANCEL,
                Step.GIVE_UP,
            },
            Known.RUNS: {
                Step.HOLD,
                Step.LOSE,
                Step.SUCCEED,
                Step.FAIL,
                Step.CANCEL,
                Step.GIVE_UP,
            },
            Known.OVER: set(),
        }[self.known]

    def go(self, step: Step, known: Known, *, has_ended: bool = False) -> None:
        assert step in self.may()
        self.job.step(step)
        self.known, self.has_ended = known, has_ended

    # --- sending

    @precondition(lambda self: self.known is Known.NONE and not self.has_ended)
    @rule(reaches=st.booleans())
    def send(self, reaches: bool) -> None:
        assert not self.exists, "it is sent although it exists at the service"
        self.go(Step.SEND, Known.SENT)
        self.exists = reaches

    @precondition(lambda self: self.known is Known.SENT)
    @rule(step=st.sampled_from([Step.NOT_SENT, Step.REFUSED, Step.REJECT]), is_heard=st.booleans())
    def hear(self, step: Step, is_heard: bool) -> None:
        if not is_heard:
            self.go(Step.LOSE_ANSWER, Known.UNCLEAR)
        elif self.exists:
            self.go(Step.ACCEPT, Known.WAITS)
            self.has_id = True
        else:
            self.go(step, Known.NONE, has_ended=step is Step.REJECT)

    @precondition(lambda self: self.known is Known.UNCLEAR)
    @rule()
    def look(self) -> None:
        if self.exists:
            self.go(Step.ADOPT, Known.WAITS)
            self.has_id = True
        else:
            self.go(Step.PROVE_ABSENT, Known.NONE)

    @precondition(lambda self: self.known is Known.NONE and not self.has_ended)
    @rule()
    def be_found_in_the_list_of_an_account_whose_ledger_was_lost(self) -> None:
        self.go(Step.ADOPT, Known.WAITS)
        self.exists = self.has_id = True

    # --- not sending

    @precondition(lambda self: self.known is Known.NONE and not self.has_ended)
    @rule(step=st.sampled_from([Step.CANCEL, Step.FAIL, Step.REJECT, Step.FIND_DONE]))
    def drop(self, step: Step) -> None:
        self.go(step, Known.NONE, has_ended=True)

    # --- tracking

    @precondition(lambda self: self.known is Known.WAITS)
    @rule()
    def start(self) -> None:
        self.go(Step.START, Known.RUNS)

    @precondition(lambda self: self.known is Known.RUNS)
    @rule()
    def hold(self) -> None:
        self.go(Step.HOLD, Known.WAITS)

    @precondition(lambda self: self.known in (Known.WAITS, Known.RUNS))
    @rule(step=st.sampled_from([Step.SUCCEED, Step.FAIL, Step.CANCEL, Step.GIVE_UP]))
    def end(self, step: Step) -> None:
        self.go(step, Known.OVER, has_ended=True)
        if step is not Step.GIVE_UP:
            self.exists = False

    @precondition(lambda self: self.known in (Known.WAITS, Known.RUNS))
    @rule()
    def find_it_lost(self) -> None:
        self.go(Step.LOSE, Known.UNCLEAR)
        self.has_id = False

    # --- another run

    @precondition(lambda self: self.has_ended)
    @rule()
    def ask_again(self) -> None:
        if self.job.state is JobState.UNFINISHED:
            self.go(Step.ADOPT, Known.WAITS)  # it has an id: it is queried, never resent
        else:
            self.go(Step.RETRY, Known.NONE)
            self.has_id = False

    @precondition(
        lambda self: (
            self.has_ended
            and self.has_id
            and self.job.state in {JobState.SUCCEEDED, JobState.FAILED}
        )
    )
    @rule()
    def verify_it_again(self) -> None:
        self.go(Step.ADOPT, Known.WAITS)

    # --- invariants

    @invariant()
    def every_other_step_is_refused(self) -> None:
        """Try all of them in every state; random steps would find a defect only by luck."""
        before = self.job.state
        for step in set(Step) - self.may():
            with pytest.raises(LedgerMismatch):
                self.job.step(step)
        assert self.job.state is before

    @invariant()
    def it_is_open_until_it_has_ended(self) -> None:
        assert (self.job.state in TERMINAL) is self.has_ended
        assert (self.job.state in OPEN) is not self.has_ended

    @invariant()
    def its_state_matches_the_knowledge(self) -> None:
        expected = {
            Known.NONE: {JobState.PLANNED},
            Known.SENT: {JobState.SUBMITTING},
            Known.UNCLEAR: {JobState.IN_DOUBT},
            Known.WAITS: {JobState.SUBMITTED},
            Known.RUNS: {JobState.RUNNING},
        }
        if not self.has_ended:
            assert self.job.state in expected[self.known]
            assert self.has_id is (self.known in (Known.WAITS, Known.RUNS))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

BROKEN: list[tuple[JobState, Step, JobState | None]] = [
    (JobState.IN_DOUBT, Step.SEND, JobState.SUBMITTING),
    (JobState.IN_DOUBT, Step.FAIL, JobState.FAILED),
    (JobState.SUBMITTING, Step.RETRY, JobState.PLANNED),
    (JobState.REJECTED, Step.SEND, JobState.SUBMITTING),
    (JobState.IN_DOUBT, Step.ADOPT, JobState.RUNNING),
    (JobState.RUNNING, Step.HOLD, None),
    (JobState.CANCELLED, Step.ADOPT, JobState.SUBMITTED),
]


@pytest.mark.parametrize(("before", "step", "then"), BROKEN)
def test_the_state_machine_finds_a_table_with_one_wrong_line(
    monkeypatch: pytest.MonkeyPatch, before: JobState, step: Step, then: JobState | None
) -> None:
    """A check that cannot fail proves nothing."""
    table = {pair: after for pair, after in states._TABLE.items() if pair != (before, step)}
    monkeypatch.setattr(states, "_TABLE", table if then is None else table | {(before, step): then})
    thorough = settings(
        max_examples=400,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
    )
    with pytest.raises((AssertionError, LedgerMismatch, pytest.fail.Exception)):
        run_state_machine_as_test(Life, settings=thorough)

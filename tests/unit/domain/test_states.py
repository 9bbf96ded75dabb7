"""The table of job states: random walks over it, and changes that it must never allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.states import (
    OPEN,
    REMOTE,
    TERMINAL,
    JobState,
    Step,
    after,
    is_legal,
    transitions,
)
from orchestrator.errors import LedgerMismatch
from orchestrator.testing.builders import way_to

STATES = sorted(JobState)
STEPS = sorted(Step)
MAY_BE_PAID = frozenset({JobState.SUBMITTING, JobState.IN_DOUBT, *REMOTE})
"""States in which the service may have a job that costs money."""


@st.composite
def walks(draw: st.DrawFn) -> list[tuple[JobState, Step, JobState]]:
    """A sequence of legal steps from ``planned``."""
    state, walk = JobState.PLANNED, []
    for _ in range(draw(st.integers(1, 30))):
        step = draw(st.sampled_from([step for step in STEPS if is_legal(state, step)]))
        walk.append((state, step, after(state, step)))
        state = walk[-1][2]
    return walk


@given(walks())
def test_a_walk_never_gets_stuck(walk: list[tuple[JobState, Step, JobState]]) -> None:
    last = walk[-1][2]
    assert any(is_legal(last, step) for step in STEPS)


@given(walks())
def test_a_job_is_not_sent_while_it_may_exist_at_the_service(
    walk: list[tuple[JobState, Step, JobState]],
) -> None:
    """Between two sends comes an answer, a proof of absence, or a retry."""
    frees = {Step.NOT_SENT, Step.REFUSED, Step.PROVE_ABSENT, Step.RETRY}
    since: set[Step] | None = None
    for _, step, _ in walk:
        if step is Step.SEND:
            assert since is None or since & frees
            since = set()
        elif since is not None:
            since.add(step)


@given(walks())
def test_an_ended_job_moves_only_by_a_retry_or_an_adoption(
    walk: list[tuple[JobState, Step, JobState]],
) -> None:
    assert {step for state, step, _ in walk if state in TERMINAL} <= {Step.RETRY, Step.ADOPT}


@given(st.sampled_from(STATES), st.sampled_from(STEPS))
def test_a_step_that_is_not_in_the_table_is_refused(state: JobState, step: Step) -> None:
    table = {(before, by): then for before, by, then in transitions()}
    if (state, step) in table:
        assert after(state, step) is table[state, step]
    else:
        with pytest.raises(LedgerMismatch, match=f"{state} cannot {step}"):
            after(state, step)
    assert is_legal(state, step) is ((state, step) in table)


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_reached_from_planned_and_leads_back(state: JobState) -> None:
    here = JobState.PLANNED
    for step in way_to(state):
        here = after(here, step)

    assert here is state
    assert way_to(JobState.PLANNED, state) is not None


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_legal_in_some_state(step: Step) -> None:
    assert any(is_legal(state, step) for state in STATES)


def test_only_a_planned_job_is_sent() -> None:
    assert [before for before, step, _ in transitions() if step is Step.SEND] == [JobState.PLANNED]


def test_a_job_in_doubt_leaves_only_by_adoption_or_proof_of_absence() -> None:
    """It never returns to the queue unproven, and never fails."""
    assert {step for before, step, _ in transitions() if before is JobState.IN_DOUBT} <= {
        Step.ADOPT,
        Step.PROVE_ABSENT,
    }


def test_a_job_that_may_be_paid_for_returns_to_planned_only_by_proof() -> None:
    back = {
        (before, step)
        for before, step, then in transitions()
        if then is JobState.PLANNED and before in MAY_BE_PAID
    }

    assert back == {
        (JobState.SUBMITTING, Step.NOT_SENT),
        (JobState.SUBMITTING, Step.REFUSED),
        (JobState.IN_DOUBT, Step.PROVE_ABSENT),
    }


def test_a_state_is_open_or_ended() -> None:
    assert frozenset(JobState) == OPEN | TERMINAL
    assert not OPEN & TERMINAL
    assert REMOTE < OPEN

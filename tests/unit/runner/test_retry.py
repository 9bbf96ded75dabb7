"""Backoff, retry decisions and the circuit breaker."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runner.retry import backoff_s, decide
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.submitting.circuit_breaker import OPENS_AFTER, CircuitBreaker


@given(
    st.integers(1, 10_000),
    st.floats(0.01, 10),
    st.floats(10, 600),
    st.floats(0, 100),
    st.integers(),
)
def test_a_backoff_lies_between_its_floor_and_its_cap(
    tries: int, initial_s: float, cap_s: float, floor_s: float, seed: int
) -> None:
    found = backoff_s(
        RunnerSettings(initial_s=initial_s, cap_s=cap_s), tries, random.Random(seed), floor_s
    )

    assert floor_s <= found <= floor_s + cap_s


def test_the_bound_doubles_with_each_try_until_the_cap() -> None:
    settings = RunnerSettings(initial_s=1, cap_s=20)

    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    assert [backoff_s(settings, tries, Highest()) for tries in range(1, 8)] == [
        1,
        2,
        4,
        8,
        16,
        20,
        20,
    ]


def test_jitter_survives_at_the_cap() -> None:
    rng = random.Random(7)
    waits = [backoff_s(RunnerSettings(initial_s=1, cap_s=20), 50, rng) for _ in range(200)]

    assert min(waits) < 4
    assert max(waits) > 16


def test_the_last_attempt_is_not_retried_and_the_reason_names_the_setting() -> None:
    settings, rng = RunnerSettings(attempts=3), random.Random(1)

    assert decide(settings, 2, 1000.0, rng).again_at is not None
    given_up = decide(settings, 3, 1000.0, rng)
    assert given_up.again_at is None
    assert "3 attempts (retry.attempts)" in given_up.reason


@given(st.integers(0, 5), st.integers())
def test_a_retry_is_never_in_the_past(attempts: int, seed: int) -> None:
    again_at = decide(RunnerSettings(attempts=6), attempts, 1000.0, random.Random(seed)).again_at

    assert again_at is not None
    assert again_at >= 1000.0


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker(RunnerSettings(initial_s=0.5, cap_s=30), random.Random(3))


def test_the_breaker_opens_only_after_consecutive_failures(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        for _ in range(OPENS_AFTER - 1):
            breaker.failed("reset")
        breaker.succeeded()
    assert not breaker.is_open

    for reason in (*["reset"] * (OPENS_AFTER - 1), "last"):
        breaker.failed(reason)

    assert breaker.is_open
    assert breaker.reason == "last"


def test_one_answer_closes_the_breaker(breaker: CircuitBreaker) -> None:
    for _ in range(9):
        breaker.failed()
    breaker.succeeded()

    assert not breaker.is_open


def test_the_time_between_probes_grows_up_to_the_cap_and_is_never_zero(
    breaker: CircuitBreaker,
) -> None:
    waits = [breaker.next_probe_in_s() for _ in range(40)]

    assert 0.5 <= waits[0] <= 1.0
    assert all(15 <= wait <= 30 for wait in waits[6:])
    breaker.succeeded()
    assert breaker.next_probe_in_s() <= 1.0


def test_after_a_probe_one_job_is_sent_and_its_answer_decides_about_the_others(
    breaker: CircuitBreaker,
) -> None:
    for _ in range(OPENS_AFTER):
        breaker.failed()
    assert breaker.at_most == 0

    breaker.probed()
    assert (breaker.is_open, breaker.at_most) == (False, 1)
    breaker.sent()
    assert (breaker.is_open, breaker.at_most) == (False, 0)
    breaker.failed()
    assert breaker.is_open

    breaker.probed()
    breaker.sent()
    breaker.succeeded()
    assert breaker.is_closed
    assert breaker.at_most > 1_000_000


def test_a_failed_trial_increases_the_time_between_probes(breaker: CircuitBreaker) -> None:
    for _ in range(OPENS_AFTER):
        breaker.failed()
    for _ in range(9):
        breaker.next_probe_in_s()
        breaker.probed()
        breaker.sent()
        breaker.failed()

    assert breaker.next_probe_in_s() >= 15

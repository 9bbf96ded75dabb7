"""A policy is built for a call that failed, and counts its tries as if it had been there before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tenacity import AsyncRetrying, retry_if_exception_type, retry_if_result, stop_after_attempt

from orchestrator.domain.retrying import retried

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Calls:
    """Calls with given outcomes; an error is raised."""

    def __init__(self, outcomes: Iterable[str | Exception | None]) -> None:
        self.outcomes = list(outcomes)
        self.made = 0

    async def __call__(self) -> str | None:
        self.made += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def policy_of(tries: int, built: list[int]) -> Callable[[], AsyncRetrying]:
    async def sleep(_: float) -> None:
        pass

    def policy() -> AsyncRetrying:
        built.append(1)
        return AsyncRetrying(
            sleep=sleep,
            stop=stop_after_attempt(tries),
            retry=retry_if_exception_type(OSError) | retry_if_result(lambda found: found is None),
            reraise=True,
        )

    return policy


async def test_a_call_that_succeeds_builds_no_policy() -> None:
    built: list[int] = []
    calls = Calls(["a"])
    assert await retried(policy_of(3, built), calls) == "a"
    assert (calls.made, built) == (1, [])


async def test_a_failure_counts_as_the_first_try() -> None:
    calls = Calls([OSError("1"), OSError("2"), "a"])
    assert await retried(policy_of(3, []), calls) == "a"
    calls = Calls([OSError("1"), OSError("2"), "a"])
    with pytest.raises(OSError, match="2"):
        await retried(policy_of(2, []), calls)
    assert calls.made == 2


async def test_an_error_that_the_policy_does_not_retry_is_raised_after_one_call() -> None:
    calls = Calls([ValueError("no"), "a"])
    with pytest.raises(ValueError, match="no"):
        await retried(policy_of(3, []), calls)
    assert calls.made == 1


async def test_an_answer_that_is_not_final_is_asked_for_again() -> None:
    calls = Calls([None, None, "a"])
    answer = await retried(policy_of(3, []), calls, is_final=lambda found: found is not None)
    assert (answer, calls.made) == ("a", 3)

"""Retry policies that cost nothing while nothing fails.

A policy of tenacity is built for each call, which takes about as long as a tenth of a request.
Nearly every request succeeds at once, so the policy is built only for one that did not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import AsyncRetrying

_T = TypeVar("_T")


async def retried(
    policy: Callable[[], AsyncRetrying],
    call: Callable[[], Awaitable[_T]],
    *,
    is_final: Callable[[_T], bool] = lambda _: True,
) -> _T:
    """Call, and only if that fails, ask a policy; the failure counts as its first try.

    Args:
        policy: Builds the policy.
        call: The call.
        is_final: Return False for an answer that the policy may not accept.
    """
    first = await _outcome(call)
    if not isinstance(first, _Failed) and is_final(first):
        return first
    outcomes = [first]

    async def again() -> _T:
        outcome = outcomes.pop() if outcomes else await _outcome(call)
        if isinstance(outcome, _Failed):
            raise outcome.error
        return outcome

    answer: _T = await policy()(again)
    return answer


class _Failed:
    """The error of a call."""

    def __init__(self, error: Exception) -> None:
        self.error = error


async def _outcome(call: Callable[[], Awaitable[_T]]) -> _T | _Failed:
    try:
        return await call()
    except Exception as error:  # noqa: BLE001 - raised again by the policy
        return _Failed(error)

"""Object storage that waits for the network: a read without an answer is tried again.

A run survives an hour without network in everything that it sends and tracks. The listing that
feeds it and the search for lost stems must not end it. Before the first answer there are few tries:
an address that never worked is a mistake to report soon. This is the only retry of reads above the
client, which itself tries a connection again.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tenacity import AsyncRetrying, retry_if_exception

from orchestrator.domain.events import Noticed
from orchestrator.domain.retrying import retried
from orchestrator.errors import OrchestratorError, UnprovenAnswer
from orchestrator.runner.retry import backoff_s, is_retryable

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from orchestrator.domain.ports import Clock, EventSink, ObjectStore
    from orchestrator.domain.remote import ObjectHead, ObjectPage
    from orchestrator.domain.spec import Place
    from orchestrator.runner.settings import RunnerSettings

_P = ParamSpec("_P")
_T = TypeVar("_T")
_NOTICE_AFTER = 3
"""Failures in a row before the user sees a notice; one or two are common."""
LISTING_TRIES = 6
"""Tries of a page: a listing of 200 pages must not fail for one reset."""


class RetryingStore:
    """``ports.ObjectStore`` whose reads wait for an answer.

    Args:
        store: The storage.
        clock: Time.
        rng: Jitter.
        sink: Receives a notice if the storage does not answer for a while.
        settings: Bounds of the pauses.
        first_tries: Tries of a read while the storage has never answered.
        tries: Tries of a read after that; None for no limit.
    """

    def __init__(
        self,
        store: ObjectStore,
        clock: Clock,
        rng: random.Random,
        sink: EventSink,
        settings: RunnerSettings,
        first_tries: int = 1,
        tries: int | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._sink = sink
        self._settings = settings
        self._tries: float = first_tries
        self._later_tries: float = math.inf if tries is None else tries

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``. The caller decides what the answer of a proxy means."""
        return await self._until_answered(_says_nothing, self._store.head, place, key)

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        return await self._until_answered(
            is_retryable, self._store.list_objects, place, prefix, marker, max_keys
        )

    async def _until_answered(
        self,
        is_passing: Callable[[BaseException], bool],
        read: Callable[_P, Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        answer = await retried(partial(self._policy, is_passing), partial(read, *args, **kwargs))
        self._tries = self._later_tries
        return answer

    def _policy(self, is_passing: Callable[[BaseException], bool]) -> AsyncRetrying:
        return AsyncRetrying(
            sleep=self._clock.sleep,
            retry=retry_if_exception(is_passing),
            stop=lambda state: state.attempt_number >= self._tries,
            wait=self._pause_s,
            before_sleep=self._notify,
            reraise=True,
        )

    def _pause_s(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, OrchestratorError) else None
        floor_s = asked_s or self._settings.initial_s
        return backoff_s(self._settings, state.attempt_number, self._rng, floor_s)

    def _notify(self, state: RetryCallState) -> None:
        if state.attempt_number == _NOTICE_AFTER and state.outcome is not None:
            error = state.outcome.exception()
            text = f"The object storage does not answer; it is tried again ({error})"
            self._sink.emit(Noticed(text))


def _says_nothing(error: BaseException) -> bool:
    return is_retryable(error) and not isinstance(error, UnprovenAnswer)

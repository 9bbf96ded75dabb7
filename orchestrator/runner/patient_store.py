"""Object storage that waits for the network: once it has answered, a read that gets no answer is repeated until it does.

A run survives an hour without network in everything that it sends and follows; the listing that feeds it, and the search for lost stems,
must not be what ends it. Before the first answer errors pass through: an address that never worked is a mistake to be told at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from orchestrator.domain.events import Noticed
from orchestrator.errors import OrchestratorError
from orchestrator.runner.retry import backoff_s

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.ports import Clock, EventSink, ObjectStore
    from orchestrator.domain.remote import ObjectHead, ObjectPage
    from orchestrator.domain.spec import Place
    from orchestrator.runner.settings import RunnerSettings

_T = TypeVar("_T")
_TELL_AFTER = 3  # failures in a row after which the user is told: one or two of them are weather


class PatientStore:
    """``ports.ObjectStore`` whose reads wait for an answer.

    Args:
        store: The storage.
        clock: Time.
        rng: Jitter.
        sink: Told when nothing has been heard for a while.
        settings: Bounds of the pauses.
    """

    def __init__(
        self,
        store: ObjectStore,
        clock: Clock,
        rng: random.Random,
        sink: EventSink,
        settings: RunnerSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._sink = sink
        self._settings = settings
        self._has_answered = False

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        return await self._until_answered(lambda: self._store.head(place, key))

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        return await self._until_answered(
            lambda: self._store.list_objects(place, prefix, marker, max_keys)
        )

    async def _until_answered(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        failures = 0
        while True:
            try:
                answer = await ask()
            except OrchestratorError as error:
                if not (error.retryable and self._has_answered):
                    raise
                failures += 1
                if failures == _TELL_AFTER:
                    self._sink.emit(
                        Noticed(
                            f"The object storage does not answer; asking again until it does ({error})"
                        )
                    )
                await self._clock.sleep(
                    backoff_s(
                        self._settings,
                        failures,
                        self._rng,
                        error.retry_after_s or self._settings.initial_s,
                    )
                )
            else:
                self._has_answered = True
                return answer

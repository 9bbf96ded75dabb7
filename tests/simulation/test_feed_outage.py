"""The feed of a run waits for the network, as the rest of the run does."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.events import Noticed
from orchestrator.domain.remote import ListedObject, ObjectPage
from orchestrator.domain.spec import Place
from orchestrator.errors import ApiAnswer, ConnectFailed, Rejected
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.storage_retries import RetryingStore
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.service import FakeService
from tests.simulation.doubles import Recorder, replace_method

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = Place("media-1250000000", "ap-chongqing")
HOUR_S = 3600.0


def patient(
    error_at: Callable[[float], Exception | None],
) -> tuple[RetryingStore, LoopClock, Recorder]:
    """Return a patient store over a storage that fails with the errors of ``error_at``."""
    clock = LoopClock(asyncio.get_running_loop())
    store = FakeService(clock, random.Random(1))

    async def list_objects(
        place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        if (error := error_at(clock.monotonic())) is not None:
            raise error
        return ObjectPage((ListedObject("a"),))

    replace_method(store, "list_objects", list_objects)
    recorder = Recorder()
    return (
        RetryingStore(store, clock, random.Random(2), recorder, RunnerSettings()),
        clock,
        recorder,
    )


def test_a_listing_continues_after_an_hour_without_network() -> None:
    async def main() -> tuple[ObjectPage, float, int]:
        store, clock, recorder = patient(
            lambda now: ConnectFailed() if 10 < now < 10 + HOUR_S else None
        )
        await store.list_objects(PLACE, "in/")
        await clock.sleep(20)
        page = await store.list_objects(PLACE, "in/", "a")
        return page, clock.monotonic(), sum(isinstance(event, Noticed) for event in recorder.events)

    page, took_s, notices = run_virtual(main())

    assert page.objects
    assert HOUR_S < took_s < HOUR_S + 120
    assert notices == 1


def test_a_storage_that_never_answered_is_an_error_at_once() -> None:
    async def main() -> float:
        store, clock, _ = patient(lambda _: ConnectFailed())
        with pytest.raises(ConnectFailed):
            await store.list_objects(PLACE, "in/")
        return clock.monotonic()

    assert run_virtual(main()) == 0.0


def test_a_permanent_error_is_not_retried() -> None:
    async def main() -> None:
        store, clock, _ = patient(
            lambda now: Rejected(ApiAnswer(400, "InvalidArgument")) if now > 10 else None
        )
        await store.list_objects(PLACE, "in/")
        await clock.sleep(20)
        with pytest.raises(Rejected):
            await store.list_objects(PLACE, "in/")

    run_virtual(main())

"""What feeds a run waits for the network as the rest of the run does."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.events import Noticed
from orchestrator.domain.remote import ListedObject, ObjectPage
from orchestrator.domain.spec import Place
from orchestrator.errors import ApiAnswer, ConnectFailed, Rejected
from orchestrator.runner.patient_store import PatientStore
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.service import FakeService
from tests.simulation.doubles import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = Place("media-1250000000", "ap-chongqing")
HOUR_S = 3600.0


def patient(
    is_down: Callable[[float], Exception | None],
) -> tuple[PatientStore, LoopClock, Recorder]:
    """A storage that fails as told, behind patience."""
    clock = LoopClock(asyncio.get_running_loop())
    store = FakeService(clock, random.Random(1))

    async def list_objects(
        place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        if (error := is_down(clock.monotonic())) is not None:
            raise error
        return ObjectPage((ListedObject("a"),))

    store.list_objects = list_objects  # type: ignore[method-assign]  # the same, with weather of its own
    recorder = Recorder()
    return PatientStore(store, clock, random.Random(2), recorder, RunnerSettings()), clock, recorder


def test_a_listing_goes_on_after_an_hour_without_network() -> None:
    async def main() -> tuple[ObjectPage, float, int]:
        store, clock, recorder = patient(
            lambda now: ConnectFailed() if 10 < now < 10 + HOUR_S else None
        )
        await store.list_objects(PLACE, "in/")
        await clock.sleep(20)
        page = await store.list_objects(PLACE, "in/", "a")
        return page, clock.monotonic(), sum(isinstance(event, Noticed) for event in recorder.events)

    page, took_s, told = run_virtual(main())

    assert page.objects
    assert HOUR_S < took_s < HOUR_S + 120
    assert told == 1


def test_a_storage_that_never_answered_is_a_mistake_to_be_told_at_once() -> None:
    async def main() -> float:
        store, clock, _ = patient(lambda _: ConnectFailed())
        with pytest.raises(ConnectFailed):
            await store.list_objects(PLACE, "in/")
        return clock.monotonic()

    assert run_virtual(main()) == 0.0


def test_an_answer_that_no_waiting_can_mend_is_not_waited_for() -> None:
    async def main() -> None:
        store, clock, _ = patient(
            lambda now: Rejected(ApiAnswer(400, "InvalidArgument")) if now > 10 else None
        )
        await store.list_objects(PLACE, "in/")
        await clock.sleep(20)
        with pytest.raises(Rejected):
            await store.list_objects(PLACE, "in/")

    run_virtual(main())

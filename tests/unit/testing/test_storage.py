"""The object storage in memory, which users of ``orchestrator.testing`` build on."""

from __future__ import annotations

import pytest

from orchestrator.domain.spec import Place
from orchestrator.errors import ConnectFailed, NotFound
from orchestrator.testing.storage import FakeStorage

PLACE = Place("media-1250000000", "ap-chongqing")


async def test_a_stored_object_is_found_listed_and_read() -> None:
    storage = FakeStorage()
    await storage.put(PLACE, "in/a.mp3", b"abc", "audio/mpeg")

    head = await storage.head(PLACE, "in/a.mp3")
    page = await storage.list_objects(PLACE, "in/")
    content = [piece async for piece in await storage.get(PLACE, "in/a.mp3")]

    assert head is not None
    assert (head.size_bytes, storage.heads) == (3, 1)
    assert [(found.key, found.size_bytes) for found in page.objects] == [("in/a.mp3", 3)]
    assert sum(map(len, content)) == 3


async def test_a_missing_object_is_not_found() -> None:
    storage = FakeStorage()

    assert await storage.head(PLACE, "in/a.mp3") is None
    with pytest.raises(NotFound):
        await storage.get(PLACE, "in/a.mp3")


async def test_a_trip_that_raises_fails_the_request() -> None:
    async def trip() -> None:
        raise ConnectFailed

    with pytest.raises(ConnectFailed):
        await FakeStorage(trip).head(PLACE, "in/a.mp3")

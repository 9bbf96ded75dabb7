"""The stream of jobs: the next batch is planned while the caller works on one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ManifestError
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.manifest.sources.stream import BATCH

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk


def library(good: int, *others: str) -> str:
    return "".join(
        [*(f"in/{number}.mp3\n" for number in range(good)), *(f"{name}\n" for name in others)]
    )


async def test_every_job_is_yielded_once_and_in_order(desk: Desk, output: str) -> None:
    desk.write("l.txt", library(3 * BATCH + 7))
    feed = Feed(desk.load(output + "inputs: [{list: l.txt}]\n"), None)

    batches = [batch async for batch in feed.specs()]

    assert [spec.media.key for batch in batches for spec in batch] == [
        f"in/{number}.mp3" for number in range(3 * BATCH + 7)
    ]
    assert max(map(len, batches)) == BATCH


async def test_a_batch_is_yielded_before_a_later_fault_is_raised(desk: Desk, output: str) -> None:
    desk.write("l.txt", library(BATCH, " blank"))
    specs = Feed(desk.load(output + "inputs: [{list: l.txt}]\n"), None).specs()

    first = await anext(specs)

    assert len(first) == BATCH
    with pytest.raises(ManifestError, match="begins or ends with a space"):
        await anext(specs)


async def test_an_abandoned_feed_leaves_no_task_and_no_warning(desk: Desk, output: str) -> None:
    before = asyncio.all_tasks()
    desk.write("l.txt", library(BATCH, " blank"))
    specs = Feed(desk.load(output + "inputs: [{list: l.txt}]\n"), None).specs()

    await anext(specs)
    await specs.aclose()

    assert asyncio.all_tasks() == before

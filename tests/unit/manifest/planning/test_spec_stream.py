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
    desk.write("l.txt", library(BATCH, "x" * 1_100_000))
    specs = Feed(desk.load(output + "inputs: [{list: l.txt}]\n"), None).specs()

    first = await anext(specs)

    assert len(first) == BATCH
    with pytest.raises(ManifestError, match="longer than"):
        await anext(specs)


async def test_a_wrong_row_is_refused_and_the_others_are_planned(desk: Desk, output: str) -> None:
    desk.write("l.txt", library(2, " blank", "/in/slash.mp3", "in/./dot.mp3", "last.mp3"))
    feed = Feed(desk.load(output + "inputs: [{list: l.txt}]\n"), None)

    specs = [spec async for batch in feed.specs() for spec in batch]

    good = [spec.media.key for spec in specs if spec.refusal is None]
    assert good == ["in/0.mp3", "in/1.mp3", "last.mp3"]
    refused = [spec for spec in specs if spec.refusal is not None]
    assert [spec.refusal.code for spec in refused if spec.refusal] == [
        "InvalidRow",
        "InvalidObjectName",
        "InvalidObjectName",
    ]
    assert all(spec.is_refused and spec.key.startswith("r1.") for spec in refused)
    assert not any(spec.is_refused for spec in specs if spec.refusal is None)
    assert [f"l.txt:{spec.origin.line}: " in str(spec.refusal) for spec in refused] == [True] * 3


async def test_names_that_copy_the_extension_of_the_object_are_remarked(desk: Desk) -> None:
    desk.write("l.txt", "a.wav\nb.MP3\nc.mp4\nd\n")
    text = 'defaults: {operation: {audio: {codec: mp3}}, output: {voice: "s/{name}"}}\n'
    feed = Feed(desk.load(text + "inputs: [{list: l.txt}]\n"), None)

    jobs = sum([len(batch) async for batch in feed.specs()])
    assert jobs == 4
    assert len(feed.found.remarks) == 1
    assert '2 names end with another format than the codec: "s/a.wav"' in "".join(
        feed.found.remarks
    )


async def test_an_abandoned_feed_leaves_no_task_and_no_warning(desk: Desk, output: str) -> None:
    before = asyncio.all_tasks()
    desk.write("l.txt", library(BATCH, " blank"))
    specs = Feed(desk.load(output + "inputs: [{list: l.txt}]\n"), None).specs()

    await anext(specs)
    await specs.aclose()

    assert asyncio.all_tasks() == before

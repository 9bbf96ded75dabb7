"""Prefixes, listed from a storage that others write to."""

from __future__ import annotations

import random
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from orchestrator.domain.remote import ListedObject, ObjectPage
from orchestrator.domain.spec import Place
from orchestrator.errors import ApiAnswer, AuthRejected, ConfigError, ConnectFailed, ProtocolError
from orchestrator.ledger.spec_json import encode_spec
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.manifest.sources.stream import read
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.storage_retries import LISTING_TRIES, RetryingStore
from tests.simulation.doubles import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.ports import ObjectStore
    from orchestrator.manifest import Manifest
    from tests.unit.manifest.conftest import Desk

NOW = 1795379400.0


class Shelf:
    """An object storage in memory that only lists. ``after_page`` writes between two pages."""

    def __init__(
        self, objects: dict[str, ListedObject], after_page: Callable[[Shelf], None] | None = None
    ) -> None:
        self.objects = objects
        self.after_page = after_page
        self.calls: list[tuple[Place, str, str]] = []
        self.failures: list[Exception] = []

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        self.calls.append((place, prefix, marker))
        if self.failures:
            raise self.failures.pop(0)
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        keys = keys[bisect_right(keys, marker) :] if marker else keys
        page = [self.objects[key] for key in keys[:max_keys]]
        if self.after_page:
            self.after_page(self)
        return ObjectPage(tuple(page), page[-1].key if len(keys) > max_keys else "")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Clock:
    """Counts the pauses."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        self.pauses.append(delay_s)


def _objects(
    *names: str, size: int = 100, modified_at: float = NOW - 86400
) -> dict[str, ListedObject]:
    return {name: ListedObject(name, size, f'"{name}"', modified_at) for name in names}


async def _keys(manifest: Manifest, store: ObjectStore, clock: Clock | None = None) -> list[str]:
    found = read(manifest, store, clock=clock or Clock())
    return [item.media.key async for batch in found for item in batch]


def _manifest(desk: Desk, source: str) -> Manifest:
    return desk.load(
        f'defaults: {{output: {{bucket: out-12345, voice: "{{object}}"}}}}\ninputs:\n  - {source}\n'
    )


async def test_every_page_is_read_and_folder_markers_are_skipped(desk: Desk) -> None:
    names = [f"in/{number:05d}.mp3" for number in range(2500)]
    store = Shelf(_objects(*names, "in/", "in/folder/", "out/x.mp3"))

    assert await _keys(_manifest(desk, "prefix: in/"), store) == names
    assert len(store.calls) == 3


async def test_size_and_etag_are_kept(desk: Desk) -> None:
    manifest = _manifest(desk, "prefix: in/")
    store: ObjectStore = Shelf(_objects("in/a.mp3", size=7))
    (batch,) = [batch async for batch in read(manifest, store)]

    assert (batch[0].media.size_bytes, batch[0].media.etag) == (7, "in/a.mp3")


async def test_no_object_is_lost_or_repeated_while_others_are_added(desk: Desk) -> None:
    names = [f"in/{number:06d}.mp3" for number in range(0, 50_000, 2)]
    added = iter(range(1, 50_000, 2))

    def write(shelf: Shelf) -> None:
        for _ in range(40):
            shelf.objects.update(_objects(f"in/{next(added):06d}.mp3"))

    keys = await _keys(_manifest(desk, "prefix: in/"), Shelf(_objects(*names), write))
    assert len(keys) == len(set(keys))
    assert set(names) <= set(keys)


async def test_globs_sizes_and_ages_exclude_objects(desk: Desk) -> None:
    objects = {
        **_objects("in/a.mp3", "in/draft/b.mp3", "in/c.txt"),
        **_objects("in/small.mp3", size=1),
        **_objects("in/fresh.mp3", modified_at=NOW - 60),
        **_objects("in/old.mp3", modified_at=NOW - 1e7),
    }
    source = (
        '{prefix: in/, include: "*.mp3", exclude: ["*/draft/*"], '
        "min_size: 10, max_size: 1kB, min_age: 15m, max_age: 7d}"
    )

    assert await _keys(_manifest(desk, source), Shelf(objects)) == ["in/a.mp3"]


async def test_dates_limit_the_time_of_the_last_change(desk: Desk) -> None:
    day = 86400.0
    objects = {
        **_objects("a", modified_at=day),
        **_objects("b", modified_at=2 * day),
        **_objects("c", modified_at=3 * day),
    }

    assert await _keys(
        _manifest(desk, '{prefix: "", modified_from: 1970-01-03, modified_to: 1970-01-04}'),
        Shelf(objects),
    ) == ["b"]


async def test_params_and_places_of_a_source_are_used(desk: Desk) -> None:
    store = Shelf({})
    manifest = desk.load(
        'params: {date: "{yesterday}"}\ntimezone: Asia/Shanghai\ndefaults: {output: {voice: v}}\n'
        'inputs: [{prefix: "in/{date}/", bucket: other-12345, region: ap-tokyo}]\n'
    )
    await _keys(manifest, store)

    assert store.calls == [(Place("other-12345", "ap-tokyo"), "in/2026-11-22/", "")]


async def test_a_page_is_retried_after_a_failure_but_not_forever(
    desk: Desk,
) -> None:
    manifest, clock = _manifest(desk, "prefix: in/"), Clock()
    shelf = Shelf(_objects("in/a.mp3"))
    store = RetryingStore(
        shelf, clock, random.Random(1), Recorder(), RunnerSettings(), LISTING_TRIES, LISTING_TRIES
    )
    shelf.failures = [ConnectFailed(), ConnectFailed()]

    assert await _keys(manifest, store, clock) == ["in/a.mp3"]
    assert len(clock.pauses) == 2
    assert 0.5 <= clock.pauses[0] <= 1.0
    assert 0.5 <= clock.pauses[1] <= 1.5
    shelf.failures = [ConnectFailed()] * 9
    with pytest.raises(ConnectFailed):
        await _keys(manifest, store, clock)
    assert len(shelf.failures) == 9 - LISTING_TRIES


async def test_refused_credentials_end_the_listing_at_once(desk: Desk) -> None:
    store, clock = Shelf({}), Clock()
    store.failures = [AuthRejected(ApiAnswer(403, "AccessDenied"))]

    with pytest.raises(AuthRejected):
        await _keys(_manifest(desk, "prefix: in/"), store, clock)
    assert clock.pauses == []


ODD = [
    "/in/a",
    "in/./b",
    "../c",
    "in//d",
    "in/e\x07",
    "in/" + "f" * 900,
    "in/caf\udce9",
    "in/${ext}",
]


@pytest.mark.parametrize("per_page", [1, 3, 1000])
async def test_impossible_names_are_refused_and_the_others_are_planned(
    desk: Desk, per_page: int
) -> None:
    good = ["in/a.mp3", "in/g.mp3", "in/\uac00.mp3", "in/\U0001f3b5.mp3", "z.mp3"]

    class Bytewise(Shelf):
        """Sorts keys by their bytes, as the service does."""

        async def list_objects(
            self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
        ) -> ObjectPage:
            raw = sorted(key.encode(errors="surrogateescape") for key in self.objects)
            after = [key for key in raw if key > marker.encode(errors="surrogateescape")]
            keys = [key.decode(errors="surrogateescape") for key in after[:per_page]]
            more = len(after) > per_page
            return ObjectPage(tuple(self.objects[key] for key in keys), keys[-1] if more else "")

    manifest = desk.load("defaults: {output: {voice: 's/{object}'}}\ninputs: [{prefix: ''}]\n")
    feed = Feed(manifest, Bytewise(_objects(*good, *ODD)))
    specs = [spec async for batch in feed.specs() for spec in batch]

    assert sorted(spec.media.key for spec in specs if not spec.refusal) == sorted(good)
    refused = [spec for spec in specs if spec.refusal]
    assert len({spec.key for spec in refused}) == len(ODD)
    assert orjson.dumps([encode_spec(spec).decode() for spec in refused])
    assert any(spec.refusal and "0xe9" in spec.refusal.message for spec in refused)


async def test_two_objects_of_one_prefix_with_one_output_are_both_named(desk: Desk) -> None:
    manifest = desk.load(
        "defaults: {output: {voice: 's/{stem}', background: '{index}/b'}}\ninputs: [{prefix: ''}]\n"
    )
    feed = Feed(manifest, Shelf(_objects("a/x.mp3", "b/x.mp3", "c/y.mp3")))
    first, second, third = [spec async for batch in feed.specs() for spec in batch]

    assert (first.refusal, third.refusal) == (None, None)
    assert second.refusal is not None
    assert second.media.key == "b/x.mp3"
    assert '"a/x.mp3"' in second.refusal.message
    assert "another variant" not in second.refusal.message


async def test_an_output_of_a_refused_job_is_free_for_another(desk: Desk) -> None:
    """The second row's voice is free and its background is taken: it must not keep the voice."""
    desk.write("l.csv", "object,v,b\na.mp3,v1,b1\nb.mp3,v2,b1\nc.mp3,v2,b2\n")
    manifest = desk.load(
        "defaults: {output: {voice: 's/{v}', background: 's/{b}'}}\ninputs: [{list: l.csv}]\n"
    )
    feed = Feed(manifest, None)

    specs = [spec async for batch in feed.specs() for spec in batch]
    assert [spec.media.key for spec in specs if spec.refusal] == ["b.mp3"]
    assert len(specs) == 3


async def test_an_output_name_that_is_too_long_refuses_that_object(desk: Desk) -> None:
    manifest = desk.load("defaults: {output: {voice: 's/{stem}/{stem}'}}\ninputs: [{prefix: ''}]\n")
    feed = Feed(manifest, Shelf(_objects("a.mp3", "\u97f3" * 150 + ".mp3")))

    specs = [spec async for batch in feed.specs() for spec in batch]
    assert [spec.refusal and spec.refusal.code for spec in specs] == [None, "InvalidOutputName"]


async def test_a_listing_that_is_stuck_is_refused(desk: Desk) -> None:
    class Stuck(Shelf):
        async def list_objects(
            self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
        ) -> ObjectPage:
            return ObjectPage((), "same")

    with pytest.raises(ProtocolError, match="is stuck"):
        await _keys(_manifest(desk, "prefix: in/"), Stuck({}))


async def test_a_prefix_without_a_store_says_what_is_missing(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="object storage"):
        [batch async for batch in read(_manifest(desk, "prefix: in/"))]

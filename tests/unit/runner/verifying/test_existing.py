"""Stems that are there before anything is sent: found with few calls, and never wrongly."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.spec import JobKey, JobSpec, Operation
from orchestrator.domain.states import Step
from orchestrator.errors import ApiAnswer, BucketRefused, Rejected, UnprovenAnswer
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.verifying.existing import ExistingStems
from orchestrator.testing.builders import make_holder, make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger
from orchestrator.testing.storage import FakeStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.remote import ObjectHead, ObjectPage
    from orchestrator.domain.spec import Place


class _Free:
    """A limiter without a limit; it counts."""

    taken = 0

    async def acquire(self) -> None:
        self.taken += 1


class _Storage(FakeStorage):
    lists = 0
    refuses_lists: Exception | None = None
    is_disordered = False

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        self.lists += 1
        if self.refuses_lists is not None:
            raise self.refuses_lists
        page = await super().list_objects(place, prefix, marker, max_keys)
        return replace(page, objects=page.objects[::-1]) if self.is_disordered else page


def specs_of(count: int) -> list[JobSpec]:
    return [
        replace(
            spec,
            output=replace(spec.output, voice=f"out/{n:05}/v.mp3", background=f"out/{n:05}/b.mp3"),
        )
        for n, spec in enumerate(make_specs(count))
    ]


def put(storage: FakeStorage, spec: JobSpec, size: int = 7) -> None:
    for name in spec.output.names().values():
        storage.objects[spec.output.place, name] = size


def search_of(
    storage: FakeStorage, ledger: MemoryLedger | None = None, said: list[str] | None = None
) -> ExistingStems:
    clock = LoopClock(asyncio.get_running_loop())
    notice = ([] if said is None else said).append
    limiter = _Free()
    return ExistingStems(
        ledger or MemoryLedger(),
        storage,
        limiter,  # type: ignore[arg-type]
        RunnerSettings(),
        clock,
        notice,
    )


def test_only_whole_objects_count_and_one_page_answers_for_many() -> None:
    async def look() -> None:
        storage, specs = _Storage(), specs_of(60)
        for spec in specs[:30]:
            put(storage, spec)
        put(storage, specs[40], size=0)  # empty stems
        storage.objects[specs[50].output.place, specs[50].output.voice] = 7  # one of two

        found = await search_of(storage).find(specs)

        assert set(found) == {spec.key for spec in specs[:30]}
        assert [(file.object, file.size_bytes, file.verified) for file in found[specs[3].key]] == [
            ("out/00003/v.mp3", 7, True),
            ("out/00003/b.mp3", 7, True),
        ]
        assert (storage.lists, storage.heads) == (1, 0)

    run_virtual(look())


def test_names_that_lie_far_apart_are_asked_for_one_by_one() -> None:
    async def look() -> None:
        storage, specs = _Storage(), specs_of(4000)
        for spec in specs:
            put(storage, spec)
        wanted = specs[::200]

        search = search_of(storage)
        found = await search.find(wanted)

        assert set(found) == {spec.key for spec in wanted}
        assert (search.lists, search.heads) == (1, 2 * len(wanted) - 4 - 2)

    run_virtual(look())


@pytest.mark.parametrize("count", [1, 3, 700, 2600])
def test_every_answer_is_right_whatever_the_number(count: int) -> None:
    async def look() -> None:
        storage, specs = _Storage(), specs_of(count)
        there = [spec for n, spec in enumerate(specs) if n % 3]
        for spec in there:
            put(storage, spec)

        search = search_of(storage)
        found = await search.find(specs)

        assert set(found) == {spec.key for spec in there}
        assert search.lists + search.heads <= 2 * count

    run_virtual(look())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda storage: setattr(
            storage, "refuses_lists", BucketRefused(ApiAnswer(403, "AccessDenied", "no"))
        ),
        lambda storage: setattr(storage, "refuses_lists", Rejected(ApiAnswer(400, "Odd", "no"))),
        lambda storage: setattr(storage, "is_disordered", True),
    ],
)
def test_a_bucket_whose_list_cannot_be_used_is_asked_by_head(
    spoil: Callable[[_Storage], None],
) -> None:
    async def look() -> None:
        storage, specs = _Storage(), specs_of(20)
        spoil(storage)
        for spec in specs[:15]:
            put(storage, spec)

        search = search_of(storage)
        assert set(await search.find(specs)) == {spec.key for spec in specs[:15]}
        assert set(await search.find(specs)) == {spec.key for spec in specs[:15]}
        assert (search.lists, search.heads) == (1, 80), "the list is tried once"

    run_virtual(look())


def test_a_storage_that_refuses_to_answer_is_an_error_and_not_an_absence() -> None:
    class Refusing(_Storage):
        async def head(self, place: Place, key: str) -> ObjectHead | None:
            raise BucketRefused(ApiAnswer(403, "AccessDenied", "no"))

    async def look() -> None:
        with pytest.raises(BucketRefused):
            await search_of(Refusing()).find(specs_of(2))

    run_virtual(look())


def test_a_404_by_a_gateway_is_looked_through() -> None:
    class Behind(_Storage):
        unproven = 3

        async def head(self, place: Place, key: str) -> ObjectHead | None:
            if self.unproven:
                self.unproven -= 1
                raise UnprovenAnswer(ApiAnswer(404, "", "a gateway"))
            return await super().head(place, key)

    async def look() -> None:
        storage, specs = Behind(), specs_of(1)
        put(storage, specs[0])
        assert set(await search_of(storage).find(specs)) == {specs[0].key}

    run_virtual(look())


def test_names_that_only_the_job_decides_are_not_looked_for_and_counted() -> None:
    async def look() -> None:
        storage, said = _Storage(), list[str]()
        spec = specs_of(1)[0]
        by_job = replace(spec, output=replace(spec.output, voice="out/${jobid}.mp3"))
        by_template = replace(
            spec, operation=Operation("t1"), output=replace(spec.output, voice="out/v.${ext}")
        )
        search = search_of(storage, said=said)

        assert await search.find([by_job, by_template]) == {}

        search.remark()
        assert said[0].startswith("skip_existing: 2 jobs were not looked for")
        assert search.lists + search.heads == 0

    run_virtual(look())


def test_stems_of_an_earlier_version_of_the_object_do_not_count() -> None:
    async def look() -> None:
        storage, ledger = _Storage(), MemoryLedger()
        old, failed = specs_of(2)
        await ledger.acquire(make_holder())
        run = await ledger.begin_run("r", 0.0, "r.jsonl")
        for job, end in zip(await ledger.add(run, [old, failed]), (True, False), strict=True):
            for step in (Step.SEND, Step.ACCEPT, Step.SUCCEED if end else Step.FAIL):
                job.step(step)
            await ledger.save([job])
        new, again = (
            replace(spec, key=JobKey(f"v1.other{n}"), media=replace(spec.media, etag="new"))
            for n, spec in enumerate((old, failed))
        )
        for spec in (new, again):
            put(storage, spec)

        found = await search_of(storage, ledger).find([new, again])

        assert set(found) == {again.key}, "one that failed has written nothing"

    run_virtual(look())

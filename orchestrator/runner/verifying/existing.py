"""Find objects whose stems are all in their bucket, before anything is sent for them.

The names of a batch are looked for in their order. One page of a listing answers for many names
where they lie close together, and the next page begins at the next name that is wanted, so there
are never more calls than with a HEAD for each name. Where a page answers for a few names only, the
rest of the batch is asked for by HEAD, because a page is a thousand times as long.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from orchestrator.domain.job import StemFile
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted
from orchestrator.errors import BucketUnknown, OrchestratorError
from orchestrator.runner.shutdown import first_of
from orchestrator.runner.verifying.stems import expected_stems, name_before_job
from orchestrator.runner.verifying.verifier import Looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.domain.ports import Clock, Ledger, Limiter, ObjectStore
    from orchestrator.domain.spec import JobKey, JobSpec, Place, Stem
    from orchestrator.runner.settings import RunnerSettings

_AT_ONCE = 32
"""HEADs on the wire at once."""
_WORTH = 10
"""Wanted names for which a page of a listing is worth its length."""
_FEW = 8
"""Names that are asked for by HEAD at once, without a listing."""


class ExistingStems:
    """Looks for stems in their buckets.

    Args:
        ledger: Says which objects were done with other settings or in another version.
        store: The storage.
        limiter: Ceiling of the calls; nothing else waits on it.
        settings: Bounds of the pauses.
        clock: Time.
        notice: Takes a sentence for the user.

    Attributes:
        lists: Pages of listings that were read.
        heads: HEADs made.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ObjectStore,
        limiter: Limiter,
        settings: RunnerSettings,
        clock: Clock,
        notice: Callable[[str], None],
    ) -> None:
        self.lists = 0
        self.heads = 0
        self._ledger = ledger
        self._store = store
        self._limiter = limiter
        self._settings = settings
        self._clock = clock
        self._notice = notice
        self._cannot_list: set[Place] = set()
        self._unknown = 0

    async def find(self, specs: Sequence[JobSpec]) -> dict[JobKey, tuple[StemFile, ...]]:
        """Return the stems of those jobs whose stems are all there, and none of them empty.

        A job is left out if an earlier version of its object, or other settings, wrote stems of
        the same names: those are not what it asks for.

        Raises:
            OrchestratorError: If the storage does not answer, or refuses to show the stems.
        """
        named = {spec.key: names for spec in specs if (names := self._names(spec))}
        if not named:
            return {}
        offered = [spec for spec in specs if spec.key in named]
        replaced = await self._replaced(offered)
        wanted: dict[Place, set[str]] = defaultdict(set)
        for spec in offered:
            if spec.key not in replaced:
                wanted[spec.output.place].update(named[spec.key].values())
        sizes = {place: await self._sizes(place, sorted(keys)) for place, keys in wanted.items()}
        found = {}
        for spec in offered:
            there, names = sizes.get(spec.output.place, {}), named[spec.key]
            if spec.key not in replaced and all(there.get(key) for key in names.values()):
                found[spec.key] = tuple(
                    StemFile(stem, key, size_bytes=there[key], verified=True)
                    for stem, key in names.items()
                )
        return found

    def remark(self) -> None:
        """Say how many objects could not be looked for, after all were."""
        if self._unknown:
            jobs = counted(self._unknown, "job")
            verb = "was" if self._unknown == 1 else "were"
            self._notice(
                f"skip_existing: {jobs} {verb} not looked for, because only the job decides the "
                "names of its stems: they contain ${jobid}, or a template chooses the format."
            )

    def _names(self, spec: JobSpec) -> dict[Stem, str]:
        """Return where the stems must be; empty if that is not known before the job ran."""
        if spec.is_refused:
            return {}
        written = spec.output.names()
        stems = expected_stems(spec) or tuple(written)
        names = {stem: name_before_job(spec, written[stem]) for stem in stems}
        known = {stem: name for stem, name in names.items() if name is not None}
        if len(known) < len(names):
            self._unknown += 1
            return {}
        return known

    async def _replaced(self, specs: Sequence[JobSpec]) -> set[JobKey]:
        """Return the jobs whose output names another job of the same object has written."""
        others = await self._ledger.same_object(specs)
        rivals = {
            spec.key: {other.key for other in others[spec.key] if other.output == spec.output}
            for spec in specs
            if spec.key in others
        }
        known = await self._ledger.find([key for keys in rivals.values() for key in keys])
        done = {key for key, job in known.items() if job.state is JobState.SUCCEEDED}
        return {key for key, keys in rivals.items() if keys & done}

    # --- looking

    async def _sizes(self, place: Place, keys: list[str]) -> dict[str, int]:
        """Return the sizes of those objects that are there; the keys are in order."""
        sizes: dict[str, int] = {}
        start, prefix = 0, _common_start(keys[0], keys[-1])
        while len(keys) - start > _FEW and place not in self._cannot_list:
            answered = await self._list(place, prefix, keys, start, sizes)
            if answered is None:
                self._cannot_list.add(place)
                break
            start += answered
            if answered < _WORTH:
                break
        await self._ask(place, keys[start:], sizes)
        return sizes

    async def _list(
        self, place: Place, prefix: str, keys: list[str], start: int, sizes: dict[str, int]
    ) -> int | None:
        """Read one page from a key on; return how many keys it answers for.

        None if the bucket cannot be listed, or its listing is not in the order of the keys, and so
        does not show that one is missing.
        """
        await self._limiter.acquire()
        self.lists += 1
        try:
            # Without its last letter: a listing begins behind the marker.
            page = await self._store.list_objects(place, prefix, keys[start][:-1])
        except BucketUnknown:
            raise
        except OrchestratorError as error:
            if error.retryable:
                raise
            return None  # the permission to list is another one than the one to read
        listed = [each.key for each in page.objects]
        if listed != sorted(listed):
            return None
        wanted = set(keys[start:])
        sizes.update((each.key, each.size_bytes) for each in page.objects if each.key in wanted)
        if not page.next_marker:
            return len(keys) - start
        return sum(key <= listed[-1] for key in keys[start:]) if listed else None

    async def _ask(self, place: Place, keys: Iterable[str], sizes: dict[str, int]) -> None:
        """Ask for each of these objects, several at a time."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def ask(key: str) -> None:
            looks = Looks(self._store, self._settings, self._clock, absences=1)
            try:
                head = await looks.head(place, key)
            finally:
                self.heads += looks.made
                slots.release()
            if head is not None:
                sizes[key] = head.size_bytes

        try:
            async with asyncio.TaskGroup() as group:
                for key in keys:
                    await slots.acquire()
                    await self._limiter.acquire()
                    group.create_task(ask(key))
        except BaseExceptionGroup as errors:
            raise first_of(errors) from errors


def _common_start(first: str, last: str) -> str:
    """Return the letters with which both begin, and so everything between them in order."""
    pairs = zip(first, last, strict=False)
    end = next((at for at, (one, other) in enumerate(pairs) if one != other), len(first))
    return first[:end]

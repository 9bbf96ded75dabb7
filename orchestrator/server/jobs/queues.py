"""Queues and activations of each bucket: which queue takes a job, and what it may hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.server.jobs.database import Database
    from orchestrator.server.jobs.ids import Ids
    from orchestrator.server.settings import LocalSettings

ACTIVE, PAUSED = "Active", "Paused"
FAMILIES = ("media", "asr")
CATEGORY = {"media": "Transcoding", "asr": "Speeching"}
"""``Category`` by family; the vendor names none for smart audio, so that word is ours."""
_NAME = "queue-1"  # the vendor's name of the queue that enabling a service makes
_COLUMNS = "queue_id, bucket, region, family, name, state, max_size, max_concurrent, notify, created_at, updated_at"


@dataclass(slots=True)
class Queue:
    """One queue; ``notify`` holds the nodes of NotifyConfig."""

    queue_id: str
    bucket: str
    region: str
    family: str
    name: str
    state: str
    max_size: int
    max_concurrent: int
    created_at: float
    updated_at: float
    notify: dict[str, str] = field(default_factory=dict)


class Queues:
    """All queues, held in memory: there are two for each bucket."""

    def __init__(
        self, database: Database, settings: LocalSettings, ids: Ids, max_concurrent: int
    ) -> None:
        self._database = database
        self._settings = settings
        self._ids = ids
        self._max_concurrent = max_concurrent
        self._queues: dict[str, Queue] = {}
        self._default: dict[tuple[str, str], Queue] = {}
        self._active: dict[tuple[str, str], float] = {}
        self.load()

    def load(self) -> None:
        """Read everything again."""
        self._queues.clear()
        self._default.clear()
        for row in self._database.read(f"SELECT {_COLUMNS} FROM queues"):  # noqa: S608 - our own words only
            (
                queue_id,
                bucket,
                region,
                family,
                name,
                state,
                size,
                concurrent,
                notify,
                created,
                updated,
            ) = row
            self._keep(
                Queue(
                    queue_id,
                    bucket,
                    region,
                    family,
                    name,
                    state,
                    size,
                    concurrent,
                    created,
                    updated,
                    orjson.loads(notify),
                )
            )
        sql = "SELECT bucket, family, created_at FROM activations"
        self._active = {
            (bucket, family): created for bucket, family, created in self._database.read(sql)
        }

    def _keep(self, queue: Queue) -> None:
        self._queues[queue.queue_id] = queue
        if queue.name == _NAME or (queue.bucket, queue.family) not in self._default:
            self._default[queue.bucket, queue.family] = queue

    def get(self, queue_id: str) -> Queue | None:
        """The queue with that id."""
        return self._queues.get(queue_id)

    def of_bucket(self, bucket: str, family: str) -> list[Queue]:
        """The queues of one family of a bucket, oldest first."""
        found = [
            queue
            for queue in self._queues.values()
            if queue.bucket == bucket and queue.family == family
        ]
        return sorted(found, key=lambda queue: queue.created_at)

    def activated_at(self, bucket: str, family: str) -> float | None:
        """When a service was enabled for the bucket, or None."""
        return self._active.get((bucket, family))

    def activated(self, family: str) -> list[tuple[str, str, float]]:
        """Bucket, region and time of every activation of a service, by bucket."""
        sql = "SELECT bucket, region, created_at FROM activations WHERE family = ? ORDER BY bucket"
        return [tuple(row) for row in self._database.read(sql, (family,))]

    async def activate(self, bucket: str, region: str, family: str, now: float) -> None:
        """Enable a service for a bucket; that makes its queue."""
        self._active[bucket, family] = now
        await self._database.execute(
            "INSERT OR REPLACE INTO activations VALUES (?, ?, ?, ?)", (bucket, family, region, now)
        )
        await self.ensure(bucket, region, family, now)

    async def deactivate(self, bucket: str, family: str) -> None:
        """Disable a service; its queue stays, with the jobs that it holds."""
        del self._active[bucket, family]
        await self._database.execute(
            "DELETE FROM activations WHERE bucket = ? AND family = ?", (bucket, family)
        )

    async def ensure(self, bucket: str, region: str, family: str, now: float) -> Queue:
        """The bucket's queue of a family, made if there is none."""
        queue = self._default.get((bucket, family))
        if queue is None:
            queue = Queue(
                self._ids.queue(), bucket, region, family, _NAME, ACTIVE, self._settings.queue_max_size, self._max_concurrent, now, now
            )  # fmt: skip
            self._keep(queue)
            await self.save(queue)
        return queue

    async def save(self, queue: Queue) -> None:
        """Record a queue."""
        values: tuple[Any, ...] = (
            queue.queue_id, queue.bucket, queue.region, queue.family, queue.name, queue.state, queue.max_size, queue.max_concurrent,
            orjson.dumps(queue.notify), queue.created_at, queue.updated_at,
        )  # fmt: skip
        await self._database.execute(
            "INSERT OR REPLACE INTO queues VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
        )

    async def clear(self) -> None:
        """Forget every queue and activation."""
        await self._database.execute("DELETE FROM queues")
        await self._database.execute("DELETE FROM activations")
        self.load()

    async def for_job(self, bucket: str, region: str, queue_id: str, now: float) -> Queue:
        """The queue that a new job goes to.

        Raises:
            Refusal: ``MediaBucketUnBinded``, ``QueueNotFound``.
        """
        families = [self._settings.default_family, *FAMILIES]
        if self._settings.activation_required:
            families = [family for family in families if (bucket, family) in self._active]
            if not families:
                raise Refusal(
                    "MediaBucketUnBinded",
                    f"Enable a service for {bucket} first: POST /asrbucket or POST /mediabucket.",
                )
        if queue_id:
            queue = self._queues.get(queue_id)
            if queue is None or queue.bucket != bucket:
                raise Refusal(
                    "QueueNotFound", f"The queue {queue_id[:40]!r} does not exist in {bucket}."
                )
            return queue
        return await self.ensure(bucket, region, families[0], now)

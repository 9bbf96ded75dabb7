"""Queues and activations of each bucket, and the choice of a job's queue."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import orjson

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.server.jobs.database import Database
    from orchestrator.server.jobs.ids import Ids
    from orchestrator.server.settings import LocalSettings

ACTIVE, PAUSED = "Active", "Paused"
FAMILIES = ("media", "asr")
CATEGORY = {"media": "Transcoding", "asr": "Speeching"}
"""``Category`` by family; the vendor documents none for smart audio, so that word is ours."""
DEFAULT_FAMILY = "asr"
"""Family that takes jobs without a QueueId; older pages of the vendor name ``media``."""
_NAME = "queue-1"  # the queue that the vendor makes when a service is enabled


@dataclass(slots=True)
class Queue:
    """One queue, with the nodes of its NotifyConfig in ``notify``."""

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


_NAMES = tuple(entry.name for entry in fields(Queue))
_COLUMNS = ", ".join(_NAMES)


class Queues:
    """All queues, held in memory: there are two for each bucket."""

    def __init__(self, database: Database, settings: LocalSettings, ids: Ids) -> None:
        self._database = database
        self._settings = settings
        self._ids = ids
        self._queues: dict[str, Queue] = {}
        self._default: dict[tuple[str, str], Queue] = {}
        self._active: dict[tuple[str, str], float] = {}
        self.load()

    def load(self) -> None:
        """Read everything from the database."""
        self._queues.clear()
        self._default.clear()
        for row in self._database.read(f"SELECT {_COLUMNS} FROM queues"):  # noqa: S608
            queue = Queue(*row)
            queue.notify = orjson.loads(row[-1])
            self._keep(queue)
        sql = "SELECT bucket, family, created_at FROM activations"
        self._active = {
            (bucket, family): created for bucket, family, created in self._database.read(sql)
        }

    def _keep(self, queue: Queue) -> None:
        self._queues[queue.queue_id] = queue
        if queue.name == _NAME or (queue.bucket, queue.family) not in self._default:
            self._default[queue.bucket, queue.family] = queue

    def get(self, queue_id: str) -> Queue | None:
        """Return the queue with that id."""
        return self._queues.get(queue_id)

    def all(self) -> list[Queue]:
        """Return every queue, oldest first."""
        return sorted(self._queues.values(), key=lambda queue: queue.created_at)

    def of_bucket(self, bucket: str, family: str) -> list[Queue]:
        """Return the queues of one family of a bucket, oldest first."""
        return [queue for queue in self.all() if queue.bucket == bucket and queue.family == family]

    def activated_at(self, bucket: str, family: str) -> float | None:
        """Return the time at which a service was enabled for the bucket, or None."""
        return self._active.get((bucket, family))

    def activated(self, family: str) -> list[tuple[str, str, float]]:
        """Return bucket, region and time of every activation of a service, by bucket."""
        sql = "SELECT bucket, region, created_at FROM activations WHERE family = ? ORDER BY bucket"
        return [tuple(row) for row in self._database.read(sql, (family,))]

    async def activate(self, bucket: str, region: str, family: str, now: float) -> None:
        """Enable a service for a bucket, and make its queue."""
        self._active[bucket, family] = now
        await self._database.execute(
            "INSERT OR REPLACE INTO activations VALUES (?, ?, ?, ?)", (bucket, family, region, now)
        )
        await self.ensure(bucket, region, family, now)

    async def deactivate(self, bucket: str, family: str) -> None:
        """Disable a service; its queue and the queued jobs stay."""
        del self._active[bucket, family]
        await self._database.execute(
            "DELETE FROM activations WHERE bucket = ? AND family = ?", (bucket, family)
        )

    async def ensure(self, bucket: str, region: str, family: str, now: float) -> Queue:
        """Return the bucket's queue of a family; make it if there is none."""
        queue = self._default.get((bucket, family))
        if queue is None:
            size, workers = self._settings.queue_max_size, self._settings.workers
            queue_id = self._ids.new("p")
            queue = Queue(queue_id, bucket, region, family, _NAME, ACTIVE, size, workers, now, now)
            self._keep(queue)
            await self.save(queue)
        return queue

    async def save(self, queue: Queue) -> None:
        """Save a queue."""
        values = [getattr(queue, name) for name in _NAMES]
        values[-1] = orjson.dumps(queue.notify)
        marks = ", ".join("?" * len(values))
        sql = f"INSERT OR REPLACE INTO queues ({_COLUMNS}) VALUES ({marks})"  # noqa: S608
        await self._database.execute(sql, tuple(values))

    async def clear(self) -> None:
        """Delete every queue and activation."""
        await self._database.execute("DELETE FROM queues")
        await self._database.execute("DELETE FROM activations")
        self.load()

    def usual(self, bucket: str) -> Queue | None:
        """Return the queue of a job that names none, if there is one and no service is needed."""
        if self._settings.activation_required:
            return None
        return self._default.get((bucket, DEFAULT_FAMILY))

    async def for_job(self, bucket: str, region: str, queue_id: str, now: float) -> Queue:
        """Return the queue of a new job.

        Raises:
            Refusal: ``MediaBucketUnBinded``, ``QueueNotFound``.
        """
        families = [DEFAULT_FAMILY, *FAMILIES]
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

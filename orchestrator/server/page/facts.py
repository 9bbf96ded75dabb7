"""Facts that the page shows, in the form in which its template writes them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from orchestrator.domain.wording import counted
from orchestrator.server.faults.script import Rule
from orchestrator.server.jobs.ids import vendor_time
from orchestrator.server.jobs.row import State
from orchestrator.server.jobs.submit_request import STEM_NODES
from orchestrator.server.storage import listing

if TYPE_CHECKING:
    from orchestrator.server.jobs.row import JobRow
    from orchestrator.server.page.links import Links
    from orchestrator.server.parts import Parts

JOBS_SHOWN = 50
FILES_SHOWN = 50
COUNT_EVERY_S = 5
"""Jobs by state are counted this often: the count reads every job."""
_STEMS = {node: stem for stem, node in STEM_NODES.items()}


class Facts:
    """Collects what the page shows."""

    def __init__(self, parts: Parts, links: Links) -> None:
        self._parts = parts
        self._links = links
        self._folders = listing.Folders()
        self._listing = asyncio.Lock()  # listings share their blocks, so they take turns
        self._counted_at = float("-inf")
        self._counts: dict[str, int] = {}

    async def now(self, now: float, bucket: str, after: str) -> dict[str, Any]:
        """Return all facts; files are those of a bucket (or the first one) after a key."""
        async with self._listing:
            files = await self._parts.on_disk(self._files, now, bucket, after)
        return {
            "root": str(self._parts.settings.root),
            "is_simulated": self._parts.scheduler.progression.simulated,
            "states": self._states(),
            "queues": self._queues(),
            "jobs": [self._job(row, now) for row in self._parts.store.latest(JOBS_SHOWN)],
            "faults": self._faults(),
            "files": files,
        }

    def _states(self) -> list[tuple[str, int]]:
        now = self._parts.clock.monotonic()
        if now - self._counted_at >= COUNT_EVERY_S:
            self._counted_at, self._counts = now, self._parts.store.counts()
        return [(state.value, self._counts.get(state.value, 0)) for state in State]

    def _queues(self) -> list[dict[str, Any]]:
        store = self._parts.store
        return [
            {
                "queue": queue,
                "waiting": store.waiting[queue.queue_id],
                "running": store.running[queue.queue_id],
            }
            for queue in self._parts.queues.all()
        ]

    def _job(self, row: JobRow, now: float) -> dict[str, Any]:
        progress = self._parts.scheduler.progress.get(row.job_id)
        names = row.result["names"] if row.result else {}
        target = row.request.output["Bucket"]
        players = [("input", self._links.to(row.bucket, row.input_object, now))]
        players += [(_STEMS[node], self._links.to(target, key, now)) for node, key in names.items()]
        return {
            "id": row.job_id,
            "state": row.state.value,
            "progress": "" if progress is None else f"{progress:.0%}",
            "input": f"{row.bucket}/{row.input_object}",
            "created": vendor_time(row.created_at),
            "ended": vendor_time(row.ended_at),
            "fault": row.code if row.state is State.FAILED else "",
            "message": row.message,
            # Without stems there is nothing to compare the input with.
            "players": players if names and not self._parts.scheduler.progression.simulated else [],
        }

    def _faults(self) -> dict[str, Any]:
        player = self._parts.player
        return {
            "rules": [_rule_text(rule) for rule in player.faults.rules],
            "played": sorted(player.played.items()),
            "requests": sorted(player.requests.items()),
            "delivered": self._parts.callbacks.delivered,
            "failed": self._parts.callbacks.failed,
        }

    def _files(self, now: float, bucket: str, after: str) -> dict[str, Any]:
        objects = self._parts.objects
        buckets = objects.buckets()
        chosen = bucket if bucket in buckets else next(iter(buckets), "")
        if not chosen:
            return {"buckets": [], "chosen": "", "entries": [], "next": ""}
        page = listing.page(
            self._folders, objects.folder(chosen), b"", b"", after.encode(), FILES_SHOWN
        )
        entries = [
            {"key": key, "size": _size_of(path), "link": self._links.to(chosen, key, now)}
            for key, path in ((raw.decode(), path) for raw, path in page.files)
        ]
        following = page.last.decode() if page.truncated else ""
        return {"buckets": buckets, "chosen": chosen, "entries": entries, "next": following}


def _size_of(path: str) -> str:
    try:
        size = os.lstat(path).st_size
    except OSError:
        return "gone"
    if size < 1000:
        return counted(size, "byte")
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _rule_text(rule: Rule) -> str:
    """Return a fault as in a script: the keys that are not as usual."""
    values = ((entry, getattr(rule, entry.name)) for entry in fields(Rule))
    return ", ".join(
        f"{entry.name}: {value}" for entry, value in values if value not in (entry.default, None)
    )

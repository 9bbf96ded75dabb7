"""Handlers of ``/jobs``: submit, query, list and cancel."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.server.api.answers import jobs_answer, xml_answer
from orchestrator.server.http import xml
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs.ids import parse_vendor_time
from orchestrator.server.jobs.queues import ACTIVE
from orchestrator.server.jobs.row import JobRow, State
from orchestrator.server.jobs.store import MAX_LISTED, ListQuery
from orchestrator.server.jobs.submit_forms import Reader
from orchestrator.server.pace import Pace
from orchestrator.server.settings import MissingBucket, MissingInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.jobs.queues import Queue
    from orchestrator.server.jobs.submit_forms import FormDraft
    from orchestrator.server.jobs.submit_request import Draft
    from orchestrator.server.parts import Parts


MAX_IDS_PER_QUERY = 10  # the vendor's limit


class JobCalls:
    """Submits, queries, lists and cancels jobs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reader = Reader(parts.templates.find)
        self._usable: set[tuple[str, str]] = set()
        """Buckets of inputs and outputs whose folders were looked at in this turn of the loop.

        Dozens of submits arrive in one, and a look at a folder costs as much as to parse one.
        """

    def answer(self, call: Call) -> Awaitable[web.StreamResponse]:
        """Route by method and path."""
        ids = call.path[len("/jobs") :].strip("/")
        if call.method == "POST" and not ids:
            return self._submit(call)
        if call.method == "GET" and ids:
            return self._query(call, ids)
        if call.method == "GET":
            return self._list(call)
        if call.method == "PUT" and ids:
            return self._cancel(call, ids)
        raise Refusal(
            "MethodNotAllowed", f"{call.method} {call.path[:80]} is not a call of the job service."
        )

    async def _submit(self, call: Call) -> web.StreamResponse:
        demand(call, call.bucket, write=True)
        queue_id, drafts = self._reader.read(await read_body(call, self._parts.settings))
        self._check_buckets(call, drafts)
        if self._parts.settings.missing_input_rule is MissingInput.REFUSE:
            await self._refuse_missing(call.bucket, drafts[0].key)
        queues = self._parts.queues
        queue = queues.usual(call.bucket) if not queue_id else None
        if queue is None:
            queue = await queues.for_job(call.bucket, call.region, queue_id, call.now)
        self._check_room(queue, len(drafts))
        place = (call.bucket, call.region, queue.queue_id)
        jobs = [draft.job(self._parts.ids.new("j"), place, call.now) for draft in drafts]
        await self._parts.store.add(jobs)
        self._parts.scheduler.wake()
        return jobs_answer([job.element for job in jobs])

    def _check_buckets(self, call: Call, drafts: Sequence[Draft | FormDraft]) -> None:
        """Check that the buckets of a job exist, and that stems can be written to its output."""
        for bucket in {draft.output_bucket for draft in drafts}:
            if call.key is None or not call.key.allows(bucket, write=True):
                raise Refusal(
                    "WriteTargetBucketDenied",
                    f"These keys may not write to the output bucket {bucket}.",
                )
            places = (call.bucket, bucket)
            if places not in self._usable:
                self._check_folders(*places)
                if not self._usable:
                    asyncio.get_running_loop().call_soon(self._usable.clear)
                self._usable.add(places)

    def _check_folders(self, source: str, output: str) -> None:
        objects, settings = self._parts.objects, self._parts.settings
        if source != output and settings.missing_input_rule is not MissingInput.IGNORE:
            objects.folder(source)
        if settings.missing_bucket is MissingBucket.MAKE:
            objects.make_bucket(output)
        elif not objects.can_write_to(output):
            raise Refusal(
                "WriteTargetBucketDenied",
                f"The folder of the output bucket {output} cannot be written to: "
                f"{objects.folder(output)}.",
            )

    async def _refuse_missing(self, bucket: str, key: str) -> None:
        path = await asyncio.get_running_loop().run_in_executor(
            self._parts.disk, self._parts.objects.path_of, bucket, key
        )
        if path is None:
            raise Refusal(
                "ResourceNotFound", f"The input object {key[:200]!r} does not exist in {bucket}."
            )

    def _check_room(self, queue: Queue, count: int) -> None:
        if queue.state != ACTIVE:
            path = "queue" if queue.family == "media" else "asrqueue"
            raise Refusal(
                "QueuePaused",
                f"The queue {queue.queue_id} is paused: "
                f"resume it with PUT /{path}/{queue.queue_id}.",
            )
        if self._parts.store.waiting[queue.queue_id] + count > queue.max_size:
            raise Refusal(
                "QueueSaturated",
                f"The queue {queue.queue_id} holds {queue.max_size} waiting jobs, its MaxSize: "
                "retry later.",
            )

    async def _query(self, call: Call, text: str) -> web.StreamResponse:
        demand(call, call.bucket, write=False)
        wanted = list(dict.fromkeys(job_id for job_id in text.split(",") if job_id))
        if not 1 <= len(wanted) <= MAX_IDS_PER_QUERY:
            raise Refusal(
                "InvalidArgument",
                f"A query takes 1 to {MAX_IDS_PER_QUERY} job ids, separated by commas; "
                f"this one has {len(wanted)}.",
            )
        if self._parts.scheduler.progression.pace is Pace.POLLS:
            for row in self._parts.store.get(wanted).values():
                if row.bucket == call.bucket:
                    await self._parts.scheduler.polled(row)
        found = self._parts.store.elements(call.bucket, wanted)
        progress = self._parts.scheduler.progress
        running = [job_id for job_id in found if job_id in progress] if progress else []
        for job_id, row in self._parts.store.get(running).items() if running else ():
            found[job_id] = xml.element("JobsDetail", self._detail(row))
        missing = [job_id for job_id in wanted if job_id not in found]
        return jobs_answer(found.values(), missing)

    def _detail(self, row: JobRow) -> dict[str, Tree]:
        detail = row.detail()
        if row.state is State.RUNNING and row.job_id in self._parts.scheduler.progress:
            detail["Progress"] = str(int(100 * self._parts.scheduler.progress[row.job_id]))
        return detail

    async def _list(self, call: Call) -> web.StreamResponse:
        demand(call, call.bucket, write=False)
        query = self._list_query(call)
        rows = self._parts.store.page(query)
        page = rows[: query.size]
        tree: dict[str, Tree] = {"JobsDetail": [self._detail(row) for row in page]}
        if len(rows) > query.size:
            tree["NextToken"] = _token(page[-1])
        return xml_answer(tree)

    def _list_query(self, call: Call) -> ListQuery:
        states = tuple(state for state in call.param("states").split(",") if state)
        unknown = [state for state in states if state not in {"All", *State}]
        if unknown:
            raise Refusal(
                "InvalidArgument", f"states has {unknown[0][:40]!r}; use All, {', '.join(State)}."
            )
        order = call.param("orderByTime", "Desc")
        if order not in {"Asc", "Desc"}:
            raise Refusal(
                "InvalidArgument", f"orderByTime is {order[:40]!r}; it must be Asc or Desc."
            )
        token = call.param("nextToken")
        # Workflows and inventories do not exist here: these filters find no job.
        foreign = call.param("workflowId") or call.param("inventoryTriggerJobId")
        tag = "none" if foreign else call.param("tag")
        end = _instant(call, "endCreationTime")
        lag_s = self._parts.player.faults.listing_lag_s
        return ListQuery(
            bucket=call.bucket,
            queue_id=call.param("queueId"),
            tag="" if tag == "All" else tag,
            input_object=call.param("inputObject"),
            states=() if "All" in states else states,
            created_from=_instant(call, "startCreationTime"),
            # Answers show whole seconds, so the end includes its whole second.
            created_to=None if end is None else end + 0.999999,
            ascending=order == "Asc",
            size=call.number("size", 10, 1, MAX_LISTED),
            after=_read_token(token) if token else None,
            hidden_since=call.now - lag_s if lag_s else None,
        )

    async def _cancel(self, call: Call, job_id: str) -> web.StreamResponse:
        demand(call, call.bucket, write=True)
        row = self._parts.store.get([job_id]).get(job_id)
        if row is None or row.bucket != call.bucket:
            raise Refusal(
                "ResourceNotFound", f"The job {job_id[:40]!r} does not exist in {call.bucket}."
            )
        # A second cancel succeeds like the first one.
        if row.state is not State.CANCEL and not await self._parts.store.cancel(row, call.now):
            raise Refusal(
                "InvalidArgument",
                f"The job provided can not be modified: it is {row.state}, not waiting.",
            )
        return web.Response()


def _instant(call: Call, name: str) -> float | None:
    text = call.param(name)
    if not text:
        return None
    try:
        return parse_vendor_time(text)
    except (ValueError, OverflowError):
        raise Refusal(
            "InvalidArgument",
            f"{name} is {text[:40]!r}; write it like 2024-05-01T10:00:00+0800 (with + as %2B).",
        ) from None


def _token(row: JobRow) -> str:
    return base64.urlsafe_b64encode(f"{row.created_at!r}/{row.seq}".encode()).decode()


def _read_token(text: str) -> tuple[float, int]:
    try:
        created, seq = base64.urlsafe_b64decode(text.encode()).decode().split("/")
        return float(created), int(seq)
    except (ValueError, UnicodeError):
        raise Refusal("InvalidArgument", "nextToken is not a token of this service.") from None

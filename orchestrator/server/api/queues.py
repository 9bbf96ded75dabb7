"""Handlers of the queues, and of the calls that enable a service for a bucket.

``/queue`` and ``/mediabucket`` are for media processing, ``/asrqueue`` and ``/asrbucket`` for smart
audio.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.server.api.answers import (
    NO_BUCKET,
    method_not_allowed,
    page_answer,
    paging,
    words,
    xml_answer,
)
from orchestrator.server.http import xml
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal, invalid_argument
from orchestrator.server.jobs.callbacks import is_forbidden_literal
from orchestrator.server.jobs.ids import vendor_time
from orchestrator.server.jobs.queues import ACTIVE, CATEGORY, PAUSED, Queue
from orchestrator.server.jobs.submit_request import check_message_queue

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Node, Tree
    from orchestrator.server.parts import Parts
    from orchestrator.server.settings import CallbackPolicy


_QUEUE_NAME = re.compile(r"[\w*-]{1,128}")
_NOTIFY = ("State", "Url", "Type", "Event", "ResultFormat", "MqMode", "MqRegion", "MqName")


class QueueCalls:
    """Lists and updates queues."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def answer(self, call: Call) -> web.StreamResponse:
        """Route by method."""
        root, _, queue_id = call.path[1:].partition("/")
        family = "media" if root == "queue" else "asr"
        demand(call, call.bucket, write=call.method != "GET")
        if call.method == "GET" and not queue_id:
            return await self._list(call, family)
        if call.method == "PUT" and queue_id:
            return await self._update(call, family, queue_id)
        raise method_not_allowed(call)

    async def _list(self, call: Call, family: str) -> web.StreamResponse:
        if not self._parts.settings.activation_required:
            await self._parts.queues.ensure(call.bucket, call.region, family, call.now)
        page, size = paging(call)
        state, ids = call.param("state", "All"), words(call, "queueIds")
        if state not in {"All", ACTIVE, PAUSED}:
            raise invalid_argument(f"state is {state[:40]!r}; it must be {ACTIVE} or {PAUSED}.")
        queues = self._parts.queues.of_bucket(call.bucket, family)
        known = {queue.queue_id for queue in queues}
        missing = [queue_id for queue_id in ids if queue_id not in known]
        category = call.param("category", CATEGORY[family])
        if family == "media" and category not in {"CateAll", CATEGORY[family]}:
            queues = []
        trees = [
            queue_tree(queue)
            for queue in queues
            if state in {"All", queue.state} and (not ids or queue.queue_id in ids)
        ]
        return page_answer(
            call,
            len(trees),
            "QueueList",
            trees[(page - 1) * size : page * size],
            {"NonExistPIDs": missing} if missing else None,
        )

    async def _update(self, call: Call, family: str, queue_id: str) -> web.StreamResponse:
        root = xml.read(await read_body(call, self._parts.settings))
        queue = self._parts.queues.get(queue_id)
        if queue is None or queue.bucket != call.bucket or queue.family != family:
            raise Refusal(
                "QueueNotFound", f"The queue {queue_id[:40]!r} does not exist in {call.bucket}."
            )
        name, state = xml.value(root, "Name"), xml.value(root, "State")
        if not _QUEUE_NAME.fullmatch(name):
            raise invalid_argument("Name must have 1 to 128 letters, digits, _, - or *.")
        if state not in {ACTIVE, PAUSED}:
            raise invalid_argument(f"State is {state[:40]!r}; it must be {ACTIVE} or {PAUSED}.")
        notify = _read_notify(root, self._parts.settings.callbacks)
        changed = state != queue.state
        queue.name, queue.state, queue.notify, queue.updated_at = name, state, notify, call.now
        await self._parts.queues.save(queue)
        if changed:
            await self._parts.store.hold(queue_id, paused=state == PAUSED)
            self._parts.scheduler.wake()
        return xml_answer({"RequestId": call.request_id, "Queue": queue_tree(queue)})


def _read_notify(root: Node, policy: CallbackPolicy) -> dict[str, str]:
    """Return the checked nodes of NotifyConfig."""
    node = root.find("NotifyConfig")
    if node is None:
        raise invalid_argument("NotifyConfig is required.")
    notify = {name: text for name in _NOTIFY if (text := xml.value(node, name))}
    if notify.setdefault("State", "Off") == "Off":
        return notify
    if notify["State"] != "On":
        raise invalid_argument("NotifyConfig/State must be On or Off.")
    if not set(notify.get("Event", "").split(",")) <= {"TaskFinish", "WorkflowFinish"}:
        raise invalid_argument(
            "NotifyConfig/Event must be TaskFinish, WorkflowFinish or both, separated by a comma."
        )
    if notify.setdefault("ResultFormat", "XML") not in {"XML", "JSON"}:
        raise invalid_argument("NotifyConfig/ResultFormat must be XML or JSON.")
    if notify.get("Type") == "TDMQ":
        check_message_queue(
            {name: notify.get(name, "") for name in ("MqRegion", "MqMode", "MqName")}
        )
    elif notify.get("Type") != "Url":
        raise invalid_argument("NotifyConfig/Type must be Url or TDMQ.")
    elif not notify.get("Url", "").lower().startswith(("http://", "https://")):
        raise invalid_argument("NotifyConfig/Url must be an http or https address.")
    elif is_forbidden_literal(notify["Url"], policy):
        raise invalid_argument("NotifyConfig/Url must not be a private-network address.")
    return notify


def queue_tree(queue: Queue) -> dict[str, Tree]:
    """Return ``Queue`` or one ``QueueList``."""
    return {
        "QueueId": queue.queue_id,
        "Name": queue.name,
        "State": queue.state,
        "NotifyConfig": {"State": "Off", **queue.notify},
        "MaxSize": str(queue.max_size),
        "MaxConcurrent": str(queue.max_concurrent),
        "Category": CATEGORY[queue.family],
        "CreateTime": vendor_time(queue.created_at),
        "UpdateTime": vendor_time(queue.updated_at),
    }


class ActivationCalls:
    """Enables and disables services, and lists the buckets with an enabled service."""

    def __init__(self, parts: Parts) -> None:
        self._queues = parts.queues
        self._objects = parts.objects

    async def answer(self, call: Call) -> web.StreamResponse:
        """Route by method."""
        root = call.path[1:]
        family, node = ("media", "MediaBucket") if root == "mediabucket" else ("asr", "AsrBucket")
        if call.method == "GET":
            return self._list(call, family, node)
        bucket = call.bucket
        if not bucket:
            raise Refusal("InvalidHost", NO_BUCKET)
        demand(call, bucket, write=True)
        enabled = self._queues.activated_at(bucket, family) is not None
        if call.method == "POST":
            self._objects.folder(bucket)
            if enabled:
                message = f"The service is enabled for {bucket} already."
                raise Refusal("MediaBucketAlreadyBinded", message)
            await self._queues.activate(bucket, call.region, family, call.now)
            tree = _bucket_tree(bucket, call.region, call.now)
            return xml_answer({"RequestId": call.request_id, node: tree})
        if call.method == "DELETE":
            if not enabled:
                message = f"The service is not enabled for {bucket}."
                raise Refusal("MediaBucketUnBinded", message)
            await self._queues.deactivate(bucket, family)
            named = {"BucketName": bucket} if family == "asr" else {}
            return xml_answer({"RequestId": call.request_id, **named})
        raise method_not_allowed(call)

    def _list(self, call: Call, family: str, node: str) -> web.StreamResponse:
        page, size = paging(call)
        regions, names = words(call, "regions"), words(call, "bucketNames")
        prefix = call.param("bucketName")
        found = [
            _bucket_tree(bucket, region, since)
            for bucket, region, since in self._queues.activated(family)
            if (not regions or "All" in regions or region in regions)
            and (not names or bucket in names)
            and bucket.startswith(prefix)
            and call.key is not None
            and call.key.allows(bucket, write=False)
        ]
        entries = found[(page - 1) * size : page * size]
        return page_answer(call, len(found), f"{node}List", entries)


def _bucket_tree(bucket: str, region: str, since: float) -> dict[str, Tree]:
    return {"BucketId": bucket, "Name": bucket, "Region": region, "CreateTime": vendor_time(since)}

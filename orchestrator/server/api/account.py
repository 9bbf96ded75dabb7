"""The job side's other calls: templates, queues, and enabling the services for a bucket."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.server.api.jobs import xml_answer
from orchestrator.server.http import xml
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs import templates
from orchestrator.server.jobs.callbacks import is_forbidden_literal
from orchestrator.server.jobs.ids import vendor_time
from orchestrator.server.jobs.queues import ACTIVE, CATEGORY, PAUSED, Queue
from orchestrator.server.jobs.submit_request import TAG, check_message_queue, invalid

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.server.context import Parts
    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Node, Tree

MAX_PAGE = 100  # the vendor names no largest page here; the one of its job list is used
_QUEUE_NAME = re.compile(r"[\w*-]{1,128}")
_NOTIFY = ("State", "Url", "Type", "Event", "ResultFormat", "MqMode", "MqRegion", "MqName")


def _wrong_call(call: Call) -> Refusal:
    return Refusal(
        "MethodNotAllowed", f"{call.method} {call.path[:80]} is not a call of this service."
    )


def _paging(call: Call) -> tuple[int, int]:
    return call.number("pageNumber", 1, 1, 999_999_999), call.number("pageSize", 10, 1, MAX_PAGE)


def _counted(call: Call, total: int, page: int, size: int) -> dict[str, Tree]:
    return {
        "RequestId": call.request_id,
        "TotalCount": str(total),
        "PageNumber": str(page),
        "PageSize": str(size),
    }


def _words(call: Call, name: str) -> list[str]:
    return [word for word in call.param(name).split(",") if word]


class TemplateCalls:
    """Handlers of ``/template``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._templates = parts.templates

    async def answer(self, call: Call) -> web.StreamResponse:
        """Route by method."""
        template_id = call.path[len("/template") :].strip("/")
        demand(call, call.bucket, write=call.method != "GET")
        if call.method == "GET" and not template_id:
            return self._list(call)
        if call.method == "POST" and not template_id:
            return await self._save(call, self._parts.ids.template(), call.now)
        if call.method == "PUT" and template_id:
            stored = self._templates.get(template_id, call.bucket)
            return await self._save(call, template_id, stored.created_at)
        if call.method == "DELETE" and template_id:
            self._templates.get(template_id, call.bucket)
            await self._templates.delete(template_id)
            return xml_answer({"RequestId": call.request_id, "TemplateId": template_id})
        raise _wrong_call(call)

    async def _save(self, call: Call, template_id: str, created_at: float) -> web.StreamResponse:
        name, sound = templates.read(xml.read(await read_body(call, self._parts.settings)))
        stored = templates.Stored(template_id, call.bucket, name, sound, created_at, call.now)
        await self._templates.save(stored)
        return xml_answer({"RequestId": call.request_id, "Template": stored.tree()})

    def _list(self, call: Call) -> web.StreamResponse:
        ids = _words(call, "ids")
        if ids:
            return self._by_ids(call, ids)
        page, size = _paging(call)
        if (
            call.param("tag", "All") not in {"All", TAG}
            or call.param("category", "Custom") != "Custom"
        ):
            return xml_answer(
                _counted(call, 0, page, size)
            )  # there are no official templates here, nor any of other kinds
        total, found = self._templates.page(call.bucket, call.param("name"), page, size)
        return xml_answer(
            {
                **_counted(call, total, page, size),
                "TemplateList": [stored.tree() for stored in found],
            }
        )

    def _by_ids(self, call: Call, ids: list[str]) -> web.StreamResponse:
        found: list[Tree] = []
        missing: list[str] = []
        for template_id in ids[:MAX_PAGE]:
            try:
                found.append(self._templates.get(template_id, call.bucket).tree())
            except Refusal:
                missing.append(template_id)
        tree: dict[str, Tree] = {"RequestId": call.request_id, "TemplateList": found}
        if missing:
            tree["NonExistTIDs"] = {"TemplateId": missing}
        return xml_answer(tree)


class QueueCalls:
    """Handlers of ``/queue`` (media processing) and ``/asrqueue`` (smart audio)."""

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
        raise _wrong_call(call)

    async def _list(self, call: Call, family: str) -> web.StreamResponse:
        if not self._parts.settings.activation_required:
            await self._parts.queues.ensure(call.bucket, call.region, family, call.now)
        page, size = _paging(call)
        state, ids = call.param("state", "All"), _words(call, "queueIds")
        if state not in {"All", ACTIVE, PAUSED}:
            raise invalid(f"state is {state[:40]!r}; it must be {ACTIVE} or {PAUSED}.")
        queues = self._parts.queues.of_bucket(call.bucket, family)
        category = call.param("category", CATEGORY[family])
        known = {queue.queue_id for queue in queues}
        queues = [
            queue
            for queue in queues
            if state in {"All", queue.state} and (not ids or queue.queue_id in ids)
        ]
        if family == "media" and category not in {"CateAll", CATEGORY[family]}:
            queues = []
        tree = _counted(call, len(queues), page, size)
        tree["QueueList"] = [queue_tree(queue) for queue in queues[(page - 1) * size : page * size]]
        missing = [queue_id for queue_id in ids if queue_id not in known]
        if missing:
            tree["NonExistPIDs"] = missing
        return xml_answer(tree)

    async def _update(self, call: Call, family: str, queue_id: str) -> web.StreamResponse:
        root = xml.read(await read_body(call, self._parts.settings))
        queue = self._parts.queues.get(queue_id)
        if queue is None or queue.bucket != call.bucket or queue.family != family:
            raise Refusal(
                "QueueNotFound", f"The queue {queue_id[:40]!r} does not exist in {call.bucket}."
            )
        name, state = root.value("Name"), root.value("State")
        if not _QUEUE_NAME.fullmatch(name):
            raise invalid("Name must have 1 to 128 letters, digits, _, - or *.")
        if state not in {ACTIVE, PAUSED}:
            raise invalid(f"State is {state[:40]!r}; it must be {ACTIVE} or {PAUSED}.")
        notify = self._notify(root)
        changed = state != queue.state
        queue.name, queue.state, queue.notify, queue.updated_at = name, state, notify, call.now
        await self._parts.queues.save(queue)
        if changed:
            await self._parts.store.hold(queue_id, paused=state == PAUSED)
            self._parts.scheduler.wake()
        return xml_answer({"RequestId": call.request_id, "Queue": queue_tree(queue)})

    def _notify(self, root: Node) -> dict[str, str]:
        node = root.get("NotifyConfig")
        if node is None:
            raise invalid("NotifyConfig is required.")
        notify = {name: node.value(name) for name in _NOTIFY if node.value(name)}
        if notify.setdefault("State", "Off") == "Off":
            return notify
        if notify["State"] != "On":
            raise invalid("NotifyConfig/State must be On or Off.")
        events = notify.get("Event", "").split(",")
        if not events or not set(events) <= {"TaskFinish", "WorkflowFinish"}:
            raise invalid(
                "NotifyConfig/Event must be TaskFinish, WorkflowFinish or both, separated by a comma."
            )
        if notify.setdefault("ResultFormat", "XML") not in {"XML", "JSON"}:
            raise invalid("NotifyConfig/ResultFormat must be XML or JSON.")
        if notify.get("Type") == "TDMQ":
            check_message_queue(
                {name: notify.get(name, "") for name in ("MqRegion", "MqMode", "MqName")}
            )
        elif notify.get("Type") != "Url":
            raise invalid("NotifyConfig/Type must be Url or TDMQ.")
        elif not notify.get("Url", "").lower().startswith(("http://", "https://")):
            raise invalid("NotifyConfig/Url must be an http or https address.")
        elif is_forbidden_literal(notify["Url"], self._parts.settings.callbacks):
            raise invalid("NotifyConfig/Url must not be a private-network address.")
        return notify


def queue_tree(queue: Queue) -> dict[str, Tree]:
    """``Queue`` or one ``QueueList``."""
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
    """Handlers of ``/mediabucket`` and ``/asrbucket``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._queues = parts.queues

    async def answer(self, call: Call) -> web.StreamResponse:
        """Route by method."""
        root = call.path[1:]
        family, node = ("media", "MediaBucket") if root == "mediabucket" else ("asr", "AsrBucket")
        if call.method == "GET":
            return self._list(call, family, node)
        if not call.bucket:
            raise Refusal(
                "InvalidHost",
                "The Host header names no bucket (it is not <bucket>.ci.<region>.myqcloud.com).",
            )
        demand(call, call.bucket, write=True)
        since = self._queues.activated_at(call.bucket, family)
        if call.method == "POST":
            if since is not None:
                raise Refusal(
                    "MediaBucketAlreadyBinded", f"The service is enabled for {call.bucket} already."
                )
            await self._queues.activate(call.bucket, call.region, family, call.now)
            return xml_answer(
                {
                    "RequestId": call.request_id,
                    node: _bucket_tree(call.bucket, call.region, call.now),
                }
            )
        if call.method == "DELETE":
            if since is None:
                raise Refusal(
                    "MediaBucketUnBinded", f"The service is not enabled for {call.bucket}."
                )
            await self._queues.deactivate(call.bucket, family)
            return xml_answer({"RequestId": call.request_id})
        raise _wrong_call(call)

    def _list(self, call: Call, family: str, node: str) -> web.StreamResponse:
        page, size = _paging(call)
        regions, names, prefix = (
            _words(call, "regions"),
            _words(call, "bucketNames"),
            call.param("bucketName"),
        )
        found = [
            _bucket_tree(bucket, region, since)
            for bucket, region, since in self._queues.activated(family)
            if (not regions or "All" in regions or region in regions)
            and (not names or bucket in names)
            and bucket.startswith(prefix)
            and call.key is not None
            and call.key.allows(bucket, write=False)
        ]
        return xml_answer(
            {
                **_counted(call, len(found), page, size),
                f"{node}List": found[(page - 1) * size : page * size],
            }
        )


def _bucket_tree(bucket: str, region: str, since: float) -> dict[str, Tree]:
    return {"BucketId": bucket, "Name": bucket, "Region": region, "CreateTime": vendor_time(since)}

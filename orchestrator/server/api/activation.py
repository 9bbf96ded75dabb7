"""Handlers of ``/mediabucket`` and ``/asrbucket``, which enable a service for a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.server.api.answers import (
    NO_BUCKET,
    method_not_allowed,
    page_answer,
    paging,
    words,
    xml_answer,
)
from orchestrator.server.http.auth import demand
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs.ids import vendor_time

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.parts import Parts


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

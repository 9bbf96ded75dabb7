"""Handlers of the storage side: objects, and the way to the handlers of buckets and uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from aiohttp import web

from orchestrator.server.api.buckets import BucketCalls
from orchestrator.server.api.copies import CopyCalls
from orchestrator.server.api.incoming import receive
from orchestrator.server.api.known_calls import Known, identify
from orchestrator.server.api.object_headers import (
    Conditions,
    headers_of,
    meta_of,
    overrides_of,
    span_of,
)
from orchestrator.server.api.uploads import UploadCalls
from orchestrator.server.faults import effects
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import demand_length, read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage import keys
from orchestrator.server.storage.metadata import CHUNK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.server.http.request import Call
    from orchestrator.server.parts import Parts
    from orchestrator.server.storage.metadata import Content


class ObjectCalls:
    """Reads, stores and deletes objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        buckets, uploads, copies = BucketCalls(parts), UploadCalls(parts), CopyCalls(parts)
        self._handlers: dict[Known, Callable[[Call, str], Awaitable[web.StreamResponse]]] = {
            Known.LIST: buckets.list_keys,
            Known.HEAD_BUCKET: buckets.head,
            Known.MAKE_BUCKET: buckets.make,
            Known.DELETE_MANY: buckets.delete_many,
            Known.LIST_UPLOADS: uploads.list_open,
            Known.GET: self._get,
            Known.HEAD: self._get,
            Known.PUT: self._put,
            Known.COPY: copies.copy,
            Known.DELETE: self._delete,
            Known.START_UPLOAD: uploads.start,
            Known.PUT_PART: uploads.put_part,
            Known.COPY_PART: copies.copy_part,
            Known.LIST_PARTS: uploads.list_parts,
            Known.COMPLETE: uploads.complete,
            Known.ABORT: uploads.abort,
        }

    async def answer(self, call: Call) -> web.StreamResponse:
        """Find the call that a request is, and carry it out."""
        if not call.bucket:
            raise Refusal(
                "InvalidBucketName",
                "The Host header names no bucket, and this service has no default bucket.",
            )
        demand(call, call.bucket, write=call.method not in {"GET", "HEAD"})
        key = call.path[1:]
        known = identify(call, on_bucket=not key)
        if key:
            keys.check(key)
        return await self._handlers[known](call, key)

    async def _get(self, call: Call, key: str) -> web.StreamResponse:
        file, content = await self._parts.on_disk(self._parts.objects.open, call.bucket, key)
        try:
            headers = headers_of(content)
            if Conditions.of(call).check(content):
                return web.Response(status=304, headers={"ETag": content.etag})
            headers |= overrides_of(call)
            span = span_of(call.header("Range"), content.size) if call.method == "GET" else None
            first, last = span or (0, content.size - 1)
            if span:
                headers["Content-Range"] = f"bytes {first}-{last}/{content.size}"
            headers["Content-Length"] = str(last - first + 1)
            response = web.StreamResponse(status=206 if span else 200, headers=headers)
            self._parts.add_headers(response, call)
            await response.prepare(call.request)
            if call.method == "GET" and file is not None:
                length = last - first + 1
                await self._send(response, file, first, length // 2 if call.truncated else length)
            if call.truncated:
                effects.reset_connection(call)
            await response.write_eof()
            return response
        finally:
            if file is not None:
                file.close()

    async def _send(
        self, response: web.StreamResponse, file: BinaryIO, first: int, length: int
    ) -> None:
        file.seek(first)
        while length > 0:
            data = await self._parts.on_disk(file.read, min(CHUNK, length))
            if not data:
                raise ConnectionResetError("The file was shortened while it was sent.")
            await response.write(data)
            length -= len(data)

    async def _put(self, call: Call, key: str) -> web.StreamResponse:
        demand_length(call, self._parts.settings)
        meta = meta_of(call)
        if key.endswith("/"):
            if await read_body(call, self._parts.settings):
                raise Refusal(
                    "InvalidArgument",
                    "A key that ends in / is a folder here and has no body: leave out the last /.",
                )
            content = await self._parts.on_disk(self._parts.objects.make_folder, call.bucket, key)
        else:
            content = await self._store(call, key, meta)
        return web.Response(headers={"ETag": content.etag, "x-cos-hash-crc64ecma": content.crc64})

    async def _store(self, call: Call, key: str, meta: dict[str, str]) -> Content:
        parts, objects = self._parts, self._parts.objects
        await parts.on_disk(objects.check_place, call.bucket, key)
        path = await parts.on_disk(objects.temporary, call.bucket)
        try:
            sums = await receive(parts, call, path)
            kind = call.header("Content-Type")
            return await parts.on_disk(
                objects.adopt, call.bucket, key, path, kind, sums.digest, meta
            )
        finally:
            path.unlink(missing_ok=True)

    async def _delete(self, call: Call, key: str) -> web.StreamResponse:
        await self._parts.on_disk(self._parts.objects.delete, call.bucket, key)
        return web.Response(status=204)

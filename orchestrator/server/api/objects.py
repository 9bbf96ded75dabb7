"""Handlers of the storage side: objects and their copies, and the way to buckets and uploads."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from aiohttp import web

from orchestrator.server.api.buckets import BucketCalls, iso_time
from orchestrator.server.api.known_calls import COPY_SOURCE, Known, identify
from orchestrator.server.api.object_headers import (
    Conditions,
    headers_of,
    meta_of,
    overrides_of,
    span_of,
)
from orchestrator.server.api.uploads import (
    UploadCalls,
    find_upload,
    part_file,
    part_number,
    receive,
)
from orchestrator.server.faults.player import reset_connection
from orchestrator.server.http import xml
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import demand_length, read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import address, decode_path
from orchestrator.server.storage import keys
from orchestrator.server.storage.metadata import CHUNK
from orchestrator.server.storage.objects import copy_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from orchestrator.server.http.request import Call
    from orchestrator.server.parts import Parts
    from orchestrator.server.storage.metadata import Content, Sums


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
                reset_connection(call)
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


_SPAN = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class _Source:
    """An open object to copy."""

    bucket: str
    key: str
    file: BinaryIO
    content: Content


class CopyCalls:
    """Copies objects on this disk."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def copy(self, call: Call, key: str) -> web.StreamResponse:
        """Store a copy of an object under another key, or the same one with other metadata."""
        await self._demand_no_body(call)
        if key.endswith("/"):
            raise Refusal("InvalidArgument", "A key that ends in / is a folder, not a copy.")
        is_replaced = _is_replaced(call)
        objects = self._parts.objects
        await self._parts.on_disk(objects.check_place, call.bucket, key)
        async with self._source(call) as source:
            if (source.bucket, source.key) == (call.bucket, key) and not is_replaced:
                raise Refusal(
                    "InvalidRequest",
                    "Source and target are the same object: only x-cos-metadata-directive: "
                    "Replaced changes anything there.",
                )
            if source.content.size > self._parts.settings.max_object_bytes:
                raise Refusal("EntityTooLarge", "The source is too large for one copy: copy parts.")
            path = await self._parts.on_disk(objects.temporary, call.bucket)
            try:
                sums = await self._parts.on_disk(_copy, source, path, 0, source.content.size)
                kind, meta = source.content.content_type, source.content.meta
                if is_replaced:
                    kind, meta = call.header("Content-Type"), meta_of(call)
                stored = await self._parts.on_disk(
                    objects.adopt, call.bucket, key, path, kind, sums.digest, meta
                )
            finally:
                path.unlink(missing_ok=True)
        return _answer("CopyObjectResult", stored.etag, stored.crc64, stored.modified_at)

    async def copy_part(self, call: Call, key: str) -> web.StreamResponse:
        """Store a range of an object as a part of an upload."""
        await self._demand_no_body(call)
        number = part_number(call)
        upload = await find_upload(self._parts, call, key)
        async with self._source(call) as source:
            first, length = _span(call.header(f"{COPY_SOURCE}-range"), source.content.size)
            async with part_file(self._parts, upload) as path:
                sums = await self._parts.on_disk(_copy, source, path, first, length)
                part = await self._parts.on_disk(
                    self._parts.uploads.add, upload, number, path, sums, call.now
                )
        return _answer("CopyPartResult", f'"{part.md5}"', part.crc64, part.stored_at)

    async def _demand_no_body(self, call: Call) -> None:
        """Refuse a body: it would be lost, since the content is that of the source."""
        if call.request.can_read_body and await read_body(call, self._parts.settings):
            raise Refusal("InvalidRequest", "A copy has no body: leave out the body or the source.")

    @contextlib.asynccontextmanager
    async def _source(self, call: Call) -> AsyncIterator[_Source]:
        """Open the source of a copy, if the caller may read it and its conditions hold."""
        bucket, key = self._named_source(call)
        demand(call, bucket, write=False)
        keys.check(key)
        file, content = await self._parts.on_disk(self._parts.objects.open, bucket, key)
        if file is None:
            raise Refusal("InvalidArgument", "The source is a folder; a folder cannot be copied.")
        with file:
            if Conditions.of(call, f"{COPY_SOURCE}-").check(content):
                raise Refusal("PreconditionFailed", "The source has not changed.")
            yield _Source(bucket, key, file, content)

    def _named_source(self, call: Call) -> tuple[str, str]:
        text = call.header(COPY_SOURCE)
        host, slash, raw_key = text.partition("/")
        found = address(host, "", "")
        if not slash or not found.bucket or found.service == "ci":
            raise Refusal(
                "InvalidArgument",
                f"{COPY_SOURCE} is {text[:200]!r}; write "
                "<bucket>.cos.<region>.myqcloud.com/<key>, percent-encoded.",
            )
        if "?" in raw_key:
            raise Refusal("NotImplemented", "Versions are not part of this service: name the key.")
        return found.bucket, decode_path(f"/{raw_key}")[1:]


def _copy(source: _Source, path: Path, first: int, length: int) -> Sums:
    with path.open("xb") as target:
        return copy_span(source.file, target, first, length)


def _is_replaced(call: Call) -> bool:
    directive = call.header("x-cos-metadata-directive") or "Copy"
    if directive.lower() not in {"copy", "replaced"}:
        raise Refusal("InvalidArgument", "x-cos-metadata-directive must be Copy or Replaced.")
    return directive.lower() == "replaced"


def _span(header: str, size: int) -> tuple[int, int]:
    """Return the first byte and the length of the range to copy; no header: all of it."""
    if not header:
        return 0, size
    match = _SPAN.fullmatch(header)
    if match is None:
        raise Refusal("InvalidArgument", f"{COPY_SOURCE}-range must be bytes=<first>-<last>.")
    first, last = int(match[1]), int(match[2])
    if not first <= last < size:
        raise Refusal("InvalidRange", f"The range is outside the source's {size} bytes.")
    return first, last - first + 1


def _answer(name: str, etag: str, crc64: str, stored_at: float) -> web.Response:
    tree = {"ETag": etag, "CRC64": crc64, "LastModified": iso_time(stored_at)}
    return web.Response(
        body=xml.document(name, tree),
        content_type="application/xml",
        headers={"x-cos-hash-crc64ecma": crc64},
    )

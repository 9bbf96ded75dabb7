"""Handlers of the storage side: bucket listing and objects."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import quote

from aiohttp import web

from orchestrator.server.api.known_calls import demand_known
from orchestrator.server.faults import effects
from orchestrator.server.http import xml
from orchestrator.server.http.auth import demand
from orchestrator.server.http.body import pieces, read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage import keys, listing
from orchestrator.server.storage.metadata import CHUNK, Content, Sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.parts import Parts

T = TypeVar("T")
MAX_KEYS = 1000  # the vendor's largest page
HASHING_BUDGET_S = 2.0
"""Time to hash the new files of a page; then the page ends early, as ``max-keys`` allows."""

_KEPT_HEADERS = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Expires",
)
_OVERRIDES = frozenset(f"response-{name.lower()}" for name in ("Content-Type", *_KEPT_HEADERS))
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
MAX_META_BYTES = 2048  # the vendor's limit for x-cos-meta-*


class ObjectCalls:
    """Lists, reads, stores and deletes objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._folders = listing.Folders()
        self._listing = asyncio.Lock()  # listings share their blocks, so they take turns

    async def answer(self, call: Call) -> web.StreamResponse:
        """Route by method and path."""
        if not call.bucket:
            raise Refusal(
                "InvalidBucketName",
                "The Host header names no bucket, and this service has no default bucket.",
            )
        demand(call, call.bucket, write=call.method not in {"GET", "HEAD"})
        key = call.path[1:]
        demand_known(call, bucket=not key)
        if not key:
            return await self._bucket(call)
        handlers = {"GET": self._get, "HEAD": self._get, "PUT": self._put, "DELETE": self._delete}
        handler = handlers.get(call.method)
        if handler is None:
            raise Refusal(
                "MethodNotAllowed", f"{call.method} is not a call of the storage service here."
            )
        return await handler(call, key)

    async def _on_disk(self, act: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._parts.disk, act, *arguments)

    # --- the bucket ---

    async def _bucket(self, call: Call) -> web.StreamResponse:
        if call.method == "GET":
            return await self._list(call)
        if call.method == "HEAD":
            self._parts.objects.folder(call.bucket)
            return web.Response()
        if call.method == "PUT":
            folder = self._parts.objects.folder(call.bucket, must_exist=False)
            folder.mkdir(parents=True, exist_ok=True)
            return web.Response()
        raise Refusal("NotImplemented", f"{call.method} on a bucket is not part of this service.")

    async def _list(self, call: Call) -> web.StreamResponse:
        encoding = call.param("encoding-type")
        if encoding not in {"", "url"}:
            raise Refusal("InvalidArgument", "encoding-type can only be url.")
        size = call.number("max-keys", MAX_KEYS, 0, 999_999_999)
        prefix, delimiter, marker = (call.param(name) for name in ("prefix", "delimiter", "marker"))
        size = min(size, MAX_KEYS)
        async with self._listing:
            page, contents = await self._on_disk(
                self._page, call.bucket, prefix, delimiter, marker, size
            )
        write = (lambda text: quote(text, safe="/-_.~")) if encoding else xml.clean
        tree: dict[str, Tree] = {"Name": call.bucket}
        if encoding:
            tree["EncodingType"] = encoding
        tree |= {
            "Prefix": write(prefix),
            "Marker": write(marker),
            "MaxKeys": str(size),
        }
        if delimiter:
            tree["Delimiter"] = write(delimiter)
        tree["IsTruncated"] = "true" if page.truncated else "false"
        if page.truncated:
            tree["NextMarker"] = write(page.last.decode())
        tree["CommonPrefixes"] = [{"Prefix": write(found.decode())} for found in page.prefixes]
        owner = call.bucket.rpartition("-")[2]
        tree["Contents"] = [_entry(write(key), content, owner) for key, content in contents]
        body = xml.document("ListBucketResult", tree)
        return web.Response(
            body=body, content_type="application/xml", headers={"x-cos-bucket-region": call.region}
        )

    def _page(
        self, bucket: str, prefix: str, delimiter: str, marker: str, size: int
    ) -> tuple[listing.Page, list[tuple[str, Content]]]:
        folder = self._parts.objects.folder(bucket)
        page = listing.page(
            self._folders, folder, prefix.encode(), delimiter.encode(), marker.encode(), size
        )
        contents: list[tuple[str, Content]] = []
        started = self._parts.clock.monotonic()
        for described in self._parts.objects.describe(
            bucket, [(raw.decode(), path) for raw, path in page.files]
        ):
            contents.append(described)
            last = described[0].encode()
            elapsed_s = self._parts.clock.monotonic() - started
            if elapsed_s > HASHING_BUDGET_S and last != page.last:
                earlier = [found for found in page.prefixes if found <= last]
                return listing.Page(page.files, earlier, truncated=True, last=last), contents
        return page, contents

    # --- objects ---

    async def _get(self, call: Call, key: str) -> web.StreamResponse:
        file, content = await self._on_disk(self._parts.objects.open, call.bucket, key)
        try:
            headers = _headers(content)
            if _is_not_modified(call, content):
                return web.Response(status=304, headers={"ETag": content.etag})
            headers |= _overrides(call)
            span = _range(call.header("Range"), content.size) if call.method == "GET" else None
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
            data = await self._on_disk(file.read, min(CHUNK, length))
            if not data:
                raise ConnectionResetError("The file was shortened while it was sent.")
            await response.write(data)
            length -= len(data)

    async def _put(self, call: Call, key: str) -> web.StreamResponse:
        keys.check(key)
        if call.header("x-cos-copy-source"):
            raise Refusal("NotImplemented", "Copying objects is not part of this service.")
        length = call.request.content_length
        if length is None and call.header("Transfer-Encoding").lower() != "chunked":
            raise Refusal("MissingContentLength", "PUT needs a Content-Length.")
        if (length or 0) > self._parts.settings.max_object_bytes:
            raise Refusal(
                "EntityTooLarge",
                f"An object may have {self._parts.settings.max_object_bytes} bytes here.",
            )
        meta = _meta(call)
        if key.endswith("/"):
            if await read_body(call, self._parts.settings):
                raise Refusal(
                    "InvalidArgument",
                    "A key that ends in / is a folder here and has no body: leave out the last /.",
                )
            content = await self._on_disk(self._parts.objects.make_folder, call.bucket, key)
        else:
            content = await self._store(call, key, meta)
        return web.Response(headers={"ETag": content.etag, "x-cos-hash-crc64ecma": content.crc64})

    async def _store(self, call: Call, key: str, meta: dict[str, str]) -> Content:
        objects = self._parts.objects
        path = await self._on_disk(objects.temporary, call.bucket)
        sums = Sums()
        try:
            with path.open("wb") as file:
                async for data in pieces(call, self._parts.settings):
                    await self._on_disk(_take, file, sums, data)
            _check_md5(call.header("Content-MD5"), sums.md5)
            return await self._on_disk(
                objects.adopt, call.bucket, key, path, call.header("Content-Type"), sums, meta
            )
        finally:
            path.unlink(missing_ok=True)

    async def _delete(self, call: Call, key: str) -> web.StreamResponse:
        await self._on_disk(self._parts.objects.delete, call.bucket, key)
        return web.Response(status=204)


def _take(file: BinaryIO, sums: Sums, data: bytes) -> None:
    file.write(data)
    sums.add(data)


def _entry(key: str, content: Content, owner: str) -> dict[str, Tree]:
    modified = datetime.fromtimestamp(int(content.modified_at), UTC)
    return {
        "Key": key,
        "LastModified": modified.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "ETag": content.etag,
        "Size": str(content.size),
        "Owner": {"ID": owner, "DisplayName": owner},
        "StorageClass": "STANDARD",
    }


def _headers(content: Content) -> dict[str, str]:
    return {
        "Content-Type": content.content_type,
        "ETag": content.etag,
        "Last-Modified": formatdate(int(content.modified_at), usegmt=True),
        "Accept-Ranges": "bytes",
        "x-cos-hash-crc64ecma": content.crc64,
        **(content.meta or {}),
    }


def _meta(call: Call) -> dict[str, str]:
    """Return the headers that are stored with an object."""
    kept = {name: call.header(name) for name in _KEPT_HEADERS if call.header(name)}
    own = {
        name.lower(): value
        for name, value in call.request.headers.items()
        if name.lower().startswith("x-cos-meta-")
    }
    if sum(len(name) + len(value) for name, value in own.items()) > MAX_META_BYTES:
        raise Refusal(
            "InvalidArgument", f"The x-cos-meta- headers have more than {MAX_META_BYTES} bytes."
        )
    return kept | own


def _check_md5(header: str, md5: bytes) -> None:
    if not header:
        return
    try:
        expected = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    if len(expected) != 16:  # an MD5 has 16 bytes
        raise Refusal("InvalidDigest", "Content-MD5 is not the Base64 form of 16 bytes.")
    if expected != md5:
        raise Refusal("BadDigest", "Content-MD5 does not match the body that arrived.")


def _overrides(call: Call) -> dict[str, str]:
    """Return the headers that the ``response-...`` parameters ask for."""
    wanted = {
        name.removeprefix("response-").title(): value
        for name, value in call.query
        if name in _OVERRIDES and value
    }
    if any(not value.isprintable() for value in wanted.values()):
        raise Refusal("InvalidArgument", "A response-... parameter has control characters.")
    return wanted


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a single range; HTTP demands that others are ignored."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, last = max(size - int(match[2]), 0), size - 1
        unsatisfiable = int(match[2]) == 0 or size == 0
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
        unsatisfiable = first >= size
    if unsatisfiable:
        raise Refusal(
            "InvalidRange",
            f"The range is outside the object's {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return first, last


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}


def _instant(header: str) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except (ValueError, TypeError):
        return None


def _is_not_modified(call: Call, content: Content) -> bool:
    """Return True if the answer is 304.

    Raises:
        Refusal: ``PreconditionFailed``.
    """
    modified = int(content.modified_at)
    match, none_match = call.header("If-Match"), call.header("If-None-Match")
    unmodified_since, modified_since = (
        _instant(call.header("If-Unmodified-Since")),
        _instant(call.header("If-Modified-Since")),
    )
    if match:
        if not _tags(match) & {content.md5, "*"}:
            raise Refusal("PreconditionFailed", "The object's ETag is not that of If-Match.")
    elif unmodified_since is not None and modified > unmodified_since:
        raise Refusal("PreconditionFailed", "The object was modified after If-Unmodified-Since.")
    if none_match:
        return bool(_tags(none_match) & {content.md5, "*"})
    return modified_since is not None and modified <= modified_since

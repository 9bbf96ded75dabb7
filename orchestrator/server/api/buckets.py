"""Handlers of calls on a bucket: its listing, its existence, and the deletion of many objects."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from orchestrator.server.http import xml
from orchestrator.server.http.body import read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage import listing

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.parts import Parts
    from orchestrator.server.storage.metadata import Content

MAX_KEYS = 1000  # the vendor's largest page, and its most keys of one deletion
MAX_DELETE_BYTES = 2 << 20  # the vendor's limit of such a body
HASHING_BUDGET_S = 2.0
"""Time to hash the new files of a page; then the page ends early, as ``max-keys`` allows."""


def writer_of(call: Call) -> Callable[[str], str]:
    """Return the function that writes keys: encoded if ``encoding-type`` says so.

    Raises:
        Refusal: ``InvalidArgument`` for any other encoding.
    """
    encoding = call.param("encoding-type")
    if encoding not in {"", "url"}:
        raise Refusal("InvalidArgument", "encoding-type can only be url.")
    return (lambda text: quote(text, safe="/-_.~")) if encoding else xml.clean


def iso_time(instant: float) -> str:
    """Return ``2020-12-10T03:37:30.000Z``."""
    return datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def owner_of(bucket: str) -> dict[str, Tree]:
    """Return the owner of everything in a bucket: the account in its name."""
    owner = bucket.rpartition("-")[2]
    return {"ID": owner, "DisplayName": owner}


class BucketCalls:
    """Lists a bucket, looks for it, makes it, and deletes many of its objects."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._folders = listing.Folders()
        self._listing = asyncio.Lock()  # listings share their blocks, so they take turns

    async def head(self, call: Call, _key: str) -> web.StreamResponse:
        """Answer 200 if the bucket exists."""
        self._parts.objects.folder(call.bucket)
        return web.Response()

    async def make(self, call: Call, _key: str) -> web.StreamResponse:
        """Make a bucket; one that exists is not an error, because its owner is the same."""
        await self._parts.on_disk(self._parts.objects.make_bucket, call.bucket)
        return web.Response()

    async def list_keys(self, call: Call, _key: str) -> web.StreamResponse:
        """Answer one page of the keys."""
        encoding = call.param("encoding-type")
        write = writer_of(call)
        size = call.number("max-keys", MAX_KEYS, 0, 999_999_999)
        prefix, delimiter, marker = (call.param(name) for name in ("prefix", "delimiter", "marker"))
        size = min(size, MAX_KEYS)
        async with self._listing:
            page, contents = await self._parts.on_disk(
                self._page, call.bucket, prefix, delimiter, marker, size
            )
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
        owner = owner_of(call.bucket)
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

    async def delete_many(self, call: Call, _key: str) -> web.StreamResponse:
        """Delete up to 1000 objects; a key that cannot be deleted is answered with its error."""
        body = await read_body(call, self._parts.settings, MAX_DELETE_BYTES)
        wanted, is_quiet = _read_delete(body)
        self._parts.objects.folder(call.bucket)
        faults = await self._parts.on_disk(self._delete_all, call.bucket, wanted)
        tree: dict[str, Tree] = {}
        if not is_quiet:
            tree["Deleted"] = [{"Key": xml.clean(key)} for key in wanted if key not in faults]
        tree["Error"] = [
            {"Key": xml.clean(key), "Code": fault.code, "Message": xml.clean(fault.message)}
            for key, fault in faults.items()
        ]
        return web.Response(body=xml.document("DeleteResult", tree), content_type="application/xml")

    def _delete_all(self, bucket: str, wanted: list[str]) -> dict[str, Refusal]:
        faults: dict[str, Refusal] = {}
        for key in wanted:
            try:
                self._parts.objects.delete(bucket, key)
            except Refusal as refusal:
                faults[key] = refusal
            except OSError as error:
                faults[key] = Refusal("InternalError", error.strerror or str(error))
        return faults


def _read_delete(body: bytes) -> tuple[list[str], bool]:
    """Return the keys of a deletion, and whether only errors shall be answered.

    Raises:
        Refusal: ``MalformedXML``; ``NotImplemented`` for a version of an object.
    """
    root = xml.read(body, max_nodes=3 * MAX_KEYS + 10)
    objects = root.findall("Object")
    if root.tag != "Delete" or not 1 <= len(objects) <= MAX_KEYS:
        raise Refusal(
            "MalformedXML", f"The body must be <Delete> with 1 to {MAX_KEYS} <Object> elements."
        )
    if any(xml.value(node, "VersionId") for node in objects):
        raise Refusal("NotImplemented", "Versions are not part of this service: name keys only.")
    keys = [xml.text(node, "Key") for node in objects]
    if not all(keys):
        raise Refusal("MalformedXML", "Each <Object> needs a <Key>.")
    quiet = xml.value(root, "Quiet").lower()
    if quiet not in {"", "true", "false"}:
        raise Refusal("MalformedXML", "Quiet must be true or false.")
    return list(dict.fromkeys(keys)), quiet == "true"


def _entry(key: str, content: Content, owner: Tree) -> dict[str, Tree]:
    return {
        "Key": key,
        "LastModified": iso_time(content.modified_at),
        "ETag": content.etag,
        "Size": str(content.size),
        "Owner": owner,
        "StorageClass": "STANDARD",
    }

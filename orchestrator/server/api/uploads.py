"""Handlers of multipart uploads, and the receipt of the body of a part or of an object."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, BinaryIO
from weakref import WeakValueDictionary

from aiohttp import web

from orchestrator.server.api.buckets import MAX_KEYS, iso_time, owner_of, writer_of
from orchestrator.server.api.object_headers import meta_of
from orchestrator.server.http import xml
from orchestrator.server.http.body import check_md5, demand_length, pieces, read_body
from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage.metadata import Sums
from orchestrator.server.storage.multipart import MAX_PARTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.server.http.request import Call
    from orchestrator.server.http.xml import Tree
    from orchestrator.server.parts import Parts
    from orchestrator.server.storage.multipart import Upload


_MAX_COMPLETE_BYTES = 4 << 20  # 10,000 parts with every quote of their ETags escaped have 1.3 MB


def part_number(call: Call) -> int:
    """Return the number of a part.

    Raises:
        Refusal: ``InvalidArgument`` if it is missing or out of bounds.
    """
    number = call.number("partNumber", 0, 1, MAX_PARTS)
    if not number:
        raise Refusal("InvalidArgument", f"partNumber must be a number from 1 to {MAX_PARTS}.")
    return number


async def find_upload(parts: Parts, call: Call, key: str) -> Upload:
    """Return the upload that a call names.

    Raises:
        Refusal: ``NoSuchUpload``, ``NoSuchBucket``.
    """
    return await parts.on_disk(parts.uploads.find, call.bucket, key, call.param("uploadId"))


@contextlib.asynccontextmanager
async def part_file(parts: Parts, upload: Upload) -> AsyncIterator[Path]:
    """Yield a new path for the bytes of a part; if they are not stored, nothing stays of it.

    Raises:
        Refusal: ``NoSuchUpload`` if the upload ended meanwhile.
    """
    path = await parts.on_disk(parts.uploads.new_file, upload)
    try:
        yield path
    except OSError:
        parts.uploads.drop(upload, path)  # a file in the folder of an aborted upload
        raise
    except BaseException:
        with contextlib.suppress(Refusal):
            parts.uploads.drop(upload, path)
        raise


class UploadCalls:
    """Starts uploads, stores and lists their parts, completes and aborts them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._uploads = parts.uploads
        self._completing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self, call: Call, key: str) -> web.StreamResponse:
        """Start an upload."""
        upload_id = await self._parts.on_disk(
            self._uploads.start,
            *(call.bucket, key, call.header("Content-Type"), meta_of(call), call.now),
        )
        tree = {"Bucket": call.bucket, "Key": xml.clean(key), "UploadId": upload_id}
        return _answer("InitiateMultipartUploadResult", tree)

    async def put_part(self, call: Call, key: str) -> web.StreamResponse:
        """Store a part."""
        number = part_number(call)
        upload = await find_upload(self._parts, call, key)
        demand_length(call, self._parts.settings)
        async with part_file(self._parts, upload) as path:
            sums = await receive(self._parts, call, path)
            part = await self._parts.on_disk(
                self._uploads.add, upload, number, path, sums, call.now
            )
        return web.Response(headers={"ETag": f'"{part.md5}"', "x-cos-hash-crc64ecma": part.crc64})

    async def list_parts(self, call: Call, key: str) -> web.StreamResponse:
        """Answer one page of the stored parts."""
        write = writer_of(call)
        after = call.number("part-number-marker", 0, 0, 999_999_999)
        size = call.number("max-parts", MAX_KEYS, 1, MAX_KEYS)
        upload = await find_upload(self._parts, call, key)
        found = await self._parts.on_disk(self._uploads.parts, upload, after, size + 1)
        page, owner = found[:size], owner_of(call.bucket)
        tree: dict[str, Tree] = {"Bucket": call.bucket}
        if call.param("encoding-type"):
            tree["EncodingType"] = call.param("encoding-type")
        tree |= {
            "Key": write(key),
            "UploadId": upload.upload_id,
            "Initiator": owner,
            "Owner": owner,
            "PartNumberMarker": str(after),
            "Part": [
                {
                    "PartNumber": str(part.number),
                    "LastModified": iso_time(part.stored_at),
                    "ETag": f'"{part.md5}"',
                    "Size": str(part.size),
                }
                for part in page
            ],
            "StorageClass": "STANDARD",
            "MaxParts": str(size),
            "IsTruncated": "true" if len(found) > size else "false",
        }
        if len(found) > size:
            tree["NextPartNumberMarker"] = str(page[-1].number)
        return _answer("ListPartsResult", tree)

    async def complete(self, call: Call, key: str) -> web.StreamResponse:
        """Make one object of the parts that the body names."""
        upload_id = call.param("uploadId")
        wanted = _read_parts(await read_body(call, self._parts.settings, _MAX_COMPLETE_BYTES))
        # A client may repeat the call while the first one, whose answer it missed, still works.
        async with self._completing.setdefault(upload_id, asyncio.Lock()):
            content = await self._parts.on_disk(
                self._uploads.complete, call.bucket, key, upload_id, wanted, call.now
            )
        tree = {
            "Location": f"http://{xml.clean(call.host)}{xml.clean(call.path)}",
            "Bucket": call.bucket,
            "Key": xml.clean(key),
            "ETag": content.etag,
        }
        response = _answer("CompleteMultipartUploadResult", tree)
        response.headers["x-cos-hash-crc64ecma"] = content.crc64
        return response

    async def abort(self, call: Call, key: str) -> web.StreamResponse:
        """Delete an upload and its parts."""
        upload = await find_upload(self._parts, call, key)
        await self._parts.on_disk(self._uploads.abort, upload)
        return web.Response(status=204)

    async def list_open(self, call: Call, _key: str) -> web.StreamResponse:
        """Answer one page of the open uploads of a bucket."""
        write = writer_of(call)
        size = call.number("max-uploads", MAX_KEYS, 1, MAX_KEYS)
        prefix, delimiter = call.param("prefix"), call.param("delimiter")
        marker = call.param("key-marker"), call.param("upload-id-marker")
        page = await self._parts.on_disk(
            self._uploads.page, call.bucket, prefix, delimiter, marker, size
        )
        tree: dict[str, Tree] = {"Bucket": call.bucket}
        if call.param("encoding-type"):
            tree["Encoding-Type"] = call.param("encoding-type")
        tree |= {"KeyMarker": write(marker[0]), "UploadIdMarker": marker[1]}
        if page.last is not None:
            tree |= {"NextKeyMarker": write(page.last[0]), "NextUploadIdMarker": page.last[1]}
        tree |= {"MaxUploads": str(size), "Prefix": write(prefix)}
        if delimiter:
            tree["Delimiter"] = write(delimiter)
        tree["IsTruncated"] = "true" if page.last is not None else "false"
        owner = owner_of(call.bucket)
        tree["Upload"] = [
            {
                "Key": write(upload.key),
                "UploadId": upload.upload_id,
                "StorageClass": "STANDARD",
                "Initiator": owner,
                "Owner": owner,
                "Initiated": iso_time(upload.started_at),
            }
            for upload in page.uploads
        ]
        tree["CommonPrefixes"] = [{"Prefix": write(found)} for found in page.prefixes]
        return _answer("ListMultipartUploadsResult", tree)


def _answer(name: str, tree: Tree) -> web.Response:
    return web.Response(body=xml.document(name, tree), content_type="application/xml")


def _read_parts(body: bytes) -> list[tuple[int, str]]:
    """Return number and ETag (without quotes) of the parts that a completion names.

    Raises:
        Refusal: ``MalformedXML``.
    """
    root = xml.read(body, max_nodes=3 * MAX_PARTS + 10)
    nodes = root.findall("Part")
    if root.tag != "CompleteMultipartUpload" or not 1 <= len(nodes) <= MAX_PARTS:
        raise Refusal(
            "MalformedXML",
            f"The body must be <CompleteMultipartUpload> with 1 to {MAX_PARTS} <Part> elements.",
        )
    parts = []
    for node in nodes:
        number, tag = xml.value(node, "PartNumber"), xml.value(node, "ETag").strip('"')
        if not (number.isascii() and number.isdigit() and len(number) < 6 and tag):
            raise Refusal("MalformedXML", "Each <Part> needs a <PartNumber> and an <ETag>.")
        parts.append((int(number), tag))
    return parts


async def receive(parts: Parts, call: Call, path: Path) -> Sums:
    """Write the body to a new file, and check it against ``Content-MD5``.

    Raises:
        Refusal: The body is too large, cut, late, or not what ``Content-MD5`` says.
    """
    sums = Sums()
    with path.open("xb") as file:
        async for data in pieces(call, parts.settings):
            await parts.on_disk(_take, file, sums, data)
    check_md5(call.header("Content-MD5"), sums.md5)
    return sums


def _take(file: BinaryIO, sums: Sums, data: bytes) -> None:
    file.write(data)
    sums.add(data)

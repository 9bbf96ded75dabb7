"""Answers of COS about objects (pages "GET Bucket", "HEAD Object"), as values."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from orchestrator.client.wire.reply import instant
from orchestrator.client.wire.xml import parse, text_of
from orchestrator.domain.remote import ListedObject, ObjectHead, ObjectPage
from orchestrator.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping


def object_page(raw: bytes) -> ObjectPage:
    """Return one page of a listing, keys decoded.

    ``NextMarker`` is the last key of a truncated page; if it is missing, the last listed key is
    the marker.

    Raises:
        ProtocolError: If the answer cannot be read, or there is more but no marker.
    """
    root = parse(raw)
    if root.tag != "ListBucketResult":
        raise ProtocolError(
            f"The service answered <{root.tag[:100]}> instead of <ListBucketResult>.", raw
        )
    encoded = text_of(root, "EncodingType").strip().lower() == "url"

    def key(text: str) -> str:
        # A key that is not UTF-8 keeps its bytes: it can be refused alone, and be a marker.
        return unquote(text, errors="surrogateescape") if encoded else text

    try:
        objects = tuple(
            ListedObject(
                key(text_of(node, "Key")),
                int(text_of(node, "Size") or 0),
                text_of(node, "ETag").strip().strip('"'),
                instant(text_of(node, "LastModified")),
            )
            for node in root.findall("Contents")
        )
        marker = key(text_of(root, "NextMarker"))
    except ValueError as error:
        raise ProtocolError(
            f"The listing holds a value that cannot be read: {error}.", raw
        ) from error
    if text_of(root, "IsTruncated").strip().lower() != "true":
        return ObjectPage(objects)
    marker = marker or (objects[-1].key if objects else "")
    if not marker:
        raise ProtocolError("The listing is truncated, but names no marker to continue from.", raw)
    return ObjectPage(objects, marker)


def object_head(headers: Mapping[str, str]) -> ObjectHead:
    """Return the properties of an object from the headers of a HEAD answer.

    Raises:
        ProtocolError: If the length is not a number.
    """
    length = headers.get("Content-Length", "0")
    if not length.isdecimal():
        raise ProtocolError(f"The object's length is given as {length[:40]!r}.")
    return ObjectHead(
        size_bytes=int(length),
        etag=headers.get("ETag", "").strip().strip('"'),
        content_type=headers.get("Content-Type", ""),
        modified_at=http_date(headers.get("Last-Modified", "")),
        crc64=headers.get("x-cos-hash-crc64ecma", ""),
    )


@lru_cache(maxsize=1024)  # the stems of one second have the same times
def http_date(text: str) -> float | None:
    """Return the seconds since the epoch of an HTTP date, or None if it is not valid."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None

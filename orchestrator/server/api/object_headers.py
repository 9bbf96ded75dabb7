"""Headers of objects: what is kept, what is answered, ranges and conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.server.http.request import Call
    from orchestrator.server.storage.metadata import Content

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


def headers_of(content: Content) -> dict[str, str]:
    """Return the headers that describe an object."""
    return {
        "Content-Type": content.content_type,
        "ETag": content.etag,
        "Last-Modified": formatdate(int(content.modified_at), usegmt=True),
        "Accept-Ranges": "bytes",
        "x-cos-hash-crc64ecma": content.crc64,
        **(content.meta or {}),
    }


def meta_of(call: Call) -> dict[str, str]:
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


def overrides_of(call: Call) -> dict[str, str]:
    """Return the headers that the ``response-...`` parameters ask for."""
    wanted = {
        name.removeprefix("response-").title(): value
        for name, value in call.query
        if name in _OVERRIDES and value
    }
    if any(not value.isprintable() for value in wanted.values()):
        raise Refusal("InvalidArgument", "A response-... parameter has control characters.")
    return wanted


def span_of(header: str, size: int) -> tuple[int, int] | None:
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


@dataclass(frozen=True, slots=True)
class Conditions:
    """The four conditions of a request; an empty text demands nothing."""

    match: str
    none_match: str
    modified_since: str
    unmodified_since: str

    @classmethod
    def of(cls, call: Call, prefix: str = "") -> Conditions:
        """Read the headers ``If-Match`` and so on, or those with a prefix."""
        names = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
        return cls(*(call.header(prefix + name) for name in names))

    def check(self, content: Content) -> bool:
        """Return True if the object is what the client has already.

        Raises:
            Refusal: ``PreconditionFailed``.
        """
        modified = int(content.modified_at)
        unmodified_since, modified_since = (
            _instant(self.unmodified_since),
            _instant(self.modified_since),
        )
        if self.match:
            if not _tags(self.match) & {content.tag, "*"}:
                raise Refusal("PreconditionFailed", "The object's ETag is not that of If-Match.")
        elif unmodified_since is not None and modified > unmodified_since:
            raise Refusal(
                "PreconditionFailed", "The object was modified after If-Unmodified-Since."
            )
        if self.none_match:
            return bool(_tags(self.none_match) & {content.tag, "*"})
        return modified_since is not None and modified <= modified_since

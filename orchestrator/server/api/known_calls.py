"""Storage calls that the service knows, each with its query parameters and headers.

The root is the user's own folder of media. A parameter that is ignored can turn a harmless call,
such as setting the retention of an object, into one that replaces or deletes a file. So a call is
known only by all of its names: a request with any other one is refused before anything is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.server.http.request import Call

COPY_SOURCE = "x-cos-copy-source"


class Known(StrEnum):
    """The storage calls of this service."""

    LIST = "list"
    HEAD_BUCKET = "head bucket"
    MAKE_BUCKET = "make bucket"
    DELETE_MANY = "delete many"
    LIST_UPLOADS = "list uploads"
    GET = "get"
    HEAD = "head"
    PUT = "put"
    COPY = "copy"
    DELETE = "delete"
    START_UPLOAD = "start upload"
    PUT_PART = "put part"
    COPY_PART = "copy part"
    LIST_PARTS = "list parts"
    COMPLETE = "complete"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of one call, in lower case.

    Attributes:
        method: Its method.
        on_bucket: It addresses the bucket, not an object.
        marks: Parameters that make it this call.
        parameters: Parameters that it may have besides.
        headers: ``x-cos-`` and conditional headers that it may have, if it writes.
    """

    method: str
    on_bucket: bool
    marks: frozenset[str] = frozenset()
    parameters: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PAGE = "prefix delimiter encoding-type "
_OVERRIDES = _set(
    "response-content-type response-cache-control response-content-disposition "
    "response-content-encoding response-content-language response-expires"
)
_SAFE_HEADERS = _set("x-cos-security-token x-cos-sdk-retry")  # they change nothing about a call
_STORE = _set("x-cos-acl x-cos-storage-class")
_IF_SOURCE = _set(
    f"{COPY_SOURCE} {COPY_SOURCE}-if-match {COPY_SOURCE}-if-none-match "
    f"{COPY_SOURCE}-if-modified-since {COPY_SOURCE}-if-unmodified-since"
)
_UPLOAD_ID = _set("uploadid")
_PART = _set("uploadid partnumber")

_CALLS: dict[Known, _Names] = {
    Known.LIST: _Names("GET", True, parameters=_set(_PAGE + "marker max-keys")),
    Known.LIST_UPLOADS: _Names(
        "GET", True, _set("uploads"), _set(_PAGE + "key-marker upload-id-marker max-uploads")
    ),
    Known.HEAD_BUCKET: _Names("HEAD", True),
    Known.MAKE_BUCKET: _Names("PUT", True, headers=_set("x-cos-acl")),
    Known.DELETE_MANY: _Names("POST", True, _set("delete")),
    Known.GET: _Names("GET", False, parameters=_OVERRIDES),
    Known.HEAD: _Names("HEAD", False, parameters=_OVERRIDES),
    Known.PUT: _Names("PUT", False, headers=_STORE),
    Known.COPY: _Names(
        "PUT", False, headers=_STORE | _IF_SOURCE | _set("x-cos-metadata-directive")
    ),
    Known.DELETE: _Names("DELETE", False),
    Known.START_UPLOAD: _Names("POST", False, _set("uploads"), headers=_STORE),
    Known.PUT_PART: _Names("PUT", False, _PART),
    Known.COPY_PART: _Names("PUT", False, _PART, headers=_IF_SOURCE | {f"{COPY_SOURCE}-range"}),
    Known.LIST_PARTS: _Names(
        "GET", False, _UPLOAD_ID, _set("max-parts part-number-marker encoding-type")
    ),
    Known.COMPLETE: _Names("POST", False, _UPLOAD_ID),
    Known.ABORT: _Names("DELETE", False, _UPLOAD_ID),
}
_COPIES = {Known.PUT: Known.COPY, Known.PUT_PART: Known.COPY_PART}
_WITH_META = frozenset({Known.PUT, Known.COPY, Known.START_UPLOAD})
_READS = frozenset({"GET", "HEAD"})

_SIGNED = _set("sign x-cos-security-token")
_SIGNATURE_PREFIX = "q-"
_KNOWN_VALUES = {"x-cos-acl": {"default", "private"}, "x-cos-storage-class": {"STANDARD"}}
_CHANGES_A_WRITE = _set(
    "if-match if-none-match if-modified-since if-unmodified-since pic-operations"
)
_NEAREST = {
    "GET": "read an object with a simple GET, or list the bucket with prefix and delimiter",
    "HEAD": "ask for an object or a bucket with a simple HEAD",
    "PUT": "store an object with a simple PUT, or in parts",
    "POST": "upload an object in parts, or delete many with ?delete",
    "DELETE": "delete an object with a simple DELETE",
}


def identify(call: Call, *, on_bucket: bool) -> Known:
    """Return the call that a request is.

    Raises:
        Refusal: ``NotImplemented`` if it has a parameter or a header that its call does not know;
            ``MethodNotAllowed`` for a method that no call has; ``InvalidArgument`` if a parameter
            is there twice.
    """
    method = call.method
    if method not in _NEAREST:
        raise Refusal("MethodNotAllowed", f"{method[:20]} is not a method of the storage service.")
    given = [name.lower() for name, _ in call.query]
    own = {name for name in given if not _is_signature(name)}
    found = _by_parameters(method, own, on_bucket=on_bucket)
    if found is None:
        raise _unknown_parameters(method, own, on_bucket=on_bucket)
    if len(set(given)) != len(given):
        raise Refusal("InvalidArgument", "A query parameter is there twice.")
    if method in _READS:
        return found
    names = {name.lower(): value for name, value in call.request.headers.items()}
    if COPY_SOURCE in names:
        found = _COPIES.get(found, found)
    for name, value in names.items():
        if not _knows_header(found, name, value):
            raise Refusal(
                "NotImplemented",
                f"The header {name[:80]} with this value is not part of this service: "
                f"{_NEAREST[method]}.",
            )
    return found


def _is_signature(name: str) -> bool:
    return name in _SIGNED or name.startswith(_SIGNATURE_PREFIX)


def _by_parameters(method: str, own: set[str], *, on_bucket: bool) -> Known | None:
    for known, names in _CALLS.items():
        if (names.method, names.on_bucket) == (
            method,
            on_bucket,
        ) and names.marks <= own <= names.marks | names.parameters:
            return known
    return None


def _unknown_parameters(method: str, own: set[str], *, on_bucket: bool) -> Refusal:
    known = {
        name
        for names in _CALLS.values()
        if (names.method, names.on_bucket) == (method, on_bucket)
        for name in names.marks | names.parameters
    }
    strange = sorted(own - known) or sorted(own)
    what = f"?{strange[0][:80]}" if strange else f"{method} of {'a bucket' if on_bucket else 'it'}"
    return Refusal("NotImplemented", f"{what} is not part of this service: {_NEAREST[method]}.")


def _knows_header(known: Known, name: str, value: str) -> bool:
    if name in _CHANGES_A_WRITE:
        return False
    if not name.startswith("x-cos-") or name in _SAFE_HEADERS:
        return True
    if name.startswith("x-cos-meta-"):
        return known in _WITH_META
    if name not in _CALLS[known].headers:
        return False
    return name not in _KNOWN_VALUES or value in _KNOWN_VALUES[name]

"""Query parameters and headers that each storage call knows.

The root is the user's own folder of media. A parameter that is ignored can turn a harmless call,
such as setting the retention of an object, into one that replaces or deletes a file. So every
name that is not listed here is refused before anything is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from orchestrator.server.http.request import Call

_SIGNED = frozenset({"sign", "x-cos-security-token"})
_SIGNATURE_PREFIX = "q-"
_OVERRIDE_PREFIX = "response-"
_PAGING = frozenset({"prefix", "delimiter", "marker", "max-keys", "encoding-type"})
_KNOWN_HEADERS = frozenset({"x-cos-security-token"})
_COPY = "x-cos-copy-source"
_KNOWN_VALUES = {"x-cos-acl": {"default", "private"}, "x-cos-storage-class": {"STANDARD"}}
_KNOWN_PREFIX = "x-cos-meta-"
_CHANGES_A_WRITE = frozenset(
    {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "pic-operations"}
)
_NEAREST = {
    "GET": "read an object with a simple GET, or list the bucket with prefix and delimiter",
    "HEAD": "ask for an object or a bucket with a simple HEAD",
    "PUT": "store an object with one simple PUT",
    "DELETE": "delete an object with a simple DELETE",
}


def demand_known(call: Call, *, bucket: bool) -> None:
    """Refuse a storage call that has a parameter or a header unknown to it.

    Raises:
        Refusal: ``NotImplemented``.
    """
    nearest = _NEAREST.get(call.method, "store an object with one simple PUT")
    for name, _ in call.query:
        if not _knows_parameter(call.method, name.lower(), bucket=bucket):
            raise Refusal("NotImplemented", f"?{name[:80]} is not part of this service: {nearest}.")
    if call.method not in {"PUT", "DELETE"}:
        return
    is_store = call.method == "PUT" and not bucket  # it refuses a copy with a hint of its own
    for name, value in call.request.headers.items():
        is_known = is_store if name.lower() == _COPY else _knows_header(name.lower(), value)
        if not is_known:
            raise Refusal(
                "NotImplemented",
                f"The header {name[:80]} with this value is not part of this service: {nearest}.",
            )


def _knows_header(name: str, value: str) -> bool:
    if name in _CHANGES_A_WRITE:
        return False
    if not name.startswith("x-cos-") or name.startswith(_KNOWN_PREFIX):
        return True
    return name in _KNOWN_HEADERS or value in _KNOWN_VALUES.get(name, ())


def _knows_parameter(method: str, name: str, *, bucket: bool) -> bool:
    if name in _SIGNED or name.startswith(_SIGNATURE_PREFIX):
        return True
    if method == "GET" and bucket:
        return name in _PAGING
    return method in {"GET", "HEAD"} and not bucket and name.startswith(_OVERRIDE_PREFIX)

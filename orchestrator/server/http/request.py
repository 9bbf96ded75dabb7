"""One request, understood as far as its first line and its Host: service side, bucket, decoded path and query."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from orchestrator.domain import value_formats
from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.server.settings import KeyPair

BUCKET = value_formats.BUCKET

_HOST = re.compile(
    r"(?:(?P<bucket>[^.:/@]+)\.)?(?P<service>ci|cos|pic)\.(?P<region>[a-z0-9-]+)\.(?:myqcloud\.com|tencentcos\.cn)(?::[0-9]+)?",
    re.IGNORECASE,
)
_CI_ROOTS = frozenset({"jobs", "template", "queue", "asrqueue", "mediabucket", "asrbucket"})
_IDS = {
    "jobs": re.compile(r"j[0-9a-f]{32}(?:,j[0-9a-f]{32})*"),
    "template": re.compile(r"t[01][0-9a-f]{32}"),
}
_IDS["queue"] = _IDS["asrqueue"] = re.compile(r"p[0-9a-f]{32}")
MAX_QUERY_PARAMETERS = 200  # the longest documented list call has 10


@dataclass(slots=True)
class Call:
    """A request on its way through the service.

    Attributes:
        request: The HTTP request.
        method: Upper-case method.
        path: Decoded path, with its leading slash; slashes are never collapsed.
        query: Decoded parameters, in the order sent.
        host: The Host header as received.
        bucket: Bucket that the request is for, or empty.
        region: Region that the request is for.
        ci: It is for the job side (else for the storage side).
        request_id: Its id.
        now: When it came.
        key: Key pair that signed it, once verified.
        skew_s: How far the answer's Date is to be off (a fault).
        cut: Only half of the answer is to be sent (a fault).
    """

    request: web.BaseRequest
    method: str
    path: str
    query: list[tuple[str, str]]
    host: str
    bucket: str
    region: str
    ci: bool
    request_id: str
    now: float
    key: KeyPair | None = field(default=None, repr=False)
    skew_s: float = 0
    cut: bool = False

    def has(self, name: str) -> bool:
        """Whether the parameter is there, with or without a value."""
        return any(key.lower() == name.lower() for key, _ in self.query)

    def param(self, name: str, default: str = "") -> str:
        """A parameter's first value; an empty one counts as absent, because the vendor's clients send those."""
        for key, value in self.query:
            if key.lower() == name.lower() and value:
                return value
        return default

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds.

        Raises:
            Refusal: ``InvalidArgument`` if it is none.
        """
        text = self.param(name)
        if not text:
            return default
        if not (
            text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most
        ):
            raise Refusal(
                "InvalidArgument",
                f"{name} is {text[:40]!r}; it must be a whole number from {least} to {most}.",
            )
        return int(text)

    def header(self, name: str) -> str:
        """A header's value, or empty."""
        return self.request.headers.get(name, "")


def decode_path(raw: str) -> str:
    """The path of a request target, decoded once.

    Raises:
        Refusal: ``InvalidURI`` if it is not an absolute path in UTF-8.
    """
    path = raw.partition("?")[0]
    if not path.startswith("/"):
        raise Refusal("InvalidURI", "The request target must be an absolute path.")
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeError:
        raise Refusal("InvalidURI", "The path is not UTF-8 after percent-decoding.") from None


def _decode_form(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")


def decode_query(raw: str) -> list[tuple[str, str]]:
    """The parameters of a request target; ``+`` and ``%20`` are both a space, as in forms.

    Raises:
        Refusal: ``InvalidURI`` if they are not UTF-8, or too many.
    """
    text = raw.partition("?")[2]
    parts = [part for part in text.split("&") if part]
    if len(parts) > MAX_QUERY_PARAMETERS:
        raise Refusal(
            "InvalidURI", f"The request has more than {MAX_QUERY_PARAMETERS} query parameters."
        )
    try:
        return [
            (_decode_form(name), _decode_form(value))
            for name, _, value in (part.partition("=") for part in parts)
        ]
    except UnicodeError:
        raise Refusal("InvalidURI", "The query is not UTF-8 after percent-decoding.") from None


@dataclass(frozen=True, slots=True)
class Address:
    """What a Host header says: ``service`` is ``ci``, ``cos``, ``pic``, or empty for any other host."""

    bucket: str
    region: str
    service: str


def address(host: str, default_bucket: str, default_region: str) -> Address:
    """Read a Host header; other hosts than the vendor's get the defaults.

    Raises:
        Refusal: ``InvalidHost`` if the bucket's name cannot be one.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return Address(default_bucket, default_region, "")
    bucket = (match["bucket"] or "").lower()
    if bucket and not BUCKET.fullmatch(bucket):
        raise Refusal(
            "InvalidHost", f"{bucket[:80]!r} is not a bucket name such as media-1250000000."
        )
    return Address(bucket, match["region"].lower(), match["service"].lower())


def is_ci(method: str, path: str, query: list[tuple[str, str]], service: str) -> bool:
    """Whether a request is for the job side.

    A ``.ci.`` host always is. On other hosts the path decides, because the vendor's Python client sends job requests to the storage
    host when it is told an IP address: the job side's own paths, and below them only what looks like an id, so that an object may be
    called ``jobs/song.mp3``.
    """
    if service in {"ci", "pic"}:
        return True
    root, _, rest = path[1:].partition("/")
    if root not in _CI_ROOTS:
        return False
    if not rest:
        return (
            method in {"GET", "POST", "DELETE"}
            if root.endswith("bucket")
            else method in {"GET", "POST"}
        )
    pattern = _IDS.get(root)
    return bool(pattern and pattern.fullmatch(rest)) or (
        root == "jobs" and any(name == "cancel" for name, _ in query)
    )

"""One request, with its service side, bucket, path and query decoded."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from orchestrator.domain import regions, value_formats
from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from aiohttp import web

    from orchestrator.server.http.key_pairs import KeyPair

BUCKET = value_formats.LOCAL_BUCKET

_HOST = re.compile(
    r"(?:(?P<bucket>[^.:/@]+)\.)?(?P<service>ci|cos|pic)(?:-internal)?\.(?P<region>[a-z0-9-]+)"
    r"\.(?:myqcloud\.com|tencentcos\.cn|localhost)(?::[0-9]+)?",
    re.IGNORECASE,
)
_ACCELERATED = "accelerate"
"""Stands in place of the region in the vendor's host that is near to every client."""
_VENDOR = re.compile(r"\.(?:myqcloud\.com|tencentcos\.cn)(?::[0-9]+)?\Z", re.IGNORECASE)
_LOCAL_HOST = re.compile(r"(?P<bucket>[^.:/@]+)\.localhost(?::[0-9]+)?", re.IGNORECASE)
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
        host: The Host header as received.
        request_id: Id of the request.
        now: Time of arrival.
        path: Decoded path, with its leading slash; slashes are never collapsed.
        query: Decoded parameters, in the order sent.
        bucket: Bucket of the request, or empty.
        region: Region of the request.
        service: ``ci``, ``cos`` or ``pic`` if the host says so, or empty.
        ci: True on the job side, False on the storage side.
        key: Key pair that signed it, once verified.
        skew_s: Error of the answer's Date (a fault).
        truncated: Only half of the answer is sent (a fault).
    """

    request: web.BaseRequest
    method: str
    host: str
    request_id: str
    now: float
    path: str = "/"
    query: list[tuple[str, str]] = field(default_factory=list)
    bucket: str = ""
    region: str = ""
    service: str = ""
    ci: bool = True
    key: KeyPair | None = field(default=None, repr=False)
    skew_s: float = 0
    truncated: bool = False

    def has(self, name: str) -> bool:
        """Return True if the parameter is present, with or without a value."""
        return any(key.lower() == name.lower() for key, _ in self.query)

    def param(self, name: str, default: str = "") -> str:
        """Return a parameter's first value; an empty one counts as absent: clients send those."""
        for key, value in self.query:
            if key.lower() == name.lower() and value:
                return value
        return default

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """Return a parameter as a whole number between ``least`` and ``most``.

        Raises:
            Refusal: ``InvalidArgument`` for any other value.
        """
        text = self.param(name)
        if not text:
            return default
        is_number = text.isascii() and text.isdigit() and len(text) < 10
        if not is_number or not least <= int(text) <= most:
            raise Refusal(
                "InvalidArgument",
                f"{name} is {text[:40]!r}; it must be a whole number from {least} to {most}.",
            )
        return int(text)

    def header(self, name: str) -> str:
        """Return a header's value, or an empty text."""
        return self.request.headers.get(name, "")


_ABSOLUTE = re.compile(r"https?://([^/?#@\s]+)(/[^#]*|\?[^#]*|)", re.IGNORECASE)


def split_target(target: str, host: str) -> tuple[str, str]:
    """Return the host of a request, and its target from the path on.

    A client that uses this service as its proxy sends the whole address, whose host then counts
    (RFC 9112, 3.2.2).
    """
    if target.startswith("/") or (match := _ABSOLUTE.fullmatch(target)) is None:
        return host, target
    rest = match[2]
    return match[1], rest if rest.startswith("/") else f"/{rest}"


def decode_path(raw: str) -> str:
    """Return the path of a request target, decoded once.

    Raises:
        Refusal: ``InvalidURI`` if it is not an absolute path in UTF-8.
    """
    path = raw.partition("?")[0]
    if not path.startswith("/"):
        raise Refusal("InvalidURI", "The request target must be an absolute path.")
    if path.isascii() and "%" not in path:
        return path
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeError:
        raise Refusal("InvalidURI", "The path is not UTF-8 after percent-decoding.") from None


def _decode_form(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")


def decode_query(raw: str) -> list[tuple[str, str]]:
    """Return the parameters of a request target; ``+`` and ``%20`` both mean a space.

    Raises:
        Refusal: ``InvalidURI`` if they are not UTF-8, or there are too many.
    """
    text = raw.partition("?")[2]
    if not text:
        return []
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
    """Parts of a Host header; ``service`` is ``ci``, ``cos``, ``pic``, or empty for others."""

    bucket: str
    region: str
    service: str


@functools.lru_cache(1024)  # the same few hosts in all requests
def address(host: str, default_bucket: str, default_region: str) -> Address:
    """Parse a Host header; a host that is not the vendor's gets the defaults.

    Other hosts of the vendor, such as the list of an account's buckets, are not of this service.

    ``<bucket>.localhost`` names a bucket too; many systems lead such names to the loopback address.

    Raises:
        Refusal: ``InvalidHost`` for such a host or a bucket name that is not valid; the same or
            ``InvalidRegionName`` if there is no such region.
    """
    match = _HOST.fullmatch(host)
    if match is None and (local := _LOCAL_HOST.fullmatch(host)):
        return Address(_checked_bucket(local["bucket"]), default_region, "")
    if match is None and _VENDOR.search(host):
        raise Refusal("InvalidHost", f"{host[:80]!r} is not a host of this service.")
    if match is None:
        return Address(default_bucket, default_region, "")
    bucket = _checked_bucket(match["bucket"] or "")
    region, service = match["region"].lower(), match["service"].lower()
    if (service, region) == ("cos", _ACCELERATED):
        region = default_region
    if region != default_region and not regions.is_known(region):
        raise Refusal(
            "InvalidRegionName" if service == "cos" else "InvalidHost",
            f"{region[:40]!r} is not a region of the vendor, such as ap-chongqing.",
            400,
        )
    return Address(bucket, region, service)


def _checked_bucket(text: str) -> str:
    bucket = text.lower()
    if bucket and not BUCKET.fullmatch(bucket):
        raise Refusal(
            "InvalidHost", f"{bucket[:80]!r} is not a bucket name such as media-1250000000."
        )
    return bucket


def is_ci(method: str, path: str, query: list[tuple[str, str]], service: str) -> bool:
    """Return True if a request is for the job side.

    Every request to a ``.ci.`` host is. On other hosts the path decides, because the vendor's
    Python client sends job requests to the storage host when it is configured with an IP address.
    Job paths are the roots below, and under them only names that look like an id, so that an
    object may be called ``jobs/song.mp3``.
    """
    if service in {"ci", "pic"}:
        return True
    root, _, rest = path[1:].partition("/")
    if root not in _CI_ROOTS:
        return False
    if not rest:
        return method in {"GET", "POST"} or (method == "DELETE" and root.endswith("bucket"))
    pattern = _IDS.get(root)
    return bool(pattern and pattern.fullmatch(rest)) or (
        root == "jobs" and any(name == "cancel" for name, _ in query)
    )

"""Addresses of objects where a name is expected: ``cos://bucket/key`` and the vendor's URLs.

People copy them from the vendor's console and tools. They are understood if they name one object
of one bucket; all other addresses are refused, with the name that was probably meant.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.domain.value_formats import ACCOUNT_BUCKET
from orchestrator.domain.wording import quoted

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SUFFIX = r"(?:myqcloud\.com|tencentcos\.cn)"
_BUCKET_HOST = re.compile(rf"([a-z0-9-]+)\.cos(?:-internal|-website)?\.([a-z0-9-]+)\.{_SUFFIX}")
_PATH_HOST = re.compile(rf"cos(?:-internal)?\.([a-z0-9-]+)\.{_SUFFIX}")
_ANYWHERE: Final = ("accelerate", "accelerate-overseas")
"""Words in the place of the region, for hosts that reach every region."""
_SIGNED = re.compile(r"q-.*|sign|x-cos-security-token|response-.*", re.IGNORECASE)
"""Parameters of a signed URL, which choose no other object."""
_BROKEN_CODE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SHOWN = 200


class Address(NamedTuple):
    """An object and where it lies.

    Attributes:
        bucket: Its bucket.
        region: The bucket's region, or empty if the address does not name it.
        key: Its name.
    """

    bucket: str
    region: str
    key: str


class AddressRefused(ValueError):
    """An address that names no object of a bucket."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def is_address(text: str) -> bool:
    """Return True for a text that begins with a scheme, as ``cos://`` does."""
    return "://" in text and _SCHEME.match(text) is not None


def address_of(text: str) -> Address:
    """Return the object that an address names; its key may be empty or a glob.

    The key of ``cos://`` is written as it is, as the vendor's tools do; that of a URL is
    percent-encoded.

    Raises:
        AddressRefused: If it does not name an object of a bucket.
    """
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    if scheme in {"cos", "cosn"}:
        bucket, _, key = text[len(scheme) + 3 :].partition("/")
        return Address(_checked(bucket, key, text), "", key)
    if scheme in {"http", "https"}:
        return _of_url(text)
    rest = text.partition("://")[2]
    raise _refused(text, "is an address, not the name of an object", rest.partition("/")[2])


def _of_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError as error:
        message = f"{_without_query(text)} is not a valid address: {error}."
        raise AddressRefused(message) from error
    try:
        key = unquote(parts.path, errors="strict").removeprefix("/")
    except UnicodeDecodeError as error:
        message = f"{_without_query(text)} has percent codes that are not UTF-8."
        raise AddressRefused(message) from error
    if _BROKEN_CODE.search(parts.path):
        raise _refused(text, "has a % that begins no percent code (%25 is a % in a name)", "")
    bucket, region = "", ""
    if match := _BUCKET_HOST.fullmatch(host):
        bucket, region = match.groups()
    elif match := _PATH_HOST.fullmatch(host):
        region = match[1]
        bucket, _, key = key.partition("/")
    else:
        what = "is an address of another host than the object storage"
        raise _refused(text, what, key)
    if parts.username or parts.password:
        raise _refused(text, "has a user name, which the object storage does not know", key)
    if parts.fragment:
        raise _refused(text, "has a #, which ends an address (%23 is a # in a name)", key)
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if not _SIGNED.fullmatch(name):
            raise _refused(
                text, f"has the parameter {quoted(name)}, which changes its meaning", key
            )
    return Address(_checked(bucket, key, text), "" if region in _ANYWHERE else region, key)


def _checked(bucket: str, key: str, text: str) -> str:
    if ACCOUNT_BUCKET.fullmatch(bucket) is None:
        what = f"has the bucket {quoted(bucket)}, which lacks the account number"
        raise _refused(text, what, key)
    return bucket


def without_secrets(text: str) -> str:
    """Return an address without its signature and user name."""
    bare = re.split(r"[?#]", text, maxsplit=1)[0]
    return re.sub(r"//[^/@]*@", "//", bare)


def _without_query(text: str) -> str:
    return quoted(without_secrets(text), _SHOWN)


def _refused(text: str, what: str, key: str) -> AddressRefused:
    meant = f" Write the name of the object: {quoted(key, _SHOWN)}." if key else ""
    return AddressRefused(f"{_without_query(text)} {what}.{meant}")

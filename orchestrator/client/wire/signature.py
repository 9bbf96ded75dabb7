"""Request signing, ``q-sign-algorithm=sha1``, by the vendor's page "Request Signature" (436/7778).

CI uses the same algorithm as COS. The signer chooses the headers and parameters to sign and lists
them; we sign every one that we set. The tests compare with the vendor's published examples.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from orchestrator.errors import CredentialsMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNRESERVED = "-_.~"
_replace_reserved = re.compile(r"[^A-Za-z0-9\-_.~]").sub

# A signature is valid from this long before its minute, for a server whose clock is a little
# behind, until this long after it. The vendor's Node SDK uses 15 minutes, which is also the
# difference of clocks that COS accepts (RequestTimeTooSkewed).
_EARLY_S = 60
_LATE_S = 15 * 60
_SHARED_S = 60


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair, with a token if it is temporary. ``repr`` shows no secret."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that signs the requests of one minute.

    Attributes:
        key: The vendor's SignKey: the hex text of HMAC-SHA1(secret key, key time), as bytes.
        key_time: ``<start>;<end>`` in seconds since the epoch.
        starts_at: Instant from which on it is valid.
        renew_at: Instant from which on a new one should be made.
        secret_id: Public half of the key pair.
        token: Token of a temporary key, or empty.
    """

    key: bytes = field(repr=False)
    key_time: str
    starts_at: float
    renew_at: float
    secret_id: str
    token: str = field(default="", repr=False)


def signing_key(credentials: Credentials, now: float) -> SigningKey:
    """Return the key for requests that are sent in the minute of ``now``."""
    minute = int(now // _SHARED_S) * _SHARED_S
    return signing_key_for(
        credentials, minute - _EARLY_S, minute + _LATE_S, renew_at=minute + _SHARED_S
    )


def signing_key_for(credentials: Credentials, start: int, end: int, renew_at: float) -> SigningKey:
    """Return the key for a period given in seconds since the epoch.

    Raises:
        CredentialsMissing: If a part of the credentials cannot be sent as a header.
    """
    if any(ord(sign) < 32 for sign in credentials.secret_id + credentials.token):
        raise CredentialsMissing(
            "A part of the credentials has more than one line: it cannot be sent as a header."
            " Set it again."
        )
    key_time = f"{start};{end}"
    key = hmac.digest(credentials.secret_key.encode(), key_time.encode(), "sha1").hex().encode()
    return SigningKey(key, key_time, start, renew_at, credentials.secret_id, credentials.token)


def url_encode(text: str) -> str:
    """Percent-encode UTF-8 with uppercase hex; only ``A-Z a-z 0-9 - _ . ~`` stay."""
    return (
        _replace_reserved(_percent, text)
        if text.isascii()
        else quote(text, _UNRESERVED, "utf-8", "surrogateescape")
    )


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


# The names are a few constants.
_name = lru_cache(maxsize=256)(lambda text: url_encode(text).lower())


def _joined(pairs: Mapping[str, str]) -> tuple[str, str]:
    """Return the vendor's ``k=v&k=v`` and ``k;k`` of parameters or headers."""
    if not pairs:
        return "", ""
    encoded = sorted((_name(key), url_encode(value)) for key, value in pairs.items())
    return "&".join([f"{key}={value}" for key, value in encoded]), ";".join(
        [key for key, _ in encoded]
    )


class Canonical(NamedTuple):
    """The signed form: the vendor's ``HttpString``, ``q-header-list`` and ``q-url-param-list``."""

    text: str
    header_list: str
    param_list: str


def canonical(
    method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
) -> Canonical:
    """Return the canonical request of a decoded path, parameters and header values."""
    query, query_names = _joined(params)
    signed, signed_names = _joined(headers)
    return Canonical(f"{method.lower()}\n{path}\n{query}\n{signed}\n", signed_names, query_names)


def authorization(
    key: SigningKey, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """Return the ``Authorization`` header of a request.

    The request must carry exactly these parameters, and at least these headers.

    Args:
        key: From :func:`signing_key`.
        method: HTTP method.
        path: Decoded path, with its leading slash.
        params: Decoded query parameters; one without a value has the empty string.
        headers: Decoded headers to sign; ``host`` among them ties the signature to the bucket.
    """
    text, signed_names, query_names = canonical(method, path, params, headers)
    to_sign = f"sha1\n{key.key_time}\n{sha1(text.encode(), usedforsecurity=False).hexdigest()}\n"
    signature = hmac.digest(key.key, to_sign.encode(), "sha1").hex()
    return (
        f"q-sign-algorithm=sha1&q-ak={key.secret_id}&q-sign-time={key.key_time}"
        f"&q-key-time={key.key_time}&q-header-list={signed_names}&q-url-param-list={query_names}"
        f"&q-signature={signature}"
    )

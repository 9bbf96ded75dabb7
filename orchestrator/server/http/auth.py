"""Verification of the vendor's request signature, written from its signature page alone.

It is the independent check on the client's signer, so it shares no code with ``client``.
Rules: https://www.tencentcloud.com/document/product/436/7778 (``q-sign-algorithm=sha1``).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections import defaultdict
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from aiohttp import hdrs
from multidict import istr

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.server.http.key_pairs import KeyPair
    from orchestrator.server.http.request import Call

_FIELDS = (
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
)
_AWS_PARAMETERS = frozenset({"x-amz-signature", "x-amz-algorithm", "awsaccesskeyid"})
_TIME = re.compile(r"([0-9]{1,12});([0-9]{1,12})")
_PLAIN_NAME = re.compile(r"[a-z0-9._~-]+")
_PORT = re.compile(r":[0-9]+\Z")
MAX_SKEW_S = 900
"""Largest difference between the clocks of client and server (the vendor: 15 minutes)."""
_TOKEN_HEADERS = (istr("x-ci-security-token"), istr("x-cos-security-token"))


def encode(text: str) -> str:
    """Percent-encode all but ``A-Z a-z 0-9 - _ . ~``, as the signature page does."""
    return _encode_short(text) if len(text) < _SHORT else _encode(text)


def _encode(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="-_.~")


# Names and most values of signed headers are the same in thousands of requests.
_SHORT = 100
_encode_short = functools.lru_cache(2048)(_encode)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Fields of an ``Authorization`` without the signature itself.

    Attributes:
        key_id: Secret id.
        sign_time: ``<start>;<end>`` of the signature.
        key_time: ``<start>;<end>`` of the key that it was made with.
        headers: Names of the signed headers, encoded and in lower case.
        params: Names of the signed parameters, likewise.
        is_plain: Each header is named once, by its own name: encoding does not change it.
        span: First and last second at which both times are valid; None if one is malformed.
    """

    key_id: str
    sign_time: str
    key_time: str
    headers: tuple[str, ...]
    params: tuple[str, ...]
    is_plain: bool
    span: tuple[int, int] | None


class Signature(NamedTuple):
    """A signature, and the terms that it was made under."""

    terms: Terms
    value: str


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split(";")) if text else ()


def _span(*times: str) -> tuple[int, int] | None:
    matches = [_TIME.fullmatch(text) for text in times]
    spans = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(spans) < len(times) or any(end < start for start, end in spans):
        return None
    return max(start for start, _ in spans), min(end for _, end in spans)


def parse(header: str, query: list[tuple[str, str]]) -> Signature | None:
    """Return the signature of a request, from its header or its query; None if it is not signed.

    In a query it is there field by field, or as a whole in ``sign``, as older clients write it.

    Raises:
        Refusal: ``InvalidAuthorization`` if it is malformed; ``NotImplemented`` for one of AWS.
    """
    text = header or next((value for name, value in query if name == "sign"), "")
    if text.startswith("AWS") or (
        query and any(name.lower() in _AWS_PARAMETERS for name, _ in query)
    ):
        raise Refusal(
            "NotImplemented",
            "The request has an AWS signature. This service verifies the vendor's own, with "
            "q-sign-algorithm, q-ak and q-signature: use a client of Tencent COS.",
        )
    if text:
        return _parsed(text)
    pairs = [(name, value) for name, value in query if name in _FIELDS]
    return Signature(_terms(pairs), dict(pairs)["q-signature"]) if pairs else None


@functools.lru_cache(1024)  # the submits of a second often share one: their bodies are not signed
def _parsed(text: str) -> Signature:
    # Clients write the signature last; what precedes it is the same in all requests of a second.
    before, mark, signature = text.rpartition("&q-signature=")
    if mark and "&" not in signature:
        return Signature(_shared_terms(before), signature.strip())
    pairs = _pairs(text)
    return Signature(_terms(pairs), dict(pairs)["q-signature"])


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = (part.partition("=") for part in text.strip().split("&"))
    return [(name, value) for name, _, value in parts]


@functools.lru_cache(256)
def _shared_terms(text: str) -> Terms:
    return _terms([*_pairs(text), ("q-signature", "")])


def _terms(pairs: list[tuple[str, str]]) -> Terms:
    fields = dict(pairs)
    if len(fields) != len(pairs) or any(name not in fields for name in _FIELDS):
        missing = [name for name in _FIELDS if name not in fields]
        what = f"it lacks {', '.join(missing)}" if missing else "a field is there twice"
        raise Refusal("InvalidAuthorization", f"The signature is not complete: {what}.")
    if fields["q-sign-algorithm"] != "sha1":
        raise Refusal("InvalidAuthorization", "q-sign-algorithm must be sha1.")
    headers, times = _names(fields["q-header-list"]), (fields["q-sign-time"], fields["q-key-time"])
    return Terms(
        fields["q-ak"],
        *times,
        headers,
        _names(fields["q-url-param-list"]),
        is_plain=len(set(headers)) == len(headers) and all(map(_PLAIN_NAME.fullmatch, headers)),
        span=_span(*times),
    )


def _group(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for name, value in pairs:
        grouped[encode(name).lower()].append(encode(value))
    return {name: sorted(values) for name, values in grouped.items()}


def _listed(names: tuple[str, ...], given: Mapping[str, list[str]]) -> str | None:
    """Return ``k=v`` of the listed names, in that order; None if the numbers of values differ."""
    used: dict[str, int] = defaultdict(int)
    parts = []
    for name in names:
        values = given.get(name, [])
        if used[name] >= len(values):
            return None
        parts.append(f"{name}={values[used[name]]}")
        used[name] += 1
    if any(len(given[name]) != count for name, count in used.items()):
        return None
    return "&".join(parts)


def signature_of(secret_key: str, key_time: str, sign_time: str, http_string: str) -> str:
    """Compute the signature (steps 2, 6 and 7 of the signature page)."""
    raw = http_string.encode("utf-8", "surrogateescape")
    digest = hashlib.sha1(raw).hexdigest()  # noqa: S324 - the vendor's algorithm
    text = f"sha1\n{sign_time}\n{digest}\n".encode()
    return hmac.digest(_sign_key(secret_key, key_time), text, "sha1").hex()


@functools.lru_cache(256)  # requests of one second share it
def _sign_key(secret_key: str, key_time: str) -> bytes:
    return hmac.digest(secret_key.encode(), key_time.encode(), "sha1").hex().encode()


def http_string(method: str, path: str, params: str, headers: str) -> str:
    """Return the signed text of a request (step 5)."""
    return f"{method.lower()}\n{path}\n{params}\n{headers}\n"


def presign(key: KeyPair, method: str, host: str, path: str, valid: tuple[int, int]) -> str:
    """Return the query that signs one method on one path of a host, for the seconds of ``valid``.

    Args:
        key: Key pair to sign with.
        method: The method.
        host: Host of the request, as its header has it.
        path: Path, decoded.
        valid: First and last second, since the epoch.
    """
    span = f"{valid[0]};{valid[1]}"
    text = http_string(method, path, "", f"host={encode(host)}")
    fields = {
        "q-sign-algorithm": "sha1",
        "q-ak": key.secret_id,
        "q-sign-time": span,
        "q-key-time": span,
        "q-header-list": "host",
        "q-url-param-list": "",
        "q-signature": signature_of(key.secret_key, span, span, text),
    }
    return "&".join(f"{name}={encode(value)}" for name, value in fields.items())


def matches(secret_key: str, signature: Signature, call: Call) -> bool:
    """Return True if the signature matches the request.

    ``Host`` counts with its port (most clients) or without it (the Python client).
    """
    terms = signature.terms
    params = _listed(terms.params, _group(call.query)) if terms.params else ""
    if params is None:
        return False
    given = signature.value.encode("utf-8", "replace")
    request, good = (call.method, call.path, params), False
    for host in (call.host, _PORT.sub("", call.host)) if ":" in call.host else (call.host,):
        headers = _signed_headers(terms, call, host)
        if headers is None:
            return False
        good |= hmac.compare_digest(_expected(secret_key, terms, request, headers), given)
    return good


@functools.lru_cache(1024)  # as many as of _parsed
def _expected(
    secret_key: str, terms: Terms, request: tuple[str, str, str], headers: tuple[str, ...] | str
) -> bytes:
    """Return the signature that a request must have.

    Args:
        secret_key: Key to sign with.
        terms: Terms of the signature.
        request: Method, path, and ``k=v`` of the signed parameters.
        headers: As :func:`_signed_headers` returns them.
    """
    if not isinstance(headers, str):
        pairs = zip(terms.headers, headers, strict=True)
        headers = "&".join(f"{name}={encode(value.strip())}" for name, value in pairs)
    text = http_string(*request, headers)
    return signature_of(secret_key, terms.key_time, terms.sign_time, text).encode()


def _signed_headers(terms: Terms, call: Call, host: str) -> tuple[str, ...] | str | None:
    """Return the values of the signed headers, or their ``k=v``; None if the request lacks one."""
    sent = call.request.headers
    if terms.is_plain:  # the quick way, for nearly all requests
        found = []
        for name in terms.headers:
            values = sent.getall(name, ())
            if len(values) != 1:
                return None
            found.append(host if name == "host" else values[0])
        return tuple(found)
    wanted = frozenset(terms.headers)
    pairs = ((name, value.strip()) for name, value in sent.items())
    headers = {name: values for name, values in _group(pairs).items() if name in wanted}
    if "host" in headers:
        headers["host"] = [encode(host)]
    return _listed(terms.headers, headers)


class Verifier:
    """Verifies signatures against the accepted key pairs."""

    def __init__(self, keys: Iterable[KeyPair], max_skew_s: float = MAX_SKEW_S) -> None:
        self._keys = {key.secret_id: key for key in keys}
        self._max_skew_s = max_skew_s

    def verify(self, call: Call) -> KeyPair:
        """Return the key pair that signed the request.

        Raises:
            Refusal: With the codes of the side that was called: the two sides use different ones.
        """
        ci = call.ci
        signature = parse(call.header("Authorization"), call.query)
        if signature is None:
            raise Refusal(
                "MissingAuthorization" if ci else "AccessDenied",
                "The request is not signed: it has no Authorization.",
            )
        key = self._keys.get(signature.terms.key_id)
        if key is None:
            raise Refusal(
                "SecretidNotExist" if ci else "InvalidAccessKeyId",
                "The secret id is unknown. Use the key pair that the local service printed "
                "when it started.",
            )
        self._check_time(signature.terms, call)
        self._check_token(key, call)
        if not matches(key.secret_key, signature, call):
            raise Refusal(
                "InvalidAuthorization" if ci else "SignatureDoesNotMatch",
                "The signature does not match the request: check the secret key, and that nothing "
                "was changed after signing.",
            )
        return key

    def _check_time(self, terms: Terms, call: Call) -> None:
        if terms.span is None:
            raise Refusal(
                "InvalidAuthorization",
                "q-sign-time and q-key-time must be <start>;<end> in seconds.",
            )
        start, end = terms.span
        if start > call.now + self._max_skew_s:
            message = "The signature is not valid yet: the client's clock is ahead."
            raise Refusal("RequestTimeTooSkewed", message, server_time=True)
        if end < call.now:
            self._refuse_expired(call)
        if hdrs.DATE in call.request.headers:
            self._check_date(call.header("Date"), call)

    def _check_date(self, text: str, call: Call) -> None:
        try:
            sent = parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError):
            return  # the vendor does not demand a valid Date; a signed one must still match
        if abs(sent - call.now) > self._max_skew_s:
            message = "The request's Date and the server's clock differ by more than 15 minutes."
            raise Refusal("RequestTimeTooSkewed", message, server_time=True)

    @staticmethod
    def _refuse_expired(call: Call) -> None:
        if call.ci:
            raise Refusal(
                "SignatureExpired",
                "The signature has expired: sign again, and check the client's clock.",
                server_time=True,
            )
        raise Refusal("AccessDenied", "Request has expired", server_time=True)

    @staticmethod
    def _check_token(key: KeyPair, call: Call) -> None:
        sent = call.request.headers
        given = sent.get(_TOKEN_HEADERS[0], "") or sent.get(_TOKEN_HEADERS[1], "")
        if call.query and not given:
            given = next(
                (value for name, value in call.query if name.lower() in _TOKEN_HEADERS), ""
            )
        # Most have none.
        if (given or key.token) and not hmac.compare_digest(
            given.encode("utf-8", "replace"), key.token.encode()
        ):
            code = "InvalidAuthorization" if call.ci else "InvalidAccessKeyId"
            raise Refusal(
                code, "The session token is missing or does not belong to this secret id."
            )
        if key.expires_at is not None and call.now >= key.expires_at:
            raise Refusal("ExpiredToken", "The temporary keys have expired; set new ones.")


def demand(call: Call, bucket: str, *, write: bool) -> None:
    """Check that the keys of a request may read (or write) ``bucket``.

    Raises:
        Refusal: ``AccessDenied``.
    """
    if call.key is None or not call.key.allows(bucket, write=write):
        raise Refusal(
            "AccessDenied",
            f"These keys may not {'write to' if write else 'read'} {bucket or 'this account'}.",
        )

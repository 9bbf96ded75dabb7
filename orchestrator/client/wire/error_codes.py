"""Error answers: one table from the vendor's codes to our exceptions.

Sources: CI error codes (1045/43611, 1045/33700), COS error codes (436/7730). The ``Code`` decides.
The HTTP status is only the fallback for codes that no list names, and for answers without a body
(HEAD, proxies).

For ``POST /jobs`` the class also decides whether a job can exist. A 4xx answer, 429 and 503
``SlowDown`` *refuse* the request before it was accepted, if the vendor wrote them: if they name a
code, or carry the vendor's request id. An error that something on the way wrote (a proxy, a
gateway, a captive portal) is an :class:`UnprovenAnswer`. Every other 5xx is a
:class:`ServerFault`: the service, or a gateway before it, failed at an unknown point, so the job is
in doubt. That includes CI's 503 ``ServiceUnavailable``: no page says that it is sent before a job
is made.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.client.wire.hosts import Api
from orchestrator.client.wire.objects import http_date
from orchestrator.client.wire.reply import instant
from orchestrator.client.wire.xml import parse, text_of
from orchestrator.errors import (
    ApiAnswer,
    ApiError,
    AuthRejected,
    BucketRefused,
    BucketUnknown,
    ClockSkewed,
    CredentialsExpired,
    NotFound,
    ProtocolError,
    ProxyRefused,
    QueueUnavailable,
    RefusedForNow,
    Rejected,
    ServerFault,
    Throttled,
    UnprovenAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.client.wire.request import Answer

MAX_RETRY_AFTER_S = 3600.0
"""Cap of ``Retry-After``: no page documents the header, so its value may be anything."""

_CLASSES: dict[str, type[ApiError]] = {
    # Slow down. CI says 429, COS 503; the same code on both.
    "SlowDown": Throttled,
    "QueueSaturated": QueueUnavailable,
    "QueuePaused": QueueUnavailable,
    # The clocks, or the signature's window.
    "SignatureExpired": ClockSkewed,
    "RequestTimeTooSkewed": ClockSkewed,
    "Request has expired": ClockSkewed,
    # The temporary key has expired.
    "ExpiredToken": CredentialsExpired,
    # Every request with this key will fail.
    "MissingAuthorization": AuthRejected,
    "InvalidAuthorization": AuthRejected,
    "SecretidNotExist": AuthRejected,
    "InvalidAccessKeyId": AuthRejected,
    "SignatureDoesNotMatch": AuthRejected,
    # Every request for this bucket will fail; another one may be of another account or region.
    "AccessDenied": BucketRefused,
    "CIRoleNotExist": BucketRefused,
    "MediaBucketUnBinded": BucketRefused,
    "PaymentRequired": BucketRefused,
    "UnavailableForLegalReasons": BucketRefused,
    "NoSuchBucket": BucketUnknown,
    "InvalidBucketName": BucketUnknown,
    "InvalidRegionName": BucketUnknown,
    "InvalidHost": BucketUnknown,
    "PermanentRedirect": BucketUnknown,
    "TemporaryRedirect": BucketUnknown,
    # The named thing does not exist.
    "ResourceNotFound": NotFound,
    "QueueNotFound": NotFound,
    "TemplateNotFound": NotFound,
    "AuditingJobNotFound": NotFound,
    "InvalidUrl": NotFound,
    "NoSuchKey": NotFound,
    "NoSuchUpload": NotFound,
    "NoSuchVersion": NotFound,
    # Refused for this object or bucket only, although the status is about permissions: archived, or
    # enabled before (two pages, two spellings).
    "InvalidObjectState": Rejected,
    "MediaBucketAlreadyBinded": Rejected,
    "BucketAlreadyBinded": Rejected,
    # Another try may succeed: the service could not fetch the input, or the upload was cut,
    # damaged, or concurrent with another one.
    "ResourceDownloadFailed": RefusedForNow,
    "RequestTimeout": RefusedForNow,
    "UserNetworkTooSlow": RefusedForNow,
    "IncompleteBody": RefusedForNow,
    "BadDigest": RefusedForNow,
    "PathConflict": RefusedForNow,
    # The service failed.
    "InternalError": ServerFault,
    "ServiceUnavailable": ServerFault,
}
"""Codes that decide without the status. For other codes the status does: 4xx is ``Rejected``."""

# The COS page of 403 answers also shows these words as the message of an ``AccessDenied``.
_DENIED_BECAUSE: tuple[tuple[str, type[ApiError]], ...] = (
    ("RequestTimeTooSkewed", ClockSkewed),
    ("Request has expired", ClockSkewed),
    ("ExpiredToken", CredentialsExpired),
    ("SignatureDoesNotMatch", AuthRejected),
    ("InvalidAccessKeyId", AuthRejected),
)

_STATUSES: dict[int, type[ApiError]] = {
    401: AuthRejected,
    402: BucketRefused,
    403: BucketRefused,
    404: NotFound,
    407: ProxyRefused,
    408: RefusedForNow,
    425: RefusedForNow,
    429: Throttled,
    451: BucketRefused,
    501: Rejected,
}
_OF_A_PROXY = frozenset({407, 429})
"""Statuses that mean the same whoever wrote them: a proxy refuses its user, or wants us to slow
down. (A POST that they answer is in doubt all the same.)"""

# Advice for errors that stop the run.
_KEYS = "check TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or the profile file"
_ADVICE: dict[str, str] = {
    "AccessDenied": "give this key the permission (ci:CreateMediaJobs and reading and writing of"
    " the buckets), or use another key",
    "CIRoleNotExist": "create the service role CI_QCSRole by enabling Cloud Infinite in the console"
    " once",
    "InvalidAccessKeyId": _KEYS,
    "InvalidAuthorization": _KEYS,
    "MediaBucketUnBinded": "enable media processing (or smart audio) for the bucket in the Cloud"
    " Infinite console",
    "NoSuchBucket": "check the name and the region of the bucket",
    "PaymentRequired": "settle the account's balance",
    "SecretidNotExist": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
}

_WITHOUT_REASON = {
    403: "HTTP 403 without a reason: the key pair is wrong, or has no permission here",
    404: "HTTP 404 without a reason: there is nothing of this name in this region",
}
"""Meaning of the answers to a HEAD, which have no body."""
PROXY_ADVICE = (
    "the proxy of this machine refused the request (407): it needs a user name and password. "
    "Set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, or correct it"
)

TRANSIENT_JOB_CODES = frozenset(
    {"ResourceDownloadFailed", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"}
)
"""Codes of failed jobs for which a new job may succeed.

No official list of per-job codes exists. These are the documented names of passing problems;
everything else counts as permanent.
"""


def is_transient_job_code(code: str) -> bool:
    """Return True if a job that failed with ``code`` may be tried again as a new job."""
    return code in TRANSIENT_JOB_CODES


def class_of(code: str, http_status: int, message: str = "", api: Api = Api.CI) -> type[ApiError]:
    """Return the exception class of an error answer."""
    if code == "AccessDenied":
        for words, error in _DENIED_BECAUSE:
            if words in message:
                return error
    if code in _CLASSES:
        return _CLASSES[code]
    # A HEAD answer has no body. On COS, 503 usually is SlowDown, and HEAD leaves nothing in doubt.
    if api is Api.COS and http_status == 503 and not code:
        return Throttled
    if http_status in _STATUSES:
        return _STATUSES[http_status]
    if 300 <= http_status < 400:
        return BucketUnknown
    return ServerFault if http_status >= 500 else Rejected


def error_of(api: Api, answer: Answer, now: float) -> ApiError:
    """Return the exception for an unsuccessful answer.

    Args:
        api: The API that answered.
        answer: The answer. Its body may be empty, truncated, or of a proxy; it is used if it can be
            read.
        now: Our time, for a ``Retry-After`` that is a date.
    """
    http_status, headers = answer.status, answer.headers
    code, message, body_request_id, trace_id, server_time = _body(answer.body)
    facts = ApiAnswer(
        http_status=http_status,
        code=code,
        message=message or _reason(http_status, headers),
        request_id=request_id(headers) or body_request_id,
        trace_id=trace_id or headers.get("x-ci-trace-id") or headers.get("x-cos-trace-id") or "",
        is_whole=answer.is_whole,
    )
    is_fault = http_status >= 500 and http_status not in _STATUSES
    if not (facts.is_vendors or is_fault or http_status in _OF_A_PROXY):
        return _unproven(facts, headers.get("Location", ""))
    error = class_of(code, http_status, message, api)
    if issubclass(error, ClockSkewed):
        return error(facts, server_time=server_time or http_date(headers.get("Date", "")))
    if error is ProxyRefused:
        return error(facts, PROXY_ADVICE)
    advice = _ADVICE.get(code, "")
    text = f"{code}: {facts.message or 'no message'} - {advice}" if advice else None
    if not (code or facts.message):
        text = _WITHOUT_REASON.get(http_status)
    return error(facts, text, retry_after_s=retry_after(headers.get("Retry-After", ""), now))


def _unproven(facts: ApiAnswer, location: str) -> UnprovenAnswer:
    if not facts.is_whole:
        return UnprovenAnswer(facts, f"HTTP {facts.http_status}: the answer was cut off")
    text = f"HTTP {facts.http_status} from a proxy or gateway, not from the service"
    return UnprovenAnswer(facts, f"{text}; it leads to {location[:200]!r}" if location else text)


def request_id(headers: Mapping[str, str]) -> str:
    """Return the vendor's id of a request, from the header of CI or COS."""
    return (headers.get("x-ci-request-id") or headers.get("x-cos-request-id") or "")[:200]


def retry_after(text: str, now: float) -> float | None:
    """Return the seconds of a ``Retry-After`` (number or HTTP date), at most an hour, or None."""
    text = text.strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        until = http_date(text)
        if until is None:
            return None
        seconds = until - now
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _body(raw: bytes) -> tuple[str, str, str, str, float | None]:
    """Return code, message, request id, trace id and server time of an ``<Error>``, or blanks."""
    try:
        root = parse(raw)
    except ProtocolError:
        return "", "", "", "", None
    if root.tag != "Error":
        return "", "", "", "", None
    code, message, request, trace = (
        text_of(root, name).strip() for name in ("Code", "Message", "RequestId", "TraceId")
    )
    return (
        code[:200],
        message[:2000],
        request[:200],
        trace[:200],
        instant(text_of(root, "ServerTime")),
    )


def _reason(http_status: int, headers: Mapping[str, str]) -> str:
    """Return the message for an answer without a text of its own."""
    location = headers.get("Location", "")
    if 300 <= http_status < 400 and location:
        return (
            f"the service redirects to {location[:300]!r}; redirects are not followed:"
            " check the region of the bucket"
        )
    return ""

"""Every documented error answer has its class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.error_codes import (
    class_of,
    error_of,
    is_transient_job_code,
    request_id,
    retry_after,
)
from orchestrator.client.wire.hosts import Api
from orchestrator.client.wire.request import Answer
from orchestrator.errors import (
    ApiError,
    AuthRejected,
    BucketRefused,
    BucketUnknown,
    ClockSkewed,
    CredentialsExpired,
    NotFound,
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

# The vendor's lists (CI 1045/43611 and 1045/33700, COS 436/7730), each code with its class.
CI = """
301 PermanentRedirect BucketUnknown
307 TemporaryRedirect BucketUnknown
400 InvalidArgument Rejected
400 MissingContent Rejected
400 InvalidContent Rejected
400 InvalidHost BucketUnknown
400 ResourceNotFound NotFound
400 ResourceAccessDenied Rejected
400 ResourceDownloadFailed RefusedForNow
400 CIRoleNotExist BucketRefused
400 ResourceNotSupported Rejected
401 MissingAuthorization AuthRejected
401 InvalidAuthorization AuthRejected
401 AccessDenied BucketRefused
401 SecretidNotExist AuthRejected
401 SignatureExpired ClockSkewed
403 AccessDenied BucketRefused
403 MediaBucketAlreadyBinded Rejected
403 QueueSaturated QueueUnavailable
403 QueuePaused QueueUnavailable
404 InvalidUrl NotFound
411 MissingContentLength Rejected
413 InvalidContent Rejected
429 SlowDown Throttled
451 UnavailableForLegalReasons BucketRefused
500 InternalError ServerFault
501 NotImplemented Rejected
503 ServiceUnavailable ServerFault
503 SlowDown Throttled
400 QueueNotFound NotFound
400 TemplateNotFound NotFound
400 MediaBucketUnBinded BucketRefused
400 WriteTargetBucketDenied Rejected
400 InvalidContentType Rejected
401 SignatureDoesNotMatch AuthRejected
"""
COS = """
400 ExpiredToken CredentialsExpired
400 KeyTooLong Rejected
400 BadDigest RefusedForNow
400 RequestTimeout RefusedForNow
400 UserNetworkTooSlow RefusedForNow
400 IncompleteBody RefusedForNow
402 PaymentRequired BucketRefused
403 AccessDenied BucketRefused
403 InvalidAccessKeyId AuthRejected
403 InvalidObjectState Rejected
403 RequestTimeTooSkewed ClockSkewed
403 SignatureDoesNotMatch AuthRejected
404 NoSuchBucket BucketUnknown
404 NoSuchKey NotFound
405 MethodNotAllowed Rejected
409 PathConflict RefusedForNow
409 ObjectLocked Rejected
412 PreconditionFailed Rejected
416 InvalidRange Rejected
500 InternalError ServerFault
503 ServiceUnavailable ServerFault
503 SlowDown Throttled
"""
CLASSES = {
    kind.__name__: kind
    for kind in (
        AuthRejected,
        BucketRefused,
        BucketUnknown,
        ClockSkewed,
        CredentialsExpired,
        NotFound,
        QueueUnavailable,
        RefusedForNow,
        Rejected,
        ServerFault,
        Throttled,
    )
}
LINES = [(Api.CI, *line.split()) for line in CI.strip().splitlines()] + [
    (Api.COS, *line.split()) for line in COS.strip().splitlines()
]


def judged(api: Api, status: int, headers: Mapping[str, str], raw: bytes, now: float) -> ApiError:
    return error_of(api, Answer(status, headers, raw), now)


def body(code: str, message: str = "text", extra: str = "") -> bytes:
    text = f"<Code>{code}</Code><Message>{message}</Message>{extra}"
    return f"<?xml version='1.0'?>\n<Error>{text}</Error>".encode()


@pytest.mark.parametrize("line", LINES, ids=lambda line: "-".join(map(str, line[1:])))
def test_every_documented_code_has_its_class(line: tuple[Api, str, str, str]) -> None:
    api, status, code, expected = line

    assert CLASSES[expected] is type(judged(api, int(status), {}, body(code), 0.0))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Rejected),
        (401, AuthRejected),
        (402, BucketRefused),
        (403, BucketRefused),
        (404, NotFound),
        (408, RefusedForNow),
        (418, Rejected),
        (429, Throttled),
        (500, ServerFault),
        (502, ServerFault),
        (504, ServerFault),
        (599, ServerFault),
        (302, BucketUnknown),
    ],
)
@pytest.mark.parametrize(
    ("headers", "raw"),
    [
        ({"x-ci-request-id": "r1"}, b""),
        ({"x-cos-request-id": "r1"}, b"<html>Bad gateway</html>"),
        ({}, body("SomethingNew")),
        ({"x-ci-request-id": "r1"}, b"<Error><Code>Slow"),
    ],
    ids=["none", "html", "new", "cut"],
)
def test_an_unknown_code_of_the_vendor_is_judged_by_its_status(
    status: int, expected: type[ApiError], headers: dict[str, str], raw: bytes
) -> None:
    error = judged(Api.CI, status, headers, raw, 0.0)

    assert expected is type(error)
    assert error.answer.is_vendors


@pytest.mark.parametrize(
    "status",
    [300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 408, 409, 418, 425, 451, 499, 501],
)
@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, {}),
        Answer(0, {"Server": "nginx", "x-request-id": "r1"}, b"<html>no</html>"),
        Answer(0, {}, b"<Error><Code>Slow"),
        Answer(0, {}, b'{"code": "AccessDenied"}'),
        Answer(0, {}, b"<Error><Message>no</Message></Error>"),
        Answer(0, {"x-ci-request-id": "r1"}, is_whole=False),
    ],
    ids=["empty", "html", "cut", "json", "no code", "body lost"],
)
def test_an_answer_that_the_vendor_did_not_write_proves_nothing(
    status: int, answer: Answer
) -> None:
    error = error_of(Api.CI, answer._replace(status=status), 0.0)

    assert isinstance(error, UnprovenAnswer)
    assert not error.answer.is_vendors
    assert error.retryable
    assert not error.fatal


@pytest.mark.parametrize(("status", "kind"), [(407, ProxyRefused), (429, Throttled)])
def test_a_proxy_is_understood_but_proves_nothing_about_a_job(
    status: int, kind: type[ApiError]
) -> None:
    error = judged(Api.CI, status, {}, b"<html>", 0.0)

    assert type(error) is kind
    assert not error.answer.is_vendors


def test_only_5xx_answers_of_the_vendor_leave_a_submit_in_doubt() -> None:
    """A 4xx proves that no job exists; of the 5xx, "not implemented" does so too."""
    assert not [
        status for status in range(300, 500) if issubclass(class_of("", status), ServerFault)
    ]
    assert [
        status for status in range(500, 600) if not issubclass(class_of("", status), ServerFault)
    ] == [501]


def test_a_head_answer_of_503_from_cos_is_taken_for_its_slow_down() -> None:
    assert Throttled is class_of("", 503, api=Api.COS)
    assert ServerFault is class_of("", 503, api=Api.CI)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Request has expired", ClockSkewed),
        ("RequestTimeTooSkewed: the difference is too large", ClockSkewed),
        ("ExpiredToken", CredentialsExpired),
        ("SignatureDoesNotMatch", AuthRejected),
        ("InvalidAccessKeyId", AuthRejected),
        ("no permission", BucketRefused),
    ],
)
def test_an_access_denied_is_classified_by_the_words_of_its_message(
    words: str, expected: type[ApiError]
) -> None:
    assert expected is type(judged(Api.COS, 403, {}, body("AccessDenied", words), 0.0))


def test_the_services_time_is_taken_from_the_body_or_from_the_date() -> None:
    date = {"Date": "Wed, 01 May 2024 02:00:00 GMT"}
    stated = judged(
        Api.COS,
        403,
        date,
        body("RequestTimeTooSkewed", extra="<ServerTime>2024-05-01T03:00:00Z</ServerTime>"),
        0.0,
    )
    dated = judged(Api.CI, 401, date, body("SignatureExpired"), 0.0)
    neither = judged(Api.CI, 401, {}, body("SignatureExpired"), 0.0)

    assert isinstance(stated, ClockSkewed)
    assert isinstance(dated, ClockSkewed)
    assert isinstance(neither, ClockSkewed)
    assert (stated.server_time, dated.server_time, neither.server_time) == (
        1714532400.0,
        1714528800.0,
        None,
    )


def test_the_facts_of_the_answer_are_kept_for_support() -> None:
    raw = body(
        "InvalidArgument",
        "bad &lt;thing&gt;",
        "<RequestId>body-id</RequestId><TraceId>trace</TraceId><Resource/>",
    )
    by_header = judged(Api.CI, 400, {"x-ci-request-id": "header-id"}, raw, 0.0)
    by_body = judged(Api.CI, 400, {}, raw, 0.0)

    assert (
        by_header.answer.http_status,
        by_header.answer.code,
        by_header.answer.message,
        by_header.answer.request_id,
        by_header.answer.trace_id,
    ) == (400, "InvalidArgument", "bad <thing>", "header-id", "trace")
    assert by_body.answer.request_id == "body-id"
    assert str(by_body) == "InvalidArgument: bad <thing>"


def test_the_texts_of_an_answer_are_bounded() -> None:
    error = judged(
        Api.CI,
        400,
        {"x-ci-request-id": "r" * 9999},
        body("C" * 9999, "m" * 9999, f"<TraceId>{'t' * 9999}</TraceId>"),
        0.0,
    )

    assert (
        max(
            len(error.answer.code),
            len(error.answer.message),
            len(error.answer.request_id),
            len(error.answer.trace_id),
        )
        <= 2000
    )


def test_a_redirect_names_its_target_and_is_not_followed() -> None:
    headers = {"Location": "https://elsewhere.example/", "x-cos-request-id": "r1"}
    error = judged(Api.COS, 301, headers, b"", 0.0)

    assert "https://elsewhere.example/" in str(error)
    assert "not followed" in str(error)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("SecretidNotExist", "TENCENTCLOUD_SECRET_ID"),
        ("CIRoleNotExist", "CI_QCSRole"),
        ("MediaBucketUnBinded", "bucket"),
    ],
)
def test_an_error_that_stops_the_run_says_what_to_do_next(code: str, advice: str) -> None:
    assert advice in str(judged(Api.CI, 400, {}, body(code), 0.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("-3", 0.0),
        ("999999", 3600.0),
        ("nan", None),
        ("inf", 3600.0),
        ("Wed, 01 May 2024 02:00:30 GMT", 30.0),
        ("Wed, 01 May 2024 01:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(text: str, expected: float | None) -> None:
    assert expected == retry_after(text, 1714528800.0)


def test_retry_after_reaches_the_error() -> None:
    assert judged(Api.CI, 429, {"Retry-After": "7"}, body("SlowDown"), 0.0).retry_after_s == 7.0
    assert None is judged(Api.CI, 429, {}, body("SlowDown"), 0.0).retry_after_s


def test_the_request_id_is_found_in_either_header() -> None:
    assert request_id({"x-ci-request-id": "a", "x-cos-request-id": "b"}) == "a"
    assert request_id({"x-cos-request-id": "b"}) == "b"
    assert request_id({}) == ""


@pytest.mark.parametrize("code", ["ResourceDownloadFailed", "InternalError"])
def test_some_jobs_fail_for_a_passing_reason(code: str) -> None:
    assert is_transient_job_code(code)


@pytest.mark.parametrize(
    "code",
    [
        "ResourceNotFound",
        "ResourceAccessDenied",
        "ResourceNotSupported",
        "WriteTargetBucketDenied",
        "",
        "New",
    ],
)
def test_every_other_failure_of_a_job_is_permanent(code: str) -> None:
    assert not is_transient_job_code(code)


@given(st.integers(300, 599), st.binary(max_size=200), st.text(max_size=30))
def test_any_answer_becomes_an_api_error(status: int, raw: bytes, header: str) -> None:
    headers = {"Retry-After": header, "Date": header, "x-ci-request-id": header, "Location": header}

    assert isinstance(judged(Api.CI, status, headers, raw, 0.0), ApiError)


@pytest.mark.parametrize(
    ("status", "text"),
    [(403, "the key pair is wrong, or has no permission here"), (404, "nothing of this name")],
)
def test_an_answer_without_a_body_says_what_its_status_means(status: int, text: str) -> None:
    """A HEAD has no body that could give the reason."""
    answer = Answer(status, {"x-cos-request-id": "r1"}, b"")

    assert text in str(error_of(Api.COS, answer, 0.0))

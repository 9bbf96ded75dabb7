"""Errors in the vendor's form: a code, an HTTP status and a sentence.

Statuses follow the vendor's pages where they are printed. Codes that only its numeric table lists
(``QueueNotFound`` ...) have no printed status; they get 400, like ``ResourceNotFound``.
"""

from __future__ import annotations

CI_STATUS = {
    "InvalidArgument": 400,
    "MissingContent": 400,
    "InvalidContent": 400,
    "InvalidHost": 400,
    "ResourceNotFound": 400,
    "QueueNotFound": 400,
    "TemplateNotFound": 400,
    "TemplateNameDuplicate": 400,
    "CreatedTemplateNumLimit": 400,
    "MediaBucketUnBinded": 400,
    "MissingAuthorization": 401,
    "InvalidAuthorization": 401,
    "AccessDenied": 401,
    "SecretidNotExist": 401,
    "SignatureExpired": 401,
    "MediaBucketAlreadyBinded": 403,
    "QueueSaturated": 403,
    "QueuePaused": 403,
    "WriteTargetBucketDenied": 403,
    "RequestTimeTooSkewed": 403,
    "ExpiredToken": 403,
    "InvalidUrl": 404,
    "NoSuchBucket": 404,
    "MethodNotAllowed": 405,
    "RequestTimeout": 400,
    "MissingContentLength": 411,
    "SlowDown": 429,
    "InternalError": 500,
    "NotImplemented": 501,
    "ServiceUnavailable": 503,
}
"""HTTP status by code, on the job side."""

COS_STATUS = {
    "BadDigest": 400,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "ExpiredToken": 400,
    "IncompleteBody": 400,
    "InvalidArgument": 400,
    "InvalidBucketName": 400,
    "InvalidDelimiter": 400,
    "InvalidDigest": 400,
    "InvalidObjectName": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRegionName": 400,
    "InvalidRequest": 400,
    "InvalidURI": 400,
    "KeyTooLong": 400,
    "MalformedXML": 400,
    "RequestTimeout": 400,
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "MethodNotAllowed": 405,
    "PathConflict": 409,
    "MissingContentLength": 411,
    "PreconditionFailed": 412,
    "InvalidRange": 416,
    "InternalError": 500,
    "NotImplemented": 501,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
}
"""HTTP status by code, on the storage side."""


class Refusal(Exception):
    """Refusal of a request, with the vendor's error code.

    Attributes:
        code: The vendor's error code.
        message: Sentence that names the problem and the remedy.
        status: HTTP status; None: the code's own.
        headers: Extra headers of the answer.
        server_time: Include the server's time in the body (clock errors).
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int | None = None,
        *,
        headers: dict[str, str] | None = None,
        server_time: bool = False,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers or {}
        self.server_time = server_time

    def http_status(self, *, ci: bool) -> int:
        """Return the HTTP status of the answer."""
        if self.status is not None:
            return self.status
        first, second = (CI_STATUS, COS_STATUS) if ci else (COS_STATUS, CI_STATUS)
        return first.get(self.code) or second.get(self.code) or 400


def invalid_argument(message: str) -> Refusal:
    """Return an ``InvalidArgument`` with that message."""
    return Refusal("InvalidArgument", message)

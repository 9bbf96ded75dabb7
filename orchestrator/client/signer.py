"""Signing, with corrections learned from refusals: different clocks, expired keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.client.redaction import Redactor
from orchestrator.client.wire.request import PreparedRequest, Request, prepare
from orchestrator.client.wire.signature import Credentials, SigningKey, signing_key
from orchestrator.client.wire.submit import SubmitForm
from orchestrator.errors import (
    ApiAnswer,
    ApiError,
    AuthRejected,
    ClockSkewed,
    CredentialsExpired,
    Rejected,
)

if TYPE_CHECKING:
    from orchestrator.client.credentials import CredentialSource
    from orchestrator.client.endpoint import Endpoint
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.spec import JobSpec

# The service does not refuse smaller differences (the vendor's Node SDK corrects from here, too).
_SKEW_THAT_MATTERS_S = 30.0


class Signed(NamedTuple):
    """A signed request, and the state it was signed with.

    The state shows whether a refusal was already answered by a later correction.
    """

    prepared: PreparedRequest
    offset_s: float
    credentials: Credentials
    signed_at: float
    """Our estimate of the service's time."""


class Signer:
    """Signs with the credentials of a source and the corrected time of a clock.

    Args:
        endpoint: Addresses of the two APIs.
        source: Key pair; read at once, and again when a temporary key expires.
        clock: Time.
        redactor: Learns each key pair, to remove it from what is received.

    Raises:
        CredentialsMissing: If the source has none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        source: CredentialSource,
        clock: Clock,
        redactor: Redactor | None = None,
    ) -> None:
        self._redactor = redactor or Redactor()
        self._endpoint = endpoint
        self._source = source
        self._clock = clock
        self._credentials = source.load()
        self._redactor.learn(self._credentials)
        self._key: SigningKey | None = None
        self._forms: dict[tuple[str, str], SubmitForm] = {}
        self.offset_s = 0.0
        """Seconds added to our clock for signing; 0 until the service corrects it."""

    def sign(self, request: Request) -> Signed:
        """Return the signed request.

        Raises:
            Rejected: If its path cannot be expressed on the wire; nothing was sent.
        """
        now = self._clock.now() + self.offset_s
        try:
            prepared = prepare(
                request, self._present_key(now), self._endpoint.base_url(request.api)
            )
        except UnicodeEncodeError as error:
            message = f"{request.path!r} is not Unicode text; nothing was sent"
            raise Rejected(ApiAnswer(code="NotSendable", message=message)) from error
        return Signed(prepared, self.offset_s, self._credentials, now)

    def sign_submit(self, spec: JobSpec) -> Signed:
        """Return the signed ``POST /jobs`` of one job.

        Raises:
            Rejected: If the spec cannot be expressed; nothing was sent.
            ConfigError: If the bucket or region of its input cannot be part of a host name.
        """
        now = self._clock.now() + self.offset_s
        key = self._present_key(now)
        place = (spec.media.bucket, spec.media.region)
        form = self._forms.get(place)
        if form is None:
            form = self._forms[place] = SubmitForm(spec.media.place, key, self._endpoint.ci_url)
        return Signed(form.prepare(spec), self.offset_s, self._credentials, now)

    def _present_key(self, now: float) -> SigningKey:
        key = self._key
        # The start matters if our clock was set back.
        if key is None or not key.starts_at < now < key.renew_at:
            key = self._key = signing_key(self._credentials, now)
            self._forms.clear()
        return key

    def learn(self, error: ApiError, signed: Signed) -> ApiError:
        """Return the exception to raise for a refusal, after correcting its cause.

        It is the same exception, or a fatal one if the correction did not help. Many requests may
        be refused for one reason: only those signed with the correction count as evidence.
        """
        if isinstance(error, ClockSkewed):
            return self._correct_clock(error, signed)
        if isinstance(error, CredentialsExpired):
            return self._renew_credentials(error, signed)
        return error

    def _correct_clock(self, error: ClockSkewed, signed: Signed) -> ApiError:
        if signed.offset_s != self.offset_s:
            return error
        if error.server_time is None:
            return AuthRejected(
                error.answer,
                f"{error} - the service does not give its time: set the clock of this machine",
            )
        if abs(error.server_time - signed.signed_at) < _SKEW_THAT_MATTERS_S:
            return AuthRejected(
                error.answer,
                f"{error} - although our clocks agree: check the key and the clock of this machine",
            )
        # Almost 0 if our clock was set right in the meantime.
        self.offset_s = error.server_time - self._clock.now()
        self._key = None
        return error

    def _renew_credentials(self, error: CredentialsExpired, signed: Signed) -> ApiError:
        if signed.credentials != self._credentials:
            return error
        new = self._source.load()
        if new == self._credentials:
            return AuthRejected(
                error.answer,
                f"{error} - the temporary key has expired: set a new one and run again",
            )
        self._credentials = new
        self._redactor.learn(new)
        self._key = None
        return error

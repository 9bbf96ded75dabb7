"""The key pair at work: signs requests, and learns from refusals that the clocks differ or that a temporary key is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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

# Clocks that differ by less are not what the service complains about (the vendor's Node SDK corrects from here on, too).
_SKEW_THAT_MATTERS_S = 30.0


class Signed(NamedTuple):
    """A request on its way, and what it was signed with: to know whether a later correction already answers a refusal."""

    prepared: PreparedRequest
    offset_s: float
    credentials: Credentials
    signed_at: float
    """The service's time, as we took it to be."""


class Signer:
    """Signs with the credentials of a source and the time of a clock, corrected by what the service says.

    Args:
        endpoint: Where requests go.
        source: Read at once, and again when a temporary key is over.
        clock: Time.

    Raises:
        CredentialsMissing: If the source has none.
    """

    def __init__(self, endpoint: Endpoint, source: CredentialSource, clock: Clock) -> None:
        self._endpoint = endpoint
        self._source = source
        self._clock = clock
        self._credentials = source.load()
        self._key: SigningKey | None = None
        self._forms: dict[tuple[str, str], SubmitForm] = {}
        self.offset_s = 0.0
        """What is added to our clock when signing; 0 until the service complained."""

    def sign(self, request: Request) -> Signed:
        """The request, ready for the wire.

        Raises:
            Rejected: If its path cannot be expressed on the wire; nothing was sent.
        """
        now = self._clock.now() + self.offset_s
        try:
            prepared = prepare(
                request, self._present_key(now), self._endpoint.base_url(request.api)
            )
        except UnicodeEncodeError as error:
            raise Rejected(
                ApiAnswer(
                    code="NotSendable",
                    message=f"{request.path!r} is not Unicode text; nothing was sent",
                )
            ) from error
        return Signed(prepared, self.offset_s, self._credentials, now)

    def sign_submit(self, spec: JobSpec) -> Signed:
        """The ``POST /jobs`` of one job, ready for the wire.

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
        if (
            key is None or not key.starts_at < now < key.renew_at
        ):  # the start matters when our clock was set back
            key = self._key = signing_key(self._credentials, now)
            self._forms.clear()
        return key

    def learn(self, error: ApiError, signed: Signed) -> ApiError:
        """The exception to raise for a refusal: the same, after correcting what can be corrected; or a fatal one, if that did not help.

        Many requests may be refused for one reason. Only those that were signed as the next one would be are evidence against that.
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
                f"{error} - the service does not tell its time: set the clock of this machine",
            )
        if abs(error.server_time - signed.signed_at) < _SKEW_THAT_MATTERS_S:
            return AuthRejected(
                error.answer,
                f"{error} - although our clocks agree: check the key and the clock of this machine",
            )
        self.offset_s = (
            error.server_time - self._clock.now()
        )  # nothing to correct if our clock was set right meanwhile
        self._key = None
        return error

    def _renew_credentials(self, error: CredentialsExpired, signed: Signed) -> ApiError:
        if signed.credentials != self._credentials:
            return error
        fresh = self._source.load()
        if fresh == self._credentials:
            return AuthRejected(
                error.answer, f"{error} - the temporary key is over: set a fresh one and run again"
            )
        self._credentials = fresh
        self._key = None
        return error

"""The client between runner and service in one process.

Its key may expire, its clock may be wrong, and its requests are spaced.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from orchestrator.client.endpoint import Endpoint
from orchestrator.client.signer import Signed, Signer
from orchestrator.client.wire.signature import Credentials
from orchestrator.errors import (
    ApiAnswer,
    ApiError,
    ClockSkewed,
    CredentialsExpired,
    ProxyRefused,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.client.limits.departures import Departures
    from orchestrator.client.wire.request import PreparedRequest
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.remote import (
        JobFilter,
        JobPage,
        ObjectHead,
        ObjectPage,
        QueryReply,
        SubmitReply,
    )
    from orchestrator.domain.spec import JobSpec, Place
    from orchestrator.testing.service import FakeService
    from tests.simulation.watch import Watch

_TOLERANCE_S = 900.0
"""Largest clock error that the vendor accepts."""


class Keys:
    """A temporary key that expires, with or without a fresh one to follow.

    Args:
        clock: The true time.
        expires_at: Monotonic instant, or None for never.
        is_renewed: Offer a fresh key from then on.
    """

    def __init__(self, clock: Clock, expires_at: float | None, *, is_renewed: bool) -> None:
        self._clock = clock
        self._expires_at = expires_at
        self._is_renewed = is_renewed
        self.in_use = self.load()

    def load(self) -> Credentials:
        """See ``client.credentials.CredentialSource``."""
        self.in_use = Credentials(
            "fresh" if self._is_renewed and self._is_past() else "first", "secret", "token"
        )
        return self.in_use

    def have_expired(self, keys: Credentials) -> bool:
        """Return True if the service refuses these credentials now."""
        return keys.secret_id == "first" and self._is_past()

    def _is_past(self) -> bool:
        return self._expires_at is not None and self._clock.monotonic() >= self._expires_at


class Client:
    """``JobService`` and ``ObjectStore`` with the parts of ``client.CloudService``.

    The same signer learns from refusals, and the same limiter spaces the requests.

    Args:
        service: The service.
        own: This machine's clock, right or wrong.
        keys: The key pair.
        tells_time: The service states its time when it refuses a request for its date.
    """

    watch: Watch
    departures: Departures
    proxy_asks_from = math.inf
    """Instant from which a proxy on the way wants a password."""

    def __init__(self, service: FakeService, own: Clock, keys: Keys, *, tells_time: bool) -> None:
        self._service = service
        self._own = own
        self._keys = keys
        self._tells_time = tells_time
        self._signer = Signer(Endpoint(), keys, own)

    @property
    def clock_offset_s(self) -> float:
        """See ``CloudService``."""
        return self._signer.offset_s

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """See ``ports.JobService``."""
        self.watch.choose(spec)
        with self.watch.on_the_wire("submit"):
            signed = self._sign()
            await self.departures.turn()
            await self._enter("submit", signed)
            self.watch.enter(spec)
            if self._proxy_asks() and self._is_passed_on():
                await self._service.submit(spec)  # the proxy answers all the same
            self._ask_for_password()
            return await self._service.submit(spec)

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """See ``ports.JobService``."""
        assert 1 <= len(job_ids) <= 10
        with self.watch.on_the_wire("query"):
            await self._enter("query", self._sign())
            self._ask_for_password()
            return await self._service.query(place, job_ids)

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """See ``ports.JobService``."""
        with self.watch.on_the_wire("list"):
            await self._enter("list", self._sign())
            self._ask_for_password()
            return await self._service.list_jobs(place, wanted, next_token)

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        with self.watch.on_the_wire("head"):
            await self._enter("head", self._sign())
            self._ask_for_password()
            return await self._service.head(place, key)

    async def queues(self, place: Place) -> list[str]:
        """See ``ports.JobService``."""
        with self.watch.on_the_wire("list"):
            await self._enter("list", self._sign())
            self._ask_for_password()
            return await self._service.queues(place)

    # Calls that a run does not make are passed through.

    async def cancel(self, place: Place, job_id: str) -> None:
        """See ``ports.JobService``."""
        await self._service.cancel(place, job_id)

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        return await self._service.list_objects(place, prefix, marker, max_keys)

    def _sign(self) -> Signed:
        nothing = cast("PreparedRequest", None)  # no bytes are sent here
        offset_s = self._signer.offset_s
        return Signed(nothing, offset_s, self._keys.in_use, self._own.now() + offset_s)

    async def _enter(self, kind: str, signed: Signed) -> None:
        """Send a request; the service checks its signature first."""
        self.watch.depart(kind)
        refusal = self._refusal(signed)
        if refusal is not None:
            await self._own.sleep(self._service.weather.latency_s)
            raise self._signer.learn(refusal, signed)

    # --- a proxy

    def _proxy_asks(self) -> bool:
        return self._own.monotonic() >= self.proxy_asks_from

    def _is_passed_on(self) -> bool:
        return int(self._own.monotonic() * 1000) % 2 == 0

    def _ask_for_password(self) -> None:
        if self._proxy_asks():
            raise ProxyRefused(ApiAnswer(407))

    def _refusal(self, signed: Signed) -> ApiError | None:
        true_time = self._service.clock.now()
        if abs(signed.signed_at - true_time) > _TOLERANCE_S:
            answer = ApiAnswer(
                403, "RequestTimeTooSkewed", "the difference of the clocks is too large"
            )
            return ClockSkewed(answer, server_time=true_time if self._tells_time else None)
        if self._keys.have_expired(signed.credentials):
            return CredentialsExpired(ApiAnswer(403, "ExpiredToken", "the token has expired"))
        return None

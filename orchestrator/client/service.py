"""The job API and the object storage of one account, over HTTP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from orchestrator.client.endpoint import Timeouts
from orchestrator.client.redaction import Redactor
from orchestrator.client.signer import Signer
from orchestrator.client.transport import Transport
from orchestrator.client.wire.error_codes import error_of, request_id
from orchestrator.client.wire.hosts import Api
from orchestrator.client.wire.objects import http_date, object_head, object_page
from orchestrator.client.wire.reply import job_page, query_reply, queue_ids, submit_reply
from orchestrator.client.wire.request import (
    cancel_request,
    head_bucket_request,
    head_request,
    list_objects_request,
    list_request,
    query_request,
    queues_request,
)
from orchestrator.domain.remote import BucketFacts
from orchestrator.domain.retrying import retried
from orchestrator.domain.spec import is_key_of_another, key_of_user_data
from orchestrator.errors import ConnectFailed, NotFound, ProtocolError, Rejected, SendInDoubt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from orchestrator.client.credentials import CredentialSource
    from orchestrator.client.endpoint import Endpoint
    from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
    from orchestrator.client.signer import Signed
    from orchestrator.client.wire.request import Answer, Request
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
    from orchestrator.errors import ApiError

# Tries of a read if no connection can be made: nothing was sent, so nothing is repeated.
_CONNECT_ATTEMPTS = 3


class CloudService:
    """``ports.JobService`` and ``ports.ObjectStore`` for one account; an async context manager.

    No request is repeated here, with one exception: a read whose connection could not be made, so
    that nothing was sent, is tried again a moment later. If the service says that the clocks differ
    or that the temporary key has expired, the clock offset or the key is corrected once. The error
    is raised all the same, and the next request uses the correction.

    Args:
        endpoint: Addresses of the two APIs.
        credentials: Key pair; read when the context is entered, and when a temporary key expires.
        clock: Time.
        connections: Most connections at once, of all kinds of requests together.
        timeouts: Bounds of one request.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: CredentialSource,
        clock: Clock,
        *,
        connections: int = 64,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._clock = clock
        redactor = Redactor()
        self._new_signer = partial(Signer, endpoint, credentials, clock, redactor)
        self._transport = Transport(connections, timeouts or Timeouts(), redactor)
        self._patience = AsyncRetrying(
            sleep=clock.sleep,
            stop=stop_after_attempt(_CONNECT_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            retry=retry_if_exception(_may_connect_later),
            reraise=True,
        )

    async def __aenter__(self) -> Self:
        self._signer = self._new_signer()
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    @property
    def clock_offset_s(self) -> float:
        """Seconds added to our clock for signing; 0 until the service corrects it."""
        return self._signer.offset_s

    def space_submits(self, limiter: AdaptiveLimiter) -> None:
        """Let the limiter decide when each submit is written to its connection."""
        self._transport.departures = limiter.space()

    def guard_submits(self, may_send: Callable[[], bool]) -> None:
        """Hold submits back for which ``may_send`` returns False right before they are written."""
        self._transport.may_send = may_send

    # --- jobs -------------------------------------------------------------------------------------

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """Send one ``POST /jobs``, once. See ``ports.JobService``.

        Raises:
            ConnectFailed: Nothing was sent.
            SendInDoubt: No answer, or none that names the job, which may exist.
            ApiError: By the service's code. A ``ServerFault``, and any error that the vendor did
                not write (``error.answer.is_vendors``), leave the job in doubt as well; any other
                error proves that no job exists.
        """
        signed = self._signer.sign_submit(spec)
        try:
            answer = await self._transport.post(signed.prepared)
            if answer.is_success:
                return _checked(submit_reply(answer.body, request_id(answer.headers)), spec)
        except ProtocolError as error:
            message = "was sent, but the answer does not say which job it became"
            raise SendInDoubt(f"{spec.media.key!r} {message}: {error}") from error
        raise self._error(Api.CI, signed, answer)

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """Return up to ten jobs of one bucket."""
        answer = await self._read(query_request(place, job_ids))
        return query_reply(answer.body, request_id(answer.headers))

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """Return one page of the jobs of one bucket."""
        return job_page((await self._read(list_request(place, wanted, next_token))).body)

    async def queues(self, place: Place) -> list[str]:
        """Return the ids of the remote queues of one bucket, of both families.

        Which family runs voice separation differs between pages of the vendor.
        """
        found: list[str] = []
        for path in ("/asrqueue", "/queue"):
            try:
                found += queue_ids((await self._read(queues_request(place, path))).body)
            except (Rejected, ProtocolError):
                continue  # this family is not enabled
        return list(dict.fromkeys(found))

    async def cancel(self, place: Place, job_id: str) -> None:
        """Cancel a job that has not started. Raises ``Rejected`` if it has."""
        await self._ask(cancel_request(place, job_id))

    # --- objects ----------------------------------------------------------------------------------

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """Return the properties of an object, or None if there is none."""
        try:
            return object_head((await self._read(head_request(place, key))).headers)
        except NotFound:
            return None

    async def head_bucket(self, place: Place) -> BucketFacts:
        """Return what an answer about a bucket says; raises if it is refused."""
        answer = await self._read(head_bucket_request(place))
        return BucketFacts(http_date(answer.headers.get("Date", "")), request_id(answer.headers))

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """Return one page of keys."""
        return object_page(
            (await self._read(list_objects_request(place, prefix, marker, max_keys))).body
        )

    # --- one request ------------------------------------------------------------------------------

    async def _read(self, request: Request) -> Answer:
        return await retried(self._patience.copy, partial(self._ask, request))

    async def _ask(self, request: Request) -> Answer:
        signed = self._signer.sign(request)
        answer = await self._transport.exchange(signed.prepared)
        if not answer.is_success:
            raise self._error(request.api, signed, answer)
        return answer

    def _error(self, api: Api, signed: Signed, answer: Answer) -> ApiError:
        return self._signer.learn(error_of(api, answer, self._clock.now()), signed)


def _may_connect_later(error: BaseException) -> bool:
    return isinstance(error, ConnectFailed) and error.retryable


def _checked(reply: SubmitReply, spec: JobSpec) -> SubmitReply:
    """Return the answer if it can be the one to ``spec``.

    ``UserData`` comes back as it was sent. If it holds the key of another job, this is the answer
    to that job's request, and to track its id would lose ours. Text that is not one of our keys
    proves nothing: the service may have shortened it.

    Raises:
        ProtocolError: If it answers another request.
    """
    found = key_of_user_data(reply.job.user_data)
    if is_key_of_another(found, spec.key):
        raise ProtocolError(f"The answer is about {found}, which is another job.")
    return reply

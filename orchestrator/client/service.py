"""The job API and the object storage of one account, over HTTP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from orchestrator.client.endpoint import Timeouts
from orchestrator.client.signer import Signer
from orchestrator.client.transport import Transport
from orchestrator.client.wire.error_codes import error_of, request_id
from orchestrator.client.wire.hosts import Api
from orchestrator.client.wire.objects import object_head, object_page
from orchestrator.client.wire.reply import job_page, query_reply, submit_reply
from orchestrator.client.wire.request import (
    cancel_request,
    head_request,
    list_objects_request,
    list_request,
    query_request,
)
from orchestrator.domain.spec import key_of_user_data
from orchestrator.errors import ConnectFailed, NotFound, ProtocolError, SendInDoubt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from orchestrator.client.answer import Answer
    from orchestrator.client.credentials import CredentialSource
    from orchestrator.client.endpoint import Endpoint
    from orchestrator.client.rate_limiter import AdaptiveLimiter
    from orchestrator.client.signer import Signed
    from orchestrator.client.wire.request import Request
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

# A read is tried this often if no connection could be made: nothing was sent, so nothing is repeated.
_CONNECT_ATTEMPTS = 3


class CloudService:
    """:class:`~orchestrator.domain.ports.JobService` and :class:`~orchestrator.domain.ports.ObjectStore` for one account.

    An async context manager. No request is repeated here, with one exception: reads whose connection could not be made, so that
    nothing was sent, are tried again a moment later. When the service says that the clocks differ, or that the temporary key is over,
    the clock offset or the key is corrected once and the error still raised: the next request does better.

    Args:
        endpoint: Where requests go.
        credentials: Who signs them; read when the context is entered and again when a temporary key is over.
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
        self._new_signer = partial(Signer, endpoint, credentials, clock)
        self._transport = Transport(connections, timeouts or Timeouts())
        self._patience = AsyncRetrying(
            sleep=clock.sleep,
            stop=stop_after_attempt(_CONNECT_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=2.0),
            retry=retry_if_exception_type(ConnectFailed),
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
        """What is added to our clock when signing, learned from the service; 0 until it complained."""
        return self._signer.offset_s

    def space_submits(self, limiter: AdaptiveLimiter) -> None:
        """Let each submit leave when the limiter says, counted from when it is written to its connection."""
        self._transport.departures = limiter.space()

    # --- jobs ------------------------------------------------------------------------------------------------------------------

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """Send one ``POST /jobs``, once. See :class:`~orchestrator.domain.ports.JobService`.

        Raises:
            ConnectFailed: Nothing was sent.
            SendInDoubt: No answer, or none that names the job: it may exist.
            ApiError: By the service's code; a ``ServerFault`` leaves it in doubt as well, every other proves that no job exists.
        """
        signed = self._signer.sign_submit(spec)
        try:
            answer = await self._transport.post(signed.prepared)
            if answer.is_success:
                return _checked(submit_reply(answer.body, request_id(answer.headers)), spec)
        except ProtocolError as error:
            raise SendInDoubt(
                f"{spec.media.key!r} was sent, but the answer does not say which job it became: {error}"
            ) from error
        raise self._error(Api.CI, signed, answer)

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """Up to ten jobs of one bucket."""
        answer = await self._read(query_request(place, job_ids))
        return query_reply(answer.body, request_id(answer.headers))

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """One page of the jobs of one bucket."""
        return job_page((await self._read(list_request(place, wanted, next_token))).body)

    async def cancel(self, place: Place, job_id: str) -> None:
        """Cancel a job that has not started; ``Rejected`` if it is too late."""
        await self._ask(cancel_request(place, job_id))

    # --- objects ---------------------------------------------------------------------------------------------------------------

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """What is known of an object, or None if there is none."""
        try:
            return object_head((await self._read(head_request(place, key))).headers)
        except NotFound:
            return None

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """One page of keys."""
        return object_page(
            (await self._read(list_objects_request(place, prefix, marker, max_keys))).body
        )

    # --- one request -----------------------------------------------------------------------------------------------------------

    async def _read(self, request: Request) -> Answer:
        return await self._patience.copy()(self._ask, request)

    async def _ask(self, request: Request) -> Answer:
        signed = self._signer.sign(request)
        answer = await self._transport.exchange(signed.prepared)
        if not answer.is_success:
            raise self._error(request.api, signed, answer)
        return answer

    def _error(self, api: Api, signed: Signed, answer: Answer) -> ApiError:
        return self._signer.learn(
            error_of(api, answer.status, answer.headers, answer.body, self._clock.now()), signed
        )


def _checked(reply: SubmitReply, spec: JobSpec) -> SubmitReply:
    """The answer, if it can be the one to ``spec``.

    ``UserData`` comes back as it was sent. Where the key of another job stands in it, something on the way gave us the answer to that
    job's request; to follow its id would lose ours. What is no key of ours, a service that shortens it for example, proves nothing.

    Raises:
        ProtocolError: If it answers another request.
    """
    told, own = key_of_user_data(reply.job.user_data), spec.key
    if told != own and len(told) == len(own) and told.startswith(own.partition(".")[0] + "."):
        raise ProtocolError(f"The answer is about {told}, which is another job.")
    return reply

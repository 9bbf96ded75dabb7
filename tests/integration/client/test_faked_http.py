"""The client against aioresponses: the vendor's own https addresses, without a network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import aiohttp
import pytest

from orchestrator.client.credentials import Static
from orchestrator.client.endpoint import Endpoint
from orchestrator.client.service import CloudService
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ReplyTimeout, SendInDoubt, Throttled

if TYPE_CHECKING:
    from aioresponses import aioresponses

    from orchestrator.domain.spec import JobSpec

JOBS = "https://examplebucket-1250000000.ci.ap-chongqing.myqcloud.com/jobs"
ACCEPTED = (
    b"<Response><JobsDetail><JobId>j1</JobId><State>Submitted</State></JobsDetail></Response>"
)


@pytest.fixture
def vendor() -> CloudService:
    return CloudService(Endpoint(), Static(Credentials("AKID", "s")), SystemClock())


async def test_without_an_override_a_submit_goes_to_the_buckets_https_host(
    vendor: CloudService, fake_http: aioresponses, spec: JobSpec
) -> None:
    fake_http.post(JOBS, body=ACCEPTED, headers={"x-ci-request-id": "r1"})

    async with vendor as service:
        reply = await service.submit(spec)

    assert (reply.job.job_id, reply.request_id) == ("j1", "r1")


async def test_a_429_of_the_vendor_is_throttling(
    vendor: CloudService, fake_http: aioresponses, spec: JobSpec
) -> None:
    fake_http.post(
        JOBS, status=429, body=b"<Error><Code>SlowDown</Code></Error>", headers={"Retry-After": "3"}
    )

    async with vendor as service:
        with pytest.raises(Throttled) as caught:
            await service.submit(spec)

    assert caught.value.retry_after_s == 3.0


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (TimeoutError(), ReplyTimeout),
        (aiohttp.ClientPayloadError("cut"), SendInDoubt),
        (OSError(104, "reset"), SendInDoubt),
    ],
)
async def test_an_error_of_aiohttp_after_sending_leaves_the_job_in_doubt(
    vendor: CloudService,
    fake_http: aioresponses,
    spec: JobSpec,
    failure: Exception,
    expected: type[SendInDoubt],
) -> None:
    fake_http.post(re.compile(".*"), exception=failure)

    async with vendor as service:
        with pytest.raises(expected) as caught:
            await service.submit(spec)

    assert caught.value.__cause__ is failure

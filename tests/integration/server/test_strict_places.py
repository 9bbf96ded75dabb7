"""Buckets and regions that do not exist are refused, as at the vendor, and are not made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import MissingBucket, MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Answer, Bench, Benches

NONE = "none-1250000000"
MISTYPED = "mdeia-1250000000"


def code(answer: Answer) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("GET", "/", {}),
        ("HEAD", "/", {}),
        ("GET", "/a", {}),
        ("PUT", "/a", {}),
        ("PUT", "/a/", {}),
        ("DELETE", "/a", {}),
        ("POST", "/a", {"uploads": ""}),
        ("GET", "/", {"uploads": ""}),
        ("PUT", "/a", {"uploadId": "1", "partNumber": "1"}),
        ("POST", "/", {"delete": ""}),
    ],
)
async def test_no_storage_call_makes_a_bucket(
    bench: Bench, method: str, path: str, params: dict[str, str]
) -> None:
    body = "<Delete><Object><Key>a</Key></Object></Delete>" if method in {"PUT", "POST"} else b""
    body = b"" if path == "/a/" else body

    answer = await bench.raw(
        method, path, host=f"{NONE}.cos.ap-beijing.myqcloud.com", params=params, body=body
    )

    assert answer.status == 404
    assert method == "HEAD" or code(answer) == "NoSuchBucket"
    assert not (bench.root / NONE).exists()


async def test_a_job_with_a_mistyped_output_bucket_is_refused(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    body = job_body().replace("<Bucket>media-", "<Bucket>mdeia-")

    answer = await bench.raw("POST", "/jobs", body=body)

    assert (answer.status, code(answer)) == (404, "NoSuchBucket")
    assert str(bench.root / MISTYPED) in answer.text
    assert not (bench.root / MISTYPED).exists()
    assert bench.service.state()["jobs"] == {}


async def test_a_job_of_a_bucket_that_does_not_exist_is_refused(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(missing_input=MissingInput.FAIL)

    answer = await bench.raw(
        "POST", "/jobs", host=f"{NONE}.ci.ap-beijing.myqcloud.com", body=job_body()
    )

    assert (answer.status, code(answer)) == (404, "NoSuchBucket")


async def test_an_output_bucket_that_cannot_be_written_to_is_refused(
    bench: Bench, job_body: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as a user who can write everywhere.
    monkeypatch.setattr("os.access", lambda *_: False)

    answer = await bench.raw("POST", "/jobs", body=job_body())

    assert (answer.status, code(answer)) == (403, "WriteTargetBucketDenied")


async def test_a_rehearsal_may_make_the_output_buckets(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(missing_bucket=MissingBucket.MAKE, progression=Progression(Pace.IMMEDIATE))

    job_id = await bench.submit(job_body().replace("<Bucket>media-", "<Bucket>mdeia-"))

    assert "<State>Success</State>" in await bench.ended(job_id)
    assert (bench.root / MISTYPED / "out").is_dir()


@pytest.mark.parametrize(
    ("host", "status", "expected"),
    [
        ("media-1250000000.cos.eu-nowhere.myqcloud.com", 400, "InvalidRegionName"),
        ("media-1250000000.ci.eu-nowhere.myqcloud.com", 400, "InvalidHost"),
        ("media-1250000000.cos.ap-shanghai-fsi.myqcloud.com", 200, None),
        ("media-1250000000.cos.accelerate.myqcloud.com", 200, None),
        ("media-1250000000.cos-internal.ap-beijing.tencentcos.cn", 200, None),
        ("media-1250000000.ci.accelerate.myqcloud.com", 400, "InvalidHost"),
        ("media-1250000000.cos.ap-chongqin.tencentcos.cn", 400, "InvalidRegionName"),
    ],
)
async def test_a_region_that_the_vendor_does_not_have_is_refused(
    bench: Bench, host: str, status: int, expected: str | None
) -> None:
    path = "/jobs" if ".ci." in host else "/"

    answer = await bench.raw("GET", path, host=host)

    assert answer.status == status
    assert expected is None or code(answer) == expected


async def test_an_output_region_that_the_vendor_does_not_have_is_refused(
    bench: Bench, job_body: Callable[..., str]
) -> None:
    answer = await bench.raw("POST", "/jobs", body=job_body().replace("ap-chongqing", "eu-nowhere"))

    assert (answer.status, code(answer)) == (400, "InvalidArgument")


@pytest.mark.parametrize("settings", [{"bucket": NONE}])
async def test_the_default_bucket_is_made(start: Benches, settings: dict[str, Any]) -> None:
    bench = await start(**settings)

    answer = await bench.raw("PUT", "/a", host="127.0.0.1:8080", body=b"x")

    assert answer.status == 200
    assert (bench.root / NONE / "a").read_bytes() == b"x"


async def test_a_service_cannot_be_enabled_for_a_bucket_that_does_not_exist(bench: Bench) -> None:
    answer = await bench.raw("POST", "/asrbucket", host=f"{NONE}.ci.ap-beijing.myqcloud.com")

    assert (answer.status, code(answer)) == (404, "NoSuchBucket")


@pytest.mark.parametrize("host", ["service.cos.myqcloud.com", "vectors.ap-beijing.tencentcos.cn"])
async def test_another_host_of_the_vendor_does_not_mean_the_default_bucket(
    start: Benches, host: str
) -> None:
    bench = await start(bucket="media-1250000000")

    answer = await bench.raw("GET", "/", host=host)

    assert (answer.status, code(answer)) == (400, "InvalidHost")

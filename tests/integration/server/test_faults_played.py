"""Scripted faults look like real ones to a client, and the control plane needs its token."""

from __future__ import annotations

import html
import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.server.faults.script import Faults
from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Answer, Bench, Benches

COS = "media-1250000000.cos.ap-chongqing.myqcloud.com"
BUCKET = "media-1250000000"


def script(*rules: dict[str, Any], **more: Any) -> Faults:
    return Faults.parse({"faults": list(rules), **more})


async def count(bench: Bench) -> int:
    return int((await bench.raw("GET", "/jobs", params={"size": "100"})).text.count("<JobId>"))


async def test_throttling_comes_with_and_without_retry_after_and_makes_no_job(
    start: Benches, job_body: Callable[..., str]
) -> None:
    slow = {"route": "submit", "code": "SlowDown", "times": 1}
    bench = await start(
        faults=script({**slow, "retry_after_s": 2}, slow, {"route": "head", "code": "SlowDown"})
    )

    first, second, third = [await bench.raw("POST", "/jobs", body=job_body()) for _ in range(3)]
    storage = await bench.raw("HEAD", "/a", host=COS)

    assert (first.status, first.headers.get("Retry-After")) == (429, "2")
    assert (second.status, second.headers.get("Retry-After")) == (429, None)
    assert "<Code>SlowDown</Code>" in first.text
    assert third.status == 200
    assert storage.status == 503
    assert await count(bench) == 1


@pytest.mark.parametrize(
    ("do", "made"),
    [
        ("refuse", 0),
        ("fail_after", 1),
        ("drop", 0),
        ("lose_answer", 1),
        ("truncate", 1),
        ("garble", 1),
    ],
)
async def test_a_submit_can_go_wrong_before_and_after_it_was_accepted(
    start: Benches, job_body: Callable[..., str], do: str, made: int
) -> None:
    bench = await start(
        faults=script({"route": "submit", "do": do, "code": "InternalError", "times": 1})
    )
    answer: Answer | None = None
    try:
        answer = await bench.raw("POST", "/jobs", body=job_body())
    except aiohttp.ClientError:
        lost = True
    else:
        lost = False

    assert await count(bench) == made
    assert lost == (do in {"drop", "lose_answer", "truncate"})
    if answer is not None:
        assert answer.status == {"refuse": 500, "fail_after": 500, "garble": 200}[do]
        assert ("<Error>" in answer.text) == (do != "garble")


async def test_a_download_can_break_in_the_middle(start: Benches) -> None:
    bench = await start(faults=script({"route": "get", "do": "truncate"}))
    await bench.raw("PUT", "/a", host=COS, body=b"x" * 1_000_000)

    with pytest.raises(aiohttp.ClientError):
        await bench.raw("GET", "/a", host=COS)


async def test_answers_can_be_late(start: Benches, job_body: Callable[..., str]) -> None:
    bench = await start(
        faults=script(
            {"route": "submit", "do": "delay", "delay_s": 0.2, "times": 1},
            {"do": "delay_answer", "delay_s": 0.2},
        )
    )
    clock = SystemClock()

    for _ in range(2):
        begun = clock.monotonic()
        assert (await bench.raw("POST", "/jobs", body=job_body())).status == 200
        assert clock.monotonic() - begun >= 0.2


async def test_clock_errors_come_with_a_skewed_date(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(
        faults=script(
            {"route": "submit", "code": "SignatureExpired", "times": 1, "skew_s": -3600},
            {"route": "query", "do": "skew", "skew_s": 7200},
        )
    )
    expired = await bench.raw("POST", "/jobs", body=job_body())
    queried = await bench.raw("GET", "/jobs/j" + "0" * 32)
    now = SystemClock().now()

    assert (expired.status, "<Code>SignatureExpired</Code>" in expired.text) == (401, True)
    assert parsedate_to_datetime(expired.headers["Date"]).timestamp() == pytest.approx(
        now - 3600, abs=5
    )
    assert parsedate_to_datetime(queried.headers["Date"]).timestamp() == pytest.approx(
        now + 7200, abs=5
    )


async def test_listings_can_lag_while_queries_do_not(start: Benches) -> None:
    bench = await start(faults=script(listing_lag_s=1.0), progression=Progression(Pace.HOLD))
    job_id = await bench.submit()

    assert await count(bench) == 0
    assert job_id in await bench.job(job_id)

    async def listed() -> bool:
        return await count(bench) == 1

    await bench.until(listed)


async def test_a_paused_or_full_queue_can_be_played(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(
        faults=script(
            {"route": "submit", "code": "QueuePaused", "times": 1},
            {"route": "submit", "code": "QueueSaturated"},
        )
    )

    assert (await bench.raw("POST", "/jobs", body=job_body())).status == 403
    assert "QueueSaturated" in (await bench.raw("POST", "/jobs", body=job_body())).text


async def test_a_fault_can_start_and_end_by_time(start: Benches) -> None:
    bench = await start(
        faults=script({"route": "list", "code": "ServiceUnavailable", "until_s": 0.3})
    )

    first = await bench.raw("GET", "/jobs")

    async def back() -> bool:
        return (await bench.raw("GET", "/jobs")).status == 200

    await bench.until(back)
    assert first.status == 503


async def test_the_state_has_requests_faults_and_duplicates(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(faults=script({"route": "submit", "do": "fail_after", "times": 1}))
    for user in ("k1", "k1", "k2"):
        await bench.raw("POST", "/jobs", body=job_body(inside=f"<UserData>{user}</UserData>"))

    state = bench.service.state()

    assert state["requests"]["submit"] == 3
    assert state["faults"] == {"submit: fail_after InternalError": 1}
    assert state["duplicates"] == 1
    assert sum(state["jobs"].values()) == 3


async def control(
    bench: Bench, method: str, name: str, data: Any = None, word: str = "let-me"
) -> tuple[int, Any]:
    headers = {"x-control-token": word}
    async with bench.http.request(
        method, f"{bench.service.url}/_orchestrator/{name}", json=data, headers=headers
    ) as response:
        text = await response.text()
        return response.status, json.loads(
            text
        ) if response.content_type == "application/json" else text


async def test_the_control_plane_is_off_by_default_and_needs_its_token(
    start: Benches, bench: Bench
) -> None:
    assert (await control(bench, "GET", "state"))[0] == 403
    await bench.service.close()
    with_plane = await start(control_token="let-me")

    assert (await control(with_plane, "GET", "state", word="wrong"))[0] == 403
    assert (await control(with_plane, "GET", "state"))[0] == 200
    assert (await control(with_plane, "GET", "nonsense"))[0] == 404


async def test_the_same_seed_on_a_used_root_makes_new_ids(start: Benches) -> None:
    ids = set()
    for _ in range(3):
        bench = await start(seed=5)
        ids.add(await bench.submit())
        await bench.service.close()

    assert len(ids) == 3


async def test_the_control_plane_sets_progression_faults_and_seed_and_resets(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(control_token="let-me")
    await control(bench, "PUT", "progression", {"pace": "polls", "finish_after": 1})
    await control(bench, "POST", "seed", {"seed": 5})
    first = await bench.submit()
    seen = [re.findall("<State>(.*?)<", await bench.job(first))[0] for _ in range(2)]
    await control(bench, "PUT", "faults", {"faults": [{"route": "submit", "code": "SlowDown"}]})
    refused = await bench.raw("POST", "/jobs", body=job_body())
    wrong = await control(bench, "PUT", "faults", {"faults": [{"route": "sumbit"}]})
    await control(bench, "PUT", "faults", {})
    await bench.raw("PUT", "/a", host=COS, body=b"x")
    status, state = await control(bench, "POST", "reset", {"objects": True})
    await control(bench, "POST", "seed", {"seed": 5})
    again = await bench.submit()

    assert seen == ["Running", "Success"]
    assert refused.status == 429
    assert (wrong[0], 'Did you mean "submit"?' in html.unescape(wrong[1])) == (400, True)
    assert (status, state["jobs"], state["requests"]) == (200, {}, {})
    assert list((bench.root / BUCKET).iterdir()) == []
    assert again == first

"""Callbacks have the vendor's forms, and go to the configured address, never a private one."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from aiohttp import web

from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.server.faults.script import CallbackFaults, Faults
from orchestrator.server.jobs.callbacks import body_of, collapse, destination, is_allowed
from orchestrator.server.jobs.row import JobRequest, JobRow
from orchestrator.server.jobs.sound import Sound
from orchestrator.server.settings import CallbackPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.integration.server.conftest import Bench, Benches


class Listener:
    """Receives callbacks, and answers as configured."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.statuses: list[int] = []
        self.url = ""
        self.arrived = asyncio.Event()

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.got.append((request.content_type, await request.read()))
        self.arrived.set()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(
            status=status, headers={"Location": "http://127.0.0.1:1/"} if status == 302 else None
        )

    async def count(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < number:
                self.arrived.clear()
                await self.arrived.wait()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    runner = web.ServerRunner(web.Server(listener))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret-path"
    yield listener
    await runner.cleanup()


async def test_the_xml_form_has_the_event_the_expanded_names_and_no_callback_settings(
    bench: Bench, listener: Listener, job_body: Callable[..., str]
) -> None:
    job_id = await bench.submit(
        job_body(extra=f"<CallBack>{listener.url}</CallBack>", inside="<UserData>mine</UserData>")
    )
    await listener.count(1)

    content_type, body = listener.got[0]
    root = ET.fromstring(body)  # noqa: S314 - our own service's message
    assert content_type == "application/xml"
    assert root.tag == "Response"
    assert root.findtext("EventName") == "TaskFinish"
    assert root.findtext("JobsDetail/JobId") == job_id
    assert root.findtext("JobsDetail/State") == "Success"
    assert root.findtext("JobsDetail/Operation/UserData") == "mine"
    assert root.findtext("JobsDetail/Operation/Output/AuObject") == "out/v.mp3"
    assert [
        name.text or ""
        for name in root.iterfind("JobsDetail/Operation/MediaResult/OutputFile/ObjectName")
    ] == [
        "out/v.mp3",
        "out/b.mp3",
    ]
    assert b"CallBack" not in body


@pytest.mark.parametrize(("mode", "several"), [("AudioAndBackground", True), ("IsAudio", False)])
async def test_the_json_form_collapses_single_values_and_drops_empty_ones(
    bench: Bench, listener: Listener, job_body: Callable[..., str], mode: str, several: bool
) -> None:
    extra = f"<CallBack>{listener.url}</CallBack><CallBackFormat>JSON</CallBackFormat>"
    await bench.submit(job_body(extra=extra).replace("AudioAndBackground", mode))
    await listener.count(1)

    content_type, body = listener.got[0]
    data = json.loads(body)
    assert content_type == "application/json"
    assert data["EventName"] == "TaskFinish"
    detail = data["JobsDetail"][0]
    assert "Message" not in detail
    files = detail["Operation"]["MediaResult"]["OutputFile"]
    assert files["ObjectName"] == (["out/v.mp3", "out/b.mp3"] if several else "out/v.mp3")
    assert isinstance(files["Md5Info"], list) == several
    assert "ObjectPrefix" not in files
    stream = detail["Operation"]["MediaInfo"]["Stream"]
    assert set(stream) == {"Audio"}
    assert isinstance(stream["Audio"], list) == several
    assert detail["Operation"]["MediaInfo"]["Format"]["NumStream"] == "1"


def test_collapsing_follows_the_vendors_samples() -> None:
    assert collapse(
        {"A": ["x"], "B": ["x", "y"], "C": None, "D": "", "E": {"F": None}, "G": [{"H": "1"}]}
    ) == {
        "A": "x",
        "B": ["x", "y"],
        "G": {"H": "1"},
    }


ON = {
    "State": "On",
    "Event": "TaskFinish",
    "Url": "http://queue",
    "ResultFormat": "JSON",
    "Type": "Url",
}


@pytest.mark.parametrize(
    ("request_settings", "notify", "expected"),
    [
        ({}, {}, ("", "XML")),
        ({}, ON, ("http://queue", "JSON")),
        ({}, {**ON, "State": "Off"}, ("", "XML")),
        ({}, {**ON, "Event": "WorkflowFinish"}, ("", "XML")),
        ({"CallBack": "http://request"}, ON, ("http://request", "JSON")),
        ({"CallBack": "http://request", "CallBackFormat": "XML"}, ON, ("http://request", "XML")),
        ({"CallBackFormat": "XML"}, ON, ("http://queue", "XML")),
        ({"CallBack": "no"}, ON, ("", "JSON")),
        ({"CallBackType": "TDMQ", "MqRegion": "bj", "MqName": "q"}, ON, ("tdmq:bj/q", "JSON")),
        ({}, {**ON, "Type": "TDMQ", "MqRegion": "sh", "MqName": "t"}, ("tdmq:sh/t", "JSON")),
        (
            {"CallBack": "http://request"},
            {**ON, "Type": "TDMQ", "MqRegion": "sh", "MqName": "t"},
            ("http://request", "JSON"),
        ),
    ],
)
def test_the_request_overrides_the_queue_and_no_disables_both(
    request_settings: dict[str, str], notify: dict[str, str], expected: tuple[str, str]
) -> None:
    assert destination(request_settings, notify) == expected


async def test_the_queues_address_is_used_when_the_request_names_none(
    bench: Bench, listener: Listener, job_body: Callable[..., str]
) -> None:
    first = await bench.submit(job_body())
    queue = re.findall("<QueueId>(.*?)</QueueId>", await bench.ended(first))[0]
    notify = (
        "<State>On</State><Event>TaskFinish</Event><Type>Url</Type>"
        f"<Url>{listener.url}</Url><ResultFormat>JSON</ResultFormat>"
    )
    body = (
        "<Request><Name>q</Name><State>Active</State>"
        f"<NotifyConfig>{notify}</NotifyConfig></Request>"
    )
    assert (await bench.raw("PUT", f"/asrqueue/{queue}", body=body)).status == 200

    silent = await bench.submit(job_body(extra="<CallBack>no</CallBack>"))
    await bench.ended(silent)
    job_id = await bench.submit(job_body())
    await listener.count(1)

    assert [json.loads(body)["JobsDetail"][0]["JobId"] for _, body in listener.got] == [job_id]


async def test_a_failed_job_has_a_callback_too(
    start: Benches, listener: Listener, job_body: Callable[..., str]
) -> None:
    from orchestrator.server.settings import MissingInput

    bench = await start(missing_input=MissingInput.FAIL)
    await bench.submit(job_body(extra=f"<CallBack>{listener.url}</CallBack>"))
    await listener.count(1)

    assert b"<Code>ResourceNotFound</Code>" in listener.got[0][1]


async def test_deliveries_are_retried_only_as_often_as_set(
    start: Benches, listener: Listener, job_body: Callable[..., str]
) -> None:
    bench = await start(callbacks=CallbackPolicy(retries=2, retry_wait_s=0.01))
    listener.statuses = [500, 302, 200]
    await bench.submit(job_body(extra=f"<CallBack>{listener.url}</CallBack>"))
    await listener.count(3)

    async def delivered() -> bool:
        return bench.service.parts.callbacks.delivered == 1

    await bench.until(delivered)
    assert len(listener.got) == 3
    assert bench.service.parts.callbacks.failed == 0


async def test_deliveries_are_not_retried_by_default(
    bench: Bench, listener: Listener, job_body: Callable[..., str]
) -> None:
    listener.statuses = [500]
    await bench.submit(job_body(extra=f"<CallBack>{listener.url}</CallBack>"))

    async def failed() -> bool:
        return bench.service.parts.callbacks.failed == 1

    await bench.until(failed)
    assert len(listener.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x",
        "http://localhost:{port}/x",
        "http://[::ffff:127.0.0.1]:{port}/x",
        "http://2130706433:{port}/x",
    ],
)
async def test_a_private_address_is_never_called(
    start: Benches, listener: Listener, job_body: Callable[..., str], url: str
) -> None:
    bench = await start(callbacks=CallbackPolicy(allow_loopback=False))
    address = url.format(port=listener.url.split(":")[2].split("/")[0])
    await bench.submit(job_body(extra=f"<CallBack>{address}</CallBack>"))

    async def failed() -> bool:
        return bench.service.parts.callbacks.failed == 1

    await bench.until(failed)
    assert listener.got == []


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:127.0.0.1", True),
        ("2001:4860:4860::8888", True),
    ],
)
def test_only_public_addresses_and_loopback_are_allowed_by_default(
    address: str, allowed: bool
) -> None:
    assert is_allowed(address, CallbackPolicy()) == allowed
    assert is_allowed(address, CallbackPolicy(allow_private=True)) or address == "127.0.0.1"


@pytest.mark.parametrize(
    ("faults", "count"),
    [(CallbackFaults(lose=1), 0), (CallbackFaults(double=1), 2), (CallbackFaults(delay_s=0.05), 1)],
)
async def test_callbacks_can_be_lost_doubled_and_late(
    start: Benches,
    listener: Listener,
    job_body: Callable[..., str],
    faults: CallbackFaults,
    count: int,
) -> None:
    bench = await start(faults=Faults(callbacks=faults))
    job_id = await bench.submit(job_body(extra=f"<CallBack>{listener.url}</CallBack>"))
    await bench.ended(job_id)
    await listener.count(count)

    assert len(listener.got) == count


def test_the_alphabetical_xml_form_is_pinned(job_row: Any) -> None:
    body, _ = body_of(job_row, "XML")

    names = re.findall(r"<(\w+)>", body.decode())
    assert names[:4] == ["Response", "EventName", "JobsDetail", "Code"]


@pytest.fixture
def job_row() -> Any:
    request = JobRequest(
        output={"Region": "r", "Bucket": "b-1", "AuObject": "v"},
        names={"voice": "v"},
        sound=Sound(AudioMode.IS_AUDIO, AudioConfig(), {}),
    )
    return JobRow("j1", "b-1", "r", "p1", 0, "in", 0.0, request)

"""Callbacks are hints: readable ones are passed on, and the answer never shows which are."""

from __future__ import annotations

import io

import aiohttp
import pytest

from orchestrator.client.callback_listener import CallbackListener, new_token
from orchestrator.client.wire.callback import MAX_CALLBACK_BYTES
from orchestrator.errors import ConfigError

TOKEN = "an-unguessable-part"
JOB = "j0123456789abcdef0123456789abcdef"
AS_XML = (
    f"<Response><EventName>TaskFinish</EventName><JobsDetail><JobId>{JOB}</JobId>"
    "<State>Success</State></JobsDetail></Response>"
)
AS_JSON = f'{{"EventName": "TaskFinish", "JobsDetail": {{"JobId": "{JOB}", "State": "Success"}}}}'


async def post(listener: CallbackListener, path: str, body: str | bytes) -> int:
    data = io.BytesIO(body.encode() if isinstance(body, str) else body)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{listener.port}/{path}", data=data) as response,
    ):
        return response.status


@pytest.mark.parametrize("body", [AS_XML, AS_JSON])
@pytest.mark.parametrize("path", [TOKEN, f"hooks/ci/{TOKEN}"])
async def test_a_callback_of_either_format_is_a_hint_about_its_job(body: str, path: str) -> None:
    heard: list[str] = []
    async with CallbackListener("127.0.0.1", 0, TOKEN, heard.append) as listener:
        status = await post(listener, path, body)

    assert status == 200
    assert heard == [JOB]


@pytest.mark.parametrize(
    "body", [b"", b"<Response>", b"{", b"<!DOCTYPE x><Response/>", b"\x00\xff", b"<Error/>"]
)
async def test_other_bodies_are_answered_like_a_callback_and_ignored(body: bytes) -> None:
    heard: list[str] = []
    async with CallbackListener("127.0.0.1", 0, TOKEN, heard.append) as listener:
        status = await post(listener, TOKEN, body)

    assert status == 200
    assert heard == []


async def test_a_path_without_the_secret_part_is_not_found() -> None:
    heard: list[str] = []
    async with CallbackListener("127.0.0.1", 0, TOKEN, heard.append) as listener:
        statuses = [
            await post(listener, path, AS_XML) for path in ("", "x", f"{TOKEN}x", new_token())
        ]

    assert statuses == [404] * 4
    assert heard == []


async def test_a_body_that_is_too_large_is_refused() -> None:
    heard: list[str] = []
    async with CallbackListener("127.0.0.1", 0, TOKEN, heard.append) as listener:
        status = await post(listener, TOKEN, b" " * (MAX_CALLBACK_BYTES + 1))

    assert status == 413
    assert heard == []


async def test_an_address_that_cannot_be_listened_on_is_an_error_that_names_it() -> None:
    async with CallbackListener("127.0.0.1", 0, TOKEN, lambda _: None) as listener:
        second = CallbackListener("127.0.0.1", listener.port, TOKEN, lambda _: None)
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{listener.port}"):
            async with second:
                pass

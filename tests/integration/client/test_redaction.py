"""Nothing that is received keeps a secret: not in an error, not in a value, not in a cause."""

from __future__ import annotations

import base64
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from orchestrator.client.endpoint import Timeouts
from orchestrator.client.redaction import Redactor
from orchestrator.client.transport import ProxyTable, Transport
from orchestrator.client.wire.request import PreparedRequest
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.spec import Place
from orchestrator.errors import ApiError, ConfigError, OrchestratorError

if TYPE_CHECKING:
    import asyncio

    from orchestrator.client.service import CloudService
    from orchestrator.domain.spec import JobSpec
    from tests.integration.client.conftest import Wire

PLACE = Place("examplebucket-1250000000", "ap-chongqing")
PASSWORD = "p4ss/word+of+proxy"


@pytest.fixture
def quoting(secrets: tuple[str, ...]) -> str:
    """Return a text that quotes a request as services and gateways do."""
    key, token, _ = secrets
    return (
        f"StringToSign q-ak=AKIDEXAMPLE&amp;q-signature=0123456789abcdef token {token} "
        f"{quote(token)} key {key} url ?q-signature%3D0123456789abcdef"
    )


def shown(error: BaseException) -> str:
    return "".join([*traceback.format_exception(error), *map(repr, vars(error).values())])


@pytest.mark.parametrize("status", ["403 Forbidden", "400 Bad Request", "500 Error", "200 OK"])
async def test_an_error_that_quotes_the_request_loses_its_secrets(
    wire: Wire,
    service: CloudService,
    spec: JobSpec,
    secrets: tuple[str, ...],
    quoting: str,
    status: str,
) -> None:
    key, token, _ = secrets
    wire.answers = [
        wire.error(status, "AccessDenied", quoting, x_ci_request_id=f"r-{token}"),
    ]

    with pytest.raises(OrchestratorError) as caught:
        await service.submit(spec)

    for secret in (key, token, "AKIDEXAMPLE", "0123456789abcdef"):
        assert secret not in shown(caught.value)
    if status != "200 OK":
        assert "StringToSign" in str(caught.value), "the rest of the text is kept"


@pytest.mark.parametrize("status", ["403 Forbidden", "429 Too Many Requests", "502 Bad Gateway"])
async def test_an_error_whose_body_is_lost_loses_the_secrets_of_its_headers(
    wire: Wire, service: CloudService, spec: JobSpec, secrets: tuple[str, ...], status: str
) -> None:
    token = secrets[1]

    async def break_off(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nx-ci-request-id: r-{token}\r\nContent-Length: 500\r\n\r\n"
        writer.write(head.encode() + b"<Error><Code>SlowDown</Code>")
        await writer.drain()
        writer.close()

    wire.answers = [break_off]

    with pytest.raises(ApiError) as caught:
        await service.submit(spec)

    assert (caught.value.answer.request_id, caught.value.answer.is_whole) == ("r-***", False)
    assert token not in shown(caught.value)


async def test_a_job_whose_message_quotes_a_token_loses_it(
    wire: Wire, service: CloudService, secrets: tuple[str, ...], quoting: str
) -> None:
    job = (
        "<Response><JobsDetail><JobId>j1</JobId><State>Failed</State><Code>InternalError</Code>"
        f"<Message>{quoting}</Message></JobsDetail></Response>"
    )
    wire.answers = [wire.http("200 OK", job.encode())]

    (failed,) = (await service.query(PLACE, ["j1"])).jobs

    assert "StringToSign" in failed.message
    for secret in (*secrets[:2], "0123456789abcdef"):
        assert secret not in failed.message


async def test_a_failure_does_not_show_the_password_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:1"
    monkeypatch.setenv("https_proxy", address)
    monkeypatch.setenv("no_proxy", "")
    request = PreparedRequest("POST", "https://a.example/jobs", {}, b"<Request/>")

    async with Transport(1, Timeouts(connect_s=2.0, total_s=5.0)) as transport:
        with pytest.raises(OrchestratorError) as caught:
            await transport.post(request)

    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in shown(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "socks5://user:secret-word@proxy.example:1080",
        "http://user:secret-word@proxy.example:port",
        "http://user:secret-word@",
        "user:secret-word@proxy.example:99999",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_at_the_start_without_its_password(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(ConfigError, match=r"HTTPS_PROXY: .*http://HOST:PORT") as caught:
        ProxyTable(Redactor())

    assert "secret-word" not in shown(caught.value)


def test_a_proxy_without_a_scheme_is_taken_for_http(monkeypatch: pytest.MonkeyPatch) -> None:
    from yarl import URL

    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", "")

    assert ProxyTable(Redactor()).of(URL("https://a.example/")) == "http://proxy.example:3128"


def test_every_form_of_a_secret_is_removed_and_ordinary_text_is_kept() -> None:
    redactor = Redactor()
    redactor.learn(Credentials("AKIDEXAMPLE", "short", "tok&en/with+signs=="))
    from yarl import URL

    redactor.learn_proxy(URL("http://me:hidden-word@proxy.example:1"))
    header = base64.b64encode(b"me:hidden-word").decode()

    cleaned = redactor.text(
        f"AKIDEXAMPLE tok&en/with+signs== tok&amp;en/with+signs== {header} "
        f"{quote('tok&en/with+signs==', safe='')} http://a:b@c/ hidden-word"
    )

    assert cleaned == "*** *** *** *** *** http://***@c/ ***"
    assert redactor.text("a short in/song.mp3") == "a short in/song.mp3"

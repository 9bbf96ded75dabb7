"""A local service on loopback for each test, and the vendor's own Python client for it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import shutil
import subprocess
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import pytest
import requests
from qcloud_cos import CosConfig, CosS3Client
from yarl import URL

from orchestrator.domain.clock import SystemClock
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.service import LocalService
from orchestrator.server.settings import LocalSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

T = TypeVar("T")
NODE_CLIENT = "cos-nodejs-sdk-v5@2.15.4"
BUCKET = "media-1250000000"
REGION = "ap-chongqing"
KEYS = KeyPair("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789")
CI_HOST = f"{BUCKET}.ci.{REGION}.myqcloud.com"
COS_HOST = f"{BUCKET}.cos.{REGION}.myqcloud.com"


def job_body(
    key: str = "in/a.mp3",
    *,
    level: int | None = None,
    extra: str = "",
    inside: str = "",
    voice: str = "out/v.${ext}",
) -> str:
    """Return the XML of a plain submit."""
    operation = (
        "<VoiceSeparate><AudioMode>AudioAndBackground</AudioMode>"
        "<AudioConfig><Codec>mp3</Codec></AudioConfig></VoiceSeparate>"
        f"<Output><Region>{REGION}</Region><Bucket>{BUCKET}</Bucket>"
        f"<Object>out/b.${{ext}}</Object><AuObject>{voice}</AuObject></Output>"
    )
    operation += f"<JobLevel>{level}</JobLevel>" if level is not None else ""
    return (
        f"<Request><Tag>VoiceSeparate</Tag><Input><Object>{key}</Object></Input>"
        f"<Operation>{operation}{inside}</Operation>{extra}</Request>"
    )


def sign(
    method: str,
    path: str,
    params: dict[str, str],
    headers: dict[str, str],
    *,
    keys: KeyPair,
    start: int,
    end: int,
) -> str:
    """Sign by the vendor's page, for requests that no client library would send."""

    def encode(text: str) -> str:
        return quote(text, safe="-_.~")

    def join(pairs: dict[str, str]) -> tuple[str, str]:
        items = sorted((encode(name).lower(), encode(value)) for name, value in pairs.items())
        return "&".join(f"{name}={value}" for name, value in items), ";".join(
            name for name, _ in items
        )

    (query, query_list), (head, head_list) = join(params), join(headers)
    time = f"{start};{end}"
    key = hmac.new(keys.secret_key.encode(), time.encode(), hashlib.sha1).hexdigest()
    digest = hashlib.sha1(
        usedforsecurity=False, string=f"{method.lower()}\n{path}\n{query}\n{head}\n".encode()
    ).hexdigest()
    value = hmac.new(key.encode(), f"sha1\n{time}\n{digest}\n".encode(), hashlib.sha1).hexdigest()
    return (
        f"q-sign-algorithm=sha1&q-ak={keys.secret_id}&q-sign-time={time}&q-key-time={time}"
        f"&q-header-list={head_list}&q-url-param-list={query_list}&q-signature={value}"
    )


@dataclass
class Answer:
    """Answer to a raw request."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Bench:
    """A running service and its clients."""

    service: LocalService
    root: Path
    http: aiohttp.ClientSession
    keys: KeyPair = KEYS
    sessions: list[requests.Session] = field(default_factory=list)
    """Connections of the vendor's clients, to be closed at the end."""

    sign = staticmethod(sign)

    def sdk(self, *, copy_part_bytes: int = 0, **changes: Any) -> CosS3Client:
        """Return the vendor's Python client, configured with this service's IP and port.

        Larger objects than ``copy_part_bytes`` are copied in parts, if it is set.
        """
        url = URL(self.service.url)
        options = {
            "Region": REGION,
            "SecretId": self.keys.secret_id,
            "SecretKey": self.keys.secret_key,
            "Scheme": "http",
        }
        config = CosConfig(**{**options, "IP": url.host, "Port": url.port, **changes})
        config.set_copy_part_threshold_size(copy_part_bytes)
        self.sessions.append(requests.Session())
        return CosS3Client(config, retry=0, session=self.sessions[-1])

    def close_sessions(self) -> None:
        for session in self.sessions:
            session.close()

    async def call(self, act: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run a blocking client call beside the service's loop."""
        return await asyncio.to_thread(act, *arguments, **options)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        host: str = CI_HOST,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | str = b"",
        keys: KeyPair | None = None,
        window: tuple[int, int] | None = None,
        wire_path: str | None = None,
        authorization: str | None = None,
        token: str = "",
    ) -> Answer:
        """Send a request with its own signature."""
        now = int(SystemClock().now())
        start, end = window or (now - 60, now + 600)
        signed = {"host": host, **(headers or {})}
        if authorization is None:
            authorization = sign(
                method, path, params or {}, signed, keys=keys or self.keys, start=start, end=end
            )
        sent = {
            "Host": host,
            **(headers or {}),
            **({"Authorization": authorization} if authorization else {}),
        }
        if token:
            sent["x-ci-security-token"] = token
        query = f"?{urlencode(params, quote_via=quote)}" if params else ""
        url = URL(self.service.url + (wire_path or quote(path)) + query, encoded=True)
        # aiohttp warns of large bodies that are not files.
        data = io.BytesIO(body) if isinstance(body, bytes) and len(body) > 1 << 20 else body
        async with self.http.request(method, url, headers=sent, data=data) as response:
            return Answer(response.status, response.headers, await response.read())

    async def submit(self, body: str | None = None) -> str:
        """Submit a job and return its id."""
        answer = await self.raw("POST", "/jobs", body=body or job_body())
        assert answer.status == 200, answer.text
        return answer.text.partition("<JobId>")[2].partition("</JobId>")[0]

    async def until(self, what: Callable[[], Awaitable[T]], limit_s: float = 20) -> T:
        """Wait until ``what`` returns a true value, and return it."""
        clock = SystemClock()
        async with asyncio.timeout(limit_s):
            while not (found := await what()):
                await clock.sleep(0.01)
        return found

    async def job(self, job_id: str) -> str:
        """Return the XML of a job."""
        return (await self.raw("GET", f"/jobs/{job_id}")).text

    async def ended(self, job_id: str) -> str:
        """Wait for the end of a job, and return its XML."""

        async def look() -> str:
            text = await self.job(job_id)
            return (
                text
                if any(
                    f"<State>{state}</State>" in text for state in ("Success", "Failed", "Cancel")
                )
                else ""
            )

        return await self.until(look)


class Benches:
    """Starts services, and closes them."""

    def __init__(self, root: Path, stack: AsyncExitStack) -> None:
        self.root = root
        self._stack = stack

    async def __call__(self, *, within: AsyncExitStack | None = None, **changes: Any) -> Bench:
        settings = LocalSettings(
            self.root, credentials=(KEYS,), progression=Progression(Pace.IMMEDIATE), durable=False
        )
        stack = within or self._stack
        (self.root / BUCKET).mkdir(parents=True, exist_ok=True)
        service = await stack.enter_async_context(
            LocalService(replace(settings, **changes), SystemClock())
        )
        http = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        bench = Bench(service, self.root, http)
        stack.callback(bench.close_sessions)
        return bench


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Benches]:
    """Return a function that starts a service with the given settings."""
    async with AsyncExitStack() as stack:
        yield Benches(tmp_path / "root", stack)


@pytest.fixture
async def bench(start: Benches) -> Bench:
    """A service with simulated work that takes no time."""
    return await start()


@pytest.fixture(name="job_body")
def job_body_fixture() -> Callable[..., str]:
    """Return a function that makes the XML of a submit."""
    return job_body


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """Install the client from the npm registry once, and keep it in the test cache."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("node-sdk")
    modules = Path(folder, "node_modules")
    if not (modules / "cos-nodejs-sdk-v5").is_dir():
        command = [
            "npm",
            "install",
            "--prefix",
            str(folder),
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            NODE_CLIENT,
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=50, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the npm registry did not answer in time")
        if done.returncode:
            pytest.skip(f"the npm registry cannot be reached: {done.stderr.decode()[-200:]}")
    return modules

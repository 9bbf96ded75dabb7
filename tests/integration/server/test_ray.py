"""Separation on a real Ray cluster of two nodes: what is done there, and what survives its deaths.

The work is that of ``poison``; the nodes are two raylets of this machine, whose workers reach the
service only through its HTTP API.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from orchestrator.separation.install.installed import ENGINE_FILE
from orchestrator.server.pace import Progression
from orchestrator.server.settings import LocalSettings, RaySettings
from tests.e2e import playground
from tests.e2e.playground import RunningService
from tests.integration.server.conftest import BUCKET, KEYS, Bench, job_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytest.importorskip("ray", reason="needs the extra [ray]; CONTRIBUTING.md says how to install it")
pytest.importorskip("grpc", reason="needs the extra [ray]; CONTRIBUTING.md says how to install it")
pytestmark = [pytest.mark.slow, pytest.mark.crash]
HERE = Path(__file__).parent
LIMIT_S = 120.0  # Ray starts processes, and this machine may be busy


class Cluster:
    """A cluster in a process of its own."""

    def __init__(self, cache: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {
            **os.environ,
            "CLIENT_PORT": str(port),
            # A cluster notices a dead node after some 20 s by default.
            "RAY_health_check_initial_delay_ms": "0",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "2000",
            "ORCHESTRATOR_CACHE_DIR": str(cache),
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "ray_cluster.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        said = self._read()
        self.address: str = said["address"]
        self.head: int = said["head"]

    def add_node(self, **variables: str) -> int:
        """Add a node, and return the process of its raylet."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(variables) + "\n")
        self._process.stdin.flush()
        raylet: int = self._read()["raylet"]
        return raylet

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(LIMIT_S)
        self._process.stdout.close()


class Lines(logging.Handler):
    """Log of the service, as a text."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with weights that are good enough for work that is not real."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / ENGINE_FILE).write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def cluster(cache: Path) -> Iterator[Cluster]:
    cluster = Cluster(cache)
    try:
        cluster.add_node()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("orchestrator.server")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture(scope="module")
def running(
    cluster: Cluster, cache: Path, lines: Lines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    root = tmp_path_factory.mktemp("ray") / "root"
    (root / BUCKET / "in").mkdir(parents=True)
    settings = LocalSettings(
        root,
        credentials=(KEYS,),
        work="poison:behave",
        progression=Progression(),
        durable=False,
        max_starts=2,
        ray=RaySettings(cluster.address, memory_bytes=100 << 20, silence_s=3),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playground, "PATIENCE_S", LIMIT_S)
        patch.setenv("ORCHESTRATOR_CACHE_DIR", str(cache))
        patch.syspath_prepend(str(HERE))
        with RunningService(settings) as service:
            yield service


class Site(Bench):
    """The service, its clients, and the gates of jobs that wait."""

    running: RunningService
    lines: Lines
    gates: Path

    def order(self, name: str, what: str) -> str:
        (self.root / BUCKET / "in" / name).write_text(what)
        return f"in/{name}"

    async def begin(self, name: str, what: str = "") -> str:
        """Submit a job that waits for its gate, or does ``what``."""
        key = self.order(name, what or f"until {self.gates / name}")
        body = job_body(key, voice=f"{name}/v").replace("out/b", f"{name}/b")
        return await self.submit(body)

    async def worker_of(self, name: str, but: int = 0) -> int:
        """Wait until a process works on a job, and return it."""

        async def look() -> int:
            found = [int(path.suffix[1:]) for path in self.gates.glob(f"{name}.*")]
            return next((pid for pid in found if pid != but), 0)

        return await self.until(look, LIMIT_S)

    async def said(self, *parts: str) -> None:
        async def look() -> bool:
            return all(part in self.lines.text for part in parts)

        await self.until(look, LIMIT_S)

    async def capacity(self, slots: int) -> None:
        workers = self.service.parts.scheduler._work._workers

        async def look() -> bool:
            return workers.capacity == slots

        await self.until(look, LIMIT_S)

    def open_gate(self, name: str) -> None:
        (self.gates / name).touch()

    async def stems(self, name: str, job_id: str) -> set[str]:
        """Wait for the end of a job, and return the contents of its stems."""
        text = await self.until(lambda: self._end(job_id), LIMIT_S)
        assert "<State>Success</State>" in text, text
        folder = self.root / BUCKET / name
        assert sorted(path.name for path in folder.iterdir()) == ["b.mp3", "v"]
        return {path.read_text("latin-1") for path in folder.iterdir()}

    async def _end(self, job_id: str) -> str:
        text = await self.job(job_id)
        return text if "<State>Success" in text or "<State>Failed" in text else ""

    def starts(self, job_id: str) -> int:
        return next(job.starts for job in self.running.jobs() if job.job_id == job_id)


@pytest.fixture
async def site(running: RunningService, lines: Lines, tmp_path: Path) -> AsyncIterator[Site]:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        site = Site(running._service, running.settings.root, http)
        site.running = running
        site.lines, site.gates = lines, tmp_path
        yield site


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_jobs_run_on_both_nodes_and_progress_log_and_stems_come_back(site: Site) -> None:
    await site.capacity(2)
    first, second = await site.begin("a"), await site.begin("b")
    workers = [await site.worker_of(name) for name in ("a", "b")]
    assert len({parent_of(pid) for pid in workers}) == 2, "each node has one"

    async def progress() -> bool:
        return "<Progress>42</Progress>" in await site.job(first)

    await site.until(progress, LIMIT_S)
    await site.said(f"{first}: info: working behind a", f"{second}: info: working behind b")
    for name in ("a", "b"):
        site.open_gate(name)
    assert await site.stems("a", first) == {str(workers[0])}
    assert await site.stems("b", second) == {str(workers[1])}


async def test_a_node_that_is_killed_in_mid_job_loses_nothing(site: Site, cluster: Cluster) -> None:
    await site.capacity(2)
    jobs = {name: await site.begin(name) for name in ("c", "d")}
    raylets = {name: parent_of(await site.worker_of(name)) for name in jobs}
    (lost,) = [name for name, raylet in raylets.items() if raylet != cluster.head]
    (kept,) = jobs.keys() - {lost}
    killed = await site.worker_of(lost)

    os.kill(raylets[lost], signal.SIGKILL)
    site.open_gate(kept)
    await site.stems(kept, jobs[kept])
    other = await site.worker_of(lost, but=killed)
    site.open_gate(lost)

    assert parent_of(other) == cluster.head
    assert await site.stems(lost, jobs[lost]) == {str(other)}
    assert (site.starts(jobs[lost]), site.starts(jobs[kept])) == (2, 1)
    await site.said("has left")
    cluster.add_node()
    await site.capacity(2)


async def test_a_worker_that_is_cut_off_is_replaced_and_changes_nothing_when_it_is_back(
    site: Site,
) -> None:
    await site.capacity(2)
    job = await site.begin("e")
    silent = await site.worker_of("e")

    os.kill(silent, signal.SIGSTOP)
    other = await site.worker_of("e", but=silent)
    site.open_gate("e")
    assert await site.stems("e", job) == {str(other)}
    with contextlib.suppress(ProcessLookupError):  # Ray may have ended it
        os.kill(silent, signal.SIGCONT)

    await site.said("has not answered for 3 s")
    assert await site.stems("e", job) == {str(other)}
    assert site.starts(job) == 2
    await site.capacity(2)


async def test_a_file_that_kills_every_worker_is_given_up_and_harms_no_other_job(
    site: Site,
) -> None:
    bad, good = await site.begin("f", "killed"), await site.begin("g", "ok")

    failed = await site.until(lambda: site._end(bad), LIMIT_S)
    await site.stems("g", good)

    assert "<Code>InternalError</Code>" in failed
    assert "died" in failed
    assert "given up after 2 starts" in failed
    assert not (site.root / BUCKET / "f").exists()
    assert list((site.root / ".service" / "tmp").iterdir()) == []


async def test_a_node_with_another_engine_gets_no_jobs(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    (tmp_path / ENGINE_FILE).write_bytes(b"other weights")
    await site.capacity(2)
    raylet = cluster.add_node(ORCHESTRATOR_CACHE_DIR=str(tmp_path))

    await site.said("gets no jobs: its engine has the SHA-256", "orchestrator fetch-engine")

    workers = site.service.parts.scheduler._work._workers
    assert workers.capacity == 2
    os.kill(raylet, signal.SIGKILL)

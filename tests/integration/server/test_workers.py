"""Worker processes: a poisoned file harms only its own job, and no crash loses or doubles a job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import wave
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from orchestrator.domain.engines import EngineChoice
from orchestrator.errors import LocalRootLocked
from orchestrator.server.jobs import job_work
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.workers.pool import Pool
from tests.demucs_models import write_shares
from tests.plugins import install_staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orchestrator.server.jobs.row import JobRow
    from orchestrator.server.workers.pool import Worker
    from tests.integration.server.conftest import Bench, Benches

HERE = Path(__file__).parent
BUCKET = "media-1250000000"
WORK: dict[str, Any] = {"work": "poison:behave", "progression": Progression()}


@pytest.fixture(autouse=True)
def _poison_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def write_sound(root: Path) -> None:
    """Put a second of noise in place of the input ``in/a``."""
    with wave.open(str(root / BUCKET / order(root, "in/a", "")), "wb") as sound:
        sound.setparams((2, 2, 44_100, 0, "NONE", ""))
        sound.writeframes(bytes(range(256)) * 690)


def order(root: Path, name: str, what: str) -> str:
    """Store an input that selects a behavior of the work."""
    path = root / BUCKET / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what)
    return name


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listening_socket(port: int | None) -> str:
    """Return the link of the socket that listens on a port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [
        row[9]
        for row in rows
        if row[1].endswith(f":{port:04X}") and row[3] == "0A"  # listening
    ]
    return f"socket:[{inode}]"


def open_files(pid: int) -> dict[str, str]:
    """Return the open files of a process by descriptor."""
    return {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


def processes_of(bench: Bench) -> list[Worker]:
    """Return the worker processes of a service."""
    pool = bench.service._workers
    assert isinstance(pool, Pool)
    return list(pool._all)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("killed", "InternalError", "ended by SIGKILL"),
        ("segfault", "InternalError", "ended by SIGSEGV"),
        ("exit", "InternalError", "something terrible"),
        ("raises", "InternalError", "a library"),
        ("hungry", "InternalError", "memory"),
        ("refused", "ResourceNotSupported", "no sound"),
    ],
)
async def test_a_poisoned_file_fails_only_its_own_job(
    start: Benches, job_body: Callable[..., str], what: str, code: str, said: str
) -> None:
    bench = await start(**WORK, max_concurrent=1, worker_memory_bytes=1 << 30)
    bad = await bench.submit(job_body(order(bench.root, "in/bad", what)))
    good = await bench.submit(
        job_body(order(bench.root, "in/good", "chatty"), voice="good/v.${ext}").replace(
            "out/b", "good/b"
        )
    )

    failed, done = await bench.ended(bad), await bench.ended(good)

    assert f"<Code>{code}</Code>" in failed
    assert said in failed
    assert "<MediaResult>" not in failed
    assert "<State>Success</State>" in done
    assert (bench.root / BUCKET / "good/v.mp3").exists()
    assert not (bench.root / BUCKET / "out").exists()
    assert list((bench.root / ".service" / "tmp").iterdir()) == []


@pytest.mark.slow
async def test_a_job_alone_gets_all_cores_and_a_batch_shares_them(
    start: Benches,
    job_body: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The share is decided when a job starts; the log says what separated it."""
    caplog.set_level("INFO", "orchestrator.server")
    monkeypatch.setattr(job_work, "usable_cores", lambda: 8)
    bench = await start(**WORK, max_concurrent=4)
    body = job_body(order(bench.root, "in/a", "threads"))
    assert "<Message>threads: 8</Message>" in await bench.ended(await bench.submit(body))
    assert "with a network, threads: 8" in caplog.text

    scheduler = bench.service.parts.scheduler
    scheduler.progression = Progression(Pace.HOLD)
    batch = [
        await bench.submit(body.replace("out/b", f"{number}/b").replace("out/v", f"{number}/v"))
        for number in range(3)
    ]
    scheduler.progression = Progression()
    scheduler.wake()
    ends = [await bench.ended(job) for job in batch]
    # The last one may start when another has ended: its share is larger then.
    assert all("<State>Success</State>" in end for end in ends)
    assert "<Message>threads: 2</Message>" in ends[0]


@pytest.mark.slow
async def test_notes_on_a_job_that_succeeded_are_its_message(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(**WORK, max_concurrent=1)
    noted = await bench.submit(job_body(order(bench.root, "in/noted", "noted")))

    done = await bench.ended(noted)

    assert "<State>Success</State>" in done
    assert "<Code>Success</Code>" in done
    assert "<Message>1 hole &amp; more became silence.</Message>" in done


@pytest.mark.slow
async def test_work_that_takes_too_long_is_stopped(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(**WORK, max_concurrent=1, job_timeout_s=1.5)
    endless = await bench.submit(job_body(order(bench.root, "in/endless", "endless")))

    async def progress() -> bool:
        return "<Progress>42</Progress>" in await bench.job(endless)

    await bench.until(progress)
    text = await bench.ended(endless)

    assert "<State>Failed</State>" in text
    assert "longer than 1.5 s" in text


@pytest.mark.slow
async def test_a_job_waits_while_its_work_cannot_be_loaded_and_then_succeeds(
    start: Benches,
    job_body: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("orchestrator.server.jobs.machine.RETRY_S", 0.05)
    monkeypatch.setattr("orchestrator.server.jobs.machine.MAX_FAILED_STARTS", 1_000)
    monkeypatch.syspath_prepend(str(tmp_path))
    bench = await start(work="late_work:behave", progression=Progression(), max_starts=2)
    job = await bench.submit(job_body(order(bench.root, "in/a", "ok")))

    async def is_named() -> bool:
        return "late_work" in caplog.text

    async def is_waiting() -> bool:
        """Between two tries it waits."""
        return "<State>Submitted</State>" in await bench.job(job)

    await bench.until(is_named)
    await bench.until(is_waiting)
    (tmp_path / "late_work.py").write_text("from poison import behave")

    assert "<State>Success</State>" in await bench.ended(job)
    assert "cannot be loaded on this machine" in caplog.text
    assert "[local]" in caplog.text
    assert caplog.text.count("no job can be done") == 1, "each reason is logged once"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('no weights')", "cannot be loaded .* RuntimeError: no weights"),
        ("import os; os._exit(7)", "ended with status 7 before it could begin"),
        ("import os; os.abort()", "was ended by SIGABRT before it could begin"),
    ],
)
async def test_jobs_fail_with_the_reason_if_no_worker_can_ever_start(
    start: Benches,
    job_body: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    words: str,
) -> None:
    monkeypatch.setattr("orchestrator.server.jobs.machine.RETRY_S", 0.01)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_work.py").write_text(code)
    bench = await start(work="broken_work:behave", progression=Progression(), max_concurrent=2)
    jobs = [
        await bench.submit(job_body(order(bench.root, f"in/{name}", "ok"))) for name in ("a", "b")
    ]

    texts = [await bench.ended(job) for job in jobs]

    for text in texts:
        assert "<Code>EngineNotInstalled</Code>" in text
        assert re.search(words, text)
        assert "failed starts" in text


@pytest.mark.slow
async def test_a_fault_of_the_machine_is_not_recorded_as_the_jobs(
    start: Benches, job_body: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.server.jobs.machine.RETRY_S", 0.05)
    bench = await start(**WORK, max_concurrent=1, max_starts=2)
    job = await bench.submit(job_body(order(bench.root, "in/a", "at fault")))

    async def has_tried() -> bool:
        tries = bench.root / BUCKET / "in/a.tries"
        return tries.exists() and len(tries.read_text()) > 3

    await bench.until(has_tried)
    (bench.root / BUCKET / "in/a").write_text("ok")

    assert "<State>Success</State>" in await bench.ended(job)


async def test_music_mode_is_accepted_and_fails_with_a_helpful_message(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(**WORK)
    text = await bench.ended(
        await bench.submit(
            job_body(order(bench.root, "in/a", "ok")).replace("AudioAndBackground", "MusicMode")
        )
    )

    assert "<Code>InvalidArgument</Code>" in text
    assert "use AudioAndBackground" in text


@pytest.mark.slow
async def test_music_mode_makes_four_stems_with_an_engine_that_finds_them(
    start: Benches, job_body: Callable[..., str], tmp_path: Path
) -> None:
    """The real work, with a Demucs file: each stem is stored under its own name."""
    engine = EngineChoice(write_shares(tmp_path / "four.onnx"))
    bench = await start(progression=Progression(), engine=engine)
    write_sound(bench.root)
    body = job_body("in/a").replace("AudioAndBackground", "MusicMode")
    more = "<BassObject>out/s.mp3</BassObject><DrumObject>out/d.mp3</DrumObject></Output>"

    text = await bench.ended(await bench.submit(body.replace("</Output>", more)))

    assert "<State>Success</State>" in text
    stored = {path.name for path in (bench.root / BUCKET / "out").iterdir()}
    assert stored == {"v.mp3", "b.mp3", "s.mp3", "d.mp3"}


LOADING = "while it loaded the engine dying-engine (a plug-in)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dies", "code", "said"),
    [
        (
            {"at_import": "sys.stderr.write('no licence\\n'); os._exit(7)"},
            "EngineFailed",
            f"ended with status 7 {LOADING}. Its last output: no licence Replace it, or ask its",
        ),
        (
            {"at_load": "ctypes.string_at(0)"},
            "EngineFailed",
            f"ended by SIGSEGV {LOADING}.",
        ),
        (
            {"at_load": "os.kill(os.getpid(), signal.SIGKILL)"},
            "InternalError",
            f"ended by SIGKILL (often: out of memory) {LOADING}. Free some memory",
        ),
        (
            {"at_work": "ctypes.string_at(0)"},
            "InternalError",
            "ended by SIGSEGV while it worked on this file.",
        ),
    ],
    ids=["import", "load", "killed", "file"],
)
async def test_an_engine_that_ends_its_process_is_told_from_a_file_that_does(
    start: Benches,
    job_body: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dies: dict[str, str],
    code: str,
    said: str,
) -> None:
    """The worker reports when its engine is loaded; a death before that names the engine."""
    (tmp_path / "site").mkdir()
    install_staged(tmp_path / "site", "dying-engine", **dies)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    bench = await start(
        progression=Progression(), engine=EngineChoice(plugin="dying-engine"), max_concurrent=1
    )
    write_sound(bench.root)

    text = await bench.ended(await bench.submit(job_body("in/a")))

    assert f"<Code>{code}</Code>" in text
    assert said in " ".join(text.split())


@pytest.mark.slow
async def test_a_default_engine_that_ends_its_process_is_a_fault_of_the_machine(
    start: Benches, job_body: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job waits some attempts, as for an engine that is not installed."""
    monkeypatch.setattr("orchestrator.server.jobs.machine.RETRY_S", 0.01)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "import os\ndef behave(task, on_progress):\n    os._exit(7)\n"
    (tmp_path / "dying_work.py").write_text(code)
    bench = await start(work="dying_work:behave", progression=Progression(), max_concurrent=1)

    text = await bench.ended(await bench.submit(job_body(order(bench.root, "in/a", "ok"))))

    assert "<Code>EngineNotInstalled</Code>" in text
    assert "ended with status 7 while it loaded the default engine." in text
    assert "Check it with: orchestrator doctor. The service has given up" in text


@pytest.mark.slow
async def test_a_worker_that_is_never_ready_is_a_fault_of_the_machine(
    start: Benches, job_body: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library may hang while it is loaded; no file is the reason."""
    monkeypatch.setattr("orchestrator.server.jobs.machine.RETRY_S", 0.01)
    monkeypatch.setattr("orchestrator.server.workers.pool.START_TIMEOUT_S", 0.1)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "late_work.py").write_text("import signal\nsignal.pause()\n")
    bench = await start(work="late_work:behave", progression=Progression(), max_concurrent=1)

    text = await bench.ended(await bench.submit(job_body(order(bench.root, "in/a", "ok"))))

    assert "<Code>EngineNotInstalled</Code>" in text
    assert "No worker process was ready within 0.1 s" in text
    assert "check it with: orchestrator doctor" in text


@pytest.mark.slow
async def test_a_worker_that_dies_between_two_files_is_no_fault_of_the_next(
    start: Benches, job_body: Callable[..., str]
) -> None:
    """Nor of the engine, which it had loaded."""
    bench = await start(**WORK, max_concurrent=1)
    body = job_body(order(bench.root, "in/a", "ok"))
    assert "<State>Success</State>" in await bench.ended(await bench.submit(body))
    (worker,) = processes_of(bench)
    os.kill(worker.pid, signal.SIGKILL)
    await bench.until(lambda: _is_gone(worker.pid))

    text = await bench.ended(await bench.submit(body.replace("out/", "other/")))

    assert "<Code>InternalError</Code>" in text
    assert "ended by SIGKILL (often: out of memory) before it began with this file." in text


async def _is_gone(pid: int) -> bool:
    return not alive(pid)


@pytest.mark.slow
async def test_a_closed_service_keeps_its_jobs_and_resumes_them(
    start: Benches, job_body: Callable[..., str]
) -> None:
    """A stop in order is not one of the starts that a job may have."""
    async with AsyncExitStack() as first:
        bench = await start(within=first, **WORK, max_concurrent=1, max_starts=1)
        running = await bench.submit(job_body(order(bench.root, "in/a", "endless")))
        waiting = await bench.submit(
            job_body(order(bench.root, "in/b", "ok"), voice="b/v").replace("out/b", "b/b")
        )

        async def is_running() -> bool:
            return "<Progress>" in await bench.job(running)

        await bench.until(is_running)
        workers = processes_of(bench)
        assert workers
    order(bench.root, "in/a", "ok")
    bench = await start(**WORK, max_concurrent=1, max_starts=1)

    assert not any(alive(worker.pid) for worker in workers)
    for job_id in (running, waiting):
        assert "<State>Success</State>" in await bench.ended(job_id)


@asynccontextmanager
async def elsewhere(root: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Bench]]:
    """Run a service in a process of its own, for the caller to kill."""
    from tests.integration.server.conftest import KEYS, Bench

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = (sys.executable, str(HERE / "serve_once.py"))
    what = (str(root), "poison:behave", KEYS.secret_id, KEYS.secret_key)
    process = await asyncio.create_subprocess_exec(*script, *what, stdout=PIPE, env=environment)
    assert process.stdout
    url = (await process.stdout.readline()).decode().strip()
    async with aiohttp.ClientSession() as http:
        service: Any = type("Elsewhere", (), {"url": url})
        yield process, Bench(service, root, http)


@pytest.mark.slow
@pytest.mark.crash
async def test_every_job_that_a_killed_service_has_accepted_is_there_later(
    start: Benches, job_body: Callable[..., str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    order(root, "in/a", "endless")
    accepted: list[str] = []
    async with elsewhere(root) as (process, bench):

        async def submit_until_it_ends() -> None:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                while True:
                    accepted.append(await bench.submit(job_body("in/a")))
                    if len(accepted) == 300:
                        process.kill()

        await asyncio.gather(*(submit_until_it_ends() for _ in range(32)))
        await process.wait()
    store = (await start(progression=Progression(Pace.HOLD))).service.parts.store

    assert len(accepted) >= 300
    assert [job_id for job_id in accepted if not store.get([job_id])] == []


@pytest.mark.slow
@pytest.mark.crash
async def test_the_workers_of_a_killed_service_end_and_the_job_is_done_once_later(
    start: Benches, job_body: Callable[..., str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    order(root, "in/a", "endless")
    async with elsewhere(root) as (process, bench):
        job_id = await bench.submit(job_body("in/a"))

        async def is_running() -> bool:
            return "<Progress>" in await bench.job(job_id)

        await bench.until(is_running)
        children = children_of(process.pid)
        process.kill()
        await process.wait()

    async def gone() -> bool:
        return not any(alive(pid) for pid in children)

    await bench.until(gone)
    order(root, "in/a", "ok")
    bench = await start(**WORK)
    text = await bench.ended(job_id)
    row: JobRow = bench.service.parts.store.get([job_id])[job_id]

    assert children
    assert "<State>Success</State>" in text
    assert row.starts == 2
    assert (await bench.raw("GET", "/jobs")).text.count("<JobId>") == 1
    assert list((root / ".service" / "tmp").iterdir()) == []


async def test_a_job_that_kills_the_service_repeatedly_is_given_up(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(work="poison:behave", progression=Progression(Pace.HOLD), max_starts=1)
    database = bench.service.parts.store._database
    job_id = await bench.submit(job_body(order(bench.root, "in/a", "ok")))
    await database.execute("UPDATE jobs SET starts = 1")
    bench.service.parts.scheduler.progression = Progression()
    bench.service.parts.scheduler.wake()

    text = await bench.ended(job_id)

    assert "<State>Failed</State>" in text
    assert "The service or its worker ended 1 time while this job was at work" in text
    assert "run again with --retry failed" in text
    assert "orchestrator separate FILE" in text


async def test_a_second_service_on_the_same_root_is_refused_with_the_process_id_of_the_first(
    start: Benches,
) -> None:
    await start()

    with pytest.raises(LocalRootLocked, match=str(os.getpid())):
        await start()


@pytest.mark.slow
async def test_workers_ignore_ctrl_c_and_inherit_no_socket(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(**WORK, max_concurrent=1)
    job_id = await bench.submit(job_body(order(bench.root, "in/a", "endless")))

    async def is_running() -> bool:
        return "<Progress>" in await bench.job(job_id)

    await bench.until(is_running)
    (worker,) = processes_of(bench)
    os.kill(worker.pid, signal.SIGINT)
    links = open_files(worker.pid)

    assert alive(worker.pid)
    assert os.getsid(worker.pid) != os.getsid(0)
    ours = listening_socket(URL(bench.service.url).port)
    assert ours not in links.values()
    assert not any(re.search(r"queue\.db|lock", link) for link in links.values())

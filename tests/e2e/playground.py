"""Shared parts of the tests of the installed command.

A local service beside the test, a folder with a manifest in it, and the command itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import yaml

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import key_of_user_data
from orchestrator.server.faults.script import Faults
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.jobs.row import COLUMNS, JobRow
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.service import LocalService

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from orchestrator.server.settings import LocalSettings

BUCKET = "media-1250000000"
REGION = "ap-chongqing"
KEYS = KeyPair("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789")
QUICK = Progression(Pace.IMMEDIATE)
PATIENCE_S = 30.0
"""Longest time that anything here may take.

On a busy machine the command alone needs two seconds to start.
"""

STARTED: list[subprocess.Popen[str]] = []
"""Commands of the present test; those that work when it ends are killed."""


def until(condition: Callable[[], object], reason: str, limit_s: float = PATIENCE_S) -> None:
    """Wait until ``condition`` is true."""
    clock = SystemClock()
    end = clock.monotonic() + limit_s
    while not condition():
        assert clock.monotonic() < end, f"waited {limit_s} s in vain: {reason}"
        threading.Event().wait(0.01)


class RunningService:
    """A local service in a thread of its own, so that it outlives the command.

    Args:
        settings: Its settings; port 0 takes a free one.
    """

    def __init__(self, settings: LocalSettings) -> None:
        self.settings = settings
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="local-service", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S), "the local service did not start"
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the local service did not end"

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _main(self) -> None:
        self._over = asyncio.Event()
        (self.settings.root / BUCKET).mkdir(parents=True, exist_ok=True)
        async with LocalService(self.settings, SystemClock()) as service:
            self._service = service
            self.url = service.url
            self._ready.set()
            await self._over.wait()

    def _do(self, act: Callable[[], Any]) -> Any:
        """Call a function in the service's own thread."""

        async def call() -> Any:
            return act()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE_S)

    # --- for tests to read and set

    def state(self) -> dict[str, Any]:
        """Return the requests, the faults played, the jobs by state, and the duplicates."""
        found: dict[str, Any] = self._do(self._service.state)
        return found

    def jobs(self) -> list[JobRow]:
        """Return every job, in the order of acceptance."""

        def read() -> list[JobRow]:
            rows = self._service.parts.store._database.read(
                f"SELECT {COLUMNS} FROM jobs ORDER BY seq"  # noqa: S608
            )
            return [JobRow.load(row) for row in rows]

        found: list[JobRow] = self._do(read)
        return found

    def keys(self) -> list[str]:
        """Return the client's key of every job, in the order of acceptance."""
        return [key_of_user_data(job.request.user_data) for job in self.jobs()]

    def spoil(self, *rules: dict[str, Any], **script: Any) -> None:
        """Play these faults from now on."""
        faults = Faults.parse({"faults": list(rules), **script})
        self._do(lambda: self._service.parts.player.set(faults))

    def pace(self, progression: Progression) -> None:
        """Change the pace of the simulated work."""

        def change() -> None:
            self._service.parts.scheduler.progression = progression
            self._service.parts.scheduler.wake()

        self._do(change)

    def store(self, key: str, content: bytes = b"RIFF") -> None:
        """Put an object into the bucket by writing its file."""
        path = self.settings.root / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return standard output, which must be one JSON document."""
        return json.loads(self.out)


@dataclass
class Going:
    """A command that is running."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def wait_for(self, text: str, limit_s: float = PATIENCE_S) -> None:
        """Read standard error until a line holds ``text``."""
        guard = threading.Timer(limit_s, self.process.kill)
        guard.start()
        try:
            assert self.process.stderr is not None
            for line in self.process.stderr:
                self.said.append(line)
                if text in line:
                    return
        finally:
            guard.cancel()
        raise AssertionError(
            f"{text!r} was never printed; the command printed:\n{''.join(self.said)}"
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> Finished:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        return self.finish()

    def finish(self, limit_s: float = PATIENCE_S) -> Finished:
        """Wait for the end."""
        try:
            out, err = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(
                f"the command did not end; it printed:\n{''.join(self.said)}{err}\n{out}"
            ) from None
        finished = Finished(self.process.returncode, out, "".join(self.said) + err)
        assert "Traceback" not in finished.err, finished.err
        return finished


class Playground:
    """A user's folder in which the command runs.

    Args:
        folder: The folder, empty.
        service: The service that manifests name, or None for the embedded one.
    """

    def __init__(self, folder: Path, service: RunningService | None = None) -> None:
        self.folder = folder
        self.service = service
        self.path = folder / "album.yaml"
        self.environment: dict[str, str | None] = {}

    def write(self, *objects: str | dict[str, Any], **changes: Any) -> Path:
        """Write a manifest of these objects or inputs, with changes of its top-level keys."""
        url = self.service.url if self.service else ""
        content: dict[str, Any] = {
            "version": 1,
            "name": "album",
            "service": {"ci": url, "cos": url} if url else "local",
            "bucket": BUCKET,
            "region": REGION,
            "defaults": {
                "operation": {"audio_mode": "AudioAndBackground", "audio": {"codec": "mp3"}},
                "output": {
                    "voice": "stems/{stem}/voice.${ext}",
                    "background": "stems/{stem}/background.${ext}",
                },
            },
            "limits": {"submit_per_s": 1000, "query_per_s": 1000},
            "retry": {"initial_s": 0.05, "cap_s": 0.5, "settle_s": 0.2},
            "report": "reports/{run}.jsonl",
            "inputs": [{"object": one} if isinstance(one, str) else one for one in objects],
        }
        self.path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
        return self.path

    def _environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Return the environment with an empty home, and without proxies of this machine."""
        clean = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        }
        given = {
            "HOME": str(self.folder / "home"),
            "TENCENTCLOUD_SECRET_ID": KEYS.secret_id,
            "TENCENTCLOUD_SECRET_KEY": KEYS.secret_key,
        }
        merged = {**clean, "COLUMNS": "80", **given, **self.environment, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        prefix: Sequence[str] = (),
        **options: Any,
    ) -> Going:
        """Start the installed command."""
        command = [*prefix, sys.executable, "-m", "orchestrator", *arguments]
        pipes: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        process = subprocess.Popen(
            command, cwd=self.folder, env=self._environment(env or {}), **{**pipes, **options}
        )
        STARTED.append(process)
        return Going(process)

    def do(self, *arguments: str, limit_s: float = PATIENCE_S, **options: Any) -> Finished:
        """Run the installed command to its end."""
        return self.start(*arguments, **options).finish(limit_s)

    def run(self, *options: str, **more: Any) -> Finished:
        """Run ``orchestrator run`` on the manifest."""
        return self.do("run", self.path.name, *options, **more)

    # --- files that the command left

    def reports(self) -> list[Path]:
        """Return the reports, oldest first."""
        return sorted(
            (self.folder / "reports").glob("*.jsonl"),
            key=lambda path: (path.stat().st_mtime_ns, path.name),
        )

    def rows(self, number: int = -1) -> list[dict[str, Any]]:
        """Return the rows of a report, the last one by default."""
        return [json.loads(line) for line in self.reports()[number].read_text().splitlines()]

    def summary(self) -> dict[str, Any]:
        """Return the summary beside the last report."""
        found: dict[str, Any] = json.loads(
            self.reports()[-1].with_suffix(".summary.json").read_bytes()
        )
        return found

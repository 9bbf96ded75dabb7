"""The side of a cluster's node: the actor that holds the model, and the check of a node.

Nothing here imports Ray, which makes an actor of :class:`Separator`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator._version import __version__
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.model_file import sidecar_of
from orchestrator.separation.engines.plugins import plugin_entry, plugin_version
from orchestrator.separation.install.installed import installed_engine
from orchestrator.server.workers.process import load, outcome_of
from orchestrator.server.workers.protocol import WorkFailed, WorkTask
from orchestrator.server.workers.transfers import AssignmentOver, Links, TransferFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from orchestrator.server.workers.protocol import WorkResult

_FOLDERS = "orchestrator-worker-"
REPORT_TIMEOUT_S = 5.0
MAX_LINES = 100  # of the log, in one report
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Order:
    """One task, as it travels to a node.

    Attributes:
        task: The task; its paths are empty.
        suffixes: Suffix of the file of the input (``source``) and of each stem.
        links: Links of the assignment.
        authority: Certificates that vouch for the service, in PEM.
        report_s: Interval of reports.
    """

    task: WorkTask
    suffixes: dict[str, str]
    links: dict[str, Any]
    authority: str = ""
    report_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that must agree between nodes, and the free memory of one.

    Attributes:
        version: Version of this package.
        engine: Hash of the engine's weights; empty if they are not installed.
        free_bytes: Memory that is free now.
        pid: Process that answers.
        unreachable: Reason why the service cannot be reached from here, or empty.
    """

    version: str
    engine: str
    free_bytes: int
    pid: int = field(default_factory=os.getpid)
    unreachable: str = ""


def facts(model: str, plugin: str = "", service: str = "", authority: str = "") -> Facts:
    """Return the facts of this node.

    Args:
        model: Path of the model file; empty: another engine.
        plugin: Engine of another package; empty, too: the default one.
        service: Address of the service, to see if it can be reached from here; or empty.
        authority: Certificates that vouch for the service, in PEM.
    """
    unreachable = ""
    if service:
        try:
            Links(authority).reach(service)
        except TransferFailed as error:
            unreachable = str(error)
    return Facts(
        __version__, engine_identity(model, plugin), free_memory(), unreachable=unreachable
    )


def engine_identity(model: str, plugin: str = "") -> str:
    """Return the SHA-256 of an engine's files, or the version of a plug-in's package.

    The JSON file beside a model counts: it changes the stems. The text is empty if the engine is
    not there.
    """
    try:
        if plugin:
            return plugin_version(plugin_entry(plugin))
        path = Path(model) if model else installed_engine()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        if sidecar_of(path).exists():
            digest.update(sidecar_of(path).read_bytes())
        return digest.hexdigest()
    except (OSError, EngineMissing):
        return ""


def free_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int:
    """Return the bytes of memory that are free on this node, within the limit of its container."""
    free = 1 << 62
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):  # another system: Ray's own figure must do
        pass
    try:
        limit = int((cgroup / "memory.max").read_text())
        free = min(free, limit - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or no limit ("max")
        pass
    return max(free, 0)


def forget_dead_folders() -> None:
    """Remove the folders of workers on this node that were killed."""
    import shutil

    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*-*"):
        pid = folder.name.removeprefix(_FOLDERS).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


class Separator:
    """Does one task after the other, and keeps the engine loaded between them."""

    def __init__(self, work: str, model: str, plugin: str = "") -> None:
        self._work = load(work)
        self._model = model
        self._plugin = plugin
        forget_dead_folders()

    def ready(self) -> Facts:
        """Return the facts of this node, once the work is loaded."""
        return facts(self._model, self._plugin)

    def separate(self, order: Order) -> dict[str, object]:
        """Do a task: read the input, separate, put the stems.

        Returns:
            Its outcome: ``done``, ``failed``, ``at_fault`` or ``lost``.
        """
        prefix = f"{_FOLDERS}{os.getpid()}-"
        try:
            with tempfile.TemporaryDirectory(prefix=prefix) as folder, _Reporter(order) as reporter:
                return self._separate(order, Path(folder), reporter)
        except (_Over, AssignmentOver):
            return {"lost": {"message": "The assignment has ended."}}
        except TransferFailed as error:
            return {"lost": {"message": str(error)}}
        except _NoMemory:
            message = f"A worker on {platform.node()} ran out of memory."
            return {"lost": {"message": message}}
        except OSError as error:  # the disk of this node
            message = f"The node {platform.node()} failed: {error.strerror or error}."
            return {"at_fault": {"code": "InternalError", "message": message}}

    def _separate(self, order: Order, folder: Path, reporter: _Reporter) -> dict[str, object]:
        links = Links(order.authority)
        source = folder / f"source{order.suffixes.get('source', '')}"
        links.get(order.links["source"], source)
        paths = {stem: folder / f"{stem}{order.suffixes.get(stem, '')}" for stem in
                 order.links["stems"]}  # fmt: skip
        outputs = {stem: str(path) for stem, path in paths.items()}
        given = order.task
        task = WorkTask(
            str(source),
            outputs,
            given.mode,
            given.audio,
            given.threads,
            given.model,
            given.plugin,
            given.job,
        )
        outcome = outcome_of(self._in_memory, task, reporter.progress)
        if reporter.is_over:
            raise AssignmentOver
        if "done" in outcome:
            for stem, path in paths.items():
                if path.exists():  # a stem that the mode does not make is not written
                    links.put(reporter.links["stems"][stem], path)
        return outcome

    def _in_memory(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do the work; a lack of memory is not the end of the job: another node may have more."""
        try:
            return self._work(task, on_progress)
        except MemoryError as error:
            raise _NoMemory from error
        except WorkFailed as error:
            cause = error.__cause__
            if cause is not None and isinstance(cause.__cause__, MemoryError):
                raise _NoMemory from error
            raise


class _NoMemory(BaseException):
    """Ends the work on this node; no handler of failed work takes it."""


class _Over(BaseException):
    """Ends the work in the middle; no handler of failed work takes it."""


class _Reporter(logging.Handler):
    """Reports progress and the log to the service, and shows it that this worker lives."""

    def __init__(self, order: Order) -> None:
        super().__init__(logging.INFO)
        self.links = order.links
        self.is_over = False
        self._links = Links(order.authority)
        self._interval_s = order.report_s
        self._part = 0.0
        self._lines: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def __enter__(self) -> Self:
        """Start to report."""
        logger = logging.getLogger("orchestrator")
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
        logger.addHandler(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Send the last lines."""
        logging.getLogger("orchestrator").removeHandler(self)
        self._stopped.set()
        self._thread.join()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line for the next report."""
        self._lines.append(f"{record.levelname.lower()}: {record.getMessage()}")

    def progress(self, part: float) -> None:
        """Note the finished part, and end the work of an assignment that has ended."""
        self._part = part
        if self.is_over:
            raise _Over

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._report()
        if self._lines:
            self._report()

    def _report(self) -> None:
        lines, self._lines = self._lines[:MAX_LINES], self._lines[MAX_LINES:]
        body = orjson.dumps({"progress": self._part, "log": lines})
        try:
            answer = self._links.post(self.links["report"], body, REPORT_TIMEOUT_S)
        except AssignmentOver:
            self.is_over = True
            self._stopped.set()
        except TransferFailed:
            self._lines = [*lines, *self._lines]
        else:
            self.links = orjson.loads(answer)

"""Functions for programs: run and plan a manifest, read its rows, follow its events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from orchestrator.commands.options import ManifestSource, RunOptions
from orchestrator.commands.plan import Preview
from orchestrator.commands.plan import plan as make_plan
from orchestrator.commands.report import report
from orchestrator.commands.run import carry_out
from orchestrator.errors import Fault, Interruption, ManifestError
from orchestrator.manifest.schema.manifest_file import ManifestFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Sequence

    from orchestrator.commands.run import Session
    from orchestrator.domain.events import Event
    from orchestrator.reporting.row import Row
    from orchestrator.runner.result import RunResult


_MAX_UNREAD = 100_000
"""Events that wait for a reader; older ones are dropped, so that a slow reader costs no memory."""
T = TypeVar("T")

AnyManifest = str | Path | Mapping[str, Any] | ManifestFile
"""A manifest: its file, its content as a mapping, or a model."""


def source_of(
    manifest: AnyManifest,
    *,
    service: str | None = None,
    sets: Mapping[str, str] | None = None,
    folder: str | Path = ".",
) -> ManifestSource:
    """Return a manifest that can be loaded.

    Args:
        manifest: A file, or the content. Content needs a ``name`` to find its ledger again.
        service: ``local`` or ``tencent`` instead of the manifest's service.
        sets: Values for its ``params``.
        folder: Folder in which content is as if it were a file: relative paths, the ledger and the
            report start there.

    Raises:
        ManifestError: If the content has a value that YAML cannot hold.
    """
    if isinstance(manifest, str | Path):
        return ManifestSource(Path(manifest), service, sets or {})
    if isinstance(manifest, ManifestFile):
        manifest = manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    content = yaml.safe_dump(as_yaml(manifest), sort_keys=False, allow_unicode=True).encode()
    return ManifestSource(Path(folder) / "manifest.yaml", service, sets or {}, content)


class Running:
    """A run that is under way; iterate over it to read its events until it ends.

    Events that nothing reads are kept up to a bound; ``dropped`` counts the older ones.

    Args:
        source: The manifest.
        options: Choices beside it.

    Attributes:
        dropped: Events that were dropped because nothing read them in time.
    """

    def __init__(self, source: ManifestSource, options: RunOptions) -> None:
        self.dropped = 0
        self._unread: deque[Event] = deque()
        self._news = asyncio.Event()
        self._session: Session | None = None
        self._stopped: Interruption | None = None
        self._task = asyncio.ensure_future(self._run(source, options))
        self._task.add_done_callback(self._has_ended)
        self._is_error_known = False  # the program has got the error of the run, if there is one

    def _has_ended(self, task: asyncio.Task[RunResult]) -> None:
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not log an error that ``start`` raises
        self._news.set()

    def emit(self, event: Event) -> None:
        """Take one event of the run."""
        if len(self._unread) >= _MAX_UNREAD:
            self._unread.popleft()
            self.dropped += 1
        self._unread.append(event)
        self._news.set()

    def stop(self, reason: str = "stopped by its program") -> None:
        """Stop in order, as Ctrl-C does: nothing more is sent, and remote jobs are left running."""
        self._stopped = Interruption("signal", reason)
        if self._session is not None:
            self._session.stop(self._stopped)

    async def result(self) -> RunResult:
        """Wait for the end, and return the result.

        Raises:
            OrchestratorError: As ``run`` does.
        """
        try:
            return await asyncio.shield(self._task)
        finally:
            self._is_error_known = self._task.done()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events until the run has ended.

        Raises:
            OrchestratorError: At the end, as ``run`` does.
        """
        while True:
            while self._unread:
                yield self._unread.popleft()
            if self._task.done():
                await self.result()
                return
            self._news.clear()
            await self._news.wait()

    async def _run(self, source: ManifestSource, options: RunOptions) -> RunResult:
        finished = await carry_out(source, options, sink=self, while_open=self._while_open)
        if finished.result.error is not None:
            raise finished.result.error
        return finished.result

    @contextmanager
    def _while_open(self, session: Session) -> Iterator[None]:
        self._session = session
        if self._stopped is not None:  # before it had begun
            session.stop(self._stopped)
        try:
            yield
        finally:
            self._session = None

    async def close(self, *, raises: bool = False) -> None:
        """Stop the run, if it has not ended, and wait for its end; a second cancel aborts it.

        Args:
            raises: Raise the error of the run, unless iteration or ``result`` did.

        Raises:
            OrchestratorError: As ``run`` does.
        """
        if not self._task.done():
            self.stop("cancelled by its program")
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if raises and not self._is_error_known:
            await self.result()


@asynccontextmanager
async def start(
    manifest: AnyManifest, options: RunOptions | None = None, **chosen: Any
) -> AsyncIterator[Running]:
    """Start a run; stop it in order when the block is left before its end.

    Args:
        manifest: The manifest (``source_of``).
        options: Choices of the command: ledger, report, retry, budgets and more.
        chosen: ``service``, ``sets`` and ``folder`` of ``source_of``.

    Raises:
        OrchestratorError: At the end of the block, as ``run`` does, unless the block raises, or
            has got the error from iteration or ``result``.
    """
    running = Running(source_of(manifest, **chosen), options or RunOptions())
    try:
        yield running
    except BaseException:
        await running.close()
        raise
    await running.close(raises=True)


async def run_async(
    manifest: AnyManifest,
    options: RunOptions | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
    **chosen: Any,
) -> RunResult:
    """Run a manifest to its end.

    A cancelled task stops the run in order, as Ctrl-C does, and then raises ``CancelledError``.

    Args:
        manifest: The manifest (``source_of``).
        options: Choices of the command: ledger, report, retry, budgets and more.
        on_event: Called with each event.
        chosen: ``service``, ``sets`` and ``folder`` of ``source_of``.

    Returns:
        The result. Failed jobs are counted in it, not raised.

    Raises:
        OrchestratorError: If the run cannot be carried out, also if it had to stop on the way. The
            ledger has what was done; run again to resume.
    """
    async with start(manifest, options, **chosen) as running:
        if on_event is not None:
            async for event in running:
                on_event(event)
        return await running.result()


async def plan_async(
    manifest: AnyManifest, options: RunOptions | None = None, **chosen: Any
) -> Preview:
    """Return what a run would do, and what it would cost; nothing is sent.

    Raises:
        OrchestratorError: If a source is faulty, or the ledger or a bucket cannot be read.
    """
    return await make_plan(source_of(manifest, **chosen), options or RunOptions())


async def rows_async(
    manifest: AnyManifest,
    *,
    run: str = "last",
    states: Collection[str] = (),
    ledger: str | None = None,
    **chosen: Any,
) -> list[Row]:
    """Return the rows of a run, as its report has them.

    Args:
        manifest: The manifest (``source_of``).
        run: Id of a run, ``last``, or ``all`` for all jobs as they are now.
        states: Only rows in these states.
        ledger: Path or URL of the ledger.
        chosen: ``service``, ``sets`` and ``folder`` of ``source_of``.

    Raises:
        OrchestratorError: If there is no such run, or the ledger cannot be read.
    """
    found = _Rows()
    await report(source_of(manifest, **chosen), found, ledger=ledger, run=run, states=states)
    return found.rows


class _Rows:
    """Keeps rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Keep these rows."""
        self.rows += rows


def run(
    manifest: AnyManifest,
    options: RunOptions | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
    **chosen: Any,
) -> RunResult:
    """Run a manifest to its end (``run_async``); Ctrl-C stops it in order.

    It also works where an event loop is running already, as in a notebook.
    """
    return _wait_for(lambda: run_async(manifest, options, on_event=on_event, **chosen))


def plan(manifest: AnyManifest, options: RunOptions | None = None, **chosen: Any) -> Preview:
    """Return what a run would do, and what it would cost (``plan_async``)."""
    return _wait_for(lambda: plan_async(manifest, options, **chosen))


def rows(manifest: AnyManifest, **chosen: Any) -> list[Row]:
    """Return the rows of a run, as its report has them (``rows_async``)."""
    return _wait_for(lambda: rows_async(manifest, **chosen))


def _wait_for(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run in an event loop: of this thread if it has none, else of a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1, thread_name_prefix="orchestrator") as thread:
        begun: Future[Callable[[], object]] = Future()
        waiting = thread.submit(asyncio.run, _cancellable(work(), begun))
        try:
            return waiting.result()
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # it has ended
                begun.result()()
            raise


async def _cancellable(work: Coroutine[Any, Any, T], begun: Future[Callable[[], object]]) -> T:
    """Run ``work``; give away how another thread cancels it."""
    task = asyncio.ensure_future(work)
    begun.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
    return await task


def as_yaml(value: Any, path: str = "") -> Any:
    """Return a value in plain types: a path as text, a member of an enumeration as its value.

    Args:
        value: The value.
        path: Its place in the manifest, for example ``inputs[3].level``.

    Raises:
        ManifestError: If it is, or has, a value of another type.
    """
    if isinstance(value, Enum):
        return as_yaml(value.value, path)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {_key(key, path): as_yaml(each, _below(path, key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_yaml(each, f"{path}[{number}]") for number, each in enumerate(value)]
    return _scalar(value, path)


def _scalar(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool | date):
        return value
    for plain in (str, int, float):
        if isinstance(value, plain):
            return plain(value)  # YAML refuses their subclasses, such as those of numpy
    raise ManifestError(
        [
            Fault(
                f"{value!r} is of the type {type(value).__name__}, which a manifest cannot hold. "
                "Write text, a number, true or false, a date, a path, a list or a mapping.",
                path=path,
            )
        ]
    )


def _key(key: Any, path: str) -> Any:
    """Return the key of a mapping, which must be a single value."""
    if isinstance(key, Enum | PurePath):
        return as_yaml(key, path)
    return _scalar(key, path)


def _below(path: str, key: Any) -> str:
    name = str(_key(key, path))
    return f"{path}.{name}" if path else name

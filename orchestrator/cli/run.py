"""``orchestrator run``: carry out a manifest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.output import show, show_json

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from orchestrator.commands.options import RunOptions
    from orchestrator.domain.ports import EventSink
    from orchestrator.manifest import Manifest
    from orchestrator.runner.result import RunResult


def run(
    manifest: opt.ManifestArgument,
    *,
    service: opt.ServiceOption = None,
    report: opt.ReportOption = None,
    ledger: opt.LedgerOption = None,
    sets: opt.SetOption = None,
    only: opt.OnlyOption = None,
    limit: opt.LimitOption = None,
    sample: opt.SampleOption = None,
    retry: opt.RetryOption = None,
    dry_run: opt.DryRunOption = False,
    verify_done: opt.VerifyDoneOption = False,
    json: opt.JsonOption = False,
    log_json: opt.LogJsonOption = False,
    quiet: opt.QuietOption = False,
    deadline: opt.DeadlineOption = None,
    max_failures: opt.MaxFailuresOption = None,
    max_cost: opt.MaxCostOption = None,
    callback_listen: opt.CallbackListenOption = None,
    callback_url: opt.CallbackUrlOption = None,
    rehearse: opt.RehearseOption = None,
) -> None:
    """Submit the jobs of MANIFEST, follow them to their end and write the report.

    Run it again to go on: what is done is not done twice.
    Exit codes: 0 all succeeded or nothing to do, 1 some failed, 2 usage or manifest, 3 credentials, 4 ledger or disk,
    5 another run holds the ledger, 6 stopped by a budget or deadline, 7 jobs left unfinished or in doubt, 130 interrupted.
    """
    from orchestrator.cli.parsers import (
        read_allowance,
        read_callbacks,
        read_cost,
        read_duration_s,
        read_retry,
    )
    from orchestrator.cli.plan import show_plan
    from orchestrator.commands.options import RunOptions
    from orchestrator.manifest import load_manifest

    count, percent = read_allowance(max_failures)
    options = RunOptions(
        ledger=ledger,
        report=report,
        retry=read_retry(retry),
        verify_done=verify_done,
        max_failures=count,
        max_failure_percent=percent,
        max_cost=read_cost(max_cost),
        deadline_s=read_duration_s("--deadline", deadline),
        selection=opt.read_selection(only, limit, sample),
        callbacks=read_callbacks(callback_listen, callback_url),
    )
    loaded = load_manifest(manifest, opt.read_sets(sets), service=service)
    if dry_run:
        show_plan(
            loaded,
            ledger=ledger,
            selection=options.selection,
            retry=options.retry,
            verify_done=verify_done,
            json=json,
        )
    elif rehearse is not None:
        raise typer.Exit(
            _rehearse(loaded, options, rehearse, quiet=quiet, log_json=log_json, json=json)
        )
    else:
        raise typer.Exit(_run(loaded, options, quiet=quiet, log_json=log_json, json=json))


def _run(
    manifest: Manifest, options: RunOptions, *, quiet: bool, log_json: bool, json: bool
) -> int:
    """Run, and show how it ended; gives the exit code."""
    from orchestrator.cli.exit_codes import of_result

    result = _carry_out(manifest, options, quiet=quiet, log_json=log_json)
    if result.before is not None:
        _summarise(result.before)
    _show(_summarise(result), result, json=json, quiet=quiet)
    return of_result(result)


def _rehearse(
    manifest: Manifest,
    options: RunOptions,
    script: Path,
    *,
    quiet: bool,
    log_json: bool,
    json: bool,
) -> int:
    """Rehearse, and write the verdict; gives the exit code: 7 if anything was doubled or lost, else the run's own."""
    import asyncio
    from contextlib import ExitStack

    from orchestrator.cli.exit_codes import ExitCode, of_result
    from orchestrator.commands.rehearse import rehearse, verdict_text

    with ExitStack() as stack:
        sink = _sink(stack, quiet=quiet, log_json=log_json)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            result, verdict = runner.run(rehearse(manifest, options, script, sink=sink))
    if json:
        show_json(verdict.as_dict())
    else:
        show(verdict_text(verdict))
    return of_result(result) if verdict.is_good else ExitCode.UNFINISHED


def _carry_out(
    manifest: Manifest, options: RunOptions, *, quiet: bool, log_json: bool
) -> RunResult:
    """Run in an event loop of its own; SIGINT and SIGTERM stop it in order, a second one at once."""
    import asyncio
    from contextlib import ExitStack

    from orchestrator.cli.process import tune
    from orchestrator.cli.signals import stop_on_signals
    from orchestrator.commands.run import open_session

    async def main() -> RunResult:
        async with open_session(manifest, options, sink=sink) as session:
            with stop_on_signals(session.stop):
                return await session.run()

    tune()
    with ExitStack() as stack:
        sink = _sink(stack, quiet=quiet, log_json=log_json)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())


def _loop_factory() -> Any:
    """The loop of uvloop where it is installed (the extra ``fast``), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _sink(stack: ExitStack, *, quiet: bool, log_json: bool) -> EventSink:
    """Who shows what happens: progress on a terminal, lines elsewhere, JSON if asked for, nothing if quiet."""
    from orchestrator.commands.run import Silent
    from orchestrator.domain.clock import SystemClock
    from orchestrator.live.json_log import JsonLogSink
    from orchestrator.live.sinks import Sinks
    from orchestrator.live.text_log import LineSink

    if log_json:
        return Sinks(JsonLogSink(sys.stderr))
    if quiet:
        return Silent()
    if not sys.stderr.isatty():
        return Sinks(LineSink(sys.stderr))
    from rich.console import Console

    from orchestrator.live.progress import ProgressSink

    return Sinks(stack.enter_context(ProgressSink(SystemClock(), Console(stderr=True))))


def _summarise(result: RunResult) -> dict[str, Any]:
    """Make the summary, and write it beside the report."""
    from pathlib import Path

    from orchestrator.cli.exit_codes import of_result
    from orchestrator.reporting.report_file import summary, summary_path, write_summary

    report = Path(result.run.report)
    why = (
        str(result.error)
        if result.error is not None
        else result.cut_short.reason
        if result.cut_short is not None
        else ""
    )
    content = summary(
        result.run,
        result.counts,
        is_complete=result.is_complete,
        calls=result.calls,
        exit_code=int(of_result(result)),
        started_at=result.started_at,
        now=result.ended_at,
        stopped=why,
        report=report,
    )
    write_summary(summary_path(report), content)
    return content


def _show(summary: dict[str, Any], result: RunResult, *, json: bool, quiet: bool) -> None:
    from orchestrator.cli import complain, told

    if json:
        show_json(summary)
    elif not quiet:
        from orchestrator.cli.summary_text import summary_text

        show(summary_text(summary))
    if result.error is not None:
        complain(told(result.error))
    elif result.cut_short is not None and not quiet:
        complain(f"stopped: {result.cut_short.reason}. Run again to go on.")

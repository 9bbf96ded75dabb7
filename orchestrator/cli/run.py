"""``orchestrator run``: carry out a manifest."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.output import show, show_json
from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.cli.display import Display
    from orchestrator.commands.options import ManifestSource, RunOptions
    from orchestrator.commands.rehearse import Verdict
    from orchestrator.commands.run import Finished, RunResult
    from orchestrator.live.metrics import MetricsFile
    from orchestrator.live.tally import Tally


_FAILURES_SHOWN = 10  # by --quiet


def run(
    manifest: opt.ManifestArgument,
    *,
    service: opt.ServiceOption = None,
    report: opt.ReportOption = None,
    ledger: opt.LedgerOption = None,
    wait: opt.WaitOption = False,
    sets: opt.SetOption = None,
    only: opt.OnlyOption = None,
    limit: opt.LimitOption = None,
    sample: opt.SampleOption = None,
    retry: opt.RetryOption = None,
    dry_run: opt.DryRunOption = False,
    verify_done: opt.VerifyDoneOption = False,
    skip_existing: opt.SkipExistingOption = False,
    json: opt.JsonOption = False,
    log_json: opt.LogJsonOption = False,
    quiet: opt.QuietOption = False,
    verbose: opt.VerboseOption = False,
    stats: opt.StatsOption = "1m",
    deadline: opt.DeadlineOption = None,
    max_failures: opt.MaxFailuresOption = None,
    max_cost: opt.MaxCostOption = None,
    canary: opt.CanaryOption = None,
    callback_listen: opt.CallbackListenOption = None,
    callback_url: opt.CallbackUrlOption = None,
    rehearse: opt.RehearseOption = None,
    live: opt.LiveOption = None,
    metrics_file: opt.MetricsFileOption = None,
    yes: opt.YesOption = False,
) -> None:
    """Submit the jobs of MANIFEST, track them to their end and write the report.

    Run again to resume; finished jobs are skipped.
    Exit codes: 0 all succeeded or nothing to do, 1 some failed, 2 usage or manifest,
    3 credentials, 4 ledger or disk, 5 another run holds the ledger, 6 stopped by a budget,
    deadline or canary, 7 jobs left unfinished or in doubt, 130 interrupted.
    """
    from orchestrator.cli import parsers
    from orchestrator.cli.display import Display
    from orchestrator.cli.plan import show_plan
    from orchestrator.commands.options import RunOptions, selection_of

    display = Display.chosen(log_json=log_json, quiet=quiet, verbose=verbose, stats=stats)
    count, percent = parsers.read_allowance(max_failures)
    options = RunOptions(
        ledger=ledger,
        wait=wait,
        report=report,
        retry=parsers.read_retry(retry),
        verify_done=verify_done,
        skip_existing=skip_existing,
        max_failures=count,
        max_failure_percent=percent,
        max_cost=parsers.read_cost(max_cost),
        deadline_s=parsers.read_duration_s("--deadline", deadline),
        canary=parsers.read_canary(canary),
        selection=selection_of(only, limit, sample),
        callbacks=parsers.read_callbacks(callback_listen, callback_url),
        live=parsers.read_live(live),
    )
    source = opt.manifest_source(manifest, service, sets)
    if dry_run:
        show_plan(source, options, json=json)
    elif rehearse is not None:
        raise typer.Exit(_rehearse(source, options, rehearse, display, json=json))
    else:
        with measured(metrics_file, source, display.tally) as metrics:
            code = _run(source, options, display, metrics, asks=not yes, json=json)
        raise typer.Exit(code)


def _run(
    source: ManifestSource,
    options: RunOptions,
    display: Display,
    metrics: MetricsFile | None,
    *,
    asks: bool,
    json: bool,
) -> int:
    """Run, and return the exit code; ask before an expensive run on a terminal."""
    if asks and sys.stdin.isatty() and sys.stderr.isatty():
        _confirm(source, options)
    finished = carry_out(source, options, display, metrics)
    code = conclude(finished, quiet=display.is_quiet, json=json)
    if metrics is not None:
        metrics.ended(code, finished.summaries[-1].as_dict())
    return code


def _confirm(source: ManifestSource, options: RunOptions) -> None:
    """Ask before a run that would cost more than the manifest's ``confirm_above``."""
    import asyncio

    from orchestrator.cli import complain
    from orchestrator.cli.output import counting
    from orchestrator.cli.plan_text import cost_text
    from orchestrator.commands.exit_codes import ExitCode
    from orchestrator.commands.plan import worth_asking
    from orchestrator.domain.wording import counted

    with counting("jobs read") as progress:
        forecast = asyncio.run(worth_asking(source, options, progress))
    if forecast is None:
        return
    jobs = counted(forecast.to_do, "job")
    if not typer.confirm(f"{jobs}, cost: {cost_text(forecast)}. Run?", err=True):
        complain("not confirmed: nothing was sent.")
        raise typer.Exit(ExitCode.STOPPED)


@contextmanager
def measured(
    path: Path | None, source: ManifestSource, tally: Tally
) -> Iterator[MetricsFile | None]:
    """Keep the metrics file, if there is to be one; it also says how the block failed.

    A manifest that cannot be read has the name that an earlier file knows.
    """
    if path is None:
        yield None
        return
    from orchestrator.cli import complain
    from orchestrator.domain.clock import SystemClock
    from orchestrator.errors import OrchestratorError
    from orchestrator.live.metrics import Metrics, MetricsFile, stored_manifest

    try:
        name, rate_per_s = source.name_and_rate()
    except OrchestratorError:  # the block meets it again
        name, rate_per_s = stored_manifest(path) or source.path.stem, 0.0
    metrics = MetricsFile(path, Metrics(tally, name, rate_per_s), SystemClock(), complain)
    try:
        yield metrics
    except BaseException as error:
        metrics.ended(_code_of(error))
        raise


def _code_of(error: BaseException) -> int:
    """Return the exit code of a run that ended with this error."""
    from orchestrator.commands.exit_codes import ExitCode, of_error
    from orchestrator.durable import DISK_FULL
    from orchestrator.errors import OrchestratorError

    match error:
        case OrchestratorError():
            return of_error(error)
        case typer.Exit():
            return error.exit_code
        case typer.Abort():  # no answer to a question
            return ExitCode.JOBS_FAILED
        case OSError() if error.errno in DISK_FULL:
            return ExitCode.LEDGER
        case Exception():  # a defect
            return ExitCode.UNFINISHED
        case _:  # a second signal
            return ExitCode.INTERRUPTED


def conclude(finished: Finished, *, quiet: bool, json: bool) -> int:
    """Write and show the summary, and return the exit code."""
    from pathlib import Path

    from orchestrator.cli import complain, message_of
    from orchestrator.reporting.summary import summary_path, write_summary

    for each in finished.summaries:
        write_summary(summary_path(Path(each.run.report)), each.as_dict())
    result, summary = finished.result, finished.summaries[-1].as_dict()
    code = finished.summaries[-1].exit_code
    if json:
        show_json(summary)
    elif not quiet or code:
        from orchestrator.reporting.summary import summary_text

        show(summary_text(summary))
    if quiet and code:
        _show_failures(result)
    if result.error is not None:
        complain(message_of(result.error))
    elif result.cut_short is not None:
        then = "" if result.is_complete else " Run again to resume."
        complain(f"stopped: {result.cut_short.reason.removesuffix('.')}.{then}")
    for text in finished.complaints:
        complain(text)
    return code


def _show_failures(result: RunResult) -> None:
    """Write the first failures to standard error: cron mails what is printed."""
    from orchestrator.cli import complain
    from orchestrator.commands.run import failures_of
    from orchestrator.reporting.summary import failure_text

    for row in failures_of(result, _FAILURES_SHOWN):
        complain(failure_text(row))


def _rehearse(
    source: ManifestSource, options: RunOptions, script: Path, display: Display, *, json: bool
) -> int:
    """Rehearse, show the verdict, and return the exit code: 7 if anything was doubled or lost."""
    import asyncio

    from orchestrator.cli import complain, message_of
    from orchestrator.cli.interpreter import loop_factory, tune
    from orchestrator.commands.exit_codes import ExitCode, of_result
    from orchestrator.commands.rehearse import rehearse

    tune()
    with display, asyncio.Runner(loop_factory=loop_factory()) as runner:
        result, verdict = runner.run(rehearse(source, options, script, sink=display.sink))
    is_whole = not verdict.duplicates and not verdict.losses
    code = of_result(result) if is_whole else ExitCode.UNFINISHED
    if json:
        show_json(verdict.as_dict())
    elif not display.is_quiet or code:
        show(_verdict_text(verdict))
    if result.error is not None:
        complain(message_of(result.error))
    return code


def carry_out(
    source: ManifestSource,
    options: RunOptions,
    display: Display,
    metrics: MetricsFile | None = None,
) -> Finished:
    """Run in an event loop; a first signal stops in order, a second one at once."""
    import asyncio

    from orchestrator.cli.interpreter import loop_factory, tune
    from orchestrator.commands.run import carry_out as run_to_the_end
    from orchestrator.live.sinks import Sinks

    tune()
    with display:

        async def run() -> Finished:
            sink = display.sink if metrics is None else Sinks(display.sink, metrics)
            with display.signals(has_database=options.has_database):
                return await run_to_the_end(source, options, sink=sink, while_open=display.follow)

        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(run())


def _verdict_text(verdict: Verdict) -> str:
    """Return the verdict of a rehearsal."""
    cost = "unknown" if verdict.cost is None else f"about {verdict.cost:,.2f} {verdict.currency}"
    lines = [
        f"rehearsal: {_judgement(verdict)}",
        *(
            f"  {state.replace('_', ' '):<12} {number:,}"
            for state, number in verdict.states.items()
            if number
        ),
        f"  duplicates   {verdict.duplicates:,}",
        f"  losses       {verdict.losses:,}",
        f"  faults       {verdict.faults_played:,} played",
        f"  calls        {verdict.calls_per_job:g} per job, {counted(verdict.jobs, 'job')}",
        f"  time         {verdict.elapsed_s:g} s",
        f"  time per job {_times(verdict)}",
        f"  would cost   {cost}",
        f"  kept in      {verdict.folder}",
    ]
    return "\n".join(lines) + "\n"


def _judgement(verdict: Verdict) -> str:
    if verdict.is_good:
        return "good"
    if verdict.is_complete:
        return "NOT GOOD"
    return f"NOT COMPLETE: {verdict.stopped}" if verdict.stopped else "NOT COMPLETE"


def _times(verdict: Verdict) -> str:
    if verdict.job_p50_s is None or verdict.job_p95_s is None:
        return "unknown: no job ended"
    return f"{verdict.job_p50_s:g} s for half of them, at most {verdict.job_p95_s:g} s for 95 %"

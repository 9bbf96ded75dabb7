"""``orchestrator plan``: what a run would do, before anything is sent."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.output import counting, show, show_json

if TYPE_CHECKING:
    from orchestrator.commands.options import ManifestSource, RunOptions

_NARROWEST, _WIDEST = 60, 100
"""Widths of a plan: it is cut in no narrower terminal, and lines stay readable in a wide one."""


def plan(
    manifest: opt.ManifestArgument,
    *,
    service: opt.ServiceOption = None,
    ledger: opt.LedgerOption = None,
    sets: opt.SetOption = None,
    only: opt.OnlyOption = None,
    limit: opt.LimitOption = None,
    sample: opt.SampleOption = None,
    retry: opt.RetryOption = None,
    explain: opt.ExplainOption = None,
    verify_done: opt.VerifyDoneOption = False,
    skip_existing: opt.SkipExistingOption = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="List each object that is not done, and why.")
    ] = False,
    json: opt.JsonOption = False,
) -> None:
    """Show what a run of MANIFEST would do: jobs, calls, minutes, cost, time. Sends nothing.

    With --objects, + is new, ~ changed, > resumed or retried, ! refused, and - left by earlier runs
    and no longer in the manifest. With --json as well, each is a JSON line, and the last is the
    plan.

    Exit codes as for run: 0, or 2 to 5 if the plan cannot be made, 7 if the bucket cannot be
    reached.
    """
    from orchestrator.cli.parsers import read_retry
    from orchestrator.commands.options import RunOptions, selection_of

    source = opt.manifest_source(manifest, service, sets)
    if explain is not None:
        _show_explanation(source, explain, ledger=ledger, json=json)
        return
    options = RunOptions(
        ledger=ledger,
        retry=read_retry(retry),
        verify_done=verify_done,
        skip_existing=skip_existing,
        selection=selection_of(only, limit, sample),
    )
    show_plan(source, options, json=json, objects=objects)


def show_plan(
    source: ManifestSource, options: RunOptions, *, json: bool, objects: bool = False
) -> None:
    """Make the plan and print it."""
    import asyncio

    from orchestrator.cli.plan_text import object_line, plan_text
    from orchestrator.commands.plan import PlannedObject
    from orchestrator.commands.plan import plan as make_plan

    def show_object(planned: PlannedObject) -> None:
        if json:
            show_json(planned.as_dict(), indent=False)
        else:
            show(f"{object_line(planned)}\n")

    with counting("jobs read") as progress:
        show_each = show_object if objects else None
        found = asyncio.run(make_plan(source, options, progress, show_each))
    if objects and not json:
        show("\n")
    if json:
        rejected = [refusal._asdict() for refusal in found.rejected]
        facts = {**found.forecast.as_dict(), "lost": found.lost, "rejected": rejected}
        show_json(facts, indent=not objects)
    else:
        columns = max(min(shutil.get_terminal_size().columns, _WIDEST), _NARROWEST)
        show(plan_text(found, columns))


def _show_explanation(source: ManifestSource, name: str, *, ledger: str | None, json: bool) -> None:
    import asyncio
    from dataclasses import asdict

    from orchestrator.cli.plan_text import explanation_text
    from orchestrator.commands.plan import explain_object
    from orchestrator.errors import ConfigError

    jobs = asyncio.run(explain_object(source, name, ledger=ledger))
    if not jobs:
        raise ConfigError(
            f"--explain {name}: no source of {source.path} names this object. "
            "Write its key as in the bucket."
        )
    if json:
        content = [
            {
                "key": job.spec.key,
                "variant": job.variant,
                "values": [asdict(value) for value in job.values],
            }
            for job in jobs
        ]
        show_json(content)
    else:
        show(explanation_text(jobs))

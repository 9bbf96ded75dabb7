"""``orchestrator plan``: what a run would do, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli import options as opt
from orchestrator.cli.output import counting, show, show_json

if TYPE_CHECKING:
    from orchestrator.domain.states import JobState
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.sources.selection import Selection


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
    json: opt.JsonOption = False,
) -> None:
    """Show what a run of MANIFEST would do: jobs, calls, minutes, cost, time. Nothing is sent.

    Exit codes as for run: 0, or 2 to 5 for what keeps the plan from being made, 7 if the bucket cannot be reached.
    """
    from orchestrator.cli.parsers import read_retry
    from orchestrator.manifest import load_manifest

    loaded = load_manifest(manifest, opt.read_sets(sets), service=service)
    if explain is not None:
        show_explanation(loaded, explain, ledger=ledger, json=json)
        return
    selection = opt.read_selection(only, limit, sample)
    show_plan(
        loaded,
        ledger=ledger,
        selection=selection,
        retry=read_retry(retry),
        verify_done=verify_done,
        json=json,
    )


def show_plan(
    manifest: Manifest,
    *,
    ledger: str | None,
    selection: Selection | None,
    retry: frozenset[JobState],
    verify_done: bool,
    json: bool,
) -> None:
    """Make the plan and write it."""
    import asyncio

    from orchestrator.cli.plan_text import plan_text
    from orchestrator.commands.plan import preview

    with counting("jobs read") as told:
        found = asyncio.run(
            preview(
                manifest,
                ledger=ledger,
                selection=selection,
                retry=retry,
                verify_done=verify_done,
                told=told,
            )
        )
    if json:
        content = {**found.forecast.as_dict(), "lost": found.lost}
        show_json(content)
    else:
        show(plan_text(manifest.name, found))


def show_explanation(manifest: Manifest, name: str, *, ledger: str | None, json: bool) -> None:
    """Write where each value of an object's jobs came from.

    Raises:
        ConfigError: If no source names the object.
    """
    import asyncio
    from dataclasses import asdict

    from orchestrator.cli.plan_text import explanation_text
    from orchestrator.commands.plan import explain_object
    from orchestrator.errors import ConfigError

    jobs = asyncio.run(explain_object(manifest, name, ledger=ledger))
    if not jobs:
        raise ConfigError(
            f"--explain {name}: no source of {manifest.path} names this object. Write its key as in the bucket."
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

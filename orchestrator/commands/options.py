"""What is said for one run beside its manifest, and what that and the manifest come to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.runner.budget import Bounds
from orchestrator.runner.settings import RunnerSettings

if TYPE_CHECKING:
    from orchestrator.domain.states import JobState
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.sources.selection import Selection


@dataclass(frozen=True, slots=True)
class CallbackAddress:
    """Where a run listens for callbacks.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        url: What the service must call to get there (without the unguessable last part); empty: the address itself.
    """

    host: str
    port: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is said for one run beside its manifest; what is None is taken from the manifest.

    Attributes:
        ledger: Path or URL of the ledger.
        report: Path of the report.
        retry: States of jobs of earlier runs that are asked for again.
        verify_done: Make done jobs again whose stems are gone.
        max_failures: Count of failures that stops the run.
        max_failure_percent: Share of failures that stops the run.
        max_cost: Cost that stops the run.
        deadline_s: Longest time of the run.
        selection: The part of the manifest to carry out; all of it if None.
        callbacks: Where to listen for the service's callbacks, or None.
    """

    ledger: str | None = None
    report: str | None = None
    retry: frozenset[JobState] = frozenset()
    verify_done: bool = False
    max_failures: int | None = None
    max_failure_percent: float | None = None
    max_cost: float | None = None
    deadline_s: float | None = None
    selection: Selection | None = None
    callbacks: CallbackAddress | None = None


def report_path(manifest: Manifest, options: RunOptions) -> str:
    """Where the report goes; ``{run}`` in it becomes the run's id."""
    return (
        str(Path(options.report).resolve()) if options.report is not None else str(manifest.report)
    )


def runner_settings(manifest: Manifest) -> RunnerSettings:
    """The engine's bounds, as the manifest sets them."""
    limits, retry = manifest.limits, manifest.retry
    return RunnerSettings(
        in_flight=limits.in_flight,
        connections=limits.connections,
        attempts=retry.attempts,
        initial_s=retry.initial_s,
        cap_s=retry.cap_s,
        settle_s=retry.settle_s,
        reply_timeout_s=limits.timeout_s,
    )


def bounds(manifest: Manifest, options: RunOptions) -> Bounds:
    """What the run may spend: the options, and where they say nothing the manifest."""
    allowed = manifest.budget.max_failures
    count, percent = options.max_failures, options.max_failure_percent
    if count is None and percent is None and allowed is not None:
        count, percent = allowed.count, allowed.percent
    cost = options.max_cost if options.max_cost is not None else manifest.budget.max_cost
    return Bounds(count, percent, cost, manifest.price.per_minute)

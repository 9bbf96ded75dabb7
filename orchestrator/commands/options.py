"""Choices for one command beside its manifest, and their combination with the manifest's."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.wording import is_utf_8, listed, nearest_word, not_utf_8
from orchestrator.errors import ConfigError
from orchestrator.postgresql import is_address
from orchestrator.runner.budget import Bounds
from orchestrator.runner.settings import SOON_S, RunnerSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from orchestrator.domain.states import JobState
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.sources.selection import Selection


def _model_fault(model: Path) -> str:
    # Few manifests name a model file, and only those need the module.
    from orchestrator.separation.install.installed import model_fault

    return model_fault(model)


@dataclass(frozen=True, slots=True)
class ManifestSource:
    """A manifest to load.

    Attributes:
        path: The file; relative paths, the ledger and the report start at its folder.
        service: ``local`` or ``tencent`` instead of the manifest's service, or None.
        sets: Values for its ``params``.
        content: The manifest as YAML, if it is not in the file.
    """

    path: Path
    service: str | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    def load(self, max_faults: int = 50, *, to_run: bool = False) -> Manifest:
        """Read and check the manifest; report at most ``max_faults`` faults.

        Args:
            max_faults: Faults to report.
            to_run: The manifest is to be run: the file of its engine must be one that separates.

        Raises:
            ManifestError: With every fault, each with file, line and column.
        """
        from orchestrator.manifest import load_manifest

        return load_manifest(
            self.path,
            self.sets,
            service=self.service,
            max_faults=max_faults,
            content=self.content,
            model_fault=_model_fault if to_run else None,
        )

    def name_and_rate(self) -> tuple[str, float]:
        """Return the manifest's name, and its rate limit of submits.

        Raises:
            ManifestError: If it cannot be read.
        """
        manifest = self.load()
        return manifest.name, manifest.limits.submit_per_s


@dataclass(frozen=True, slots=True)
class LiveAddress:
    """Address at which a run shows itself while it works; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CallbackAddress:
    """Address on which a run listens for callbacks.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        url: Address that the service must call to get there, without the unguessable last part;
            empty for the address itself.
    """

    host: str
    port: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Choices for one run beside its manifest; None takes the manifest's.

    Attributes:
        ledger: Path or URL of the ledger.
        wait: Wait while another run holds the ledger.
        report: Path of the report.
        retry: States in which jobs of earlier runs are retried.
        verify_done: Make finished jobs again whose stems are missing.
        skip_existing: Count objects as done whose stems are all in their bucket; the manifest may
            say so, too.
        max_failures: Number of failures that stops the run.
        max_failure_percent: Share of failures that stops the run.
        max_cost: Cost that stops the run.
        deadline_s: Longest time of the run.
        canary: Jobs that must succeed before the rest is sent; 0 for none.
        selection: Part of the manifest to carry out; None for all of it.
        callbacks: Address for the service's callbacks, or None.
        live: Address of the live page, or None.
    """

    ledger: str | None = None
    wait: bool = False
    report: str | None = None
    retry: frozenset[JobState] = frozenset()
    verify_done: bool = False
    skip_existing: bool = False
    max_failures: int | None = None
    max_failure_percent: float | None = None
    max_cost: float | None = None
    deadline_s: float | None = None
    canary: int | None = None
    selection: Selection | None = None
    callbacks: CallbackAddress | None = None
    live: LiveAddress | None = None

    @property
    def has_database(self) -> bool:
        """True if the ledger is in a database, which may be out of reach."""
        return self.ledger is not None and is_address(self.ledger)


def no_runs_text(manifest: Path) -> str:
    """Return the sentence about a manifest that has not run, with the next step."""
    return f"There are no runs yet. Start one with: orchestrator run {shlex.quote(str(manifest))}"


def check_word(option: str, given: str, known: Collection[str]) -> None:
    """Check that the value of an option is one of some words.

    Raises:
        ConfigError: If it is not; the message has them, and the nearest one.
    """
    if given not in known:
        near = nearest_word(given, known)
        hint = f" Did you mean {near}?" if near else ""
        raise ConfigError(f"{option} {given}: write {listed(known)}.{hint}")


def report_path(manifest: Manifest, options: RunOptions) -> str:
    """Return the path of the report; ``{run}`` in it becomes the run's id.

    Raises:
        ConfigError: If a report cannot be written under this name.
    """
    named = options.report
    if named == "-":
        raise ConfigError(
            "--report -: a report is a file, because a run that is resumed continues it. "
            "Name a file, for example --report run.jsonl; --json writes the summary to standard "
            "output."
        )
    path = manifest.report if named is None else str(Path(named).resolve())
    if not is_utf_8(path):
        raise ConfigError(f"--report: {not_utf_8(path)}")
    return path


def runner_settings(manifest: Manifest, options: RunOptions) -> RunnerSettings:
    """Return the runner's bounds."""
    from orchestrator.manifest import LocalServiceSettings

    limits, retry = manifest.limits, manifest.retry
    # Queries of the embedded service cost nothing, and it lives and dies with this process.
    is_embedded = isinstance(manifest.service, LocalServiceSettings)
    return RunnerSettings(
        in_flight=limits.in_flight,
        connections=limits.connections,
        attempts=retry.attempts,
        initial_s=retry.initial_s,
        cap_s=retry.cap_s,
        settle_s=retry.settle_s,
        reply_timeout_s=limits.timeout_s,
        has_callbacks=options.callbacks is not None,
        soon_s=1.0 if is_embedded else SOON_S,
        list_is_exact=is_embedded,
    )


def budget_bounds(manifest: Manifest, options: RunOptions) -> Bounds:
    """Return what the run may spend: by the options, else by the manifest."""
    allowed = manifest.budget.max_failures
    count, percent = options.max_failures, options.max_failure_percent
    if count is None and percent is None and allowed is not None:
        count, percent = allowed.count, allowed.percent
    cost = manifest.budget.max_cost if options.max_cost is None else options.max_cost
    return Bounds(count, percent, cost, manifest.price.per_minute)


def selection_of(
    only: list[str] | None, limit: int | None, sample_percent: str | None
) -> Selection | None:
    """Return the selected part of a manifest; None for all of it.

    Raises:
        ConfigError: If a number is out of range.
    """
    if not only and limit is None and sample_percent is None:
        return None
    from orchestrator.manifest.sources.selection import Selection, parse_share

    return Selection(only, limit, None if sample_percent is None else parse_share(sample_percent))

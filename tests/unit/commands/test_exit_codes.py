"""The table of exit codes."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import errors
from orchestrator.cli import INTERRUPTED
from orchestrator.commands.exit_codes import ExitCode, of_error, of_result
from orchestrator.domain.run import Counts, Run
from orchestrator.domain.states import OPEN, JobState
from orchestrator.errors import ApiAnswer, Interruption, OrchestratorError
from orchestrator.reporting.summary import Calls
from orchestrator.runner.result import RunResult

CODES = {
    errors.ConfigError: 2, errors.ManifestError: 2, errors.PlanError: 2,
    errors.EngineMissing: 2, errors.NotFound: 2,
    errors.CredentialsMissing: 3, errors.AuthRejected: 3, errors.BucketRefused: 3,
    errors.BucketUnknown: 2,
    errors.CredentialsExpired: 3, errors.ClockSkewed: 3,
    errors.ProxyRefused: 3, errors.CertificateRefused: 3, errors.TunnelRefused: 3,
    errors.LedgerError: 4, errors.LedgerCorrupt: 4, errors.LedgerFull: 4,
    errors.LedgerDisplaced: 4, errors.LedgerMismatch: 4, errors.ReportError: 4,
    errors.DiskFull: 4,
    errors.LedgerLocked: 5, errors.LocalRootLocked: 5,
}  # fmt: skip


def every_kind() -> list[type[OrchestratorError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, OrchestratorError)
    ]


@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__name__)
def test_every_error_has_the_exit_code_of_the_table(
    kind: type[OrchestratorError],
) -> None:
    """An error that is not in the table left jobs unfinished: running again may help."""
    error = kind.__new__(kind)

    assert of_error(error) == CODES.get(kind, 7)


def test_the_table_is_the_published_one() -> None:
    assert sorted(ExitCode) == [0, 1, 2, 3, 4, 5, 6, 7, 130]
    assert of_error(KeyboardInterrupt()) == INTERRUPTED == 130


def result(
    *, stopped: str = "", error: OrchestratorError | None = None, skipped: int = 0, **counts: Any
) -> RunResult:
    return RunResult(
        Run("r", 1, 0.0, "r.jsonl"),
        Counts({JobState(name): number for name, number in counts.items()}, skipped),
        Calls(),
        0.0,
        1.0,
        Interruption(stopped) if stopped else None,
        error,
    )


def test_all_succeeded_or_nothing_to_do_is_0() -> None:
    assert of_result(result()) == 0
    assert of_result(result(succeeded=3, skipped=2)) == 0


@pytest.mark.parametrize("state", ["failed", "rejected", "cancelled"])
def test_jobs_that_did_not_succeed_are_1(state: str) -> None:
    counts: dict[str, Any] = {state: 1}

    assert of_result(result(succeeded=3, **counts)) == 1


@pytest.mark.parametrize("state", ["unfinished", *sorted(OPEN)])
def test_jobs_that_are_open_or_given_up_are_7_even_beside_failed_ones(state: str) -> None:
    counts: dict[str, Any] = {"failed": 1, state: 1}

    assert of_result(result(succeeded=3, **counts)) == 7


@pytest.mark.parametrize(
    ("kind", "code"),
    [("signal", 130), ("budget", 6), ("deadline", 6), ("window", 6), ("canary", 6)],
)
def test_the_reason_of_a_stop_takes_precedence_over_the_jobs(kind: str, code: int) -> None:
    assert of_result(result(stopped=kind, failed=1, planned=5)) == code


@pytest.mark.parametrize("kind", ["signal", "budget", "deadline", "window"])
def test_a_stop_after_all_jobs_have_ended_does_not_count(kind: str) -> None:
    assert of_result(result(stopped=kind, succeeded=2)) == 0
    assert of_result(result(stopped=kind, failed=1)) == 1
    assert of_result(replace(result(stopped=kind, failed=1), kept_back=1)) in {6, 130}, (
        "its retry was still to come"
    )


def test_a_failed_canary_is_6_even_if_no_other_job_was_left() -> None:
    assert of_result(result(stopped="canary", failed=1)) == 6


def test_a_run_whose_manifest_was_not_read_to_its_end_is_not_complete() -> None:
    half = replace(result(succeeded=2), is_planned=False)

    assert (half.is_complete, half.is_over) == (False, False)
    assert of_result(replace(half, stopped=Interruption("signal"))) == 130


def test_an_error_that_stopped_a_run_takes_precedence_over_everything() -> None:
    assert (
        of_result(result(stopped="error", error=errors.AuthRejected(ApiAnswer(403)), planned=5))
        == 3
    )

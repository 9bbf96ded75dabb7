"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.commands.options import ManifestSource


def _known_service(given: str | None) -> str | None:
    """Check ``--service``: a typing error must not choose another service.

    Raises:
        ConfigError: If it is neither local nor tencent.
    """
    if given not in {None, "local", "tencent"}:
        raise ConfigError(
            f"--service {given}: write local or tencent. "
            "Other endpoints belong in the manifest (service: {ci: URL, cos: URL})."
        )
    return given


def whole_number(option: str, least: int) -> Callable[[str | int], int]:
    """Return a reader of the whole numbers of an option, from ``least`` on."""

    def read(given: str | int) -> int:
        try:
            number = int(given)
        except ValueError:
            number = least - 1
        if number < least:
            raise ConfigError(f"{option} {given}: write a whole number, {least} or more.")
        return number

    return read


def _number(given: str | float) -> float:
    """Return the number of ``--max-cost``."""
    try:
        return float(given)
    except ValueError:
        raise ConfigError(
            f"--max-cost {given}: write a number, in the currency of the manifest's price."
        ) from None


ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="The manifest (YAML).", show_default=False)
]
ServiceOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="local|tencent",
        help="Use this service instead of the manifest's.",
        show_default=False,
        callback=_known_service,
    ),
]
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="URL",
        help="Ledger file, instead of .orchestrator/NAME.db beside the manifest; or "
        "postgresql://USER@HOST/DB, for several hosts.",
        show_default=False,
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait while another run holds the ledger, and resume its work when it ends or dies.",
    ),
]
ReportOption = Annotated[
    str | None,
    typer.Option(
        "--report",
        metavar="FILE",
        help="Report file, instead of the manifest's.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="K=V",
        help="Value of a manifest's parameter; may be repeated.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write the result as JSON to standard output.")
]
VerifyDoneOption = Annotated[
    bool,
    typer.Option("--verify-done", help="Check that the stems of finished jobs are still there."),
]
SkipExistingOption = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Objects whose stems are all in their bucket count as done (skip_existing).",
    ),
]
RetryOption = Annotated[
    str | None,
    typer.Option(
        "--retry",
        metavar="failed|rejected|all",
        help="Retry jobs that ended so in earlier runs.",
        show_default=False,
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="GLOB",
        help="Only objects whose names match; may be repeated.",
        show_default=False,
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        parser=whole_number("--limit", 1),
        help="At most this many objects.",
        show_default=False,
    ),
]
SampleOption = Annotated[
    str | None,
    typer.Option(
        "--sample", metavar="1%", help="Only this share of the objects.", show_default=False
    ),
]


ExplainOption = Annotated[
    str | None,
    typer.Option(
        "--explain",
        metavar="OBJECT",
        help="Show each value of this object's jobs, and its origin.",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done (same as plan).")
]
LogJsonOption = Annotated[
    bool, typer.Option("--log-json", help="Write each event as a JSON line to standard error.")
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Print nothing if all is well; else the summary and ten failures."
    ),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Write a line for each step of each job.")
]
StatsOption = Annotated[
    str,
    typer.Option(
        "--stats",
        metavar="1m",
        help="Without a terminal, write the counts this often; 0: never.",
    ),
]
MetricsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        metavar="FILE",
        help="Write metrics for Prometheus to this file (textfile collector).",
        show_default=False,
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before an expensive run (confirm_above).")
]
DeadlineOption = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="2h",
        help="Stop sending after this time (exit 6).",
        show_default=False,
    ),
]
MaxFailuresOption = Annotated[
    str | None,
    typer.Option(
        "--max-failures",
        metavar="50|5%",
        help="Stop sending beyond this many failures (exit 6).",
        show_default=False,
    ),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="40",
        parser=_number,
        help="Stop sending before the estimated cost passes this (exit 6).",
        show_default=False,
    ),
]
CanaryOption = Annotated[
    int | None,
    typer.Option(
        "--canary",
        metavar="N",
        parser=whole_number("--canary", 0),
        help="This many jobs must succeed before the rest is sent (else exit 6); 0: none.",
        show_default=False,
    ),
]
LeftOption = Annotated[
    bool,
    typer.Option(
        "--left", help="Only unsent jobs of earlier runs that the manifest no longer names."
    ),
]
LiveOption = Annotated[
    str | None,
    typer.Option(
        "--live",
        metavar="HOST:PORT",
        help="Show the run in a browser while it works, for example 127.0.0.1:8765; also /metrics.",
        show_default=False,
    ),
]
CallbackListenOption = Annotated[
    str | None,
    typer.Option(
        "--callback-listen",
        metavar="HOST:PORT",
        help="Listen for the service's callbacks: fewer queries.",
        show_default=False,
    ),
]
CallbackUrlOption = Annotated[
    str | None,
    typer.Option(
        "--callback-url",
        metavar="URL",
        help="How the service reaches that address from outside.",
        show_default=False,
    ),
]
RehearseOption = Annotated[
    Path | None,
    typer.Option(
        "--rehearse",
        metavar="FAULTS",
        help="Play this script of faults on simulated work (free).",
        show_default=False,
    ),
]


def read_sets(given: list[str] | None) -> dict[str, str]:
    """Return the parameters of ``--set k=v``.

    Raises:
        ConfigError: If one has no ``=``.
    """
    sets: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(
                f'--set {text}: write it as name=value, for example --set date="2026-11-22".'
            )
        sets[name.strip()] = value
    return sets


def manifest_source(path: Path, service: str | None, sets: list[str] | None) -> ManifestSource:
    """Return the manifest that the options of a verb name.

    Raises:
        ConfigError: If a ``--set`` has no ``=``.
    """
    from orchestrator.commands.options import ManifestSource

    return ManifestSource(path, service, read_sets(sets))

"""Notifications when a run has ended, through apprise."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.reporting.row import BAD_STATES
from orchestrator.reporting.summary import failure_text, summary_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.manifest import Manifest
    from orchestrator.manifest.schema.notify import NotifySettings

FAILURES_LISTED = 10
"""Failures in a notification; the report has all."""
_LIMIT_S = 60.0
"""Longest time for all notifications: a service that does not answer must not hold up cron."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a run, for those who were not there.

    Attributes:
        name: Name of the manifest.
        exit_code: Exit code of the command.
        summary: Summary of the run, or None if it could not begin.
        reason: Why it stopped or could not begin, or empty.
        failures: First rows of jobs that did not succeed.
    """

    name: str
    exit_code: int
    summary: dict[str, Any] | None = None
    reason: str = ""
    failures: Sequence[dict[str, Any]] = field(default_factory=list)

    @property
    def is_stopped(self) -> bool:
        """True if the run did not get to its end."""
        return self.summary is None or not self.summary["complete"]

    def concerns(self, settings: NotifySettings) -> bool:
        """Return True if this outcome is to be notified."""
        if settings.on == "stopped":
            return self.is_stopped
        return settings.on == "always" or self.exit_code != 0

    @property
    def title(self) -> str:
        """One line."""
        if self.summary is None:
            return f"{self.name} could not run (exit code {self.exit_code})"
        jobs = self.summary["jobs"]
        bad = sum(jobs[state] for state in BAD_STATES)
        end = "stopped" if self.is_stopped else "ended"
        counts = f"{jobs['succeeded']:,} succeeded, {bad:,} did not"
        return f"{self.name} {end}: {counts} (exit code {self.exit_code})"

    @property
    def body(self) -> str:
        """The reason, the summary and the first failures."""
        parts = [self.reason] if self.reason else []
        if self.summary is not None:
            parts.append(summary_text(self.summary).rstrip())
        if self.failures:
            parts.append("\n".join(failure_text(row) for row in self.failures))
        return "\n\n".join(parts)


def check_notify(manifest: Manifest) -> None:
    """Check that notifications can be sent, before the first job.

    Raises:
        ConfigError: If apprise is not installed, a variable is not set, or its value is not an
            address.
    """
    for settings in manifest.notify:
        _target(settings)


async def notify(manifest: Manifest, outcome: Outcome) -> list[str]:
    """Send the notifications of a run; return what could not be sent, in sentences."""
    wanted = [settings for settings in manifest.notify if outcome.concerns(settings)]
    return [text for each in wanted if (text := await _send(each, outcome))]


async def _send(settings: NotifySettings, outcome: Outcome) -> str:
    failed = f"The notification to {settings.to} was not sent"
    try:
        async with asyncio.timeout(_LIMIT_S):
            is_sent = await _target(settings).async_notify(
                title=outcome.title, body=outcome.body, body_format="text"
            )
    except TimeoutError:
        return f"{failed}: no answer within {_LIMIT_S:.0f} s."
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; the run has ended
        return f"{failed}: {type(error).__name__}."
    return "" if is_sent else f"{failed}: the service refused it or could not be reached."


def _target(settings: NotifySettings) -> Any:
    """Return the apprise object of an address.

    Raises:
        ConfigError: As in ``check_notify``. No message has the address: it is a secret.
    """
    try:
        import apprise
    except ImportError as error:
        raise ConfigError(
            "notify needs apprise. Install it with: "
            "pip install 'voiceseparate-orchestrator[notify]'"
        ) from error
    logging.getLogger("apprise").disabled = True  # its messages have the address
    name = settings.variable
    address = os.environ.get(name, "")
    if not address:
        raise ConfigError(
            f"notify: the environment variable {name} is not set. "
            "Set it to an apprise URL, for example mailto://user:password@example.com."
        )
    target = apprise.Apprise()
    if not target.add(address):
        raise ConfigError(
            f"notify: the value of {name} is not an address that apprise knows. "
            "See https://github.com/caronc/apprise/wiki for the forms."
        )
    return target

"""Checks that were made, and what each one found."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.errors import ConnectFailed, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        name: The thing that was checked.
        status: ``ok``, ``note`` (worth knowing, stops nothing) or ``fail``.
        text: What was found; for ``fail`` with the fix.
    """

    name: str
    status: str
    text: str


@dataclass(slots=True)
class Examination:
    """Checks that were made, in their order."""

    checks: list[Check] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """True if nothing failed."""
        return all(check.status != "fail" for check in self.checks)

    def add(self, name: str, text: str, status: str = "ok") -> None:
        """Add a result; a text of several lines becomes one."""
        self.checks.append(Check(name, status, "; ".join(text.splitlines())))

    @contextmanager
    def checking(self, name: str) -> Iterator[None]:
        """Add a failure if the block raises an error of ours; the message has the fix."""
        try:
            yield
        except OrchestratorError as error:
            is_away = type(error) is ConnectFailed
            advice = ". Check the network, the proxy, and the region or address." if is_away else ""
            self.add(name, f"{error}{advice}", "fail")

    def says(self, error: OrchestratorError) -> bool:
        """Return True if a check has reported this error."""
        text = "; ".join(str(error).splitlines())
        return any(check.text.startswith(text) for check in self.checks)

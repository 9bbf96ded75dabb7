"""Other ledgers that know the jobs of a manifest: after a rename, or beside ``--ledger``.

A manifest whose ledger is not the one that did its jobs looks as if nothing was done. The service's
list shows what the account did lately; what is older would be paid for again.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.commands.resources import ledger_path, service_name
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted
from orchestrator.errors import OrchestratorError
from orchestrator.ledger import ledger_path as ledger_file
from orchestrator.ledger import open_ledger
from orchestrator.postgresql import is_address

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.manifest import Manifest

SAMPLE = 1000
"""Jobs of the manifest that are looked for: the first ones that its own ledger does not know."""
_LEDGERS = 5
"""Other ledgers that are looked at, the ones that changed last."""
_SCHEMA_BYTES = 65_536
_OUR_TABLE = b"object_hash"
"""A word of every ledger's schema, which is at the start of its file."""
_DONE_OR_PAID = frozenset(
    {
        JobState.SUBMITTING,
        JobState.IN_DOUBT,
        JobState.SUBMITTED,
        JobState.RUNNING,
        JobState.SUCCEEDED,
    }
)


class OtherLedgers:
    """Looks for jobs in the ledgers beside a manifest and beside its own ledger.

    Args:
        manifest: The manifest.
        location: Its ledger.
        own: That ledger, open; None if it does not exist.
    """

    def __init__(self, manifest: Manifest, location: str, own: Ledger | None) -> None:
        self._service = service_name(manifest, location)
        self._own = own
        self._left = SAMPLE
        self.paths = _paths(manifest, location)
        """Their files, the newest first."""
        self._known = dict.fromkeys(self.paths, 0)
        self._said: set[Path] = set()

    @property
    def wants_more(self) -> bool:
        """True if there are other ledgers, and the sample is not complete."""
        return bool(self.paths) and self._left > 0

    async def look(self, specs: Sequence[JobSpec]) -> None:
        """Look for the jobs among these that the own ledger does not know."""
        if not self.wants_more:
            return
        known = await self._own.find([spec.key for spec in specs]) if self._own else {}
        unknown = [spec for spec in specs if spec.key not in known and not spec.is_refused]
        unknown = unknown[: self._left]
        self._left -= len(unknown)
        for path in self.paths if unknown else ():
            with suppress(OrchestratorError):  # it is not this run's ledger
                self._known[path] += await self._count(path, unknown)

    async def _count(self, path: Path, specs: Sequence[JobSpec]) -> int:
        ledger = open_ledger(path, read_only=True)
        try:
            if (await ledger.recall("service") or b"").decode() != self._service:
                return 0
            twins = await _twins(ledger, specs)
            jobs = await ledger.find([*(spec.key for spec in specs), *twins])
            done = {key for key, job in jobs.items() if job.state in _DONE_OR_PAID}
            return sum(spec.key in done for spec in specs) + len(done & twins)
        finally:
            await ledger.close()

    def remarks(self) -> list[str]:
        """Return a sentence for each ledger that knows some of the jobs, once, and what to do."""
        jobs = counted(SAMPLE - self._left, "job")
        found = [path for path in self.paths if self._known[path] and path not in self._said]
        self._said.update(found)
        return [
            f"Another ledger, {path}, has {self._known[path]:,} of the first {jobs} that are new "
            "to this one as done or under way. If this manifest was renamed, or ran with that "
            f"ledger before, stop, and run with --ledger {shlex.quote(str(path))}."
            for path in found
        ]


async def _twins(ledger: Ledger, specs: Sequence[JobSpec]) -> set[JobKey]:
    """Return jobs of another key for the same object and stems, one of them without a version.

    The version comes from a listing, so the same object in a list file has another key.
    """
    others = await ledger.same_object(specs)
    return {
        other.key
        for spec in specs
        for other in others.get(spec.key, ())
        if other.output == spec.output and not (other.media.etag and spec.media.etag)
    }


def _paths(manifest: Manifest, location: str) -> list[Path]:
    """Return the other ledgers in the folder of this one, and in the manifest's own folder."""
    usual = ledger_file(ledger_path(manifest))
    own = None if is_address(location) else ledger_file(location)
    found: dict[Path, float] = {}
    with suppress(OSError):
        own = own and own.resolve()
        for folder in {path.resolve().parent for path in (own, usual) if path}:
            for path in folder.glob("*.db"):
                if path.resolve() != own and _is_ledger(path):
                    found[path] = path.stat().st_mtime
    return sorted(found, key=lambda path: -found[path])[:_LEDGERS]


def _is_ledger(path: Path) -> bool:
    """Return True if a file is a ledger, without opening it as a database."""
    with path.open("rb") as file:
        return _OUR_TABLE in file.read(_SCHEMA_BYTES)

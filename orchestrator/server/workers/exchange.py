"""Exchange between the service and workers elsewhere, over the service's own HTTP API.

An assignment of a job to a worker has links: to read the input, to put each stem, and to report.
Each link is signed for one method on one path, and is valid for minutes; every report is answered
with fresh ones. The links end with their assignment, so a worker that is late changes nothing.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.server.http.auth import Verifier, presign
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.storage.keys import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.ports import Clock
    from orchestrator.server.http.request import Call
    from orchestrator.server.workers.protocol import WorkTask

PREFIX = f"/{RESERVED}/workers/"
"""Path of the exchange; no object has such a key."""
LINK_S = 300
"""Validity of a link. It must outlast the start of a worker and a download, not the whole job."""
SOURCE, REPORT = "source", "report"
_PATH = re.compile(
    rf"{re.escape(PREFIX)}(?P<assignment>[0-9a-z-]{{1,120}})/(?P<what>[a-z]{{1,20}})"
)


@dataclass(slots=True)
class Assignment:
    """A job that was given to a worker.

    Attributes:
        name: Its name, which is never used again.
        source: File of the input.
        outputs: File to write for each stem.
        on_progress: Called with the finished part, 0 to 1.
        heard_at: Last sign of life of the worker, on the monotonic clock.
        stored: Stems that have arrived.
    """

    name: str
    source: Path
    outputs: dict[str, Path]
    on_progress: Callable[[float], None]
    heard_at: float
    stored: set[str] = field(default_factory=set)


class Exchange:
    """Open assignments, and the key pair that signs their links.

    Attributes:
        url: Address of the service as workers reach it.
    """

    def __init__(self, clock: Clock) -> None:
        self.url = ""
        self._clock = clock
        self._key = KeyPair(f"worker-{secrets.token_hex(8)}", secrets.token_hex(20))
        self._verifier = Verifier((self._key,))
        self._assignments: dict[str, Assignment] = {}

    def open(self, task: WorkTask, on_progress: Callable[[float], None]) -> Assignment:
        """Assign a task, which a worker will take."""
        assignment = Assignment(
            f"{task.job}-{secrets.token_hex(6)}",
            Path(task.source),
            {stem: Path(path) for stem, path in task.outputs.items()},
            on_progress,
            self._clock.monotonic(),
        )
        self._assignments[assignment.name] = assignment
        return assignment

    def close(self, assignment: Assignment) -> None:
        """End an assignment: its links are refused from now on."""
        self._assignments.pop(assignment.name, None)

    def is_open(self, assignment: Assignment) -> bool:
        """Return True if the assignment has not ended."""
        return assignment.name in self._assignments

    def links(self, assignment: Assignment) -> dict[str, Any]:
        """Return fresh links of an assignment."""
        return {
            SOURCE: self._link(assignment.name, "GET", SOURCE),
            REPORT: self._link(assignment.name, "POST", REPORT),
            "stems": {
                stem: self._link(assignment.name, "PUT", stem) for stem in assignment.outputs
            },
        }

    def _link(self, assignment: str, method: str, what: str) -> str:
        now = int(self._clock.now())
        path = f"{PREFIX}{assignment}/{what}"
        host = urlsplit(self.url).netloc
        # The service verifies it by its own clock: those of the nodes do not matter.
        return f"{self.url}{path}?{presign(self._key, method, host, path, (now, now + LINK_S))}"

    def is_for(self, call: Call) -> bool:
        """Return True if a request uses a link of a worker."""
        return call.path.startswith(PREFIX)

    def find(self, call: Call) -> tuple[Assignment, str]:
        """Return the assignment of a request and what it asks for.

        Raises:
            Refusal: The link is not valid, or its assignment has ended (410).
        """
        self._verifier.verify(call)
        match = _PATH.fullmatch(call.path)
        if match is None:
            raise Refusal("InvalidURI", "This is not a link of a worker.")
        assignment = self._assignments.get(match["assignment"])
        if assignment is None:
            raise Refusal("NoSuchUpload", "This assignment has ended: stop it.", 410)
        assignment.heard_at = self._clock.monotonic()
        return assignment, match["what"]

"""Jobs at the service that carry one of our keys, and that no line of the manifest names now.

The ledger keeps them as a small value: key, remote id, queue, and when each was created. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.remote import RemoteJob, RemoteState
from orchestrator.domain.spec import key_of_user_data

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_UNNAMED = 10_000
"""Jobs of one bucket that are kept, about a megabyte. Of more, the list is read again."""


def encoded(unnamed: Iterable[RemoteJob]) -> bytes:
    """Return the value for the ledger."""
    return orjson.dumps(
        [
            (key_of_user_data(remote.user_data), remote.job_id, remote.queue_id, remote.created_at)
            for remote in unnamed
        ]
    )


def decoded(raw: bytes | None) -> list[RemoteJob]:
    """Return the jobs of such a value. Their state was not kept: a query shows it."""
    return [
        RemoteJob(
            job_id, RemoteState.UNKNOWN, queue_id=queue_id, created_at=created_at, user_data=key
        )
        for key, job_id, queue_id, created_at in orjson.loads(raw or b"[]")
    ]

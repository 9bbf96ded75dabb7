"""Batches of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of ``size``; the last one may be shorter. None is kept here."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        del item
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

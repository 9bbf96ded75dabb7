"""The manifest of each visit, and the sentence about kept leftovers."""

from __future__ import annotations

import pytest

from orchestrator.runner.leftovers import VisitLog, kept_text


def log_of(*visits: tuple[int, str]) -> VisitLog:
    log = VisitLog()
    for visit, manifest in visits:
        log.note(visit, manifest)
    return VisitLog.read(log.encoded())


def test_only_changes_are_noted() -> None:
    log = VisitLog.read(None)

    assert log.note(1, "a.yaml")
    assert not log.note(2, "a.yaml")
    assert log.note(5, "b.yaml")
    assert VisitLog.read(log.encoded()).changes == [(1, "a.yaml"), (5, "b.yaml")]


@pytest.mark.parametrize(
    ("visit", "manifest"),
    [(1, None), (2, None), (3, "a"), (4, "a"), (5, "b"), (7, "b"), (8, "a"), (99, "a")],
)
def test_a_visit_is_of_the_manifest_that_was_noted_last_before_it(
    visit: int, manifest: str | None
) -> None:
    """A ledger of an earlier version has visits of which nothing is known."""
    assert log_of((3, "a"), (5, "b"), (8, "a")).manifest_of(visit) == manifest


def test_visits_of_others_are_those_of_another_manifest_that_exists() -> None:
    log = log_of((2, "a"), (4, "b"), (6, "gone"), (8, "a"))

    found = log.of_others(range(1, 10), "a", exists=lambda manifest: manifest != "gone")

    assert found == {4: "b", 5: "b"}


def test_a_long_history_is_bounded_and_forgets_the_oldest() -> None:
    log = log_of(*((visit, "ab"[visit % 2]) for visit in range(1, 10_001)))

    assert len(log.encoded()) < 40_000
    assert (log.manifest_of(10_000), log.manifest_of(1)) == ("a", None)


def test_kept_leftovers_are_explained() -> None:
    assert kept_text(1, []).startswith("1 job of earlier runs was not sent and is not in this")
    assert "`leftovers: finish`" in kept_text(2, [])
    assert kept_text(3, ["b.yaml", "a.yaml", "b.yaml"]).endswith(
        "Named by a.yaml, b.yaml, which uses the same ledger."
    )

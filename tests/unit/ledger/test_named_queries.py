"""Statements of the ledger are complete, and each is used by its name."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

import orchestrator.ledger
from orchestrator.ledger.named_queries import load
from orchestrator.ledger.queries import ELSEWHERE
from orchestrator.ledger.tables import IN_FLIGHT

QUERIES = load("sqlite.sql")
SOURCES = "".join(
    path.read_text("utf-8") for path in Path(orchestrator.ledger.__file__).parent.glob("*.py")
)


def test_every_statement_is_used() -> None:
    assert QUERIES
    assert [name for name in QUERIES if f'"{name}"' not in SOURCES] == []


def test_every_statement_that_is_used_exists() -> None:
    used = set(re.findall(r'db\.(?:read|write|change)\(\s*"(\w+)"', SOURCES)) | {
        *ELSEWHERE,
        *ELSEWHERE.values(),
    }
    assert used - QUERIES.keys() == set()


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_begins_with_its_verb_and_has_no_comments(name: str) -> None:
    assert QUERIES[name].split()[0] in {"SELECT", "INSERT", "UPDATE", "WITH"}
    assert "--" not in QUERIES[name]
    assert sqlite3.complete_statement(QUERIES[name] + ";")


@pytest.mark.parametrize("name", ["ids_in_flight", "counts"])
def test_the_states_in_flight_are_those_of_the_index(name: str) -> None:
    states = ", ".join(f"'{state}'" for state in IN_FLIGHT)
    assert f"state IN ({states})" in QUERIES[name]

"""Statements of the ledgers are complete, and each is used by its name."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

import orchestrator.ledger
from orchestrator.ledger.named_queries import load
from orchestrator.ledger.queries import ELSEWHERE, IN_FLIGHT

SQLITE = load("sqlite.sql")
POSTGRES = load("statements.sql", "orchestrator.ledger.postgres")
DIALECTS = {"sqlite": SQLITE, "postgres": POSTGRES}
ALL = [(dialect, name) for dialect, queries in DIALECTS.items() for name in queries]
FOLDER = Path(orchestrator.ledger.__file__).parent
SOURCES = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
OWN_OF_POSTGRES = "".join(path.read_text("utf-8") for path in FOLDER.glob("postgres/*.py"))
OF_FILE_LEASE = {"note_holder", "note_heartbeat", "noted_holder", "forget_holder"}
CALL = r'db\.(?:read|write|change|expect_one)\(\s*"(\w+)"'


def test_every_statement_is_used() -> None:
    assert SQLITE
    assert [name for name in SQLITE if f'"{name}"' not in SOURCES] == []
    own = POSTGRES.keys() - SQLITE.keys()
    assert [name for name in own if f'"{name}"' not in OWN_OF_POSTGRES] == []


def test_every_statement_that_is_used_exists() -> None:
    used = {*re.findall(CALL, SOURCES), *ELSEWHERE, *ELSEWHERE.values()}
    assert used - SQLITE.keys() == set()
    assert used - POSTGRES.keys() == OF_FILE_LEASE
    assert set(re.findall(CALL, OWN_OF_POSTGRES)) - POSTGRES.keys() == set()


@pytest.mark.parametrize(("dialect", "name"), ALL)
def test_a_statement_begins_with_its_verb_and_has_no_comments(dialect: str, name: str) -> None:
    text = DIALECTS[dialect][name]
    assert text.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
    assert "--" not in text
    assert sqlite3.complete_statement(text + ";")


@pytest.mark.parametrize("name", sorted(SQLITE.keys() - OF_FILE_LEASE))
def test_a_statement_takes_the_same_values_in_both_databases(name: str) -> None:
    in_sqlite = set(re.findall(r":(\w+)", SQLITE[name])) - {"nul"}
    assert set(re.findall(r"%\((\w+)\)s", POSTGRES[name])) == in_sqlite


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["ids_in_flight", "counts", "job_in_flight"])
def test_the_states_in_flight_are_those_of_the_index(dialect: str, name: str) -> None:
    states = ", ".join(f"'{state}'" for state in IN_FLIGHT)
    assert f"state IN ({states})" in DIALECTS[dialect][name]

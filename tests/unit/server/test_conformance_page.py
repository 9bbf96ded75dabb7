"""The conformance page names existing tests, and at least one for every claim."""

from __future__ import annotations

import re

from tests.repository import REPOSITORY

TESTS = REPOSITORY / "tests"
PAGE = (TESTS.parent / "docs" / "conformance.md").read_text()


def rows() -> list[list[str]]:
    lines = [
        line
        for line in PAGE.splitlines()
        if line.startswith("|")
        and not line.startswith(("|---", "| feature", "| fault", "| client"))
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_named_test_exists() -> None:
    files = [*TESTS.glob("unit/server/**/test_*.py"), *TESTS.glob("integration/server/test_*.py")]
    known = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}

    assert set(re.findall(r"`(test_\w+)`", PAGE)) <= known


def test_every_claim_names_a_test() -> None:
    claimed = [row for row in rows() if "yes" in row[:2]]

    assert claimed
    assert [row for row in claimed if not any(cell.startswith("`test_") for cell in row)] == []

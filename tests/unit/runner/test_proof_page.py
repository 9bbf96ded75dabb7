"""The table of proofs in docs/running.md: each line is tied to a test."""

from __future__ import annotations

import re

from tests.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "running.md").read_text(encoding="utf-8")
BEGIN, END = "## What an answer proves", "## The service is the second ledger"
TESTS = "\n".join(
    path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")
)


def test_each_line_of_the_table_names_a_test_that_exists() -> None:
    table = PAGE[PAGE.index(BEGIN) : PAGE.index(END)]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 20
    for row in rows:
        (name,) = re.findall(r"`(test_\w+)` \|$", row)
        assert f"def {name}(" in TESTS, row

"""The page on media names existing tests, and at least one for every line."""

from __future__ import annotations

import re

from tests.repository import REPOSITORY

PAGE = (REPOSITORY / "docs" / "media.md").read_text(encoding="utf-8")
TESTS = [
    *(REPOSITORY / "tests/unit/separation").rglob("test_*.py"),
    *(REPOSITORY / "tests/integration/separation").rglob("test_*.py"),
]


def lines() -> list[str]:
    """Return the lines of the tables, without their heads."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    return [
        row
        for row, below in zip(rows, [*rows[1:], ""], strict=True)
        if not row.startswith("|---") and not below.startswith("|---")
    ]


def test_every_named_test_exists() -> None:
    known = {
        name
        for path in TESTS
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert set(re.findall(r"`(test_\w+)`", PAGE)) - known == set()


def test_every_line_names_a_test() -> None:
    assert len(lines()) > 50
    assert [line for line in lines() if not re.search(r"`test_\w+` \|$", line)] == []

"""The documents of the repository, for tests that run or compare what they say."""

from __future__ import annotations

import re
from functools import cache

from tests.repository import REPOSITORY

DOCS = REPOSITORY / "docs"


@cache
def page(name: str) -> str:
    """Return a page of the documentation, by its file name."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code of one language, in order."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def files(text: str, language: str) -> dict[str, str]:
    """Return the blocks that are files, by the name in their first line, which is a comment."""
    named = (re.match(r"# (\S+)\n", block) for block in blocks(text, language))
    return {found[1]: found.string for found in named if found}


def tables(text: str) -> list[list[list[str]]]:
    """Return the cells of every table, without its heading."""
    found = re.findall(r"((?:^ *\|.*\n)+)", text, re.MULTILINE)
    rows = ([line.strip().strip("|").split("|") for line in table.splitlines()] for table in found)
    return [[[cell.strip() for cell in row] for row in table[2:]] for table in rows]

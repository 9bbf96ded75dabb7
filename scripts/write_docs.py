"""Write the generated parts of docs/running.md: the table of states and the tree of errors.

``--check`` only compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from orchestrator import errors
from orchestrator.domain import states

PAGE = Path(__file__).resolve().parent.parent / "docs" / "running.md"


def states_table() -> str:
    """Return the table of every legal step, in reading order."""
    rows = [
        f"| `{before}` | {step.value.replace('_', ' ')} | `{then}` |"
        for before, step, then in states.transitions()
    ]
    return "\n".join(["| a job that is | and the step | becomes |", "|---|---|---|", *rows])


def errors_tree() -> str:
    """Return the exception classes as a tree, each with the first line of its docstring."""
    lines: list[str] = []

    def add(kind: type[Exception], depth: int) -> None:
        sentence = (kind.__doc__ or "").strip().splitlines()[0]
        lines.append(f"{'    ' * depth}{kind.__name__:<{34 - 4 * depth}} {sentence}")
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                add(child, depth + 1)

    add(errors.OrchestratorError, 0)
    return "\n".join(["```", *lines, "```"])


def filled(text: str) -> str:
    """Return the page with its generated parts filled in."""
    for name, content in (("states", states_table()), ("errors", errors_tree())):
        around = re.compile(
            rf"(<!-- {name}:begin[^\n]*-->\n)(.*?\n)(<!-- {name}:end -->)", re.DOTALL
        )
        found = around.search(text)
        if found is not None:
            text = f"{text[: found.start(2)]}{content}\n{text[found.end(2) :]}"
    return text


def main() -> int:
    """Write the page, or exit with 1 if it is out of date."""
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        return int(filled(text) != text)
    PAGE.write_text(filled(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

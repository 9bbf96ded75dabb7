"""The house stands as it was drawn: what may import what, which modules are pure, and who may change a job's state."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

ROOT = Path(__file__).resolve().parents[2] / "orchestrator"

# Each part of the package has one place. A new part is given one here, on purpose.
WORDS = {"errors", "states", "model", "remote", "settings", "ports", "events", "__version__"}
PURE = {
    "schedule", "retry", "budget", "claims", "followed", "runtimes", "poll", "plan", "forecast", "explain", "selection", "report_schema",
}  # fmt: skip
STAGES = {"ending", "feed", "intake", "backlog", "dispatch", "submit", "settle", "track", "verify", "report", "watch", "cancel", "patience"}
EDGES = {"clock", "scratch", "manifest", "ledger", "protocol", "cloud", "local", "separation", "ui", "testing"}
WIRING = {"run", "result", "options", "opening", "session", "preview", "rehearse"}
TOP = {"cli", "__main__", "__init__"}
PARTS = WORDS | PURE | STAGES | EDGES | WIRING | TOP

# Beyond the words, which everybody may use.
ALLOWED: dict[str, AbstractSet[str]] = {
    **dict.fromkeys(WORDS, frozenset()),
    **dict.fromkeys(PURE, PURE | {"manifest"}),
    **dict.fromkeys(STAGES, PURE),
    **dict.fromkeys(EDGES, frozenset()),
    **dict.fromkeys(WIRING, PARTS - TOP),
    **dict.fromkeys(TOP, PARTS),
}
BESIDES: dict[tuple[str, str], str] = {
    ("manifest", "clock"): "a list file may be waited for, and ages are told from now",
    ("separation", "clock"): "work in a process of its own, outside every loop",
    ("cloud", "protocol"): "the wire format is the client's language",
    ("local", "separation"): "the work itself",
    ("testing", "ledger"): "the ledger in memory decides by the same rules as the others",
    ("feed", "manifest"): "turns sources into specs",
    ("feed", "scratch"): "what a large plan need not keep in memory goes to a file",
    ("intake", "verify"): "asks whether stems are still there before a done job is passed over",
    ("dispatch", "backlog"): "what waits is the other half of what decides",
    ("watch", "report"): "writes what watches see",
    ("cancel", "report"): "writes the rows of what it cancelled",
    ("report_schema", "report"): "describes its rows",
    ("ui", "forecast"): "words for a forecast",
    ("ui", "explain"): "words for an explanation",
    ("ui", "preview"): "words for a plan",
}
NOWHERE = {
    ("local", "protocol"): "the local service is the client's independent oracle",
    ("local", "cloud"): "the same",
    ("separation", "local"): "an engine knows nothing of who asks",
}

PURE_FILES = sorted([*(ROOT / "protocol").glob("*.py"), *(ROOT / f"{name}.py" for name in (PURE | WORDS) - {"__version__"})])
WORLDLY = {
    "asyncio", "aiohttp", "concurrent", "http", "io", "multiprocessing", "os", "selectors", "shutil", "signal", "socket", "sqlite3",
    "subprocess", "tempfile", "threading", "time", "urllib.request",
}  # fmt: skip
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}


class Import(NamedTuple):
    """One import of the project by itself."""

    file: str
    line: int
    part: str
    wanted: str
    module: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.part} imports {self.module}"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def for_types_only(path: Path) -> set[ast.AST]:
    """The nodes that only the type checker sees."""
    return {
        node
        for block in ast.walk(tree(path))
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }


def imports() -> list[Import]:
    """Every import of one part of the project by another, for types too."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT).with_suffix("")
        for node in ast.walk(tree(path)):
            for module in modules_of(node):
                first, _, rest = module.partition(".")
                wanted = rest.partition(".")[0]
                if first == "orchestrator" and wanted and wanted != inside.parts[0]:
                    line = getattr(node, "lineno", 0)
                    found.append(Import(str(path.relative_to(ROOT)), line, inside.parts[0], wanted, module))
    return found


def modules_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        assert not node.level, "relative imports hide the layers"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def test_every_part_of_the_house_has_a_place_and_no_place_is_empty() -> None:
    there = {path.stem for path in ROOT.glob("*.py")} | {
        path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    rooms = [path for path in ROOT.rglob("*") if path.is_dir() and "__pycache__" not in path.parts]

    assert there == PARTS - {"__version__"}
    assert [room.name for room in rooms if not any(file.stem != "__init__" for file in room.rglob("*.py"))] == []


def test_no_module_is_a_grab_bag() -> None:
    assert [str(path) for path in ROOT.rglob("*.py") if path.stem in GRAB_BAGS] == []


def test_imports_go_from_the_command_down_to_the_words() -> None:
    strangers = [
        one for one in imports()
        if one.wanted not in WORDS | ALLOWED[one.part] and (one.part, one.wanted) not in BESIDES
    ]  # fmt: skip

    assert [str(one) for one in strangers] == []


def test_the_local_service_is_independent_of_the_client_that_it_judges() -> None:
    assert [str(one) for one in imports() if (one.part, one.wanted) in NOWHERE] == []


def test_every_exception_to_the_layers_is_still_needed() -> None:
    used = {(one.part, one.wanted) for one in imports()}

    assert sorted(set(BESIDES) - used) == []


@pytest.mark.parametrize("path", PURE_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_pure_module_waits_for_nothing_asks_for_no_time_and_touches_no_file(path: Path) -> None:
    unseen = for_types_only(path)
    wrong = []
    for node in ast.walk(tree(path)):
        if node in unseen:
            continue
        match node:
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                wrong.append((node.lineno, type(node).__name__))
            case ast.AsyncFunctionDef() if path.stem != "ports":  # there it is the shape of somebody else's work
                wrong.append((node.lineno, f"async def {node.name}"))
            case ast.Import() | ast.ImportFrom():
                named = [*modules_of(node), *(module.rpartition(".")[0] for module in modules_of(node))]
                wrong += [
                    (node.lineno, f"import {name}") for name in named if name in WORLDLY or name.partition(".")[0] in WORLDLY - {"http"}
                ]
            case (
                ast.Call(func=ast.Name(id="open" | "print" | "input"))
                | ast.Call(func=ast.Attribute(attr="read_text" | "read_bytes" | "write_text" | "write_bytes" | "now" | "utcnow" | "today"))
            ):
                wrong.append((node.lineno, ast.unparse(node.func)))
            case _:
                pass

    assert wrong == []


def test_nothing_but_a_step_changes_the_state_of_a_job() -> None:
    """The local service and the fake one have states of their own, which are the other side's."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] in {"local", "testing"}:
            continue
        for node in ast.walk(tree(path)):
            targets = (
                node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
            )
            spread = [one for target in targets for one in ast.walk(target) if isinstance(one, ast.Attribute)]
            found += [
                f"{path.relative_to(ROOT).as_posix()}: {ast.unparse(node)}"
                for one in spread
                if one.attr == "state" and isinstance(one.ctx, ast.Store)
            ]

    assert found == ["model.py: self.state = after(self.state, step)"]


def test_only_the_clock_reads_the_clock() -> None:
    banned = {f"time.{name}" for name in ("time", "monotonic", "sleep", "time_ns", "monotonic_ns", "perf_counter")} | {"asyncio.sleep"}
    calls = [
        f"{path.relative_to(ROOT).as_posix()}: {ast.unparse(node.func)}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in banned
    ]

    assert [call for call in calls if not call.startswith(("clock.py", "testing/"))] == []

"""Rules of the architecture that import contracts cannot express.

Pure modules neither wait nor do I/O, one function changes a job's state, and one module reads the
clock.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

ROOT = REPOSITORY / "orchestrator"

# Modules of decisions and values only: no await, no clock, no files.
PURE = """
orchestrator/runner/submitting/ready_queue.py
orchestrator/runner/retry.py
orchestrator/runner/budget.py
orchestrator/manifest/planning/output_claims.py
orchestrator/runner/tracking/tracked_jobs.py
orchestrator/runner/tracking/run_times.py
orchestrator/runner/tracking/poll_policy.py
orchestrator/manifest/planning/planner.py
orchestrator/manifest/planning/forecast.py
orchestrator/manifest/planning/explain.py
orchestrator/manifest/sources/selection.py
orchestrator/reporting/row.py
orchestrator/errors.py
orchestrator/domain/states.py
orchestrator/domain/job.py
orchestrator/domain/spec.py
orchestrator/domain/audio_formats.py
orchestrator/domain/run.py
orchestrator/domain/remote.py
orchestrator/runner/settings.py
orchestrator/domain/ports.py
orchestrator/domain/events.py
orchestrator/domain/value_formats.py
"""
PURE_FILES = sorted(
    [*(ROOT / "client" / "wire").glob("*.py"), *(ROOT.parent / name for name in PURE.split())]
)
IO_MODULES = {
    "asyncio", "aiohttp", "concurrent", "http", "io", "multiprocessing", "os", "selectors",
    "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time",
    "urllib.request",
}  # fmt: skip
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def for_types_only(path: Path) -> set[ast.AST]:
    """Return the nodes that only the type checker sees."""
    return {
        node
        for block in ast.walk(tree(path))
        if isinstance(block, ast.If)
        and isinstance(block.test, ast.Name)
        and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }


def modules_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        assert not node.level, "relative imports hide the layers"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def test_no_module_is_a_grab_bag() -> None:
    assert [str(path) for path in ROOT.rglob("*.py") if path.stem in GRAB_BAGS] == []


@pytest.mark.parametrize("path", PURE_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_pure_module_does_not_await_read_a_clock_or_open_a_file(path: Path) -> None:
    unseen = for_types_only(path)
    wrong = []
    for node in ast.walk(tree(path)):
        if node in unseen:
            continue
        match node:
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                wrong.append((node.lineno, type(node).__name__))
            case ast.AsyncFunctionDef() if path.stem != "ports":  # ports only declare methods
                wrong.append((node.lineno, f"async def {node.name}"))
            case ast.Import() | ast.ImportFrom():
                named = [
                    *modules_of(node),
                    *(module.rpartition(".")[0] for module in modules_of(node)),
                ]
                wrong += [
                    (node.lineno, f"import {name}")
                    for name in named
                    if name in IO_MODULES or name.partition(".")[0] in IO_MODULES - {"http"}
                ]
            case (
                ast.Call(func=ast.Name(id="open" | "print" | "input"))
                | ast.Call(
                    func=ast.Attribute(
                        attr="read_text"
                        | "read_bytes"
                        | "write_text"
                        | "write_bytes"
                        | "now"
                        | "utcnow"
                        | "today"
                    )
                )
            ):
                wrong.append((node.lineno, ast.unparse(node.func)))
            case _:
                pass

    assert wrong == []


def test_only_a_step_changes_the_state_of_a_job() -> None:
    """The local service and the fake service are left out: they have states of their own."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] in {"server", "testing"}:
            continue
        for node in ast.walk(tree(path)):
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AugAssign | ast.AnnAssign)
                else []
            )
            spread = [
                one
                for target in targets
                for one in ast.walk(target)
                if isinstance(one, ast.Attribute)
            ]
            found += [
                f"{path.relative_to(ROOT.parent).as_posix()}: {ast.unparse(node)}"
                for one in spread
                if one.attr == "state" and isinstance(one.ctx, ast.Store)
            ]

    assert found == ["orchestrator/domain/job.py: self.state = after(self.state, step)"]


def test_only_the_clock_reads_the_clock() -> None:
    banned = {
        f"time.{name}"
        for name in ("time", "monotonic", "sleep", "time_ns", "monotonic_ns", "perf_counter")
    } | {"asyncio.sleep"}
    calls = [
        f"{path.relative_to(ROOT.parent).as_posix()}: {ast.unparse(node.func)}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in banned
    ]

    assert [
        call
        for call in calls
        if not call.startswith(("orchestrator/domain/clock.py", "orchestrator/testing/"))
    ] == []


def test_the_package_has_a_few_rooms_and_three_loose_modules() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    loose = {path.stem for path in ROOT.glob("*.py")} - {"__init__", "__main__", "_version"}

    assert len(folders) <= 12
    assert loose == {"durable", "errors", "postgresql"}


def test_no_line_of_the_product_is_longer_than_a_hundred_columns() -> None:
    """The linter does not count its own marks, and reads no SQL, HTML, CSS or JavaScript."""
    texts = [
        path for path in ROOT.rglob("*") if path.suffix in {".py", ".sql", ".j2", ".css", ".js"}
    ]

    assert len(texts) > 300
    assert [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > 100
    ] == []

"""Rows of an earlier run, from its report."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.options import ManifestSource
from orchestrator.commands.report import report
from orchestrator.domain.states import Step
from orchestrator.ledger import open_ledger
from orchestrator.reporting.row import line
from orchestrator.testing.builders import make_holder, make_specs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.domain.run import Run

T0 = 1_795_309_200.0
JOBS = 40
MANIFEST = b"""
name: nightly
service: {local: {root: media}}
bucket: demo-1250000000
defaults: {output: {voice: "stems/{stem}.mp3"}}
inputs: [{object: a.mp3}]
"""


class _Rows:
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def write(self, rows: Sequence[Any]) -> None:
        self.rows += rows


async def two_runs(folder: Path, report_name: str) -> tuple[ManifestSource, Run, bytes]:
    """Return the first of two runs, and what its report had."""
    ledger = open_ledger(str(folder / ".orchestrator" / "nightly.db"))
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("nightly", T0, str(folder / report_name))
    specs = make_specs(JOBS)
    for job in await ledger.add(run, specs):
        for step in (Step.SEND, Step.REJECT):
            job.step(step)
            await ledger.save([job])
    lines = b"".join(line(job, run) for job in await ledger.rows(run))
    await ledger.end_run(run, T0 + 9)
    await ledger.begin_run("nightly", T0 + 60, str(folder / "second.jsonl"))
    await ledger.close()
    return ManifestSource(folder / "manifest.yaml", content=MANIFEST), run, lines


async def read(source: ManifestSource, run: Run) -> tuple[list[Any], bool]:
    found = _Rows()
    is_whole = await report(source, found, run=run.id)
    return found.rows, is_whole


async def test_a_whole_report_is_read(tmp_path: Path) -> None:
    source, run, lines = await two_runs(tmp_path, "first.jsonl.gz")
    (tmp_path / "first.jsonl.gz").write_bytes(gzip.compress(lines))

    rows, is_whole = await read(source, run)

    assert (len(rows), is_whole) == (JOBS, True)


async def test_before_the_first_run_there_are_no_rows_of_any_job(tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / ".orchestrator" / "nightly.db"))
    await ledger.acquire(make_holder())
    await ledger.close()
    found = _Rows()
    source = ManifestSource(tmp_path / "manifest.yaml", content=MANIFEST)

    assert await report(source, found, run="all")
    assert found.rows == []


@pytest.mark.parametrize("damage", ["no header", "cut header", "broken block", "gone"])
async def test_a_report_damaged_at_its_start_is_replaced_by_the_ledger(
    tmp_path: Path, damage: str
) -> None:
    source, run, lines = await two_runs(tmp_path, "first.jsonl.gz")
    packed, path = gzip.compress(lines), tmp_path / "first.jsonl.gz"
    if damage == "no header":
        path.write_bytes(b"Dear diary")
    elif damage == "cut header":
        path.write_bytes(packed[:12])
    elif damage == "broken block":
        path.write_bytes(packed[:10] + b"\xff" * 100)

    rows, is_whole = await read(source, run)

    assert (len(rows), is_whole) == (JOBS, False), "here the ledger still has all of them"


@pytest.mark.parametrize("damage", ["cut off", "broken block", "torn line"])
async def test_a_report_that_breaks_off_ends_there(tmp_path: Path, damage: str) -> None:
    name = "first.jsonl" if damage == "torn line" else "first.jsonl.gz"
    source, run, lines = await two_runs(tmp_path, name)
    half = lines[: lines.index(b"\n", len(lines) // 2) + 1]
    first = gzip.compress(half)
    content = {
        "cut off": first + gzip.compress(lines[len(half) :])[:12],
        "broken block": first + gzip.compress(b"")[:10] + b"\xff" * 100,
        "torn line": half + b'{"schema":"orch',
    }[damage]
    (tmp_path / name).write_bytes(content)

    rows, is_whole = await read(source, run)

    assert (len(rows), is_whole) == (half.count(b"\n"), False)


@pytest.mark.parametrize(("named", "rows", "is_whole"), [(True, 0, True), (False, JOBS, False)])
@pytest.mark.parametrize("name", ["first.jsonl", "first.jsonl.gz"])
async def test_an_empty_report_counts_if_its_summary_names_the_run(
    tmp_path: Path, name: str, named: bool, rows: int, is_whole: bool
) -> None:
    source, run, _ = await two_runs(tmp_path, name)
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    summary = {"run": run.id if named else "another"}
    (tmp_path / "first.summary.json").write_text(json.dumps(summary))

    found, whole = await read(source, run)

    assert (len(found), whole) == (rows, is_whole)

"""Files of old runs are deleted only if they name their run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestrator.domain.states import Step
from orchestrator.reporting.report_file import ReportFile
from orchestrator.reporting.run_files import delete_old_reports
from orchestrator.testing.builders import make_holder, make_spec
from orchestrator.testing.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.run import Run

T0 = 1_795_309_200.0


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def finished(path: Path, run: Run, ledger: MemoryLedger) -> None:
    report = ReportFile(path, run, ledger)
    await report.open()
    await report.checkpoint()
    await report.finish()
    report.close()


async def test_an_empty_report_is_deleted_if_its_summary_names_the_run(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    await ledger.acquire(make_holder())
    for number in range(2):
        run = await ledger.begin_run("nightly", T0 + number, str(tmp_path / "{run}.jsonl"))
        (tmp_path / f"{run.id}.jsonl").touch()
        await ledger.end_run(run, T0 + number)
    run = (await ledger.runs(1))[0]
    (tmp_path / f"{run.id}.summary.json").write_text(json.dumps({"run": run.id}))

    deleted = delete_old_reports(await ledger.runs(100), "nightly", keep=0)

    assert [path.name for path in deleted] == [f"{run.id}.jsonl", f"{run.id}.summary.json"]
    assert len(names(tmp_path)) == 1


async def test_old_reports_are_deleted_with_summary_and_page_and_nothing_else(
    tmp_path: Path,
) -> None:
    ledger = MemoryLedger()
    await ledger.acquire(make_holder())
    runs = []
    for number in range(5):
        run = await ledger.begin_run("nightly", T0 + number, str(tmp_path / "{run}.jsonl"))
        (job,) = await ledger.add(run, [make_spec(number)])
        for step in (Step.SEND, Step.REJECT):
            job.step(step)
            await ledger.save([job])
        await finished(tmp_path / f"{run.id}.jsonl", run, ledger)
        (tmp_path / f"{run.id}.summary.json").write_text(json.dumps({"run": run.id}))
        await ledger.end_run(run, T0 + number)
        runs.append(run)
    page = '<meta name="generator" content="orchestrator report page">\n'
    for number, owner in ((0, "another"), (1, runs[1].id), (4, runs[4].id)):
        text = f'{page}<meta name="run" content="{owner}">'
        (tmp_path / f"{runs[number].id}.html").write_text(text)
    foreign = tmp_path / f"{runs[0].id}.jsonl"
    foreign.write_text("Dear diary\n")
    newer = tmp_path / f"{runs[1].id}.summary.json"
    newer.write_text(json.dumps({"run": "another"}))

    deleted = delete_old_reports(await ledger.runs(100), "nightly", keep=2)

    assert sorted(path.name for path in deleted) == [
        f"{runs[0].id}.summary.json",
        f"{runs[1].id}.html",
        f"{runs[1].id}.jsonl",
        f"{runs[2].id}.jsonl",
        f"{runs[2].id}.summary.json",
    ]
    assert foreign.exists()
    assert newer.exists()
    assert {name for name in names(tmp_path) if name.endswith(".html")} == {
        f"{runs[0].id}.html",
        f"{runs[4].id}.html",
    }
    assert delete_old_reports(await ledger.runs(100), "other", keep=0) == []

"""The report: one row per job, even after a crash damaged its file."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.states import Step
from orchestrator.errors import ReportError
from orchestrator.reporting.report_file import ReportFile
from orchestrator.reporting.row import line
from orchestrator.testing.builders import make_holder, make_spec, make_specs
from orchestrator.testing.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run

T0 = 1_795_309_200.0


async def ledger_with_rows(count: int, path: Path) -> tuple[MemoryLedger, Run, list[Job]]:
    """Return a ledger, and its run with ``count`` jobs that ended in reverse order."""
    ledger = MemoryLedger()
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("nightly", T0, str(path))
    jobs = await ledger.add(run, make_specs(count))
    for job in reversed(jobs):
        job.step(Step.SEND)
        await ledger.save([job])
        job.step(Step.REJECT)
        job.finished_at, job.code, job.message = (
            T0 + job.id,
            "InvalidArgument",
            f'"{job.id}" is wrong: ä\u2028\n',
        )
        await ledger.save([job])
    return ledger, run, jobs


async def whole(ledger: MemoryLedger, run: Run, path: Path) -> bytes:
    """Return the content that the file must have."""
    return b"".join(line(job, run) for job in await ledger.rows(run))


# --- the file


async def test_rows_are_written_in_ledger_order_in_whatever_order_they_come(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep" / "er" / "report.jsonl"
    ledger, run, jobs = await ledger_with_rows(6, path)
    fresh = MemoryLedger()
    await fresh.acquire(make_holder())
    report = ReportFile(path, run, fresh)  # an empty ledger: rows come through offer()
    await report.open()
    for job in (jobs[3], jobs[0], jobs[5], jobs[5], jobs[4]):
        report.offer([job])
    assert path.read_bytes().count(b"\n") == 3, (
        "rows 1 to 3; the others wait for the rows before them"
    )
    report.offer(jobs)
    report.close()

    assert path.read_bytes() == await whole(ledger, run, path)


async def test_a_file_cut_at_any_byte_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(3, path)
    expected = await whole(ledger, run, path)
    for cut in range(len(expected) + 1):
        path.write_bytes(expected[:cut])
        report = ReportFile(path, run, ledger)
        await report.open()
        report.close()
        assert path.read_bytes() == expected, f"cut at byte {cut}"


@pytest.mark.parametrize(
    "damage",
    ["doubled line", "torn and appended", "zeros at the end", "a changed byte", "another run"],
)
async def test_a_damaged_file_is_repaired(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, jobs = await ledger_with_rows(4, path)
    expected = await whole(ledger, run, path)
    lines = expected.splitlines(keepends=True)
    path.write_bytes(
        {
            "doubled line": lines[0] + lines[1] + lines[1] + lines[2],
            "torn and appended": lines[0] + lines[1][:20] + lines[2],
            "zeros at the end": lines[0] + bytes(4096),
            "a changed byte": lines[0]
            + lines[1].replace(b"InvalidArgument", b"InvalidArgumenT")
            + lines[2],
            "another run": b"".join(
                line(job, replace(run, id="nightly-20261121T010000Z")) for job in jobs
            ),
        }[damage]
    )
    report = ReportFile(path, run, ledger)
    await report.open()
    report.close()

    assert path.read_bytes() == expected


@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary\n",
        b'{"schema": "something/1"}\n',
        b"[1, 2]\n",
        b"\x00\x01\x02",
        b'"orchestrator.report/1"\n',
    ],
)
async def test_a_file_that_is_not_a_report_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.jsonl"
    path.write_bytes(content)
    ledger, run, _ = await ledger_with_rows(1, path)

    with pytest.raises(ReportError, match=r"report\.jsonl exists and is not a report.*--report"):
        await ReportFile(path, run, ledger).open()
    assert path.read_bytes() == content


async def test_a_run_locks_its_report_from_before_the_first_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock also covers reading the file and cutting off a torn last row.

    Otherwise another run would cut off a row that is being written.
    """
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(3, path)
    path.write_bytes(await whole(ledger, run, path) + b"torn")
    first, second = ReportFile(path, run, ledger), ReportFile(path, run, ledger)
    cut, refused = os.truncate, []

    def cut_while_another_tries(file: Path, size: int) -> None:
        cut(file, size)
        refused.append(_is_held(path))

    monkeypatch.setattr(os, "truncate", cut_while_another_tries)
    await first.open()
    path.read_bytes()

    assert refused == [True]
    with pytest.raises(ReportError, match="Another run is writing"):
        await second.open()
    first.close()
    await second.open()
    second.close()
    assert path.read_bytes() == await whole(ledger, run, path)


def _is_held(path: Path) -> bool:
    """Return True if another process cannot lock the file."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def test_an_unwritable_folder_is_reported_with_the_next_step(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    ledger, run, _ = await ledger_with_rows(1, blocked)

    with pytest.raises(ReportError, match=r"is a file, so the report .* with --report"):
        await ReportFile(blocked / "report.jsonl", run, ledger).open()
    with pytest.raises(ReportError, match="Nothing is lost"):
        await ReportFile(Path("/proc/none/report.jsonl"), run, ledger).open()


async def test_a_report_is_synced_again_only_if_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(1, path)
    syncs: list[int] = []

    async def note(work: Callable[[], None]) -> None:
        work()
        syncs.append(path.stat().st_size)

    report = ReportFile(path, run, ledger, note)
    await report.open()
    for _ in range(3):
        await report.checkpoint()
    assert len(syncs) == 1

    (job,) = await ledger.add(run, [make_spec(9)])
    for step in (Step.SEND, Step.REJECT):
        job.step(step)
        await ledger.save([job])
    report.offer([job])
    for _ in range(3):
        await report.checkpoint()
    report.close()
    assert len(syncs) == 2
    assert syncs[1] == path.stat().st_size


# --- what others do to the file


@pytest.mark.parametrize("done_by", ["rm", "mv", "logrotate create", "copytruncate", "append"])
async def test_a_report_that_is_taken_away_during_the_run_is_written_again(
    tmp_path: Path, done_by: str
) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(3, path)
    report = ReportFile(path, run, ledger)
    await report.open()
    await report.checkpoint()

    if done_by in {"mv", "logrotate create"}:
        path.rename(tmp_path / "report.jsonl.old")
        if done_by == "logrotate create":
            path.touch()
    elif done_by == "rm":
        path.unlink()
    elif done_by == "copytruncate":
        os.truncate(path, 0)
    else:
        with path.open("ab") as file:
            file.write(b"a line of another program\n")
    (job,) = await ledger.add(run, [make_spec(9)])
    for step in (Step.SEND, Step.REJECT):
        job.step(step)
        await ledger.save([job])
    report.offer([job])
    await report.checkpoint()
    report.close()

    assert path.read_bytes() == await whole(ledger, run, path)
    assert len(path.read_bytes().splitlines()) == 4


async def test_a_foreign_file_that_takes_the_reports_place_during_the_run_is_not_touched(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(3, path)
    report = ReportFile(path, run, ledger)
    await report.open()
    path.unlink()
    path.write_bytes(b"Dear diary\n")

    with pytest.raises(ReportError, match="is not a report"):
        await report.checkpoint()
    report.close()

    assert path.read_bytes() == b"Dear diary\n"


async def test_a_foreign_file_that_took_the_reports_place_between_two_visits_is_not_touched(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(3, path)
    report = ReportFile(path, run, ledger)
    await report.open()
    await report.checkpoint()
    report.close()
    path.write_bytes(b"Dear diary\n")

    with pytest.raises(ReportError, match="is not a report"):
        await ReportFile(path, run, ledger).open()

    assert path.read_bytes() == b"Dear diary\n"


@pytest.mark.parametrize("lost", ["deleted", "restored"])
async def test_a_report_that_knows_more_than_the_ledger_is_moved_aside(
    tmp_path: Path, lost: str
) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run, _ = await ledger_with_rows(5, path)
    report = ReportFile(path, run, ledger)
    await report.open()
    report.close()
    before = path.read_bytes()
    older, its_run, _ = await ledger_with_rows(2 if lost == "restored" else 0, path)
    if lost == "restored":
        await older.add(its_run, make_specs(5))

    report = ReportFile(path, its_run, older)
    await report.open()
    report.close()

    assert (tmp_path / "report.1.jsonl").read_bytes() == before
    assert path.read_bytes() == await whole(older, its_run, path)

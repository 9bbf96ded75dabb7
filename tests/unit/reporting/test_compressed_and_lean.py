"""Reports that leave out skipped jobs, and reports that are compressed when the run has ended."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.states import Step
from orchestrator.errors import ReportError
from orchestrator.reporting.report_file import ReportFile, open_report, present_report
from orchestrator.reporting.row import line
from orchestrator.testing.builders import make_holder, make_spec, make_specs
from orchestrator.testing.memory_ledger import MemoryLedger

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.run import Run

T0 = 1_795_309_200.0


async def second_run(path: Path, failed: int = 2) -> tuple[MemoryLedger, Run]:
    """Return a ledger and its second run: three skipped jobs around each one that failed."""
    ledger = MemoryLedger()
    await ledger.acquire(make_holder())
    specs = make_specs(4 * failed)
    first = await ledger.begin_run("nightly", T0, str(path))
    for number, job in enumerate(await ledger.add(first, specs)):
        steps = (Step.SEND, Step.ACCEPT, Step.SUCCEED) if number % 4 else (Step.SEND, Step.REJECT)
        for step in steps:
            job.step(step)
        await ledger.save([job])
    await ledger.end_run(first, T0 + 9)
    run = await ledger.begin_run("nightly", T0 + 60, str(path))
    await ledger.add(run, specs)
    return ledger, run


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def lean(ledger: MemoryLedger, run: Run) -> bytes:
    return b"".join(line(job, run) for job in await ledger.rows(run) if not job.skipped)


async def test_a_skipped_job_has_no_line_unless_all_rows_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run = await second_run(path)

    report = ReportFile(path, run, ledger)
    await report.open()
    report.close()

    assert path.read_bytes() == await lean(ledger, run)
    assert len(path.read_bytes().splitlines()) == 2
    everything = ReportFile(path, run, ledger, with_skipped=True)
    await everything.open()
    everything.close()
    assert len(path.read_bytes().splitlines()) == 8


@pytest.mark.parametrize("has_mark", [True, False])
async def test_a_lean_file_cut_at_any_byte_is_repaired(tmp_path: Path, has_mark: bool) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run = await second_run(path)
    expected = await lean(ledger, run)
    for cut in range(len(expected) + 1):
        if has_mark:
            report = ReportFile(path, run, ledger)
            await report.open()
            await report.checkpoint()
            report.close()
        path.write_bytes(expected[:cut])
        report = ReportFile(path, run, ledger)
        await report.open()
        report.close()
        assert path.read_bytes() == expected, f"cut at byte {cut}"


async def test_a_report_without_a_line_is_not_read_again_from_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    ledger, run = await second_run(path, failed=0)
    specs = make_specs(5)
    for job in await ledger.add(run, specs):
        for step in (Step.SEND, Step.ACCEPT, Step.SUCCEED):
            job.step(step)
        await ledger.save([job])
    await ledger.end_run(run, T0 + 70)
    run = await ledger.begin_run("nightly", T0 + 80, str(path))
    await ledger.add(run, specs)
    report = ReportFile(path, run, ledger)
    await report.open()
    await report.checkpoint()
    report.close()
    asked: list[int] = []
    rows = ledger.rows

    async def watched(run: Run, after_row: int = 0, limit: int = 1000) -> object:
        asked.append(after_row)
        return await rows(run, after_row, limit)

    ledger.rows = watched  # type: ignore[assignment,method-assign]
    again = ReportFile(path, run, ledger)
    await again.open()
    again.close()

    assert set(asked) == {5}
    assert path.read_bytes() == b""


# --- compressed


async def finished(path: Path, run: Run, ledger: MemoryLedger) -> None:
    report = ReportFile(path, run, ledger)
    await report.open()
    await report.checkpoint()
    await report.finish()
    report.close()


async def test_a_compressed_report_grows_in_plain_text_and_is_packed_at_the_end(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.jsonl.gz"
    ledger, run = await second_run(path)
    report = ReportFile(path, run, ledger)
    await report.open()
    growing = tmp_path / "report.jsonl.part"
    assert present_report(path) == growing
    assert growing.read_bytes() == await lean(ledger, run)

    await report.finish()
    report.close()

    assert present_report(path) == path
    assert names(tmp_path) == [path.name]
    with open_report(path) as file:
        assert file.read() == await lean(ledger, run)


async def test_a_compressed_report_leaves_one_alone_that_has_its_name_without_gz(
    tmp_path: Path,
) -> None:
    plain, path = tmp_path / "report.jsonl", tmp_path / "report.jsonl.gz"
    ledger, run = await second_run(plain)
    await finished(plain, run, ledger)
    before = plain.read_bytes()
    other_ledger, other = await second_run(path, failed=1)

    await finished(path, other, other_ledger)

    assert plain.read_bytes() == before
    assert sorted(names(tmp_path)) == [plain.name, path.name]


async def test_a_run_that_died_after_packing_writes_the_same_report_again(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl.gz"
    ledger, run = await second_run(path)
    await finished(path, run, ledger)
    await finished(path, run, ledger)

    assert names(tmp_path) == [path.name]
    assert gzip.decompress(path.read_bytes()) == await lean(ledger, run)


@pytest.mark.parametrize(
    "content",
    [b"", b"Dear diary", gzip.compress(b"Dear diary", mtime=0)[:-9]],
    ids=["empty", "plain", "cut off"],
)
async def test_a_foreign_file_under_the_compressed_name_is_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "report.jsonl.gz"
    path.write_bytes(content)
    ledger, run = await second_run(path)

    if not content:  # as a tool that reserves a name leaves it
        await finished(path, run, ledger)
        assert gzip.decompress(path.read_bytes()) == await lean(ledger, run)
        return
    with pytest.raises(ReportError, match=r"report\.jsonl\.gz exists and is not a report"):
        await ReportFile(path, run, ledger).open()
    assert path.read_bytes() == content


async def test_a_compressed_report_that_knows_more_than_the_ledger_is_moved_aside(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.jsonl.gz"
    ledger, run = await second_run(path)
    await finished(path, run, ledger)
    before = path.read_bytes()
    lost = MemoryLedger()
    await lost.acquire(make_holder())
    run = await lost.begin_run("nightly", T0, str(path))
    (job,) = await lost.add(run, [make_spec(99)])
    for step in (Step.SEND, Step.REJECT):
        job.step(step)
        await lost.save([job])

    await finished(path, run, lost)

    assert (tmp_path / "report.1.jsonl.gz").read_bytes() == before
    assert gzip.decompress(path.read_bytes()) == await lean(lost, run)

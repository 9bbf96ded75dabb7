"""Rows in other formats."""

from __future__ import annotations

import csv
import gc
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from orchestrator.domain.job import StemFile
from orchestrator.domain.run import Run
from orchestrator.domain.spec import Stem
from orchestrator.domain.states import JobState
from orchestrator.errors import ConfigError
from orchestrator.reporting.export.tables import COLUMNS, CsvWriter, LineWriter, ParquetWriter, flat
from orchestrator.reporting.export.text import SHOWN, MarkdownWriter, TableWriter
from orchestrator.reporting.row import row
from orchestrator.testing.builders import make_job

if TYPE_CHECKING:
    from collections.abc import Callable

T0 = 1_795_309_200.0
RUN = Run("nightly-20261122T010000Z", 1, T0, "report.jsonl")
CODES = ("ResourceNotFound", "ResourceNotFound", "Odd")


def rows_of(count: int = 1, name: str = "", **changes: Any) -> list[dict[str, Any]]:
    made = []
    for number in range(count):
        found = row(
            make_job(
                number + 1,
                state=JobState.SUCCEEDED,
                files=(StemFile(Stem.VOICE, "v.mp3", "0" * 32, 12, verified=True),),
                submitted_at=T0 + 0.123,
                media_duration_s=61.5,
            ),
            RUN,
        )
        found["input"]["object"] = name or f"in/{number}.mp3"
        made.append(found | changes)
    return made


def written(make: Callable[[io.BytesIO], Any], rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    writer = make(file)
    for start in range(0, len(rows), 7):
        writer.write(rows[start : start + 7])
    writer.close()
    return file.getvalue()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_csv_is_read_back_as_it_was_whatever_the_names(name: str) -> None:
    content = written(CsvWriter, rows_of(2, name)).decode()

    back = list(csv.DictReader(io.StringIO(content, newline="")))

    assert [each["input_object"] for each in back] == [name, name]
    assert list(back[0]) == [column.name for column in COLUMNS]
    assert (back[0]["adopted"], back[0]["voice_verified"]) == ("false", "true")
    assert (back[0]["bass_md5"], back[0]["started_at"]) == ("", "")
    assert back[0]["submitted_at"] == "2026-11-22T01:00:00.123Z"


def test_an_error_leaves_the_file_of_a_csv_open() -> None:
    file = io.BytesIO()
    writer = CsvWriter(file)
    writer.write(rows_of())
    with pytest.raises(UnicodeEncodeError):
        writer.write(rows_of(name="\ud800.mp3"))

    del writer
    gc.collect()

    assert not file.closed
    assert len(file.getvalue().splitlines()) == 2


def test_parquet_has_the_same_types_with_and_without_rows() -> None:
    some = parquet.read_table(io.BytesIO(written(ParquetWriter, rows_of(20))))
    none = parquet.read_table(io.BytesIO(written(ParquetWriter, [])))

    assert some.schema == none.schema
    assert (some.num_rows, none.num_rows) == (20, 0)
    (first, *_) = some.to_pylist()
    assert first["submitted_at"].isoformat() == "2026-11-22T01:00:00.123000+00:00"
    assert (first["media_duration_s"], first["voice_size_bytes"]) == (61.5, 12)
    assert first["drums_verified"] is None


def test_parquet_without_pyarrow_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ConfigError, match=r"pip install 'voiceseparate-orchestrator\[parquet\]'"):
        ParquetWriter(io.BytesIO())


def test_json_lines_are_the_rows() -> None:
    rows = rows_of(3)

    assert [json.loads(line) for line in written(LineWriter, rows).splitlines()] == rows


def test_every_field_of_a_row_has_a_column() -> None:
    (found,) = rows_of()
    leaves = set(found) - {"schema", "input", "output", "files"}

    assert leaves <= {column.name for column in COLUMNS}
    assert {column.path[1] for column in COLUMNS if column.path[0] == "input"} == set(
        found["input"]
    )
    assert len(flat(found)) == len(COLUMNS)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_table_fits_the_terminal_and_groups_failures(columns: int) -> None:
    rows = rows_of(SHOWN + 2)
    for found, code in zip(rows, CODES, strict=False):
        found.update(state="failed", code=code, message="not\x1b[31m there")
    rows[0]["input"]["object"] = "a/long/" + "folder/" * 20 + "名前.mp3"

    text = written(lambda file: TableWriter(file, columns), rows).decode()

    assert all(len(line) <= columns for line in text.splitlines()[: SHOWN + 1])
    assert f"... and 2 more rows ({'--format csv has all'})" in text
    assert f"{SHOWN + 2} rows: {SHOWN - 1} succeeded, 3 failed" in text
    assert "failed ResourceNotFound: 2 jobs" in text
    assert "Check the names" in text
    assert text.index("ResourceNotFound: 2") < text.index("Odd: 1")
    assert "\x1b" not in text


def test_a_table_without_rows_says_so() -> None:
    assert written(lambda file: TableWriter(file, 80), []) == b"0 rows\n"


def test_markdown_shows_hostile_names_as_they_are() -> None:
    rows = rows_of(1, "<script>|`x`\n# y", state="failed", code="Odd", message="*no*")

    text = written(lambda file: MarkdownWriter(file, "nightly: last run"), rows).decode()

    assert text.startswith("# nightly: last run\n\n1 row: 1 failed.\n")
    assert "\\<script\\>\\|\\`x\\`\\\\n\\# y" in text
    assert "\\*no\\*" in text

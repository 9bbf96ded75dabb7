"""List files."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import ManifestError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from orchestrator.manifest.sources.item import SourceItem
    from tests.unit.manifest.conftest import Desk

CSV = """object,level,user_data,etag,duration_s,size_bytes,title
"in/a, b.mp3",2,u1,\"\"\"e1\"\"\",12.5,1000,"A ""quoted"" title"
in/c.mp3,,,,,,
"""


async def _items(desk: Desk, source: str) -> list[SourceItem]:
    manifest = desk.load(
        f'defaults: {{output: {{voice: "s/{{object}}"}}}}\ninputs:\n  - {source}\n'
    )
    return [item async for batch in read(manifest) for item in batch]


def _check(items: list[SourceItem]) -> None:
    assert [item.media.key for item in items] == ["in/a, b.mp3", "in/c.mp3"]
    first, second = items
    assert (
        first.level,
        first.user_data,
        first.media.etag,
        first.media.duration_s,
        first.media.size_bytes,
    ) == (2, "u1", "e1", 12.5, 1000)
    assert first.columns["title"] == 'A "quoted" title'
    assert (second.level, second.media.etag, second.media.duration_s, second.media.size_bytes) == (
        None,
        "",
        None,
        None,
    )


@pytest.mark.parametrize("packed", [False, True])
async def test_a_csv_gives_objects_with_the_values_of_its_columns(desk: Desk, packed: bool) -> None:
    name = "l.csv.gz" if packed else "l.csv"
    desk.write(name, gzip.compress(CSV.encode()) if packed else b"\xef\xbb\xbf" + CSV.encode())

    _check(await _items(desk, f"list: {name}"))


async def test_an_empty_user_data_cell_is_ignored(desk: Desk) -> None:
    desk.write("l.csv", CSV)

    assert (await _items(desk, "list: l.csv"))[1].user_data is None


async def test_tsv_jsonl_and_parquet_give_the_same_objects(desk: Desk) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = ("object", "level", "user_data", "etag", "duration_s", "size_bytes", "title")
    values: tuple[Any, ...] = ("in/a, b.mp3", 2, "u1", "e1", 12.5, 1000, 'A "quoted" title')
    cells = [str(value) for value in values[:-1]] + ['"A ""quoted"" title"']
    desk.write("l.tsv", "\t".join(names) + "\n" + "\t".join(cells) + "\nin/c.mp3" + "\t" * 6 + "\n")
    row = json.dumps(dict(zip(names, values, strict=True)))
    desk.write("l.jsonl", row + '\n\n{"object": "in/c.mp3", "tags": [1], "level": null}\n')
    seconds: tuple[Any, ...] = ("in/c.mp3", *(None,) * 6)
    table = pa.table({name: list(pair) for name, *pair in zip(names, values, seconds, strict=True)})
    parquet.write_table(table, desk.folder / "l.parquet")

    for name in ("l.tsv", "l.jsonl", "l.parquet"):
        _check(await _items(desk, f"list: {name}"))


async def test_a_txt_names_one_object_per_line_and_blank_lines_are_skipped(desk: Desk) -> None:
    desk.write("l.txt", "in/a b.mp3\r\n\r\n#not-a-comment.mp3\nlast.mp3")

    items = await _items(desk, "list: l.txt")
    assert [(item.media.key, item.line, item.number) for item in items] == [
        ("in/a b.mp3", 1, 1),
        ("#not-a-comment.mp3", 3, 2),
        ("last.mp3", 4, 3),
    ]


async def test_columns_name_the_cells_of_a_csv_without_a_header(desk: Desk) -> None:
    desk.write("l.csv", "a.mp3,1\nb.mp3,2\n")

    items = await _items(desk, '{list: l.csv, columns: [path, level], object: "in/{path}"}')
    assert [(item.media.key, item.level) for item in items] == [("in/a.mp3", 1), ("in/b.mp3", 2)]


async def test_globs_exclude_rows(desk: Desk) -> None:
    desk.write("l.txt", "a.mp3\nb.wav\ndraft/c.mp3\n")

    items = await _items(desk, '{list: l.txt, include: "*.mp3", exclude: ["draft/*"]}')
    assert [item.media.key for item in items] == ["a.mp3"]


async def test_rows_may_name_buckets_and_regions(desk: Desk) -> None:
    desk.write("l.csv", "object,bucket,region\na.mp3,other-12345,ap-tokyo\nb.mp3,,\n")

    items = await _items(desk, "list: l.csv")
    assert [item.media.place for item in items] == [
        ("other-12345", "ap-tokyo"),
        ("media-1250000000", "ap-chongqing"),
    ]


async def test_a_list_is_read_from_standard_input(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(b"object,level\na.mp3,1\n"))

    monkeypatch.setattr(sys, "stdin", Stdin)

    items = await _items(desk, '{list: "-", format: csv}')
    assert [(item.media.key, item.level, item.file) for item in items] == [
        ("a.mp3", 1, "standard input")
    ]


async def test_waiting_for_silent_standard_input_can_be_cancelled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):
        monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": stream}))
        task = asyncio.create_task(_items(desk, 'list: "-"'))
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_faults_name_file_and_row_and_their_number_is_limited(desk: Desk) -> None:
    """A wrong row is an item with a problem, which the planner collects as a fault."""
    rows = "".join(
        f"in/{number}.mp3,{7 if number % 10 == 0 else 1}\n" for number in range(1, 20_001)
    )
    desk.write("l.csv", "object,level\n" + rows)
    manifest = desk.load('defaults: {output: {voice: "s/{object}"}}\ninputs: [{list: l.csv}]\n')
    faults = FaultList(limit=3)

    planner = Planner(manifest, faults)
    good = sum([len(planner.specs(batch)) async for batch in read(manifest, faults=faults)])
    assert (good, len(faults), faults.omitted) == (18_000, 2_000, 1_997)
    assert [(fault.file.endswith("l.csv"), fault.line) for fault in faults.kept] == [
        (True, 11),
        (True, 21),
        (True, 31),
    ]


async def test_faults_are_raised_after_their_batch_if_they_are_not_collected(desk: Desk) -> None:
    desk.write("l.csv", "object,level\n" + "a.mp3,1\n" * 1200 + '"b.mp3,9\nc.mp3,1\n')
    manifest = desk.load('defaults: {output: {voice: "s/{object}"}}\ninputs: [{list: l.csv}]\n')
    batches = read(manifest)
    assert [len(await anext(batches)), len(await anext(batches))] == [500, 500]
    with pytest.raises(ManifestError, match=r"l\.csv:1202: inputs\[0\]: This is not a table"):
        await anext(batches)


async def test_a_row_with_a_wrong_value_has_a_problem_and_its_name(desk: Desk) -> None:
    desk.write("l.csv", "object,level\na.mp3,9\nb.mp3,1\n")

    wrong, good = await _items(desk, "list: l.csv")
    assert wrong.problem is not None
    assert (wrong.media.key, wrong.line, good.problem) == ("a.mp3", 2, None)
    assert "out of range" in wrong.problem.message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.csv", b'object\n"never closed\nb.mp3\n', "quote"),
        ("l.csv", b"object,object\na,b\n", "twice"),
        ("l.txt.gz", gzip.compress(b"a.mp3\n" * 1000, mtime=0)[:-9], "gzip"),
        ("l.txt", b"x" * 1_100_000, "KiB"),
        ("l.parquet", b"not parquet", "parquet"),
        ("l.jsonl", b"{}\n", "no column object"),
    ],
)
async def test_a_damaged_list_is_a_fault(desk: Desk, name: str, content: bytes, words: str) -> None:
    desk.write(name, content)

    with pytest.raises(ManifestError, match=words):
        await _items(desk, f"list: {name}")

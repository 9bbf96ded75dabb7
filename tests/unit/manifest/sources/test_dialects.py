"""Tables as programs write them: separators, encodings, line ends, empty rows, numbers, nulls."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ManifestError
from orchestrator.manifest.planning.spec_stream import Feed, check
from orchestrator.manifest.sources.foreign_content import by_content, by_extension

if TYPE_CHECKING:
    from orchestrator.domain.spec import JobSpec
    from tests.unit.manifest.conftest import Desk

INPUTS = Path(__file__).parent / "inputs"
TEXT = 'defaults: {output: {voice: "s/{object}/v"}}\ninputs:\n  - '


async def _read(desk: Desk, source: str) -> tuple[list[JobSpec], list[str]]:
    feed = Feed(desk.load(f"{TEXT}{source}\n"), None)
    specs = [spec async for batch in feed.specs() for spec in batch]
    return specs, feed.found.remarks


def _good(specs: list[JobSpec]) -> list[tuple[str, int]]:
    return [(spec.media.key, spec.level) for spec in specs if spec.refusal is None]


@pytest.mark.parametrize(
    ("name", "expected", "remark"),
    [
        ("excel-semicolon.csv", [("a.mp3", 1)], "semicolons"),
        ("excel-empty-rows.csv", [("a.mp3", 1)], "2 empty rows"),
        ("pandas-levels.csv", [("a.mp3", 2), ("b.mp3", 0)], ""),
        ("float-level.jsonl", [("a.mp3", 1)], ""),
        ("null-first.jsonl", [("b.mp3", 0)], ""),
        ("urls.txt", [("in/a.mp3", 0), ("in/b.mp3", 0)], ""),
    ],
)
async def test_a_file_as_a_user_had_it(
    desk: Desk, name: str, expected: list[tuple[str, int]], remark: str
) -> None:
    desk.write(name, (INPUTS / name).read_bytes())

    specs, remarks = await _read(desk, f"list: {name}")
    assert _good(specs) == expected
    assert [text for text in remarks if "was read with" in text] == remarks
    assert remark in "".join(remarks)
    assert bool(remark) == bool(remarks)


async def test_binary_and_dictionary_columns_of_parquet_are_text(desk: Desk) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    desk.write("l.parquet", (INPUTS / "binary-strings.parquet").read_bytes())
    assert len(_good((await _read(desk, "list: l.parquet"))[0])) == 2
    table = pa.table(
        {
            "object": pa.array([b"a.mp3", "\u00fc.mp3".encode(), b"\xff.mp3", None]),
            "level": pa.array([2.0, math.nan, 1.0, 0.0]),
            "user_data": pa.array(["x", None, "x", "y"]).dictionary_encode(),
            "cover": pa.array([b"\xff\xd8", None, b"", b"\xff"]),
            "duration_s": pa.array([None, None, None, 1.5]),
        }
    )
    parquet.write_table(table, desk.folder / "l.parquet")

    specs, _ = await _read(desk, "list: l.parquet")
    assert _good(specs) == [("a.mp3", 2), ("\u00fc.mp3", 0)]
    assert specs[0].user_data == "x"
    assert [spec.refusal.message.partition(": ")[2] for spec in specs if spec.refusal] == [
        "Byte 0xff at position 1 of the column object is not UTF-8.",
        "The column object is empty.",
    ]


ROWS = [
    ("object", "level", "title"),
    ("in/a, b.mp3", "2", 'A "quoted" title'),
    ("in/c;d.mp3", "", "two\nlines"),
    ("in/\u6668|\t.mp3".replace("\t", ""), "1.0", ""),
]
EXPECTED = [("in/a, b.mp3", 2), ("in/c;d.mp3", 0), ("in/\u6668|.mp3", 1)]


def _table(separator: str, end: str, *, every: bool = False) -> str:
    def cell(text: str) -> str:
        needs = every or any(char in text for char in f'{separator}"\r\n')
        return '"' + text.replace('"', '""') + '"' if needs else text

    return "".join(separator.join(map(cell, row)) + end for row in ROWS)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
async def test_every_dialect_gives_the_same_objects(
    desk: Desk, separator: str, end: str, encoding: str
) -> None:
    content = _table(separator, end, every=separator == "|").encode(encoding)
    empty = f"{separator * 2}{end}".encode(encoding.removesuffix("-sig"))
    empty = empty if encoding != "utf-16" else empty[2:]
    for name, packed in (("l.csv", content + empty * 3), ("m.csv.gz", gzip.compress(content))):
        desk.write(name, packed)
        specs, remarks = await _read(desk, f"list: {name}")
        assert _good(specs) == EXPECTED
        said = "".join(remarks)
        assert ("between the columns" in said) == (separator != ",")
        assert ("UTF-16" in said) == ("16" in encoding)
        assert ("CR" in said) == (end == "\r")
        assert ("3 empty rows" in said) == (name == "l.csv")


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (b"sep=;\r\nobject;level\r\na.mp3;1\r\n", "list: l.csv"),
        (b'"sep=\t"\nobject\tlevel\na.mp3\t1\n', "list: l.csv"),
        (b"\xef\xbb\xbfsep=,\nobject,level\na.mp3,1\n", "list: l.csv"),
        (b"\n\n,,\nobject,level,,\na.mp3,1,,\n", "list: l.csv"),
        (b"object ;\xc2\xa0level\na.mp3;1\n", "list: l.csv"),
        (b"object,level\na.mp3,1\n", "list: l.tsv"),
        (b"a.mp3;1\n", "{list: l.csv, columns: [object, level]}"),
        (b"pfad;level\na.mp3;1\n", '{list: l.csv, object: "{pfad}"}'),
        (b"object,level\na.mp3,1,,,\n   ,\n", "list: l.csv"),
    ],
)
async def test_first_lines_and_padding_of_spreadsheets(
    desk: Desk, content: bytes, source: str
) -> None:
    desk.write("l.tsv" if "tsv" in source else "l.csv", content)

    assert _good((await _read(desk, source))[0]) == [("a.mp3", 1)]


async def test_the_advice_about_a_missing_column_works(desk: Desk) -> None:
    desk.write("l.csv", "pfad;stufe\na.mp3;1\n")

    with pytest.raises(ManifestError, match=r'object: "\{pfad\}"'):
        await _read(desk, "list: l.csv")
    assert _good((await _read(desk, '{list: l.csv, object: "{pfad}"}'))[0]) == [("a.mp3", 0)]


async def test_decimal_commas_are_read_where_commas_separate_nothing(desk: Desk) -> None:
    desk.write("l.csv", "object;level;duration_s;size_bytes\na.mp3;2,0;12,5;1000\n")
    ((first,), _) = await _read(desk, "list: l.csv")
    assert (first.level, first.media.duration_s, first.media.size_bytes) == (2, 12.5, 1000)

    desk.write("l.csv", 'object,duration_s\na.mp3,"12,5"\n')
    ((first,), _) = await _read(desk, "list: l.csv")
    assert first.refusal is not None


@pytest.mark.parametrize("text", ["", "NaN", "nan", "null", "NULL", "None", "<NA>", " "])
async def test_an_absent_value_is_absent(desk: Desk, text: str) -> None:
    names = "object,level,duration_s,size_bytes,etag,bucket,region"
    desk.write("l.csv", f"{names}\nnull,{','.join([text] * 6)}\n")

    ((spec,), _) = await _read(desk, "list: l.csv")
    media = spec.media
    assert (media.key, spec.level, media.duration_s, media.size_bytes, media.etag) == (
        "null",
        0,
        None,
        None,
        "",
    )
    assert media.place == ("media-1250000000", "ap-chongqing")


@pytest.mark.parametrize(
    ("level", "expected"), [("2.0", 2), ("1.", None), ("1e0", 1), ("1.5", None), ("3.0", None)]
)
async def test_a_level_may_be_written_as_a_float(
    desk: Desk, level: str, expected: int | None
) -> None:
    desk.write("l.csv", f"object,level,size_bytes\na.mp3,{level},7.0\n")

    ((spec,), _) = await _read(desk, "list: l.csv")
    assert (None if spec.refusal else spec.level) == expected
    assert spec.refusal is not None or spec.media.size_bytes == 7


async def test_jsonl_takes_its_columns_from_all_rows(desk: Desk) -> None:
    rows: list[dict[str, Any]] = [{"level": 1}] * 3 + [{"object": "a.mp3"}]
    rows += [{"object": "b.mp3", "title": "T", "level": math.nan}]
    desk.write("l.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))

    specs, _ = await _read(desk, '{list: l.jsonl, output: {voice: "s/{object}{title}"}}')
    assert [spec.output.voice for spec in specs if not spec.refusal] == ["s/a.mp3", "s/b.mp3T"]
    assert sum(spec.refusal is not None for spec in specs) == 3


async def test_one_damaged_line_is_refused_alone(desk: Desk) -> None:
    desk.write("l.csv", b'object,level\na.mp3,1\n"b"x,1\nc\xff.mp3,1\nd\re.mp3,1\nf.mp3,1\n')

    specs, _ = await _read(desk, "list: l.csv")
    assert _good(specs) == [("a.mp3", 1), ("f.mp3", 1)]
    assert [spec.origin.line for spec in specs if spec.refusal] == [3, 4, 5]


async def test_half_a_character_in_utf_16_is_refused_alone(desk: Desk) -> None:
    content = "object\na.mp3\n\ud800.mp3\nb.mp3\n".encode("utf-16-le", "surrogatepass")
    desk.write("l.csv", b"\xff\xfe" + content)

    specs, _ = await _read(desk, "list: l.csv")
    assert _good(specs) == [("a.mp3", 0), ("b.mp3", 0)]


async def test_validate_says_what_it_recognised(desk: Desk) -> None:
    desk.write("l.csv", "object;level\na.mp3;1\n")

    jobs, remarks = await check(desk.load(f"{TEXT}list: l.csv\n"), 50)
    assert jobs == 1
    assert "semicolons" in remarks[0]


PACKED = {
    "xz": (b"\xfd7zXZ\0\0\0", "xz -dc"),
    "zst": (b"\x28\xb5\x2f\xfd\x04\0", "zstd -dc"),
    "bz2": (b"BZh91AY&SY" + bytes(9), "bzip2 -dc"),
    "zip": (b"PK\x03\x04" + bytes(26) + b"l.csv", "unzip"),
    "xlsx": (b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml", "libreoffice"),
    "ods": (
        b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
        "libreoffice",
    ),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "libreoffice"),
    "7z": (b"7z\xbc\xaf\x27\x1c", "7z x"),
    "html": (b"\n<!DOCTYPE html><title>Sign in</title>", "Download it again"),
    "parquet": (b"PAR1\x15\x04", "format: parquet"),
}


@pytest.mark.parametrize("kind", PACKED)
async def test_another_kind_of_file_is_named_by_content_and_by_extension(
    desk: Desk, kind: str
) -> None:
    content, command = PACKED[kind]
    desk.write("l.csv", content)
    desk.write(f"l.{kind}", content)
    desk.write("l.csv.gz", gzip.compress(content))

    for source in ("list: l.csv", "list: l.csv.gz", f"{{list: l.{kind}, format: csv}}"):
        with pytest.raises(ManifestError, match=command):
            await _read(desk, source)
    if kind != "parquet":
        with pytest.raises(ManifestError, match=command):
            await _read(desk, f"list: l.{kind}")


@pytest.mark.parametrize("content", [b"[\n", b'[{"object": "a"},\n', b"{\n"])
async def test_a_json_document_is_refused_with_the_command_that_converts_it(
    desk: Desk, content: bytes
) -> None:
    desk.write("l.jsonl", content + b'{"object": "b"}]\n')

    with pytest.raises(ManifestError, match="jq -c"):
        await _read(desk, "list: l.jsonl")


@pytest.mark.parametrize(
    ("name", "kind", "new"),
    [
        ("l.json", b"{\n", "l.jsonl"),
        ("l.jsonl", b"{\n", "l-new.jsonl"),
        ("l.csv.xz", b"\xfd7zXZ\0", "l.csv"),
        ("l.csv", b"\xfd7zXZ\0", "l-new.csv"),
        (
            "my list.csv.gz",
            gzip.compress(gzip.compress(b"object\na\n", mtime=0), mtime=0),
            "my list.csv",
        ),
    ],
    ids=["json", "jsonl", "xz", "xz named csv", "gzip twice"],
)
async def test_a_command_that_converts_a_list_keeps_the_list(
    desk: Desk, name: str, kind: bytes, new: str
) -> None:
    form = "jsonl" if b"{" in kind else "csv"
    desk.write(name, kind)

    with pytest.raises(ManifestError) as caught:
        await _read(desk, f"{{list: {name}, format: {form}}}")
    command = str(caught.value).rpartition(": ")[2].rstrip(".")
    assert shlex.split(command)[-3:] == [str(desk.folder / name), ">", str(desk.folder / new)]
    assert name != new


async def test_gzip_is_read_once_and_not_around_parquet(desk: Desk) -> None:
    desk.write("l.parquet.gz", gzip.compress(b"PAR1"))

    with pytest.raises(ManifestError, match=r"gzip -dc .*l\.parquet\.gz > .*l\.parquet\."):
        await _read(desk, "list: l.parquet.gz")


@pytest.mark.parametrize("line", ["sep=\t", "sep=\\t", '"sep=\t"', "\ufeffsep=\t"])
async def test_a_line_names_a_tab_as_separator(desk: Desk, line: str) -> None:
    desk.write("l.csv", f"{line}\r\nobject\tlevel\r\na.mp3\t2\r\n".encode())

    specs, remarks = await _read(desk, "list: l.csv")
    assert _good(specs) == [("a.mp3", 2)]
    assert "tabs between the columns (named by its line sep=)" in remarks[0]


async def test_empty_cells_may_be_missing_at_the_end_of_a_row(desk: Desk) -> None:
    desk.write("l.csv", b"object,level,note\na.mp3\nb.mp3,2\nc.mp3;1;x\n")

    specs, _ = await _read(desk, "list: l.csv")
    assert _good(specs) == [("a.mp3", 0), ("b.mp3", 2)]
    (refused,) = [spec.refusal for spec in specs if spec.refusal is not None]
    assert "1 cell, but 3 columns" in refused.message
    assert "It has semicolons" in refused.message


async def test_a_column_may_be_there_twice_if_the_manifest_does_not_use_it(desk: Desk) -> None:
    desk.write("l.csv", b"object,note,note\na.mp3,x,y\n")
    desk.write("two.csv", b"object,level,level\na.mp3,1,2\n")
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.Table.from_arrays([pa.array(["a.mp3"]), *[pa.array([n]) for n in (1, 2)]],
                                 names=["object", "level", "level"])  # fmt: skip
    parquet.write_table(table, desk.folder / "two.parquet")

    specs, _ = await _read(desk, "list: l.csv")
    assert _good(specs) == [("a.mp3", 0)]
    for name in ("two.csv", "two.parquet"):
        with pytest.raises(ManifestError, match='the column "level" twice'):
            await _read(desk, f"list: {name}")


async def test_a_nested_value_in_a_column_that_is_used_is_named(desk: Desk) -> None:
    desk.write("l.jsonl", b'{"object": ["a.mp3"]}\n{"object": "b.mp3", "tags": ["x"]}\n')

    specs, _ = await _read(desk, "list: l.jsonl")
    assert _good(specs) == [("b.mp3", 0)]
    (refused,) = [spec.refusal for spec in specs if spec.refusal is not None]
    assert "The column object has a list" in refused.message


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_a_list_of_names_is_never_taken_for_another_kind(name: str) -> None:
    head = f"in/{name}\n".encode()

    assert by_content(head) is None
    assert by_extension("in/l.csv") is None


CELL = st.text(alphabet=st.sampled_from('ab;,|"\n\u6668 .'), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    keys=st.lists(CELL.map(lambda text: f"k{text}e"), min_size=1, max_size=6, unique=True),
    titles=st.lists(CELL, min_size=1, max_size=6),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
async def test_any_table_is_read_back(
    desk: Desk, keys: list[str], titles: list[str], separator: str, encoding: str
) -> None:
    rows = [("object", "title"), *zip(keys, itertools.cycle(titles), strict=False)]
    lines = [
        separator.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\r\n" for row in rows
    ]
    desk.write("l.csv", "".join(lines).encode(encoding))

    specs, _ = await _read(desk, "list: l.csv")
    assert [spec.media.key for spec in specs if "\n" not in spec.media.key] == [
        key for key in keys if "\n" not in key
    ]

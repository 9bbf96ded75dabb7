"""Packed rows hold what the report has."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from orchestrator.domain.job import StemFile
from orchestrator.domain.spec import Stem
from orchestrator.domain.states import JobState
from orchestrator.reporting.page.packed_rows import PACKED_COLUMNS, pack, packed_row
from orchestrator.reporting.row import row
from orchestrator.testing.builders import make_job
from tests.unit.reporting.page.samples import RUN

NAMES = [column["name"] for column in PACKED_COLUMNS]


def unpacked(text: bytes) -> list[dict[str, Any]]:
    """Return the rows as ``script/rows.js`` reads them."""
    part = json.loads(zlib.decompress(base64.b64decode(text)))
    columns = []
    for packed in part["columns"]:
        if "c" in packed:
            columns.append([packed["c"]] * part["rows"])
        elif "d" in packed:
            columns.append([packed["d"][number] for number in packed["i"]])
        else:
            columns.append(packed["v"])
    return [dict(zip(NAMES, values, strict=True)) for values in zip(*columns, strict=True)]


def test_rows_come_back_with_their_values() -> None:
    jobs = [
        make_job(
            number,
            state=JobState.SUCCEEDED if number % 3 else JobState.FAILED,
            submitted_at=1_795_309_200.123 + number,
            finished_at=1_795_309_205.5 + number,
            media_duration_s=13.69,
            files=(StemFile(Stem.VOICE, f"stems/{number}.mp3", "ab", 7, verified=True),),
        )
        for number in range(1, 40)
    ]
    rows = [row(job, RUN, lambda bucket: f"/home/me/{bucket}") for job in jobs]

    found = unpacked(pack([packed_row(each, {"voice": "f00"}) for each in rows]))

    assert [each["key"] for each in found] == [each["key"] for each in rows]
    assert [each["state"] for each in found] == [each["state"] for each in rows]
    assert found[0]["submitted_at"] == 1_795_309_201_123
    assert found[0]["started_at"] is None
    assert found[0]["voice_size_bytes"] == 7
    assert found[0]["voice_verified"] is True
    assert (found[0]["voice_signature"], found[0]["input_signature"]) == ("f00", None)


def test_no_path_of_this_machine_gets_into_a_page() -> None:
    job = make_job(1, files=(StemFile(Stem.VOICE, "v.mp3"),))

    values = packed_row(row(job, RUN, lambda bucket: f"/home/me/{bucket}"), {})

    assert not any("/home/me" in str(value) for value in values)
    assert not any(name.endswith("path") for name in NAMES)

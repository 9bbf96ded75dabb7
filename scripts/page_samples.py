"""Rows of runs that never were, as the report has them: for the benchmark and the pictures."""

from __future__ import annotations

import hashlib
import random
from heapq import heapreplace
from typing import TYPE_CHECKING, Any

from orchestrator.domain.spec import Place
from orchestrator.domain.time_series import TimeSeries
from orchestrator.reporting.page.places import Places
from orchestrator.reporting.page.totals import facts_of
from orchestrator.reporting.page.writer import PageWriter
from orchestrator.reporting.row import instant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BEGAN = 1_795_309_200.0
PLACE = Place("media-1250000000", "ap-chongqing")
WORDS = ("interview", "lecture", "podcast", "memo", "radio", "court", "call", "lesson")
NAMES = (
    "episode {n}.mp3",
    "Müller Interview {n}.flac",
    "Лекция {n}.m4a",
    "مقابلة {n}.mp3",
    "שיעור {n}.wav",
    "<b>not bold</b> {n}.mp3",
)
FAILURES = (
    ("failed", "ResourceNotSupported", "The input has no audio track."),
    ("failed", "InternalError", "The service failed."),
    ("rejected", "ResourceNotFound", "The object does not exist in the bucket."),
    ("unfinished", "Stalled", "The job has been running for 6 hours without an end."),
)


def many_rows(count: int) -> list[dict[str, Any]]:
    """Return rows as different from each other as in a real run; 3 % failed for one reason."""
    rng = random.Random(7)  # noqa: S311 - the same rows every time
    found = []
    for number in range(count):
        length_s = rng.uniform(60, 600)
        began = BEGAN + number * 0.35
        failure = ("failed", "Timeout", "The task ran into a time limit.")
        name = f"library/{number % 400:03}/episode {number} - {rng.choice(WORDS)}.mp3"
        times = began - 2, began, began + length_s * 0.02
        found.append(
            sample_row(number, name, times, length_s, failure if rng.random() < 0.03 else None)
        )
    return found


def nightly_rows(count: int = 620, workers: int = 10) -> list[dict[str, Any]]:
    """Return rows of a night with failures of several kinds and names of several scripts."""
    rng = random.Random(20261122)  # noqa: S311 - the same rows every time
    free = [BEGAN + n * 0.2 for n in range(workers)]
    found = []
    for number in range(count):
        length_s = rng.lognormvariate(5.2, 0.6)
        began = free[0] + rng.uniform(0.2, 1.5)
        ended = began + 4 + length_s * 0.06
        heapreplace(free, ended)
        failure = FAILURES[min(int(rng.expovariate(1.1)), 3)] if rng.random() < 0.035 else None
        name = rng.choice(NAMES).format(n=number + 1)
        times = max(began - 20, BEGAN), began, ended
        found.append(sample_row(number, f"incoming/{name}", times, length_s, failure))
    return sorted(found, key=lambda row: str(row["finished_at"]))


def nightly_pace(seconds: int) -> dict[str, Any] | None:
    """Return the pace of that night: throttled for a while, slower, and recovered."""
    series = TimeSeries(("sent", "throttled"), ("rate_per_s",))
    for second in range(0, seconds, 2):
        part = second / seconds
        rate = 10.0 if part < 0.3 else max(2.4, 7 - (part - 0.3) * 90) if part < 0.38 else 0.0
        rate = rate or min(10.0, 2.4 + (part - 0.38) * 22)
        series.add(BEGAN + second, "rate_per_s", round(rate, 2))
        series.add(
            BEGAN + second, "sent", round(rate * (0.35 + 0.3 * abs((second * 7) % 11 - 5) / 5))
        )
        if 0.3 <= part < 0.4 and second % 6 == 0:
            series.add(BEGAN + second, "throttled", 4)
    return series.as_dict()


def _hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def sample_row(
    number: int,
    name: str,
    times: tuple[float, float, float],
    length_s: float,
    failure: tuple[str, str, str] | None = None,
) -> dict[str, Any]:
    """Return a row; ``times`` are those of its submit, start and end."""
    stems = {stem: f"stems/{name}/{stem}.mp3" for stem in ("voice", "background")}
    files = [
        {
            "stem": stem,
            "object": key,
            "md5": _hash(key, 32),
            "size_bytes": round(length_s * 16000),
            "verified": True,
        }
        for stem, key in stems.items()
    ]
    state, code, message = failure or ("succeeded", "", "")
    return {
        "schema": "orchestrator.report/1",
        "run": "nightly-20261122T010000Z",
        "key": f"v1.{_hash(f'key {number}', 26)}",
        "state": state,
        "level": (0, 0, 1, 0, 2)[number % 5],
        "input": {
            "bucket": PLACE.bucket,
            "region": PLACE.region,
            "object": name,
            "etag": _hash(f"etag {number}", 32),
        },
        "output": {"bucket": PLACE.bucket, "region": PLACE.region, **stems},
        "job_id": f"j{_hash(f'job {number}', 32)}",
        "queue_id": "p2242ab62c7c94486915508540933a2c6",
        "attempts": 1,
        "adopted": False,
        "code": code,
        "message": message,
        "request_id": f"NjJl{_hash(f'request {number}', 28)}",
        "submitted_at": instant(times[0]),
        "started_at": instant(times[1]),
        "finished_at": instant(times[2]),
        "media_duration_s": round(length_s, 2),
        "files": [] if failure else files,
        "user_data": str(number),
    }


def write_sample(
    path: Path, rows: Sequence[dict[str, Any]], pace: dict[str, Any] | None = None
) -> None:
    """Write the page of such a run."""
    ends = [str(row["finished_at"]) for row in rows]
    minutes = sum(row["media_duration_s"] for row in rows if row["files"]) / 30
    cost = {"estimated": round(minutes * 0.0118, 4), "actual": round(minutes * 0.012, 4)}
    part = {
        "minutes": {"actual": round(minutes, 2), "estimated": round(minutes, 2)},
        "cost": {**cost, "currency": "USD"},
        "unmeasured": 0,
    }
    with PageWriter(Places(path.parent, None)) as writer, path.open("wb") as file:
        for start in range(0, len(rows), 1000):
            writer.write(rows[start : start + 1000])
        facts = facts_of(
            writer.totals,
            manifest="nightly",
            run="nightly-20261122T010000Z",
            entry={
                "opened_at": instant(BEGAN),
                "elapsed_s": 1380.0,
                "calls": {"submits": len(rows) + 23, "queries": 291, "lists": 4, "heads": 12},
            },
            spending={**part, "by_level": {"2": {"jobs": len(rows) // 5, **part}}},
            still={"open": 0, "left": 0},
        )
        more: dict[str, Any] = {
            "notes": [],
            "pace": pace,
            "written_text": max(ends),
            "is_linked": False,
        }
        writer.finish(file, writer.totals | facts | more, {})

"""The stub service of ``scripts/bench backfill``: it keeps every job, and misbehaves on purpose.

Beyond ``bench_stub`` it shows the list of its jobs, newest first, with the filters of the vendor's
list, and plays faults: answers are lost after the job was made, requests are lost before, the
service fails at an unknown point, or it asks to slow down. Which request is spoiled follows from a
fixed seed and the number of the request. ``GET /bench/audit`` says how often each job was made, and
``GET /bench/pace`` how many were made in each second.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench_stub import Connection, Seen, most_in_1s, serve

from orchestrator.domain.clock import SystemClock

JOB_S = 2.0
"""Time that a job takes at the stub."""
PAGE = 100
SHARES = {
    "lost answers": 0.001,
    "lost requests": 0.0005,
    "failed after the job was made": 0.0005,
    "failed before": 0.0005,
}
"""Parts of the POSTs that are spoiled."""
SLOW = "asked to slow down"
SLOW_EVERY, SLOW_FROM, SLOW_FOR = 50_000, 10_000, 20
"""Of so many POSTs, from this one on so many are asked to slow down: the run drops to 70 % of its
rate each time, and needs 17 s to come back."""
READS_FAILED = 0.0005
"""Part of the queries, lists and HEADs that fail."""

_BEIJING = timezone(timedelta(hours=8))
_OBJECT = re.compile(rb"<Input><Object>([^<]*)</Object>").search
_STEMS = re.compile(rb"<Object>([^<]*)</Object><AuObject>([^<]*)</AuObject>").search
_USER_DATA = re.compile(rb"<UserData>([^<]*)</UserData>").search
_HEAD = (
    b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
    b"Connection: keep-alive\r\nServer: tencent-ci\r\n"
    b"x-ci-request-id: NjJmMzI5MmRfOTBmYTUwNjRfNjcwM18x\r\n\r\n"
)
_JOB = (
    b"<JobsDetail><Code>Success</Code><Message/><JobId>%s</JobId><Tag>VoiceSeparate</Tag>"
    b"<State>%s</State><CreationTime>%s</CreationTime><StartTime>%s</StartTime>"
    b"<EndTime>%s</EndTime><QueueId>p0123456789abcdef0123456789abcdef</QueueId>"
    b"<Input><BucketId>media-1250000000</BucketId><Object>%s</Object>"
    b"<Region>ap-chongqing</Region></Input><Operation><VoiceSeparate>"
    b"<AudioMode>AudioAndBackground</AudioMode></VoiceSeparate>%s<UserData>%s</UserData>"
    b"<JobLevel>0</JobLevel></Operation></JobsDetail>"
)
_RESULT = (
    b"<MediaInfo><Format><Duration>13.688163</Duration></Format></MediaInfo><MediaResult>"
    b"<OutputFile><Bucket>media-1250000000</Bucket><ObjectName>%s</ObjectName>"
    b"<ObjectName>%s</ObjectName><Region>ap-chongqing</Region></OutputFile></MediaResult>"
)
_STEM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 219263\r\n"
    b'ETag: "0123456789abcdef0123456789abcdef"\r\n'
    b"Last-Modified: Tue, 01 Jan 2097 00:00:00 GMT\r\nx-cos-request-id: NjJmMzI5MmRf\r\n\r\n"
)
_ERROR = b"<Error><Code>%s</Code><Message>as the script of faults says</Message></Error>"


class Made(NamedTuple):
    """A job: when it was made, its object, the names of its stems, and its user data."""

    at: int
    object: bytes
    voice: bytes
    background: bytes
    user_data: bytes


@dataclass
class Kept(Seen):
    """State of the stub.

    Attributes:
        made: All jobs, in the order in which they were made; the number is the remote id.
        by_object: Numbers of the jobs of each object.
        faults: Faults played, by kind.
        lists: Lists answered.
    """

    made: list[Made] = field(default_factory=list)
    by_object: dict[bytes, list[int]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    lists: int = 0
    clock: SystemClock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - faults

    def stats(self) -> dict[str, Any]:
        """Return ``Seen.stats`` without what takes long, with jobs, lists and faults."""
        times = self.arrived
        return {
            "posts": len(times),
            "jobs": len(self.made),
            "first_at": times[0] if times else None,
            "last_at": times[-1] if times else None,
            "queries": self.queries,
            "heads": self.heads,
            "lists": self.lists,
            "faults": dict(self.faults),
        }

    def audit(self) -> dict[str, Any]:
        """Return how many objects have a job, and which have several."""
        doubled = [name.decode() for name, numbers in self.by_object.items() if len(numbers) > 1]
        return {"jobs": len(self.made), "objects": len(self.by_object), "doubled": doubled[:10]}

    def pace(self) -> dict[str, Any]:
        """Return the POSTs of each second since the first, the most in any, the longest gap."""
        times = self.arrived
        counts = Counter(int(at - times[0]) for at in times)
        gaps = [(later - at, at) for at, later in itertools.pairwise(times)]
        longest_s, after = max(gaps, default=(0.0, 0.0))
        return {
            "by_second": [counts[second] for second in range(max(counts, default=-1) + 1)],
            "most_in_1s": most_in_1s(times),
            "longest_gap_s": longest_s,
            "gap_began_at": after,
        }


class Keeper(Connection):
    """One client connection."""

    def __init__(self, seen: Kept) -> None:
        super().__init__(seen)
        self._kept = seen

    def _answer(self, first_line: bytes, body: bytes) -> bytes:
        method, target, _ = first_line.split(b" ", 2)
        if method == b"POST":
            return self._post(body)
        if target.startswith(b"/bench/"):
            return self._control(target)
        if self._kept.rng.random() < READS_FAILED:
            self._kept.faults["failed reads"] += 1
            return _failed(b"500 Internal Server Error", b"InternalError")
        if method == b"HEAD":
            self._kept.heads += 1
            return _STEM
        if target.startswith(b"/jobs/"):
            return self._query(target[6:])
        return self._list(target) if target.startswith(b"/jobs?") else _whole(b"")

    # --- POSTs

    def _post(self, body: bytes) -> bytes:
        kept = self._kept
        kept.note_post()
        if 0 <= len(kept.arrived) % SLOW_EVERY - SLOW_FROM < SLOW_FOR:
            kept.faults[SLOW] += 1
            return _failed(b"503 Slow Down", b"SlowDown")
        chance = kept.rng.random()
        for fault, share in SHARES.items():
            chance -= share
            if chance < 0:
                kept.faults[fault] += 1
                return self._spoiled(fault, body)
        return self._accept(body)

    def _spoiled(self, fault: str, body: bytes) -> bytes:
        match fault:
            case "failed before":
                return _failed(b"500 Internal Server Error", b"InternalError")
            case "failed after the job was made":
                self._accept(body)
                return _failed(b"500 Internal Server Error", b"InternalError")
            case "lost answers":
                self._accept(body)
            case _:  # the request is lost
                pass
        self._transport.abort()
        return b""

    def _accept(self, body: bytes) -> bytes:
        kept = self._kept
        name, stems, user_data = _OBJECT(body), _STEMS(body), _USER_DATA(body)
        if not (name and stems and user_data):
            return _failed(b"400 Bad Request", b"InvalidArgument")
        number = len(kept.made)
        made = Made(int(kept.clock.now()), name[1], stems[1], stems[2], user_data[1])
        kept.made.append(made)
        kept.by_object.setdefault(made.object, []).append(number)
        return _whole(self._detail_of(number, is_new=True))

    # --- reads

    def _query(self, ids: bytes) -> bytes:
        self._kept.queries += 1
        wanted = ids.replace(b"%2C", b",").split(b",")
        return _whole(b"".join([self._detail_of(int(job_id[1:], 16)) for job_id in wanted]))

    def _list(self, target: bytes) -> bytes:
        kept = self._kept
        kept.lists += 1
        given = {name: values[0] for name, values in parse_qs(target.decode()[6:]).items()}
        last = len(kept.made)
        begin = _first_from(kept.made, given.get("startCreationTime", ""))
        end = _last_until(kept.made, given.get("endCreationTime", ""), last)
        if "inputObject" in given:
            numbers = kept.by_object.get(unquote(given["inputObject"]).encode(), [])
            found = [number for number in reversed(numbers) if begin <= number < end]
            return _whole(b"".join(map(self._detail_of, found)))
        end = min(end, int(given["nextToken"])) if "nextToken" in given else end
        numbers = list(range(end - 1, max(begin, end - PAGE) - 1, -1))
        token = b"<NextToken>%d</NextToken>" % numbers[-1] if end - PAGE > begin else b""
        return _whole(b"".join(map(self._detail_of, numbers)) + token)

    def _detail_of(self, number: int, *, is_new: bool = False) -> bytes:
        made = self._kept.made[number]
        job_id, created = b"j%032x" % number, _wire(made.at)
        if is_new:
            state, started, ended, result = b"Submitted", b"-", b"-", b""
        elif self._kept.clock.now() - made.at < JOB_S:
            state, started, ended, result = b"Running", created, b"-", b""
        else:
            ended, result = _wire(made.at + int(JOB_S)), _RESULT % (made.voice, made.background)
            state, started = b"Success", created
        return _JOB % (
            job_id,
            state,
            created,
            started,
            ended,
            made.object,
            result,
            made.user_data,
        )

    def _control(self, target: bytes) -> bytes:
        kept = self._kept
        answers = {b"audit": kept.audit, b"pace": kept.pace, b"stats": kept.stats}
        return _whole_json(json.dumps(answers[target[7:]]()).encode())


@lru_cache(maxsize=256)  # the jobs of one second have the same times
def _wire(at: int) -> bytes:
    return datetime.fromtimestamp(at, _BEIJING).strftime("%Y-%m-%dT%H:%M:%S%z").encode()


def _instant(text: str) -> float:
    return datetime.fromisoformat(text.replace(" ", "+")).timestamp()


def _first_from(made: list[Made], text: str) -> int:
    return bisect_left(made, _instant(text), key=lambda job: job.at) if text else 0


def _last_until(made: list[Made], text: str, last: int) -> int:
    return bisect_right(made, _instant(text), key=lambda job: job.at) if text else last


def _whole(inner: bytes) -> bytes:
    return _whole_json(b"<Response>%s</Response>" % inner)


def _whole_json(body: bytes) -> bytes:
    return _HEAD % (b"200 OK", len(body)) + body


def _failed(status: bytes, code: bytes) -> bytes:
    body = _ERROR % code
    return _HEAD % (status, len(body)) + body


def main() -> None:
    """Serve until killed, or until standard input ends."""
    kept = Kept()
    serve(lambda: Keeper(kept))


if __name__ == "__main__":
    main()

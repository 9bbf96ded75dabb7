"""A stub service for the benchmarks, in a process and on a core of its own.

It reads just enough HTTP to answer ``POST /jobs``, queries, lists and HEADs as the vendor does. It
records the time of each complete POST and checks no signature, so that the client is measured.
``GET /bench/reset?hold`` (or ``?finish``) begins a measurement in which jobs stay ``Running`` (or
are done at the first query). ``GET /bench/stats`` returns the measurement.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)\r\n").search
_NAMES = re.compile(rb"<Object>([^<]*)</Object><AuObject>([^<]*)</AuObject>").search
_USER_DATA = re.compile(rb"<UserData>([^<]*)</UserData>").search

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
    b"Connection: keep-alive\r\nServer: tencent-ci\r\n"
    b"Date: Mon, 22 Jun 2026 08:00:00 GMT\r\n"
    b"x-ci-request-id: NjJmMzI5MmRfOTBmYTUwNjRfNjcwM18x\r\n\r\n"
)
_JOB = (
    b"<JobsDetail><Code>Success</Code><Message/><JobId>%s</JobId><Tag>VoiceSeparate</Tag><State>%s</State>"
    b"<CreationTime>2026-06-22T16:00:00+0800</CreationTime><StartTime>%s</StartTime><EndTime>%s</EndTime>"
    b"<QueueId>p0123456789abcdef0123456789abcdef</QueueId><Input><BucketId>media-1250000000</BucketId><Object>input</Object>"
    b"<Region>ap-chongqing</Region></Input><Operation><VoiceSeparate><AudioMode>AudioAndBackground</AudioMode></VoiceSeparate>"
    b"<Output><Bucket>media-1250000000</Bucket><Region>ap-chongqing</Region></Output>%s<UserData>%s</UserData><JobLevel>0</JobLevel>"
    b"</Operation></JobsDetail>"
)
_STARTED, _ENDED = b"2026-06-22T16:00:01+0800", b"2026-06-22T16:00:09+0800"
_RESULT = (
    b"<MediaInfo><Format><Duration>13.688163</Duration></Format></MediaInfo><MediaResult><OutputFile><Bucket>media-1250000000</Bucket>"
    b"<ObjectName>%s</ObjectName><ObjectName>%s</ObjectName><Region>ap-chongqing</Region></OutputFile></MediaResult>"
)
_STEM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 219263\r\n"
    b'ETag: "0123456789abcdef0123456789abcdef"\r\n'
    b"Last-Modified: Mon, 22 Jun 2026 08:00:09 GMT\r\nx-cos-request-id: NjJmMzI5MmRf\r\n\r\n"
)


@dataclass
class Seen:
    """State of the stub.

    Attributes:
        finish: True if jobs are done at the first query; otherwise they never end.
        arrived: Times of the complete POSTs.
        queries: Queries answered.
        heads: HEADs answered.
        jobs: Names of the stems (if jobs finish) and user data of open jobs, by id.
    """

    finish: bool = False
    arrived: list[float] = field(default_factory=list)
    queries: int = 0
    heads: int = 0
    jobs: dict[bytes, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def note_post(self) -> None:
        """Record a complete POST."""
        self.arrived.append(perf_counter())

    def reset(self) -> None:
        """Begin a measurement."""
        self.arrived, self.jobs, self.queries, self.heads = [], {}, 0, 0

    def stats(self) -> dict[str, Any]:
        """Return counts, the time from first to last POST, and the most POSTs in any second."""
        times = self.arrived
        return {
            "posts": len(times),
            "span_s": times[-1] - times[0] if times else 0.0,
            "first_at": times[0] if times else None,
            "most_in_1s": most_in_1s(times),
            "queries": self.queries,
            "heads": self.heads,
        }


def most_in_1s(times: Sequence[float]) -> int:
    """Return the most of these sorted instants in any second, its end excluded."""
    most = begin = 0
    for end, at in enumerate(times):
        while at - times[begin] >= 1.0:
            begin += 1
        most = max(most, end - begin + 1)
    return most


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream socket has no other kind

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        data = self._rest + data if self._rest else data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[: end + 2].lower()
            found = _LENGTH(head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(data) < whole:
                break
            self._transport.write(self._answer(data[: data.index(b"\r\n")], data[end + 4 : whole]))
            data = data[whole:]
        self._rest = data

    def _answer(self, first_line: bytes, body: bytes) -> bytes:
        method, target, _ = first_line.split(b" ", 2)
        if method == b"POST":
            return self._accept(body)
        if target.startswith(b"/jobs/"):
            return self._query(target[6:])
        if method == b"HEAD":
            self._seen.heads += 1
            return _STEM
        if target.startswith(b"/bench/"):
            return self._control(target)
        return _xml(b"")

    def _accept(self, body: bytes) -> bytes:
        seen = self._seen
        seen.note_post()
        job_id = b"j%032x" % next(seen.numbers)
        found = _USER_DATA(body)
        user_data = found[1] if found else b""
        names = _NAMES(body) if seen.finish else None
        seen.jobs[job_id] = (names[1], names[2], user_data) if names else (b"", b"", user_data)
        return _xml(_JOB % (job_id, b"Submitted", b"-", b"-", b"", user_data))

    def _query(self, ids: bytes) -> bytes:
        self._seen.queries += 1
        return _xml(
            b"".join([self._detail(job_id) for job_id in ids.replace(b"%2C", b",").split(b",")])
        )

    def _detail(self, job_id: bytes) -> bytes:
        seen = self._seen
        known = seen.jobs.pop(job_id, None) if seen.finish else None
        if known is None:
            # With its key: a job that is answered without one is in doubt, and is waited for.
            user_data = seen.jobs.get(job_id, (b"", b"", b""))[2]
            return _JOB % (job_id, b"Running", _STARTED, b"-", b"", user_data)
        return _JOB % (job_id, b"Success", _STARTED, _ENDED, _RESULT % known[:2], known[2])

    def _control(self, target: bytes) -> bytes:
        seen = self._seen
        if target.startswith(b"/bench/reset"):
            seen.finish = target.endswith(b"?finish")
            seen.reset()
        body = json.dumps(seen.stats()).encode()
        return _HEAD % len(body) + body


def _xml(inner: bytes) -> bytes:
    body = b"<Response>%s</Response>" % inner
    return _HEAD % len(body) + body


# --- the other side: start it and query it ---------------------------------------------------


class Stub:
    """A running stub, seen from a benchmark."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def reset(self, *, finish: bool = False) -> None:
        """Begin a measurement; ``finish`` if jobs shall be done at the first query."""
        self._get(f"/bench/reset?{'finish' if finish else 'hold'}")

    def stats(self) -> dict[str, Any]:
        """See ``Seen.stats``."""
        return self._get("/bench/stats")

    def _get(self, path: str) -> dict[str, Any]:
        with urlopen(self.url + path, timeout=60) as reply:  # noqa: S310 - our own process on loopback
            answer: dict[str, Any] = json.loads(reply.read())
        return answer


@contextmanager
def running_stub(script: str = __file__) -> Iterator[Stub]:
    """Run a stub on the last core, if there are several; ``script`` may be a variant of it."""
    process = subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 - asked for above
        yield Stub(process.stdout.readline().strip(), process.pid)
    finally:
        process.kill()
        process.communicate()


def end_with_parent() -> None:
    """End this process with its standard input: a killed benchmark leaves no stub behind."""
    threading.Thread(target=lambda: sys.stdin.read() or os._exit(0), daemon=True).start()


def pin(place: int) -> None:
    """Pin this process to one of its cores: 0 the first, -1 the last; if the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[place]})


def serve(connection: Callable[[], asyncio.Protocol]) -> None:
    """Print the address of a stub, and serve until killed, or until standard input ends."""
    end_with_parent()
    # Nothing in a stub makes cycles, and with a million jobs a collection would take a second.
    gc.disable()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from orchestrator.cli.interpreter import loop_factory

    async def listen() -> None:
        server = await asyncio.get_running_loop().create_server(
            connection, "127.0.0.1", 0, backlog=1024
        )
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(listen())


def main() -> None:
    """Serve on the last core."""
    pin(-1)
    seen = Seen()
    serve(lambda: Connection(seen))


if __name__ == "__main__":
    main()

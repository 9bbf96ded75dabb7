"""The stub of ``bench_stub`` with stamps of the kernel: when each POST arrived at the service's machine, and when its program read it.

Between the two lies what the service's own process is late by, for example because other programs use its core. For the question of how
many requests a client sent within a second that is a fault of the measurement; so the two are told apart. Where the kernel gives no
stamps (other systems than Linux), the time of arrival is the time of reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from bench_stub import Connection, Seen, end_with_parent, most_in_1s, pin

# Linux's number of this option on the usual processors; Python does not name it.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_PIECE_BYTES = 1 << 18


@dataclass
class Stamped(Seen):
    """What the stub knows.

    Attributes:
        stamp: The kernel's stamp of the piece that is being read, by the wall clock; None if it gave none.
        came: When each POST arrived at the machine, by the wall clock.
        late_s: How much later the program read it, at most.
    """

    stamp: float | None = None
    came: list[float] = field(default_factory=list)
    late_s: float = 0.0

    def note_post(self) -> None:
        """A POST is complete."""
        super().note_post()
        now = time.time()  # noqa: TID251 - the kernel's stamps are of this clock
        at = now if self.stamp is None else self.stamp
        self.came.append(at)
        self.late_s = max(self.late_s, now - at)

    def reset(self) -> None:
        """Begin a measurement."""
        super().reset()
        self.came, self.late_s = [], 0.0

    def stats(self) -> dict[str, Any]:
        """As of any stub; span and the most in a second by when the POSTs arrived, the most in a second by when they were read besides."""
        told = super().stats()
        came = sorted(self.came)
        span_s = came[-1] - came[0] if came else 0.0
        return told | {
            "span_s": span_s,
            "most_in_1s": most_in_1s(came),
            "most_read_in_1s": told["most_in_1s"],
            "late_s": self.late_s,
        }


class _Socket:
    """As much of a transport as the stub's connections use: answers are smaller than any socket's buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.send(data)


class Listener:
    """Accepts connections and reads them with their stamps."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seen: Stamped) -> None:
        self._loop = loop
        self._seen = seen
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._socket.setblocking(False)
        self._ask_for_stamps(self._socket)
        loop.add_reader(self._socket, self._accept)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _ask_for_stamps(self, listening: socket.socket) -> None:
        """On the listening socket, so that connections are born with it and no first request comes before the question."""
        with contextlib.suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def _accept(self) -> None:
        connection, _ = self._socket.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = Connection(self._seen)
        protocol.connection_made(_Socket(connection))  # type: ignore[arg-type]  # it writes, and that is all that is asked of it
        self._loop.add_reader(connection, self._read, connection, protocol)

    def _read(self, connection: socket.socket, protocol: Connection) -> None:
        try:
            data, extras, _, _ = connection.recvmsg(_PIECE_BYTES, 256)
        except ConnectionError:
            data, extras = b"", []
        if not data:
            self._loop.remove_reader(connection)
            connection.close()
            return
        self._seen.stamp = _stamp(extras)
        protocol.data_received(data)


def _stamp(extras: list[tuple[int, int, bytes]]) -> float | None:
    """The kernel's stamp among what came with a piece."""
    for level, kind, data in extras:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return None


async def _serve() -> None:
    listener = Listener(asyncio.get_running_loop(), Stamped())
    print(listener.url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed, or until standard input ends."""
    end_with_parent()
    pin(-1)
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(
            PermissionError
        ):  # ahead of the programs that share the core: a service has a machine of its own
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    gc.disable()  # there are no cycles here, and a collection would be taken for a rush of requests
    asyncio.run(_serve())


if __name__ == "__main__":
    main()

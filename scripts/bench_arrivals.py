"""The stub of ``bench_stub`` with the kernel's time stamps of arriving POSTs.

A POST may arrive at the machine before the stub's process reads it, for example because other
programs use its core. For the rate of the client that delay is a measurement error, so the two
times are kept apart. If the kernel gives no stamps (systems other than Linux), they are the same.
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
    """State of the stub.

    Attributes:
        stamp: The kernel's wall-clock stamp of the piece that is being read, or None.
        came: Wall-clock times at which the POSTs arrived at the machine.
        late_s: Longest delay until the program read one.
    """

    stamp: float | None = None
    came: list[float] = field(default_factory=list)
    late_s: float = 0.0

    def note_post(self) -> None:
        """Record a complete POST."""
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
        """Return ``Seen.stats`` by time of arrival, the times, and the most POSTs read in 1 s."""
        read = super().stats()
        came = sorted(self.came)
        span_s = came[-1] - came[0] if came else 0.0
        return read | {
            "span_s": span_s,
            "most_in_1s": most_in_1s(came),
            "most_read_in_1s": read["most_in_1s"],
            "late_s": self.late_s,
            "came": came,
        }


class _Socket:
    """The part of a transport that the stub uses; answers always fit into a socket's buffer."""

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
        """Set the option on the listening socket, so that its connections inherit it."""
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
    """Return the kernel's stamp from the ancillary data of a piece, or None."""
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
        # Take precedence on the core: a real service has a machine of its own.
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    gc.disable()  # no cycles here, and a collection would look like a burst of requests
    asyncio.run(_serve())


if __name__ == "__main__":
    main()

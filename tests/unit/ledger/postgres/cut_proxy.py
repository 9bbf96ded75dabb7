"""A proxy before PostgreSQL that cuts connections at chosen moments."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class CutProxy:
    """Forwards connections to a server; a context manager.

    Args:
        port: Port of the server.

    Attributes:
        port: Its own port.
        before: Cut a connection that sends one of these words, and do not pass it on.
        after: Pass such a word on, and cut the connection when the answer comes.
        cuts: Number of cuts that are still to be made.
        made: Number of cuts that were made.
        is_down: Refuse new connections.
        leaves_server: Do not let the server know of a cut.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.before = self.after = b""
        self.cuts = 0
        self.made = 0
        self.is_down = False
        self.leaves_server = False
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for one in self._open:
            _close(one)
        self._open.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_down:
                    _close(client)
                    continue
                server = socket.create_connection(("127.0.0.1", self._server))
                self._open += [client, server]
                is_cut = threading.Event()
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(*ends, is_cut), daemon=True).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, is_up: bool, is_due: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if is_up and self.before and self.before in data and self._may_cut():
                    break
                if not is_up and is_due.is_set():
                    break
                if is_up and self.after and self.after in data and self._may_cut():
                    is_due.set()
                target.sendall(data)
        if is_up or not self.leaves_server:
            _close(source)
        if not is_up or not self.leaves_server:
            _close(target)

    def _may_cut(self) -> bool:
        if self.cuts <= 0:
            return False
        self.cuts -= 1
        self.made += 1
        return True


def _close(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()

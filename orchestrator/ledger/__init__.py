"""Durable state of the jobs of one manifest: open a ledger here, use it as ``ports.Ledger``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.domain.home import with_home
from orchestrator.errors import ConfigError
from orchestrator.postgresql import SCHEMES, is_address, parse_address

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.ports import Ledger

_SQLITE = "sqlite:///"


def ledger_path(url_or_path: str | Path) -> Path:
    """Return the file of a ledger named by path or as ``sqlite:///path``.

    An absolute path has four slashes: ``sqlite:////var/lib/nightly.db``.

    Raises:
        ConfigError: If another kind of database is named, or none.
    """
    text = str(url_or_path)
    if "://" not in text:
        if text.partition(":")[0] in {*SCHEMES, "sqlite"} and ":" in text:
            raise ConfigError(f"The ledger {text} looks like an address. Write it with ://.")
        path = text
    elif text.startswith(_SQLITE):
        path = text.removeprefix(_SQLITE)
    else:
        shown = re.sub("//.*@", "//...@", text)  # a user and perhaps a password
        raise ConfigError(
            f"A ledger cannot be kept at {shown}. Name a file, for example --ledger nightly.db, or "
            "a database in PostgreSQL: --ledger postgresql://USER@HOST/DATABASE."
        )
    if not path:
        raise ConfigError(
            f"The ledger {text!r} names no file. Name one, for example --ledger nightly.db."
        )
    return with_home(path)


def open_ledger(url_or_path: str | Path, *, read_only: bool = False) -> Ledger:
    """Open a ledger; make it if it is missing. Close it with ``await ledger.close()``.

    Args:
        url_or_path: File name, ``sqlite:///path``, or ``postgresql://user@host/database``.
        read_only: Only read, while a run may work on it. A missing ledger reads as an empty one,
            and nothing is made.

    Raises:
        ConfigError: If the ledger's name cannot be used.
        LedgerCorrupt: If the file is damaged, of another kind or of another version.
        LedgerFull: If the disk has no space for it.
        LedgerDisplaced: If its file has a second name (a hard link).
        LedgerError: If it cannot be opened for another reason.
    """
    if is_address(str(url_or_path)):
        return _open_database(str(url_or_path), read_only=read_only)
    path = ledger_path(url_or_path)
    file = _behind_links(path)
    from orchestrator.ledger.group_commit import GroupWriter
    from orchestrator.ledger.lease import FileLease, LedgerLock
    from orchestrator.ledger.sql_ledger import SqlLedger
    from orchestrator.ledger.sqlite import SqliteStore

    writer = GroupWriter(SqliteStore(file, path.absolute(), read_only=read_only))
    lease = FileLease(LedgerLock(file.with_name(file.name + ".lock")))
    return SqlLedger(writer, lease, str(path))


def _open_database(url: str, *, read_only: bool) -> Ledger:
    from orchestrator.ledger.group_commit import GroupWriter
    from orchestrator.ledger.postgres.store import NoLedger, PostgresStore
    from orchestrator.ledger.sql_ledger import SqlLedger
    from orchestrator.ledger.sqlite import SqliteStore

    store = PostgresStore(parse_address(url), read_only=read_only)
    try:
        writer = GroupWriter(store)
    except NoLedger:
        writer = GroupWriter(SqliteStore.empty())
    return SqlLedger(writer, store.lease, url)


def _behind_links(path: Path) -> Path:
    """Return the file that a path leads to: a ledger has one lock, whatever name opens it.

    Raises:
        ConfigError: If its symbolic links lead nowhere, or to something that cannot hold a ledger.
    """
    try:
        file = path.resolve()
        is_odd = file.exists() and not file.is_file() and not file.is_dir()
    # Python 3.11 and 3.12 raise RuntimeError for a loop of links.
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"The ledger {path} cannot be found: {error}. "
            "Fix its symbolic links, or name another file."
        ) from error
    if is_odd:
        raise ConfigError(
            f"The ledger {path} is a device or a pipe. "
            "Name a file, for example --ledger nightly.db."
        )
    return file

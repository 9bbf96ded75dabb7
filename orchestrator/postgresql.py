"""PostgreSQL: addresses as users write them, connections, and what its errors mean.

The driver is an extra. Passwords come from where libpq looks for them (``PGPASSWORD``,
``~/.pgpass``, a service file), never from an address: addresses are shown in messages and in lists
of processes.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from orchestrator.errors import ConfigError, LedgerError, LedgerFull, LedgerMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

SCHEMES: Final = ("postgresql", "postgres")
DEFAULT_SCHEMA: Final = "orchestrator"
DEFAULT_LEASE_S: Final = 15.0
_LEASE_BOUNDS_S = 1.0, 600.0
_EXAMPLE = "postgresql://USER@HOST/DATABASE"
_UNREADABLE = f"The address of the ledger cannot be read. Write {_EXAMPLE}."
_MOST_BYTES = 63  # of a name in PostgreSQL; it cuts longer ones without an error
_SCHEMA = re.compile(r"[^\W\d][\w$-]{0,39}")
_SECRET = frozenset({"password", "sslpassword"})
# A host that vanishes is noticed after 20 to 25 s, also while an answer is awaited.
_USUAL: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "orchestrator",
}
_VARIABLES: Final = {"connect_timeout": "PGCONNECT_TIMEOUT", "application_name": "PGAPPNAME"}
_LOCK_TIMEOUT_MS = 10_000
_STATEMENT_TIMEOUT_MS = 600_000  # a million leftovers may be dropped in one statement
_SERVER_KEEPALIVE_S = 10

LOST_STATES: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})
"""The server ended the session, or is starting or stopping."""


@dataclass(frozen=True, slots=True)
class Address:
    """Place of a ledger in PostgreSQL.

    Attributes:
        text: The address as the user wrote it.
        server: The part that libpq reads.
        schema: Schema of what ledgers share; the first part of the names of their schemas.
        name: Name of the ledger; empty if it is not known.
        lease_s: Time after which another process may take over from one that is silent.
    """

    text: str
    server: str
    schema: str = DEFAULT_SCHEMA
    name: str = ""
    lease_s: float = DEFAULT_LEASE_S

    def __str__(self) -> str:
        """Return the address for messages."""
        return self.text

    @property
    def ledger_schema(self) -> str:
        """Schema of this ledger's own tables."""
        whole = f"{self.schema}/{self.name}"
        if len(whole) <= _MOST_BYTES:  # names of ledgers are ASCII
            return whole
        digest = sha256(whole.encode()).hexdigest()[:8]
        return f"{whole[: _MOST_BYTES - 9]}~{digest}"


def is_address(text: str) -> bool:
    """Return True if ``text`` names a database of PostgreSQL and not a file."""
    return text.partition("://")[0] in SCHEMES and "://" in text


def with_name(text: str, name: str) -> str:
    """Return the address with the name of a ledger, unless it has one."""
    address = parse_address(text)
    if address.name:
        return text
    return f"{text}{'&' if '?' in text else '?'}name={quote(name)}"


def parse_address(text: str) -> Address:
    """Return the parts of ``postgresql://user@host:port/database?schema=...``.

    Raises:
        ConfigError: If it has a password, or a part that cannot be used.
    """
    try:
        url = urlsplit(text)
        has_password = url.password is not None
        _ = url.port if "," not in url.netloc else None  # libpq takes several hosts
        values = dict(parse_qsl(url.query, keep_blank_values=True))
    except ValueError:  # what it says may contain a part of a password
        raise ConfigError(_UNREADABLE) from None
    # A password with a slash or a question mark in it ends up in one of these places.
    if "@" in url.path + url.query + url.fragment:
        raise ConfigError(_UNREADABLE)
    if has_password or _SECRET & values.keys():
        raise ConfigError(
            "The address of the ledger contains a password, which other users of this machine "
            f"could read. Write {_EXAMPLE} and put the password into ~/.pgpass, a service file or "
            "the environment variable PGPASSWORD."
        )
    schema = values.pop("schema", DEFAULT_SCHEMA)
    if not _SCHEMA.fullmatch(schema) or not schema.isascii():
        raise ConfigError(
            f"The ledger's schema {schema!r} cannot be used. Write at most 40 letters, digits, "
            "'_', '-' and '$', and begin with a letter."
        )
    name = values.pop("name", "")
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", name):
        raise ConfigError(
            f"The ledger's name {name!r} cannot be used. "
            "Write at most 64 letters, digits, '.', '_' and '-'."
        )
    lease_s = _lease_of(values.pop("lease", ""))
    query = urlencode(values, quote_via=quote, safe="/")
    server = f"{url.scheme}://{url.netloc}{url.path}{'?' if query else ''}{query}"
    return Address(text, server, schema, name, lease_s)


def _lease_of(text: str) -> float:
    if not text:
        return DEFAULT_LEASE_S
    low, high = _LEASE_BOUNDS_S
    try:
        lease_s = float(text.removesuffix("s"))
    except ValueError:
        lease_s = 0.0
    if not low <= lease_s <= high:
        raise ConfigError(
            f"The ledger's lease={text} cannot be used. Write seconds from {low:g} to {high:g}, "
            "for example lease=15."
        )
    return lease_s


# --- connections


def driver() -> Any:
    """Return the driver's module.

    Raises:
        ConfigError: If it is not installed, or its library cannot be loaded.
    """
    try:
        import psycopg
    except ImportError as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"fails ({error})"
        raise ConfigError(
            f"A ledger in PostgreSQL needs psycopg, which {why}. "
            "Run: pip install 'voiceseparate-orchestrator[postgres]'"
        ) from error
    # It warns of connections that are lost in the middle of a message; errors say that here.
    logger = logging.getLogger("psycopg")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.ERROR)
    return psycopg


def connect(
    address: Address, schema: str, *, read_only: bool = False, idle_s: float = 0.0
) -> Connection[Any]:
    """Open a connection whose statements are transactions of their own.

    Args:
        address: The database.
        schema: Its tables are meant by names without a schema.
        read_only: Refuse changes.
        idle_s: The server ends the session if it idles in a transaction for this time; 0: never.

    Raises:
        ConfigError: If the driver is missing, or the address or one of its parameters cannot be
            used.
        psycopg.Error: If the server cannot be reached, or refuses.
    """
    psycopg = driver()
    try:
        given = psycopg.conninfo.conninfo_to_dict(address.server)
    except psycopg.ProgrammingError as error:
        raise ConfigError(
            f"The address of the ledger {address} cannot be read: {_first_line(error)}."
        ) from None
    usual = {
        name: value
        for name, value in _USUAL.items()
        if name not in given and not os.environ.get(_VARIABLES.get(name, ""))
    }
    try:
        conn: Connection[Any] = psycopg.connect(
            **{**given, **usual}, client_encoding="UTF8", autocommit=True
        )
    except psycopg.Error as error:
        if fault := _parameter_fault(address, str(error), given):
            raise ConfigError(fault) from error
        raise
    settings = {
        "search_path": f'"{schema}"',
        "lock_timeout": f"{_LOCK_TIMEOUT_MS}",
        "statement_timeout": f"{_STATEMENT_TIMEOUT_MS}",
        "idle_in_transaction_session_timeout": f"{round(idle_s * 1000)}",
        "tcp_keepalives_idle": f"{_SERVER_KEEPALIVE_S}",
        "tcp_keepalives_interval": f"{_SERVER_KEEPALIVE_S // 2}",
        "tcp_keepalives_count": "3",
    }
    settings |= {"default_transaction_read_only": "on"} if read_only else {}
    own = given.get("options") or ""  # what the user sets in the address counts
    settings = {name: value for name, value in settings.items() if f"{name}=" not in own}
    try:
        chosen = ", ".join(f"set_config('{name}', %s, false)" for name in settings)
        conn.execute(f"SELECT {chosen}", list(settings.values()))
        # A commit that is acknowledged must be on the disk, whatever the server's default is.
        conn.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
    except BaseException:
        conn.close()
        raise
    return conn


# --- parameters of libpq

_WRONG_VALUES: Final = (
    (r'invalid "?(?P<name>\w+)"? value: "(?P<value>[^"]*)"', ""),
    (
        r'invalid integer value "(?P<value>[^"]*)" for connection option "(?P<name>\w+)"',
        "Write a whole number.",
    ),
    (r"bad value for (?P<name>\w+): '(?P<value>[^']*)'", "Write a whole number of seconds."),
    (r'invalid (?P<name>port) number: "(?P<value>[^"]*)"', "Write a number from 1 to 65535."),
    (
        r'could not parse network address "(?P<hostaddr>[^"]*)"',
        "Write numbers, or name the host with host.",
    ),
    (
        r'root certificate file "(?P<sslrootcert>[^"]*)"',
        "Name the file of the server's authority, or write sslrootcert=system.",
    ),
    (
        r'[^e] certificate file "(?P<sslcert>[^"]*)"',
        "Name the file of your certificate, or leave it out.",
    ),
    (
        r'private key file "(?P<sslkey>[^"]*)"',
        "Name the file of your certificate's key, which only you may read.",
    ),
)
"""Texts of libpq and the driver about a value that cannot be used, and what the user can write."""
_VALUES: Final = {
    "sslmode": "disable, allow, prefer, require, verify-ca or verify-full",
    "target_session_attrs": "any, read-write, read-only, primary, standby or prefer-standby",
    "load_balance_hosts": "disable or random",
    "gssencmode": "disable, prefer or require",
    "channel_binding": "disable, prefer or require",
}
_NO_SSL: Final = "server does not support SSL, but SSL was required"
_UNEQUAL: Final = re.compile(r"could not match \d+ [^\n]*")


def _parameter_fault(address: Address, said: str, given: Mapping[str, Any]) -> str:
    """Return what is wrong with a parameter of a connection; empty if that is not the reason.

    Args:
        address: The database.
        said: The driver's text.
        given: The parameters that the address has.
    """
    for pattern, advice in _WRONG_VALUES:
        if found := re.search(pattern, said):
            parts = found.groupdict()
            name, value = parts.get("name"), parts.get("value")
            if name is None or value is None:
                name, value = next(iter(parts.items()))
            return _wrong_value(address, name, value, advice, is_written=name in given)
    if _NO_SSL in said:
        mode = given.get("sslmode") or _defaults()["sslmode"].val.decode()
        return (
            f"The server of the ledger {address} has no encryption, and sslmode={mode} asks for "
            "it. Switch SSL on at the server, or write sslmode=prefer."
        )
    if found := _UNEQUAL.search(said):
        return (
            f"The address of the ledger {address} cannot be used: {found[0]}. Write one for each "
            "host, separated by commas."
        )
    return ""


def _defaults() -> dict[str, Any]:
    """Return libpq's parameters by name, with their variables and what these say."""
    return {one.keyword.decode(): one for one in driver().pq.Conninfo.get_defaults()}


def _wrong_value(address: Address, name: str, value: str, advice: str, *, is_written: bool) -> str:
    """Return the sentence about a value that cannot be used, with the place where it is set."""
    if name in _VALUES:
        advice = f"Write {_VALUES[name]}."
    advice = advice or "The documentation of libpq has its values, under Parameter Key Words."
    found = _defaults().get(name)
    variable = (found.envvar or b"").decode() if found is not None else ""
    place = f"The address of the ledger {address} has {name}={value}"
    if not is_written and os.environ.get(variable):
        place = f"The environment variable {variable}, for the ledger {address}, is {value!r}"
    elif not is_written:
        place = f"The ledger {address} has {name}={value} from a service file"
    return f"{place}, which cannot be used. {advice}"


# --- errors


def is_lost(error: BaseException) -> bool:
    """Return True if the connection was lost, or cannot be made at this moment."""
    psycopg = driver()
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    state = error.sqlstate
    return state is None or state.startswith("08") or state in LOST_STATES


def cause_of(address: Address, error: BaseException) -> str:
    """Return what an error of the driver says: one plain phrase, without its details.

    libpq names the server and adds advice of its own; with several hosts it says that of each.
    """
    text = str(error).strip()
    if failed := _FAILED.findall(text):
        return "; ".join(dict.fromkeys(_failure(*one) for one in failed))
    line = _first_line(error)
    if unknown := _UNKNOWN_HOST.search(line):
        return f"the host {unknown[1]} is not known"
    if unknown := _UNKNOWN_SERVICE.search(line):
        return f"the service {unknown[1]} is not in ~/.pg_service.conf or PGSERVICEFILE"
    for word, phrase in _PHRASES.items():
        if word in line:
            return phrase.format(place=place_of(address))
    return _OWN_WORDS.sub("", line)


def _failure(host: str, port: str, socket: str, said: str) -> str:
    """Return what became of one try to connect."""
    place = f"the socket {socket}" if socket else f"{host} port {port}"
    for word, phrase in _PHRASES.items():
        if word in said:
            return phrase.format(place=place)
    return f"{place}: {_OWN_WORDS.sub('', said).strip().rstrip('.')}"


def place_of(address: Address) -> str:
    """Return host and port that an address names, for an error that names none."""
    psycopg = driver()
    given = psycopg.conninfo.conninfo_to_dict(address.server)
    if given.get("service"):
        return f"the service {given['service']}"
    usual = {name: one.val.decode() for name, one in _defaults().items() if one.val}
    host = given.get("host") or given.get("hostaddr") or usual.get("host") or "this machine"
    return f"{host} port {given.get('port') or usual.get('port')}"


def _database_of(address: Address) -> str:
    """Return the name of the database in words, for messages; empty if the address has none."""
    name = urlsplit(address.server).path.removeprefix("/")
    return f" (database {name})" if name else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


# What libpq and the driver say of a server that is out of reach, with its host in front or not.
_FAILED: Final = re.compile(
    r'connection to server (?:at "([^"]*)"(?: \([^)]*\))?, port (\d+)|on socket "([^"]*)")'
    r" failed: ([^\n]*)"
)
_UNKNOWN_HOST: Final = re.compile(
    r"(?:failed to resolve host|could not translate host name) ['\"]([^'\"]*)['\"]"
)
_UNKNOWN_SERVICE: Final = re.compile(r'definition of service "([^"]*)" not found')
_OWN_WORDS: Final = re.compile(
    r"^(?:connection failed|connection is bad|consuming input failed|FATAL): *"
)
_PHRASES: Final = {
    "Connection refused": "no PostgreSQL server listens at {place}",
    "No such file or directory": "no PostgreSQL server listens at {place}",
    "timeout expired": "the server at {place} does not answer",
    "timed out": "the server at {place} does not answer",
    "No route to host": "no network leads to {place}",
    "Network is unreachable": "no network leads to {place}",
    "server closed the connection unexpectedly": "the server at {place} closed the connection",
    "the connection is lost": "the connection to {place} was lost",
    "the connection is closed": "the connection to {place} was lost",
    "Connection reset": "the connection to {place} was lost",
    "terminating connection": "the server at {place} ended the connection",
    "the database system is": "the server at {place} is starting or stopping",
    "no password supplied": "the server at {place} asks for a password",
}


def explained(address: Address, error: BaseException) -> LedgerError:
    """Return the error that says what went wrong with a database, and what the user can do."""
    state = getattr(error, "sqlstate", None) or ""
    said = cause_of(address, error)
    if not state:
        state = next((state for word, state in _STATES.items() if word in str(error)), "")
    if state == _REFUSED:
        return LedgerError(
            f"The server of the ledger {address} refuses the connection ({said}). Check the names "
            "of user and database, and put the password into ~/.pgpass or PGPASSWORD."
        )
    if is_lost(error) and state not in _MEANINGS:
        return LedgerError(
            f"The ledger {address} cannot be reached: {said}{_database_of(address)}. What was "
            "recorded is safe: start the server or repair the network, then run again to resume."
        )
    if state in {"53100", "53200"}:
        return LedgerFull(
            f"The server of the ledger {address} has no space left ({said}). What was recorded is "
            "safe: free some space, then run again to resume."
        )
    if state.startswith("23"):
        return LedgerMismatch(
            f"The ledger {address} refused a contradiction ({said}). "
            "This is a defect of orchestrator: please report it."
        )
    text = _MEANINGS.get(state) or _MEANINGS.get(state[:2]) or "cannot be used ({said})."
    return LedgerError(f"The ledger {address} {text.format(said=said)}")


# libpq gives no state with a refused connection, only the server's words; the first that fit count.
_REFUSED: Final = "28000"
_STATES: Final = {
    "too many clients": "53300",
    "connection slots": "53300",
    "the database system is": "57P03",
    "terminating connection": "57P01",
    "FATAL:": _REFUSED,
    "no password supplied": _REFUSED,
}
_MEANINGS: Final = {
    "25006": "accepts no changes ({said}): the server is a standby, or was set to read-only. Name "
    "the primary, for example with target_session_attrs=read-write in the address.",
    "42501": "may not be used by this user ({said}). Ask the owner of the database for the right, "
    "or name another user.",
    "42P01": "lost its tables while it was used ({said}). Restore them from a backup; a new ledger "
    "looks for its jobs at the service first.",
    "53300": "has no free connection ({said}). Run again later, or raise max_connections.",
    "55P03": "is locked by another session of the database ({said}), perhaps a backup or a "
    "migration. Run again when it is done.",
    "57014": "took too long for a statement ({said}). Look at the load of the server, then run "
    "again to resume.",
}

"""Addresses of databases: what they mean, and that no password is ever shown."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.ledger import ledger_path
from orchestrator.postgresql import (
    Address,
    cause_of,
    connect,
    explained,
    is_address,
    parse_address,
    with_name,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("postgresql://u@h/db", Address("", "postgresql://u@h/db")),
        ("postgres://h:5433/db?name=n", Address("", "postgres://h:5433/db", name="n")),
        (
            "postgresql://u@h/db?schema=jobs&name=a.b-c_d&lease=30&sslmode=require",
            Address("", "postgresql://u@h/db?sslmode=require", "jobs", "a.b-c_d", 30.0),
        ),
        (
            "postgresql://u@h1:1,h2:2/db?lease=2.5s",
            Address("", "postgresql://u@h1:1,h2:2/db", lease_s=2.5),
        ),
        ("postgresql:///db?host=/var/run", Address("", "postgresql:///db?host=/var/run")),
        ("postgresql://?service=jobs", Address("", "postgresql://?service=jobs")),
    ],
)
def test_an_address_has_parts_of_ours_and_of_libpq(text: str, wanted: Address) -> None:
    found = parse_address(text)
    assert found == Address(text, *(getattr(wanted, name) for name in _PARTS))
    assert str(found) == text


_PARTS = ["server", "schema", "name", "lease_s"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("schema=with%20space", "schema 'with space' cannot be used"),
        ("schema=1x", "begin with a letter"),
        ("schema=" + "x" * 41, "at most 40"),
        ("schema=", "cannot be used"),
        ("name=a/b", "name 'a/b' cannot be used"),
        ("lease=soon", "lease=soon cannot be used"),
        ("lease=0.5", "from 1 to 600"),
        ("lease=601", "from 1 to 600"),
        ("lease=nan", "from 1 to 600"),
    ],
)
def test_a_part_that_cannot_be_used_is_an_error(parameters: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_address(f"postgresql://u@h/db?{parameters}")


def test_the_name_of_the_manifest_is_added_unless_there_is_one() -> None:
    assert with_name("postgresql://h/db", "n") == "postgresql://h/db?name=n"
    assert with_name("postgresql://h/db?schema=s", "n") == "postgresql://h/db?schema=s&name=n"
    assert with_name("postgresql://h/db?name=m", "n") == "postgresql://h/db?name=m"


def test_files_are_not_addresses() -> None:
    for text in ("nightly.db", "sqlite:///nightly.db", "postgresql:nightly.db", "postgresql"):
        assert not is_address(text)
    assert is_address("postgres://h/db")


def test_long_names_have_schemas_of_their_own() -> None:
    names = [f"{'x' * 63}{end}" for end in "ab"]
    schemas = {parse_address(f"postgresql://h/db?name={name}").ledger_schema for name in names}
    assert len(schemas) == 2
    assert {len(schema) for schema in schemas} == {63}
    assert parse_address("postgresql://h/db?name=n").ledger_schema == "orchestrator/n"


REFUSED = (
    'connection failed: connection to server at "{host}", port {port} failed: Connection refused'
    "\n\tIs the server running on that host and accepting TCP/IP connections?"
)
FIRST, SECOND = REFUSED.format(host="10.0.0.1", port=1), REFUSED.format(host="10.0.0.2", port=2)
FATAL = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: FATAL:  {said}'


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (FIRST, "cannot be reached: no PostgreSQL server listens at 10.0.0.1 port 1 (database j)"),
        (
            (
                f"{SECOND}\nMultiple connection attempts failed:\n- host: 'a', port: '1': {FIRST}"
                f"\n- host: 'b', port: '2': {SECOND}"
            ),
            (
                "no PostgreSQL server listens at 10.0.0.2 port 2; "
                "no PostgreSQL server listens at 10.0.0.1 port 1 (database j)"
            ),
        ),
        (
            (
                'connection is bad: connection to server on socket "/run/.s.PGSQL.5432" failed: '
                "No such file or directory\n\tIs the server running locally and accepting ...?"
            ),
            "no PostgreSQL server listens at the socket /run/.s.PGSQL.5432",
        ),
        ("connection timeout expired", "the server at db.example port 5499 does not answer"),
        (
            "failed to resolve host 'db.example': [Errno -2] Name or service not known",
            "the host db.example is not known",
        ),
        (
            (
                "consuming input failed: server closed the connection unexpectedly\n\tThis "
                "probably means the server terminated abnormally\n\tbefore or while processing."
            ),
            "the server at db.example port 5499 closed the connection",
        ),
        ("the connection is closed", "the connection to db.example port 5499 was lost"),
        (
            FATAL.format(said="the database system is starting up"),
            "cannot be reached: the server at 10.0.0.1 port 5432 is starting or stopping",
        ),
        (
            FATAL.format(said='role "u" does not exist'),
            'refuses the connection (10.0.0.1 port 5432: role "u" does not exist). Check',
        ),
        (
            FATAL.format(said="sorry, too many clients already"),
            "has no free connection (10.0.0.1 port 5432: sorry, too many clients already). Run",
        ),
        (
            'connection is bad: definition of service "jobs" not found',
            "the service jobs is not in ~/.pg_service.conf or PGSERVICEFILE",
        ),
    ],
)
def test_an_error_of_the_driver_becomes_a_plain_sentence(said: str, wanted: str) -> None:
    address = parse_address("postgresql://u@db.example:5499/j?name=n")

    text = str(explained(address, psycopg.OperationalError(said)))

    assert wanted in text
    assert "\n" not in text
    for raw in ("connection failed", "connection is bad", "Is the server running", "FATAL"):
        assert raw not in text


def test_what_an_address_leaves_out_is_what_libpq_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = psycopg.OperationalError("the connection is closed")
    texts = [cause_of(parse_address("postgresql:///j"), lost)]
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGPORT", "5433")
    texts.append(cause_of(parse_address("postgresql:///j"), lost))
    texts.append(cause_of(parse_address("postgresql://?service=jobs"), lost))
    assert texts == [
        "the connection to this machine port 5432 was lost",
        "the connection to db.example port 5433 was lost",
        "the connection to the service jobs was lost",
    ]


passwords = st.text("sS1/?#@:&=[]+,", min_size=5, max_size=12)


@given(passwords)
def test_a_password_is_refused_and_not_shown(password: str) -> None:
    for text in (
        f"postgresql://u:{password}@h/db",
        f"postgresql://u:{password}@h:5432/db?schema=s",
        f"postgresql+psycopg://u:{password}@h/db",
        f"mysql://u:{password}@h/db",
    ):
        with pytest.raises(ConfigError) as raised:
            _ = parse_address(text) if is_address(text) else ledger_path(text)
        assert password not in str(raised.value)
        assert f":{password[:4]}" not in str(raised.value)


NOT_LISTENING = "postgresql://u@127.0.0.1:1/db"


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ("sslmode=bogus", "has sslmode=bogus, which cannot be used. Write disable, allow"),
        ("target_session_attrs=rw", "has target_session_attrs=rw, which cannot be used. Write any"),
        ("ssl_min_protocol_version=9", "has ssl_min_protocol_version=9, which cannot be used."),
        ("require_auth=fingerprint", "has require_auth=fingerprint, which cannot be used."),
        ("keepalives=abc", "has keepalives=abc, which cannot be used. Write a whole number."),
        ("keepalives_idle=x", "has keepalives_idle=x, which cannot be used."),
        ("connect_timeout=soon", "has connect_timeout=soon, which cannot be used. Write a whole"),
        ("port=99999", "has port=99999, which cannot be used. Write a number from 1 to 65535."),
        ("hostaddr=db", "has hostaddr=db, which cannot be used. Write numbers"),
        ("hostaddr=127.0.0.1,127.0.0.2", "could not match 1 host names with 2 hostaddr values"),
        ("sslmod=require", 'cannot be read: invalid URI query parameter: "sslmod"'),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value(parameters: str, wanted: str) -> None:
    """It is a fault of the address, and not a server that cannot be reached."""
    with pytest.raises(ConfigError) as raised:
        connect(parse_address(f"{NOT_LISTENING}?{parameters}"), "s")

    assert wanted in str(raised.value)
    assert NOT_LISTENING in str(raised.value)


def test_a_wrong_parameter_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the variable is named."""
    monkeypatch.setenv("PGSSLMODE", "bogus")

    with pytest.raises(ConfigError, match=r"variable PGSSLMODE, .* is 'bogus', which cannot"):
        connect(parse_address(NOT_LISTENING), "s")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ('root certificate file "/r" does not exist', "has sslrootcert=/r, which cannot"),
        ('could not read root certificate file "/r": no certificate', "has sslrootcert=/r, which"),
        ('could not open certificate file "/c": No such file', "has sslcert=/c, which"),
        ('private key file "/k" has group or world access', "has sslkey=/k, which"),
        ("server does not support SSL, but SSL was required", "sslmode=verify-full asks for it"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    said: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These texts are those of libpq 18; they come only from a server with encryption."""

    def refuse(**_: object) -> None:
        text = f'connection failed: connection to server at "127.0.0.1", port 1 failed: {said}'
        raise psycopg.OperationalError(text)

    monkeypatch.setattr(psycopg, "connect", refuse)
    files = "sslmode=verify-full&sslrootcert=/r&sslcert=/c&sslkey=/k"

    with pytest.raises(ConfigError) as raised:
        connect(parse_address(f"{NOT_LISTENING}?{files}"), "s")

    assert wanted in str(raised.value)


def test_a_server_that_does_not_listen_is_not_a_fault_of_the_address() -> None:
    """The error stays the driver's, so that a run waits for the server."""
    with pytest.raises(psycopg.OperationalError):
        connect(parse_address(f"{NOT_LISTENING}?sslmode=prefer"), "s")

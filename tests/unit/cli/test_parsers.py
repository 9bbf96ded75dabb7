"""The values of command line options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.options import read_sets
from orchestrator.cli.parsers import (
    read_address,
    read_allowance,
    read_canary,
    read_cluster,
    read_cost,
    read_duration_s,
    read_interval_s,
    read_retry,
    read_workers,
)
from orchestrator.domain.states import JobState
from orchestrator.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5h", 5400),
        ("15m", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1d", 86400),
        ("2H", 7200),
        ("0.5", 0.5),
    ],
)
def test_a_duration_is_read_in_every_usual_form(text: str, seconds: float) -> None:
    assert read_duration_s("--deadline", text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "0", "0s", "-5", "5x", "h", "1h,5m", "1e3", "5 minutes"]
)
def test_an_invalid_duration_is_refused_with_the_option_and_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--deadline .*90s, 15m, 2h or 1h30m"):
        read_duration_s("--deadline", text)


@given(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99), st.integers(1, 99))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    assert (
        read_duration_s("--x", f"{days}d{hours}h{minutes}m{seconds}s")
        == days * 86400 + hours * 3600 + minutes * 60 + seconds
    )


@pytest.mark.parametrize("number", [0, 1, 3, 1000])
def test_a_canary_is_a_number_of_jobs(number: int) -> None:
    assert read_canary(number) == number


@pytest.mark.parametrize("number", [-1, 1001])
def test_a_canary_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ConfigError, match=rf"^--canary {number}: .* from 1 to 1000, or 0"):
        read_canary(number)


def test_a_missing_option_is_not_read() -> None:
    assert read_canary(None) is None
    assert read_duration_s("--deadline", None) is None
    assert read_allowance(None) == (None, None)
    assert read_retry(None) == frozenset()
    assert read_sets(None) == {}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("50", (50, None)),
        ("0", (0, None)),
        ("5%", (None, 5.0)),
        ("0.5 %", (None, 0.5)),
        ("100%", (None, 100.0)),
    ],
)
def test_an_allowance_is_a_count_or_a_share(
    text: str, read: tuple[int | None, float | None]
) -> None:
    assert read_allowance(text) == read


@pytest.mark.parametrize("text", ["", "-1", "101%", "5.5", "many", "%", "5%%", "1e2"])
def test_an_invalid_allowance_is_refused_with_both_forms(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--max-failures .*\(50\).*\(5%\)"):
        read_allowance(text)


def test_retry_accepts_its_words_and_never_includes_succeeded_jobs() -> None:
    assert read_retry("failed") == {JobState.FAILED, JobState.UNFINISHED}
    assert read_retry("rejected") == {JobState.REJECTED}
    assert JobState.SUCCEEDED not in read_retry("all")
    with pytest.raises(ConfigError, match="failed, rejected or all"):
        read_retry("succeeded")


def test_a_set_is_split_at_the_first_equals_sign() -> None:
    assert read_sets(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in ("a", "=1", ""):
        with pytest.raises(ConfigError, match="name=value"):
            read_sets([wrong])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:8080", ("::1", 8080)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, read: tuple[str, int]) -> None:
    assert read_address("--listen", text) == read


@pytest.mark.parametrize(
    "text", ["8080", ":8080", "host", "host:", "host:x", "host:65536", "host:-1"]
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--listen .*HOST:PORT"):
        read_address("--listen", text)


def test_a_cost_must_be_positive() -> None:
    assert [read_cost(given) for given in (None, 0.5, 40)] == [None, 0.5, 40]
    for wrong in (0, -3, float("nan")):
        with pytest.raises(ConfigError, match="more than 0"):
            read_cost(wrong)


@pytest.mark.parametrize(("text", "seconds"), [("1m", 60.0), ("10s", 10.0), ("0", 0.0)])
def test_an_interval_is_a_duration_or_0(text: str, seconds: float) -> None:
    assert read_interval_s("--stats", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1m"])
def test_another_interval_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--stats .*: write a duration such as 30s"):
        read_interval_s("--stats", text)


@pytest.mark.parametrize(
    ("workers", "count", "address"),
    [
        ("", None, None),
        ("3", 3, None),
        ("ray", None, ""),
        ("ray://head:10001", None, "ray://head:10001"),
        ("ray://[fd00::1]:10001", None, "ray://[fd00::1]:10001"),
    ],
)
def test_workers_are_a_number_or_a_cluster(
    workers: str, count: int | None, address: str | None
) -> None:
    cluster = read_cluster(workers, None, None, None)
    assert read_workers(workers) == count
    assert (cluster.address if cluster else None) == address


@pytest.mark.parametrize("text", ["0", "-1", "two", "ray://head", "http://head:1", "ray:head:1"])
def test_other_workers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--workers .*ray://HOST:PORT"):
        read_workers(text)


def test_resources_of_a_job_need_a_cluster() -> None:
    cluster = read_cluster("ray", 0.5, 0.25, "2GiB")
    assert cluster is not None
    assert (cluster.cpus, cluster.gpus, cluster.memory_bytes) == (0.5, 0.25, 2 << 30)
    for resources in ((1.0, None, None), (None, 1.0, None), (None, None, "1GB")):
        with pytest.raises(ConfigError, match="needs a cluster: --workers ray"):
            read_cluster("2", *resources)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ((0.0, None, None), "--job-cpus"),
        ((float("inf"), None, None), "--job-cpus"),
        ((None, -1.0, None), "--job-gpus"),
        ((None, None, "lots"), "--job-memory"),
    ],
)
def test_resources_out_of_range_are_refused(
    given: tuple[float | None, float | None, str | None], option: str
) -> None:
    with pytest.raises(ConfigError, match=option):
        read_cluster("ray", *given)

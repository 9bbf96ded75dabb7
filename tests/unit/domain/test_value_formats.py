"""The grammar of values, shared by the manifest, the command line and the local service."""

from __future__ import annotations

import pytest

from orchestrator.cli.parsers import read_duration_s
from orchestrator.domain import value_formats
from orchestrator.errors import ConfigError
from orchestrator.manifest.schema.manifest_file import BudgetSettings


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("15.5m", 930),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h30", 3630),
        ("5m30.5", 330.5),
        ("1h 30m", 5400),
        (" 2H ", 7200),
        ("1d2h3m4.5s", 93784.5),
        ("30m1h", 5400),
    ],
)
def test_a_duration_means_the_same_in_a_manifest_and_on_the_command_line(
    text: str, seconds: float
) -> None:
    assert value_formats.duration_s(text) == seconds
    assert read_duration_s("--deadline", text) == seconds
    assert BudgetSettings.model_validate({"deadline": text}).deadline_s == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "5x", "h", "1h,5m", "5 minutes", "-5m", "1.h"])
def test_text_of_another_form_is_not_a_duration(text: str) -> None:
    assert value_formats.duration_s(text) is None
    with pytest.raises(ConfigError):
        read_duration_s("--deadline", text)
    with pytest.raises(ValueError, match="not a valid duration"):
        BudgetSettings.model_validate({"deadline": text})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("50", (50, None)),
        ("0", (0, None)),
        ("5%", (None, 5.0)),
        ("0.5 %", (None, 0.5)),
        ("100%", (None, 100.0)),
        ("101%", None),
        ("-1", None),
        ("-1%", None),
        ("5.5", None),
        ("%", None),
        ("many", None),
    ],
)
def test_an_allowance_is_a_count_or_a_percentage(
    text: str, read: tuple[int | None, float | None] | None
) -> None:
    assert value_formats.count_or_percent(text) == read


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("300", 300),
        ("500kB", 500_000),
        ("1.5 MB", 1_500_000),
        ("10M", 10_000_000),
        ("10MiB", 10 * 2**20),
        ("10Mi", 10 * 2**20),
        ("MB", None),
        ("10 bits", None),
    ],
)
def test_sizes_are_decimal_unless_the_unit_has_an_i(text: str, size: int | None) -> None:
    assert value_formats.size_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "is_bucket", "has_account"),
    [
        ("media-1250000000", True, True),
        ("m-1-1250000000", True, True),
        ("episodes-7", True, False),
        ("media", False, False),
        ("Media-1250000000", False, False),
        ("-media-1250000000", False, False),
        ("media--1250000000", False, False),
    ],
)
def test_a_bucket_ends_in_a_number_and_in_a_manifest_in_an_account_number(
    text: str, is_bucket: bool, has_account: bool
) -> None:
    assert bool(value_formats.BUCKET.fullmatch(text)) == is_bucket
    assert bool(value_formats.ACCOUNT_BUCKET.fullmatch(text)) == has_account


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("https://cos.example.com", "https://cos.example.com"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://[::1", None),
        ("http://a:port", None),
        ("http://a/path", None),
        ("http://a?x=1", None),
        ("http://user:secret@a", None),
        ("ftp://a", None),
        ("", None),
    ],
)
def test_an_endpoint_has_a_host_and_nothing_that_is_not_signed(text: str, base: str | None) -> None:
    assert value_formats.endpoint_url(text) == base

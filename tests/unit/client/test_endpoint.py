"""Endpoints and timeouts are checked when they are made."""

from __future__ import annotations

import pytest

from orchestrator.client.endpoint import Endpoint, Timeouts
from orchestrator.client.wire.hosts import Api
from orchestrator.errors import ConfigError


def test_without_an_override_the_vendors_hosts_are_used() -> None:
    assert Endpoint().base_url(Api.CI) is None
    assert Endpoint().base_url(Api.COS) is None


def test_the_two_apis_are_overridden_separately() -> None:
    endpoint = Endpoint("http://127.0.0.1:8080/", "https://cos.example.com")

    assert endpoint.base_url(Api.CI) == "http://127.0.0.1:8080"
    assert endpoint.base_url(Api.COS) == "https://cos.example.com"
    assert Endpoint("http://[::1]:80").ci_url == "http://[::1]:80"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://a",
        "http://",
        "http://a/path",
        "http://a?x=1",
        "http://a#x",
        "http://user:the-secret@a",
        "http://a:port",
    ],
)
def test_a_url_with_more_than_a_host_is_refused_without_repeating_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigError, match="The ci URL must look like") as caught:
        Endpoint(ci_url=url)
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("values", [(0, 2), (1, 0), (5, 5)])
def test_timeouts_are_positive_and_connecting_ends_before_the_total(
    values: tuple[float, float],
) -> None:
    with pytest.raises(ConfigError):
        Timeouts(*values)

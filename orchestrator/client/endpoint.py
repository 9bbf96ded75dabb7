"""Addresses of the two APIs, and time limits of requests."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.client.wire.hosts import Api
from orchestrator.domain.value_formats import endpoint_url
from orchestrator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Base URLs of the two APIs; None means the vendor's https hosts.

    The signed ``Host`` is the vendor's name either way.

    Attributes:
        ci_url: URL for CI requests, for example ``http://127.0.0.1:8080``.
        cos_url: URL for COS requests; usually the same.

    Raises:
        ConfigError: If a URL is not ``http://host[:port]`` or ``https://host[:port]``.
    """

    ci_url: str | None = None
    cos_url: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ci_url", _base("ci", self.ci_url))
        object.__setattr__(self, "cos_url", _base("cos", self.cos_url))

    def base_url(self, api: Api) -> str | None:
        """Return the URL of one API without a trailing slash, or None for the vendor's."""
        return self.ci_url if api is Api.CI else self.cos_url


def _base(what: str, url: str | None) -> str | None:
    """Return the URL without its trailing slash; a path is refused, as it would not be signed."""
    if url is None:
        return None
    base = endpoint_url(url)
    if base is None:
        raise ConfigError(
            f"The {what} URL must look like http://host:port or https://host, without a path."
        )
    return base


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of one request, in seconds.

    Attributes:
        connect_s: The wait for a free connection of the pool, DNS, TCP and TLS together. If it
            runs out, nothing was sent.
        total_s: A request with its answer, the wait for a connection included. A submit is
            answered within a second or two, and no load balancer waits longer than this.

    Raises:
        ConfigError: If one is not positive, or ``connect_s`` is not below ``total_s``: it must be
            known whether a request that ran out of time was sent or not.
    """

    connect_s: float = 10.0
    total_s: float = 40.0

    @classmethod
    def within(cls, total_s: float) -> Timeouts:
        """Return the default limits, none of them above a total."""
        usual = cls()
        return cls(min(usual.connect_s, total_s / 2), total_s)

    def __post_init__(self) -> None:
        if min(self.connect_s, self.total_s) <= 0 or self.connect_s >= self.total_s:
            raise ConfigError(
                "Timeouts must be positive, and the one for connecting shorter than the total."
            )

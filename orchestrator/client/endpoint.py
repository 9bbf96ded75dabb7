"""Where requests go, and how long they may take."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.client.wire.hosts import Api
from orchestrator.domain.value_formats import endpoint_url
from orchestrator.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Base URLs of the two APIs; None means the vendor's own https hosts. The signed ``Host`` is the vendor's name either way.

    Attributes:
        ci_url: Where CI requests go instead, for example ``http://127.0.0.1:8080``.
        cos_url: Where COS requests go instead; usually the same.

    Raises:
        ConfigError: If a URL is not ``http://host[:port]`` or ``https://host[:port]``.
    """

    ci_url: str | None = None
    cos_url: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ci_url", _base("ci", self.ci_url))
        object.__setattr__(self, "cos_url", _base("cos", self.cos_url))

    def base_url(self, api: Api) -> str | None:
        """The override of one API, without a trailing slash, or None."""
        return self.ci_url if api is Api.CI else self.cos_url


def _base(what: str, url: str | None) -> str | None:
    """Return the URL without its trailing slash; a path would not be part of what is signed."""
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
    """How long one request may take, in seconds.

    Attributes:
        connect_s: For a connection: the wait for a free one of the pool, DNS, TCP and TLS together. Beyond it nothing was sent.
        read_s: Longest silence of the service while an object is downloaded; the download as a whole has no bound.
        total_s: Any other request with its answer, the wait for a connection included; uploads get more by their size. A submit is
            answered within a second or two, and no load balancer waits longer than this.

    Raises:
        ConfigError: If one is not positive, or ``connect_s`` is not below ``total_s``: a request that ran out of time must be known
            either to have been sent or not.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    total_s: float = 40.0

    @classmethod
    def within(cls, total_s: float) -> Timeouts:
        """The usual bounds, none of them beyond a total."""
        usual = cls()
        return cls(min(usual.connect_s, total_s / 2), min(usual.read_s, total_s), total_s)

    def __post_init__(self) -> None:
        if min(self.connect_s, self.read_s, self.total_s) <= 0 or self.connect_s >= self.total_s:
            raise ConfigError(
                "Timeouts must be positive, and the one for connecting shorter than the total."
            )

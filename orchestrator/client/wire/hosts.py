"""The two kinds of hosts that a bucket has: Cloud Infinite (jobs) and COS (objects)."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.domain.spec import Place

# The form of a bucket or region (COS naming rules). Anything else could send a signed request to
# a foreign host.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


class Api(Enum):
    """One of the two APIs; the value is its word in the host name."""

    CI = "ci"
    COS = "cos"

    @property
    def token_header(self) -> str:
        """Name of the header for the token of a temporary key (pages "common headers")."""
        return "x-ci-security-token" if self is Api.CI else "x-cos-security-token"


@lru_cache(maxsize=1024)
def host(api: Api, place: Place) -> str:
    """Return the host name of a bucket, ``<bucket>.ci.<region>.myqcloud.com`` or ``.cos.``.

    Raises:
        ConfigError: If the bucket or the region cannot be part of a host name.
    """
    for what, value in (("bucket", place.bucket), ("region", place.region)):
        if not _LABEL.fullmatch(value):
            example = "name-1250000000" if what == "bucket" else "ap-chongqing"
            allowed = f"lowercase letters, digits and hyphens, for example {example}"
            raise ConfigError(f"The {what} {value!r} cannot be part of a host name: use {allowed}.")
    return f"{place.bucket}.{api.value}.{place.region}.myqcloud.com"

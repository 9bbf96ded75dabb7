"""Signed links to objects: whoever has one may read the object until it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.client.wire.hosts import Api, host
from orchestrator.client.wire.signature import authorization, signing_key_for, url_encode
from orchestrator.domain.spec import Place

if TYPE_CHECKING:
    from orchestrator.client.wire.signature import Credentials

_EARLY_S = 60
"""A link is valid from this long before it was made, for a server whose clock is behind."""


class SignedLinks:
    """Links to objects, ``GET`` only, signed in the query.

    The signature covers the host, so a link cannot be turned to another bucket. The token of a
    temporary key goes along unsigned, as most of the vendor's SDKs send it; such links end with
    the token even if that is sooner.

    Args:
        credentials: The key pair; its secret part is not in the links.
        now: The present time in seconds since the epoch.
        life_s: Time for which the links are valid.
    """

    def __init__(self, credentials: Credentials, now: float, life_s: float) -> None:
        self.expires_at = float(int(now + life_s))
        end = int(self.expires_at)
        self._key = signing_key_for(credentials, int(now) - _EARLY_S, end, renew_at=end)

    def base(self, bucket: str, region: str) -> str:
        """Return the address that object names are appended to, percent-encoded.

        Raises:
            ConfigError: If bucket or region cannot be part of a host name.
        """
        return f"https://{host(Api.COS, Place(bucket, region))}/"

    def signature(self, bucket: str, region: str, key: str) -> tuple[str, str]:
        """Return the query of an object's link without its signature, and the signature.

        Raises:
            ConfigError: As ``base``.
        """
        headers = {"host": host(Api.COS, Place(bucket, region))}
        signed = authorization(self._key, "GET", f"/{key}", {}, headers)
        pairs = dict(pair.split("=", 1) for pair in signed.split("&"))
        signature = pairs.pop("q-signature")
        if self._key.token:
            pairs[Api.COS.token_header] = self._key.token
        query = "&".join(f"{name}={url_encode(value)}" for name, value in pairs.items())
        return query, signature

    def url(self, bucket: str, region: str, key: str) -> str:
        """Return the link to one object."""
        query, signature = self.signature(bucket, region, key)
        name = "/".join(url_encode(part) for part in key.split("/"))
        return f"{self.base(bucket, region)}{name}?{query}&q-signature={signature}"

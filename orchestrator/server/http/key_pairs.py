"""Key pairs that the service accepts, and the buckets they open."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions of a key pair on the buckets that match a glob pattern."""

    bucket: str = "*"
    read: bool = True
    write: bool = True


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret id and key that the service accepts.

    Attributes:
        secret_id: Public part.
        secret_key: Secret part; never shown.
        token: Session token that every request must carry (temporary keys), or empty.
        expires_at: End of temporary keys, in seconds since the epoch; None: they never expire.
        grants: Permissions; the first matching bucket pattern decides; empty: full access.
    """

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires_at: float | None = None
    grants: tuple[Grant, ...] = ()

    def allows(self, bucket: str, *, write: bool) -> bool:
        """Return True if these keys may read (or write) ``bucket``."""
        if not self.grants:
            return True
        for grant in self.grants:
            if fnmatchcase(bucket, grant.bucket):
                return grant.write if write else grant.read
        return False

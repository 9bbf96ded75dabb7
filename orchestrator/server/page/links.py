"""Short-lived links of the page to objects, and the value of its cookie.

Both are made from the control token, and neither shows it: a link opens one object, and the cookie
opens the page alone, although browsers send it to every port of the host.
"""

from __future__ import annotations

import hmac
from urllib.parse import quote

from orchestrator.server.http.errors import Refusal

LINK_S = 600
"""Links are valid for one to two of these; all of one period are the same, so that a player keeps
its link when the page is refreshed."""


class Links:
    """Signs and checks links below a prefix."""

    def __init__(self, token: str, prefix: str) -> None:
        self._key = hmac.digest(token.encode(), b"links of the page", "sha256")
        self._prefix = prefix
        self.cookie = hmac.digest(token.encode(), b"cookie of the page", "sha256").hex()

    def to(self, bucket: str, key: str, now: float) -> str:
        """Return a link to an object, from the root of the service on."""
        until = (int(now) // LINK_S + 2) * LINK_S
        signature = self._signature(bucket, key, str(until))
        return f"{self._prefix}{bucket}/{quote(key)}?until={until}&signature={signature}"

    def open(self, path: str, until: str, signature: str, now: float) -> tuple[str, str]:
        """Return bucket and key of the decoded path of a link.

        Raises:
            Refusal: ``AccessDenied`` if the link is not one of these, or too old.
        """
        bucket, _, key = path.removeprefix(self._prefix).partition("/")
        expected = self._signature(bucket, key, until)
        is_ours = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
        if not is_ours or not until.isascii() or not until.isdigit() or int(until) < now:
            raise Refusal("AccessDenied", "This link is not valid any more: reload the page.", 403)
        return bucket, key

    def _signature(self, bucket: str, key: str, until: str) -> str:
        text = f"{bucket}/{key}\n{until}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256").hex()

"""Removes secrets from everything that is received, before it is parsed, logged or stored.

Services, gateways and proxies quote requests in their answers, headers and tokens included. The
transport passes each answer and each failure through here; nothing else needs to think of it.
"""

from __future__ import annotations

import base64
import re
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from yarl import URL

    from orchestrator.client.wire.signature import Credentials

_SHORTEST = 6  # shorter values would be found in ordinary words
_MARK = "***"
_SIGNATURE = re.compile(rb"(q-signature(?:=|%3[dD]))[^&\s\"'<>;,]+")
_USER_INFO = re.compile(r"(\w+://)[^/\s@]+@")


class Redactor:
    """Knows the secrets of one client."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, None] = {}

    def learn(self, credentials: Credentials) -> None:
        """Note the values of a key pair, also as they look in a URL or in XML."""
        self._note(credentials.secret_id, credentials.secret_key, credentials.token)

    def learn_proxy(self, url: URL) -> None:
        """Note the password of a proxy, also as it looks in the header that carries it."""
        if url.password:
            pair = f"{url.user or ''}:{url.password}"
            self._note(url.password, base64.b64encode(pair.encode()).decode())

    def _note(self, *values: str) -> None:
        for value in values:
            if len(value) >= _SHORTEST:
                forms = (value, quote(value, safe=""), quote(value), escape(value), unquote(value))
                # The longest first: a shorter one may be a part of it.
                found = {**self._secrets, **dict.fromkeys(form.encode() for form in forms)}
                self._secrets = dict.fromkeys(sorted(found, key=len, reverse=True))

    def clean(self, raw: bytes) -> bytes:
        """Return bytes without secrets."""
        for secret in self._secrets:
            if secret in raw:
                raw = raw.replace(secret, _MARK.encode())
        return _SIGNATURE.sub(rb"\1***", raw) if b"q-signature" in raw else raw

    def text(self, text: str) -> str:
        """Return text of our own without secrets, and without user names in addresses."""
        cleaned = self.clean(text.encode("utf-8", "surrogateescape"))
        return _USER_INFO.sub(rf"\1{_MARK}@", cleaned.decode("utf-8", "surrogateescape"))

    def headers(
        self, headers: CIMultiDictProxy[str], raw: tuple[tuple[bytes, bytes], ...]
    ) -> CIMultiDictProxy[str]:
        """Return headers without secrets; nearly always they are unchanged."""
        joined = b"\0".join([value for _, value in raw])
        if self.clean(joined) == joined:
            return headers
        return CIMultiDictProxy(
            CIMultiDict([(name, self.text(value)) for name, value in headers.items()])
        )

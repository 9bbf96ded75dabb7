"""The hot path of sending: everything that the submits of one bucket have in common is worked out once."""

from __future__ import annotations

import hmac
from hashlib import sha1
from typing import TYPE_CHECKING

from orchestrator.client.wire.hosts import Api, host
from orchestrator.client.wire.request import XML, PreparedRequest, header_lines
from orchestrator.client.wire.signature import authorization, canonical
from orchestrator.client.wire.submit_body import submit_body

if TYPE_CHECKING:
    from orchestrator.client.wire.signature import SigningKey
    from orchestrator.domain.spec import JobSpec, Place


class SubmitForm:
    """What every ``POST /jobs`` to one bucket in one window of time has in common, worked out once.

    Gives what ``prepare(submit_request(spec), key, base_url)`` gives, in a third of its time.

    Args:
        place: The bucket.
        key: Key of the window of time.
        base_url: As for :func:`prepare`.

    Raises:
        CredentialsMissing: As for :func:`~orchestrator.client.wire.request.header_lines`.
    """

    def __init__(self, place: Place, key: SigningKey, base_url: str | None = None) -> None:
        name = host(Api.CI, place)
        token = {Api.CI.token_header: key.token} if key.token else {}
        self._url = f"{base_url or 'https://' + name}/jobs"
        self._headers = {"host": name, "content-type": XML, **token}
        # All but the one value that differs.
        every = {"content-length": "", **self._headers}
        before, name_of_length, self._after = canonical("POST", "/jobs", {}, every).text.partition(
            "content-length="
        )
        self._before = before + name_of_length
        self._authorization = (
            authorization(key, "POST", "/jobs", {}, every).rpartition("=")[0] + "="
        )
        self._head = header_lines(
            {**self._headers, "authorization": self._authorization}
        ).removesuffix("\r\n")
        self._mac = hmac.new(key.key, f"sha1\n{key.key_time}\n".encode(), "sha1")

    def prepare(self, spec: JobSpec) -> PreparedRequest:
        """The signed request for one job of this bucket.

        Raises:
            Rejected: As for :func:`~orchestrator.client.wire.submit_body.submit_body`.
        """
        body = submit_body(spec)
        length = str(len(body))
        text = self._before + length + self._after
        mac = self._mac.copy()
        mac.update(f"{sha1(text.encode(), usedforsecurity=False).hexdigest()}\n".encode())
        signature = mac.hexdigest()
        headers = {
            **self._headers,
            "content-length": length,
            "authorization": self._authorization + signature,
        }
        return PreparedRequest(
            "POST",
            self._url,
            headers,
            body,
            f"{self._head}{signature}\r\ncontent-length: {length}\r\n",
        )

"""Signed links open objects at a service that checks signatures by itself, until they expire."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from orchestrator.client.links import SignedLinks
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.clock import SystemClock
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.service import LocalService
from orchestrator.server.settings import LocalSettings

if TYPE_CHECKING:
    from pathlib import Path

BUCKET, REGION = "media-1250000000", "ap-chongqing"
NAME = "in/a b+c 采访 (1)!.mp3"
KEYS = KeyPair("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789")
TEMPORARY = replace(KEYS, token="token-1")


@pytest.mark.parametrize("keys", [KEYS, TEMPORARY])
async def test_a_link_opens_its_object_only_and_only_for_its_time(
    tmp_path: Path, keys: KeyPair
) -> None:
    path = tmp_path / BUCKET / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"sound")
    credentials = Credentials(keys.secret_id, keys.secret_key, keys.token)
    now = SystemClock().now()
    good, old = SignedLinks(credentials, now, 60), SignedLinks(credentials, now - 1000, 60)
    wrong = good.url(BUCKET, REGION, NAME).replace("in/a", "in/b")

    async with (
        LocalService(LocalSettings(tmp_path, credentials=(keys,)), SystemClock()) as service,
        aiohttp.ClientSession() as http,
    ):

        async def status(link: str) -> tuple[int, bytes]:
            base = good.base(BUCKET, REGION)
            url = URL(link.replace(base, f"{service.url}/"), encoded=True)
            async with http.get(url, headers={"Host": URL(base).host or ""}) as answer:
                return answer.status, await answer.read()

        assert await status(good.url(BUCKET, REGION, NAME)) == (200, b"sound")
        assert (await status(old.url(BUCKET, REGION, NAME)))[0] == 403
        assert (await status(wrong))[0] == 403

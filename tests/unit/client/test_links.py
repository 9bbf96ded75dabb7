"""Signed links are those that the vendor's SDK makes, for any name."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from qcloud_cos import CosConfig, CosS3Client

from orchestrator.client.links import SignedLinks
from orchestrator.client.wire.signature import Credentials
from orchestrator.errors import ConfigError

NOW = 1_795_309_200.4
KEYS = Credentials("AKIDEXAMPLE", "exampleSecretKey")
TEMPORARY = Credentials("AKIDEXAMPLE", "exampleSecretKey", "token+/=")
PLACE = ("media-1250000000", "ap-chongqing")
NAMES = ("a.mp3", "in/a b+c.mp3", "采访/第1集.m4a", "100%/'x'(1)!~*.wav", "a//b")


@pytest.mark.parametrize("name", NAMES)
def test_a_link_is_that_of_the_vendors_sdk(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcloud_cos.cos_auth.time.time", lambda: NOW)
    client = CosS3Client(
        CosConfig(Region=PLACE[1], SecretId=KEYS.secret_id, SecretKey=KEYS.secret_key)
    )
    theirs = urlsplit(client.get_presigned_url(PLACE[0], name, "GET", Expired=3600))

    ours = urlsplit(SignedLinks(KEYS, NOW, 3600).url(*PLACE, name))

    assert (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
    assert unquote(ours.path) == f"/{name}" == unquote(theirs.path)
    assert parse_qs(ours.query).keys() == parse_qs(theirs.query, keep_blank_values=True).keys() - {
        "q-url-param-list"
    }
    for each in ("q-key-time", "q-sign-time", "q-header-list", "q-signature", "q-ak"):
        assert parse_qs(ours.query)[each] == parse_qs(theirs.query)[each]


def test_a_link_says_when_it_expires_and_has_no_secret() -> None:
    links = SignedLinks(KEYS, NOW, 86_400)

    assert links.expires_at == 1_795_395_600.0
    assert ";1795395600" in unquote(links.url(*PLACE, "a.mp3"))
    assert KEYS.secret_key not in links.url(*PLACE, "a.mp3")


def test_the_token_of_a_temporary_key_goes_along() -> None:
    query = parse_qs(urlsplit(SignedLinks(TEMPORARY, NOW, 60).url(*PLACE, "a.mp3")).query)

    assert query["x-cos-security-token"] == ["token+/="]


def test_a_bucket_that_would_lead_to_another_host_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be part of a host name"):
        SignedLinks(KEYS, NOW, 60).base("evil.example/", "ap-chongqing")

"""The quick way to a signed submit agrees with the general way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.hosts import Api
from orchestrator.client.wire.request import Request, prepare
from orchestrator.client.wire.signature import Credentials, signing_key
from orchestrator.client.wire.submit import SubmitForm, submit_body
from orchestrator.domain.spec import (
    AudioMode,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Output,
    Place,
)
from orchestrator.errors import ConfigError, CredentialsMissing, Rejected

PLACE = Place("examplebucket-1250000000", "ap-chongqing")
SPEC = JobSpec(
    JobKey("v1.key"),
    MediaObject(*PLACE, "song.mp3"),
    Operation(audio_mode=AudioMode.IS_AUDIO),
    Output(*PLACE, voice="stems/voice.${ext}"),
)


def submit_request(spec: JobSpec) -> Request:
    """Return ``POST /jobs`` as an unsigned request."""
    body = submit_body(spec)
    headers = {"content-type": "application/xml", "content-length": str(len(body))}
    return Request(Api.CI, spec.media.place, "POST", "/jobs", headers=headers, body=body)


@given(
    key=st.text(st.characters(exclude_categories=["C"]), min_size=1),
    user_data=st.text("abc &<>;=", max_size=200),
    token=st.sampled_from(["", "token==", "a/b+c d"]),
    base_url=st.sampled_from([None, "http://127.0.0.1:8080"]),
    now=st.floats(0, 4e9),
)
def test_it_agrees_with_the_general_way_for_every_job(
    key: str, user_data: str, token: str, base_url: str | None, now: float
) -> None:
    signing = signing_key(Credentials("AKID", "secret", token), now)
    spec = replace(SPEC, media=replace(SPEC.media, key=key), user_data=user_data)

    prepared = SubmitForm(PLACE, signing, base_url).prepare(spec)

    assert prepared == prepare(submit_request(spec), signing, base_url)


def test_one_form_signs_many_jobs() -> None:
    signing = signing_key(Credentials("AKID", "secret"), 0.0)
    form = SubmitForm(PLACE, signing)
    specs = [replace(SPEC, user_data="x" * size) for size in range(20)]

    assert [form.prepare(spec) for spec in specs] == [
        prepare(submit_request(spec), signing) for spec in specs
    ]


def test_it_refuses_what_cannot_be_sent() -> None:
    form = SubmitForm(PLACE, signing_key(Credentials("AKID", "secret"), 0.0))

    with pytest.raises(Rejected, match="nothing was sent"):
        form.prepare(replace(SPEC, user_data="\0"))
    with pytest.raises(ConfigError):
        SubmitForm(Place("a/b", "r"), signing_key(Credentials("AKID", "secret"), 0.0))


@pytest.mark.parametrize(
    "keys", [Credentials("AK\nID", "secret"), Credentials("AKID", "secret", "to\r\nx-evil: 1")]
)
def test_credentials_of_two_lines_are_refused(keys: Credentials) -> None:
    with pytest.raises(CredentialsMissing, match="more than one line"):
        SubmitForm(PLACE, signing_key(keys, 0.0))

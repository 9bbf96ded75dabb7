"""Requests become signed ones with the right method, address, headers and body."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.hosts import Api, host
from orchestrator.client.wire.request import (
    Request,
    cancel_request,
    head_request,
    list_objects_request,
    list_request,
    prepare,
    query_request,
    wire_time,
)
from orchestrator.client.wire.signature import (
    Credentials,
    authorization,
    signing_key,
    signing_key_for,
)
from orchestrator.client.wire.submit import submit_body
from orchestrator.domain.remote import JobFilter, RemoteState
from orchestrator.domain.spec import (
    AudioMode,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Output,
    Place,
)
from orchestrator.errors import ConfigError

PLACE = Place("examplebucket-1250000000", "ap-chongqing")
CI_HOST = "examplebucket-1250000000.ci.ap-chongqing.myqcloud.com"
COS_HOST = "examplebucket-1250000000.cos.ap-chongqing.myqcloud.com"
KEY = signing_key(Credentials("AKID", "secret"), 1700000000.0)
SPEC = JobSpec(
    JobKey("v1.key"),
    MediaObject(*PLACE, "incoming/song.mp3"),
    Operation(audio_mode=AudioMode.IS_AUDIO),
    Output(*PLACE, voice="stems/voice.${ext}"),
)


def submit_request(spec: JobSpec) -> Request:
    """Return ``POST /jobs`` as an unsigned request."""
    body = submit_body(spec)
    headers = {"content-type": "application/xml", "content-length": str(len(body))}
    return Request(Api.CI, spec.media.place, "POST", "/jobs", headers=headers, body=body)


def test_a_submit_goes_to_the_input_buckets_ci_host_with_every_header_signed() -> None:
    request = submit_request(SPEC)
    prepared = prepare(request, KEY)

    assert ("POST", f"https://{CI_HOST}/jobs") == (prepared.method, prepared.url)
    described = {
        "host": CI_HOST,
        "content-type": "application/xml",
        "content-length": str(len(prepared.body)),
    }
    assert {
        name: value for name, value in prepared.headers.items() if name != "authorization"
    } == described
    assert prepared.headers["authorization"] == authorization(KEY, "POST", "/jobs", {}, described)


def test_an_override_changes_the_address_and_not_the_signed_host() -> None:
    here = prepare(submit_request(SPEC), KEY, "http://127.0.0.1:8080")
    there = prepare(submit_request(SPEC), KEY)

    assert here.url == "http://127.0.0.1:8080/jobs"
    assert there.headers == here.headers


@pytest.mark.parametrize(
    ("request_made", "header"),
    [
        (submit_request(SPEC), "x-ci-security-token"),
        (head_request(PLACE, "a"), "x-cos-security-token"),
    ],
    ids=["CI", "COS"],
)
def test_a_temporary_keys_token_travels_signed_in_the_header_of_its_api(
    request_made: object, header: str
) -> None:
    key = signing_key(Credentials("AKID", "secret", "the-token"), 1700000000.0)
    prepared = prepare(request_made, key)  # type: ignore[arg-type]  # the parameter's type is lost in the table above

    assert prepared.headers[header] == "the-token"
    assert header in prepared.headers["authorization"].partition("q-header-list=")[2].partition(
        "&"
    )[0].split(";")
    assert "the-token" not in repr(prepared)
    assert "q-signature" not in repr(prepared)


def test_a_query_joins_its_ids_with_raw_commas_as_the_published_vector_signs_them() -> None:
    key = signing_key_for(
        Credentials("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789"),
        1700000000,
        1700003600,
        0.0,
    )
    prepared = prepare(query_request(PLACE, ["j1", "j2"]), key)

    assert f"https://{CI_HOST}/jobs/j1,j2" == prepared.url
    assert prepared.headers["authorization"].endswith(
        "q-signature=c67cb48788903210db20a7c9a3c3469ac308cde4"
    )


@pytest.mark.parametrize("count", [0, 11])
def test_a_query_takes_one_to_ten_ids(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 10 job ids, not {count}"):
        query_request(PLACE, ["j"] * count)


def test_a_list_carries_every_filter_and_leaves_out_what_does_not_filter() -> None:
    wanted = JobFilter(
        queue_id="p1",
        input_object="音乐/a b+c.mp3",
        states=(
            RemoteState.SUBMITTED,
            RemoteState.SUCCEEDED,
            RemoteState.PAUSED,
            RemoteState.CANCELLED,
        ),
        created_from=1704038400.9,
        created_to=1704042000.0,
        oldest_first=True,
        size=50,
    )
    prepared = prepare(list_request(PLACE, wanted, "225508"), KEY)
    query = urlsplit(prepared.url).query

    assert dict(parse_qsl(query)) == {
        "queueId": "p1",
        "tag": "VoiceSeparate",
        "orderByTime": "Asc",
        "nextToken": "225508",
        "size": "50",
        "states": "Submitted,Success,Pause,Cancel",
        "startCreationTime": "2024-01-01T00:00:00+0800",
        "endCreationTime": "2024-01-01T01:00:00+0800",
        "inputObject": "音乐/a b+c.mp3",
    }
    assert "startCreationTime=2024-01-01T00%3A00%3A00%2B0800" in query
    assert list_request(PLACE, JobFilter()).params == {
        "tag": "VoiceSeparate",
        "orderByTime": "Desc",
        "size": "100",
    }


@pytest.mark.parametrize("size", [0, 101])
def test_a_page_of_jobs_has_one_to_a_hundred_entries(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        list_request(PLACE, JobFilter(size=size))


def test_a_cancel_is_a_put_with_a_bare_signed_parameter_and_no_body() -> None:
    key = signing_key_for(
        Credentials("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789"),
        1700000000,
        1700003600,
        0.0,
    )
    prepared = prepare(cancel_request(PLACE, "j1"), key)

    assert ("PUT", f"https://{CI_HOST}/jobs/j1?cancel", b"") == (
        prepared.method,
        prepared.url,
        prepared.body,
    )
    assert prepared.headers["authorization"].endswith(
        "q-signature=5cb2598515db34f149625d61ad563762f0ac86b2"
    )


def test_a_ranged_get_of_an_odd_key_is_the_published_vector() -> None:
    key = signing_key_for(
        Credentials("AKIDEXAMPLEEXAMPLEEXAMPLE", "exampleSecretKeyExample0123456789"),
        1700000000,
        1700003600,
        0.0,
    )
    prepared = prepare(
        Request(
            Api.COS,
            PLACE,
            "GET",
            "/音乐/a b+c(1).mp3",
            headers={"range": "bytes=0-99"},
        ),
        key,
    )

    assert f"https://{COS_HOST}/%E9%9F%B3%E4%B9%90/a%20b%2Bc%281%29.mp3" == prepared.url
    assert prepared.headers["range"] == "bytes=0-99"
    assert prepared.headers["authorization"].endswith(
        "q-signature=0cd9ed1616c48a45ebc1ab420b17a16cee526b6e"
    )


def test_a_bucket_listing_asks_for_encoded_keys() -> None:
    assert list_objects_request(PLACE, "in/", "in/a", 2).params == {
        "prefix": "in/",
        "marker": "in/a",
        "max-keys": "2",
        "encoding-type": "url",
    }
    assert list_objects_request(PLACE, "").params == {"max-keys": "1000", "encoding-type": "url"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_the_wire_path_of_any_key_decodes_to_the_key(key: str) -> None:
    """Slashes and dots are not collapsed, and nothing in a key can become a query."""
    prepared = prepare(head_request(PLACE, key), KEY)
    scheme_and_host = f"https://{COS_HOST}/"

    assert prepared.url.startswith(scheme_and_host)
    assert key == unquote(prepared.url.removeprefix(scheme_and_host))
    assert not set("?#\r\n ") & set(prepared.url)


@given(
    st.dictionaries(
        st.text("abcXY-", min_size=1),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        max_size=4,
    )
)
def test_the_wire_query_decodes_to_the_parameters(params: dict[str, str]) -> None:
    from dataclasses import replace

    prepared = prepare(replace(head_request(PLACE, "a"), params=params), KEY)

    assert params == dict(parse_qsl(urlsplit(prepared.url).query, keep_blank_values=True))


def test_times_are_written_in_beijing_time_and_whole_seconds() -> None:
    assert wire_time(1714528800.999) == "2024-05-01T10:00:00+0800"
    assert wire_time(0.0) == "1970-01-01T08:00:00+0800"
    assert wire_time(None) == ""


@pytest.mark.parametrize(
    "place",
    [
        Place("a/b", "r"),
        Place("", "r"),
        Place("a", "evil.example"),
        Place("a\r\nb", "r"),
        Place("A", "r"),
        Place("-a", "r"),
    ],
)
def test_a_bucket_or_region_that_changes_the_host_is_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="cannot be part of a host name"):
        host(Api.CI, place)

"""Object listings and heads are read as COS writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.objects import http_date, object_head, object_page
from orchestrator.client.wire.signature import url_encode
from orchestrator.domain.remote import ListedObject, ObjectHead
from orchestrator.errors import ProtocolError

PAGE = """<?xml version='1.0' encoding='utf-8' ?>
<ListBucketResult>
  <Name>examplebucket-1250000000</Name><EncodingType>url</EncodingType><Prefix>in/</Prefix><Marker/>
  <MaxKeys>2</MaxKeys><IsTruncated>true</IsTruncated><NextMarker>in/b%2B.mp3</NextMarker>
  <Contents><Key>in/a%20%E9%9F%B3.mp3</Key><LastModified>2024-05-01T02:00:00.000Z</LastModified><ETag>&quot;0011&quot;</ETag>
    <Size>219263</Size><Owner><ID>1</ID><DisplayName>1</DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>
  <Contents><Key>in/b%2B.mp3</Key></Contents>
</ListBucketResult>"""


def test_a_page_is_read_with_its_keys_decoded() -> None:
    page = object_page(PAGE.encode())

    assert (
        ListedObject("in/a 音.mp3", 219263, "0011", 1714528800.0),
        ListedObject("in/b+.mp3"),
    ) == page.objects
    assert page.next_marker == "in/b+.mp3"


def test_keys_are_taken_literally_when_the_answer_does_not_say_that_they_are_encoded() -> None:
    page = object_page(PAGE.replace("<EncodingType>url</EncodingType>", "").encode())

    assert page.objects[0].key == "in/a%20%E9%9F%B3.mp3"


def test_the_last_page_has_no_marker() -> None:
    assert (
        object_page(PAGE.replace("<IsTruncated>true", "<IsTruncated>false").encode()).next_marker
        == ""
    )
    assert object_page(b"<ListBucketResult/>").objects == ()


def test_a_truncated_page_without_a_marker_continues_after_its_last_key() -> None:
    assert (
        object_page(PAGE.replace("<NextMarker>in/b%2B.mp3</NextMarker>", "").encode()).next_marker
        == "in/b+.mp3"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<Response/>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>many</Size></Contents></ListBucketResult>",
    ],
    ids=["empty", "other root", "endless", "size"],
)
def test_an_unreadable_listing_is_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        object_page(raw)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    try:
        object_page(raw)
    except ProtocolError:
        return


def test_a_head_is_read_from_the_headers() -> None:
    headers = {
        "Content-Length": "13",
        "ETag": '"abc"',
        "Content-Type": "audio/mpeg",
        "Last-Modified": "Wed, 01 May 2024 02:00:00 GMT",
        "x-cos-hash-crc64ecma": "12345",
    }

    assert ObjectHead(13, "abc", "audio/mpeg", 1714528800.0, "12345") == object_head(headers)
    assert ObjectHead(0) == object_head({})


@pytest.mark.parametrize("length", ["-1", "1e9", "²", ""])
def test_a_length_that_is_not_a_number_is_a_protocol_error(length: str) -> None:
    with pytest.raises(ProtocolError, match="length"):
        object_head({"Content-Length": length})


@pytest.mark.parametrize("text", ["", "yesterday", "Wed, 99 May 2024 02:00:00 GMT"])
def test_an_invalid_date_is_none(text: str) -> None:
    assert None is http_date(text)


def test_a_key_that_is_not_utf_8_keeps_its_bytes_and_the_others_are_listed() -> None:
    page = object_page(
        b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        b"<Contents><Key>in/a%20b</Key></Contents><Contents><Key>in/caf%E9</Key></Contents>"
        b"</ListBucketResult>"
    )

    assert [each.key.encode(errors="surrogateescape") for each in page.objects] == [
        b"in/a b",
        b"in/caf\xe9",
    ]
    assert url_encode(page.next_marker) == "in%2Fcaf%E9"

"""Signatures equal the vendor's published examples and those of its SDKs."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha1
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.client.wire.signature import (
    Credentials,
    authorization,
    canonical,
    signing_key,
    signing_key_for,
    url_encode,
)

# Printed on the vendor's signature page (436/7778), and in the Go SDK's unit test.
PAGE_KEY = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz"
GO_KEY = "AKIDZfbOA78asKUYBcXFrJD0a1ICvR98JM"
CI_KEY = "exampleSecretKeyExample0123456789"
CI_TIME = "1700000000;1700003600"
CI_SIGN_KEY = "d3b504bfc588abf6a355a5a6fd95eb5a68a48889"
CI_HOST = "examplebucket-1250000000.ci.ap-chongqing.myqcloud.com"
COS_HOST = "examplebucket-1250000000.cos.ap-beijing.myqcloud.com"


@dataclass(frozen=True)
class Vector:
    """One published example."""

    name: str
    secret_key: str
    key_time: str
    sign_key: str
    method: str
    path: str
    headers: dict[str, str]
    digest: str
    signature: str
    header_list: str
    params: dict[str, str] = field(default_factory=dict)
    param_list: str = ""


VECTORS = [
    Vector(
        "V1 upload",
        PAGE_KEY,
        "1557989151;1557996351",
        "eb2519b498b02ac213cb1f3d1a3d27a3b3c9bc5f",
        "PUT",
        "/exampleobject(腾讯云)",
        {
            "Content-Length": "13",
            "Content-MD5": "mQ/fVh815F3k6TAUm8m0eg==",
            "Content-Type": "text/plain",
            "Date": "Thu, 16 May 2019 06:45:51 GMT",
            "Host": COS_HOST,
            "x-cos-acl": "private",
            "x-cos-grant-read": 'uin="100000000011"',
        },
        "8b2751e77f43a0995d6e9eb9477f4b685cca4172",
        "3b8851a11a569213c17ba8fa7dcf2abec6935172",
        "content-length;content-md5;content-type;date;host;x-cos-acl;x-cos-grant-read",
    ),
    Vector(
        "V2 download",
        PAGE_KEY,
        "1557989753;1557996953",
        "937914bf490e9e8c189836aad2052e4feeb35eaf",
        "GET",
        "/exampleobject(腾讯云)",
        {"Date": "Thu, 16 May 2019 06:55:53 GMT", "Host": COS_HOST},
        "54ecfe22f59d3514fdc764b87a32d8133ea611e6",
        "01681b8c9d798a678e43b685a9f1bba0f6c0e012",
        "date;host",
        {
            "response-content-type": "application/octet-stream",
            "response-cache-control": "max-age=600",
        },
        "response-cache-control;response-content-type",
    ),
    Vector(
        "V3 Go SDK",
        GO_KEY,
        "1480932292;1481012292",
        "95d110a8ead64cac52083100db75b7e3f369e72f",
        "PUT",
        "/testfile2",
        {
            "Host": "testbucket-125000000.cos.ap-guangzhou.myqcloud.com",
            "x-cos-content-sha1": "db8ac1c259eb89d4a131b253bacfca5f319d54f2",
            "x-cos-stroage-class": "nearline",
        },
        "113b22e92b74237531fafbfc8bb9e67be55645c7",
        "ce4ac0ecbcdb30538b3fee0a97cc6389694ce53a",
        "host;x-cos-content-sha1;x-cos-stroage-class",
    ),
    Vector(
        "V4 range",
        PAGE_KEY,
        "1417773892;1417853898",
        "d265642cf75792e70e35030fd14e73134094d673",
        "GET",
        "/testfile",
        {"Host": "bucket1-1254000000.cos.ap-beijing.myqcloud.com", "Range": "bytes=0-3"},
        "3a529544cb1559b8be98f079df87742e8fad26dc",
        "4b6cbab14ce01381c29032423481ebffd514e8be",
        "host;range",
    ),
    Vector(
        "A submit",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "POST",
        "/jobs",
        {
            "Content-Type": "application/xml",
            "Content-Length": "398",
            "Content-MD5": "QVyw1giSWlof0A87R0aKOg==",
            "Host": CI_HOST,
        },
        "9cd486cd746c77bc890c1621782bf45a8f03aa9e",
        "9989bfb0ff4851bdb69d1bded4356af1002a4d59",
        "content-length;content-md5;content-type;host",
    ),
    Vector(
        "B list",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "GET",
        "/jobs",
        {"Host": CI_HOST},
        "34d6511120e102422d0e4b516163bb11f73fc184",
        "c46a73083f060cfc742481666b47c3b7c2ead0f2",
        "host",
        {
            "tag": "VoiceSeparate",
            "states": "Submitted,Running",
            "size": "100",
            "nextToken": "",
            "startCreationTime": "2024-01-01T00:00:00+0800",
        },
        "nexttoken;size;startcreationtime;states;tag",
    ),
    Vector(
        "C cancel",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "PUT",
        "/jobs/j1",
        {"Content-Length": "0", "Host": CI_HOST},
        "c3938ef41116d8047e06ce07b9a6b38d4789ec3b",
        "5cb2598515db34f149625d61ad563762f0ac86b2",
        "content-length;host",
        {"cancel": ""},
        "cancel",
    ),
    Vector(
        "C' cancel, not signed",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "PUT",
        "/jobs/j1",
        {"Content-Length": "0", "Host": CI_HOST},
        "be4904c869a8b6f42a96d07d7a2bda2626633b35",
        "42bac74bba06056467eb6774565d5b0f01c8435b",
        "content-length;host",
    ),
    Vector(
        "D query",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "GET",
        "/jobs/j1,j2",
        {"Host": CI_HOST},
        "881068d37de3f616187515b70fd4279c62232125",
        "c67cb48788903210db20a7c9a3c3469ac308cde4",
        "host",
    ),
    Vector(
        "E temporary key",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "GET",
        "/jobs/j1",
        {"Host": CI_HOST, "x-ci-security-token": "exampleToken=="},
        "0ecf2be0bdbd5db26cfc3960b1b7513e77172dce",
        "05f55a8342aa0bbbe098d69081877c6ce1e9ae5a",
        "host;x-ci-security-token",
    ),
    Vector(
        "F range of an odd key",
        CI_KEY,
        CI_TIME,
        CI_SIGN_KEY,
        "GET",
        "/音乐/a b+c(1).mp3",
        {"Host": "examplebucket-1250000000.cos.ap-chongqing.myqcloud.com", "Range": "bytes=0-99"},
        "f8b980c8ffd511a41642c20f2248f3575b73b7ba",
        "0cd9ed1616c48a45ebc1ab420b17a16cee526b6e",
        "host;range",
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_every_published_vector_is_reproduced(vector: Vector) -> None:
    """SignKey, digest of the canonical request, lists and signature are those of the example."""
    start, end = map(int, vector.key_time.split(";"))
    key = signing_key_for(
        Credentials("AKIDEXAMPLEEXAMPLEEXAMPLE", vector.secret_key), start, end, renew_at=0.0
    )
    text = canonical(vector.method, vector.path, vector.params, vector.headers).text

    assert vector.sign_key == key.key.decode()
    assert vector.digest == sha1(text.encode()).hexdigest()  # noqa: S324 - the algorithm is the vendor's
    assert (
        f"q-sign-algorithm=sha1&q-ak=AKIDEXAMPLEEXAMPLEEXAMPLE&q-sign-time={vector.key_time}&q-key-time={vector.key_time}"
        f"&q-header-list={vector.header_list}&q-url-param-list={vector.param_list}&q-signature={vector.signature}"
    ) == authorization(key, vector.method, vector.path, vector.params, vector.headers)


def test_requests_of_one_minute_share_a_key_valid_before_and_after_it() -> None:
    credentials = Credentials("id", "secret")
    first, last, next_minute = (
        signing_key(credentials, now) for now in (1700000040.0, 1700000099.9, 1700000100.0)
    )

    assert first.key_time == "1699999980;1700000940"
    assert first == last
    assert first.renew_at == 1700000100.0
    assert next_minute.key_time == "1700000040;1700001000"
    assert first.starts_at == 1699999980


def test_secrets_stay_out_of_repr() -> None:
    credentials = Credentials("AKIDpublic", "the-secret", "the-token")
    key = signing_key(credentials, 1700000000.0)

    shown = repr(credentials) + repr(key) + str(key)

    assert "AKIDpublic" in shown
    for secret in ("the-secret", "the-token", key.key.decode()):
        assert secret not in shown


@given(st.text())
def test_encoding_agrees_with_the_reference_form_and_can_be_undone(text: str) -> None:
    """The vendor's Python SDK encodes with ``quote(..., safe="-_.~")``."""
    try:
        expected = quote(text, safe="-_.~")
    except UnicodeEncodeError:  # a lone surrogate is not text
        with pytest.raises(UnicodeEncodeError):
            url_encode(text)
        return

    assert expected == url_encode(text)
    assert text == unquote(url_encode(text))


WORDS = st.dictionaries(
    st.text("abcdefghXYZ-", min_size=1, max_size=8),
    st.text("ab =&;/%+\n音", max_size=8),
    max_size=5,
)


@given(params=WORDS, headers=WORDS)
def test_the_order_of_parameters_and_headers_does_not_matter(
    params: dict[str, str], headers: dict[str, str]
) -> None:
    key = signing_key(Credentials("id", "secret"), 0.0)
    lower = {name.lower() for name in params}, {name.lower() for name in headers}
    if len(lower[0]) < len(params) or len(lower[1]) < len(headers):
        return  # names that differ in case only are duplicates, which no request of ours has

    backwards = dict(reversed(params.items())), dict(reversed(headers.items()))

    assert authorization(key, "GET", "/jobs", params, headers) == authorization(
        key, "get", "/jobs", *backwards
    )


@given(params=WORDS, headers=WORDS, data=st.data())
def test_every_change_of_a_signed_request_changes_the_signature(
    params: dict[str, str], headers: dict[str, str], data: st.DataObject
) -> None:
    """Another value, path, method, window or secret gives another signature."""
    signature = _signature("GET", "/jobs", params, headers)
    changed = data.draw(st.sampled_from(["method", "path", "params", "headers"]))
    other = {
        "method": ("PUT", "/jobs", params, headers),
        "path": ("GET", "/jobs/", params, headers),
        "params": ("GET", "/jobs", {**params, "zz": "1"}, headers),
        "headers": ("GET", "/jobs", params, {**headers, "zz": "1"}),
    }[changed]

    assert signature != _signature(*other)
    assert signature != _signature("GET", "/jobs", params, headers, key_half="y")
    assert signature != _signature("GET", "/jobs", params, headers, now=60.0)


def _signature(
    method: str,
    path: str,
    params: dict[str, str],
    headers: dict[str, str],
    key_half: str = "x",
    now: float = 0.0,
) -> str:
    key = signing_key(Credentials("id", key_half), now)
    return authorization(key, method, path, params, headers).rpartition("=")[2]

"""The service's signature check accepts every published vector, and refuses any change."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from orchestrator.server.http import auth
from orchestrator.server.http.auth import Verifier
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.key_pairs import Grant, KeyPair
from orchestrator.server.http.request import Call

SAMPLE_KEY = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz"
CI_KEY = "exampleSecretKeyExample0123456789"
CI_HOST = "examplebucket-1250000000.ci.ap-chongqing.myqcloud.com"
COS_HOST = "examplebucket-1250000000.cos.ap-chongqing.myqcloud.com"
BEIJING = "examplebucket-1250000000.cos.ap-beijing.myqcloud.com"
GRANT = 'uin="100000000011"'


@dataclass
class FakeRequest:
    headers: Any


@dataclass
class Vector:
    """One published signature."""

    name: str
    secret: str
    time: str
    method: str
    path: str
    headers: dict[str, str]
    signature: str
    params: list[tuple[str, str]] = field(default_factory=list)
    signed_params: str | None = None

    def call(self, **changes: Any) -> Call:
        request: Any = FakeRequest(
            CIMultiDict(self.headers | {"Authorization": self.authorization()})
        )
        start = int(self.time.partition(";")[0])
        host = self.headers.get("Host", "")
        call = Call(
            request,
            self.method,
            host,
            request_id="id",
            now=start + 10,
            path=self.path,
            query=list(self.params),
            bucket="b-1",
            region="r",
            ci=".ci." in host,
        )
        for name, value in changes.items():
            setattr(call, name, value)
        return call

    def authorization(self) -> str:
        names = ";".join(sorted(name.lower() for name in self.headers))
        params = (
            ";".join(sorted(name.lower() for name, _ in self.params))
            if self.signed_params is None
            else self.signed_params
        )
        return (
            f"q-sign-algorithm=sha1&q-ak=AKID&q-sign-time={self.time}&q-key-time={self.time}"
            f"&q-header-list={names}&q-url-param-list={params}&q-signature={self.signature}"
        )

    def verifier(self) -> Verifier:
        # The upload and download vectors carry the Date of a day within their time of validity.
        return Verifier([KeyPair("AKID", self.secret)], max_skew_s=10**9)


T = "1700000000;1700003600"
VECTORS = [
    Vector(
        "upload",
        SAMPLE_KEY,
        "1557989151;1557996351",
        "PUT",
        "/exampleobject(腾讯云)",
        {
            "Content-Length": "13",
            "Content-MD5": "mQ/fVh815F3k6TAUm8m0eg==",
            "Content-Type": "text/plain",
            "Date": "Thu, 16 May 2019 06:45:51 GMT",
            "Host": BEIJING,
            "x-cos-acl": "private",
            "x-cos-grant-read": GRANT,
        },
        "3b8851a11a569213c17ba8fa7dcf2abec6935172",
    ),
    Vector(
        "download",
        SAMPLE_KEY,
        "1557989753;1557996953",
        "GET",
        "/exampleobject(腾讯云)",
        {"Date": "Thu, 16 May 2019 06:55:53 GMT", "Host": BEIJING},
        "01681b8c9d798a678e43b685a9f1bba0f6c0e012",
        [
            ("response-content-type", "application/octet-stream"),
            ("response-cache-control", "max-age=600"),
        ],
    ),
    Vector(
        "go",
        "AKIDZfbOA78asKUYBcXFrJD0a1ICvR98JM",
        "1480932292;1481012292",
        "PUT",
        "/testfile2",
        {
            "Host": "testbucket-125000000.cos.ap-guangzhou.myqcloud.com",
            "x-cos-content-sha1": "db8ac1c259eb89d4a131b253bacfca5f319d54f2",
            "x-cos-stroage-class": "nearline",
        },
        "ce4ac0ecbcdb30538b3fee0a97cc6389694ce53a",
    ),
    Vector(
        "range",
        SAMPLE_KEY,
        "1417773892;1417853898",
        "GET",
        "/testfile",
        {"Host": "bucket1-1254000000.cos.ap-beijing.myqcloud.com", "Range": "bytes=0-3"},
        "4b6cbab14ce01381c29032423481ebffd514e8be",
    ),
    Vector(
        "A submit",
        CI_KEY,
        T,
        "POST",
        "/jobs",
        {
            "Content-Type": "application/xml",
            "Content-Length": "398",
            "Content-MD5": "QVyw1giSWlof0A87R0aKOg==",
            "Host": CI_HOST,
        },
        "9989bfb0ff4851bdb69d1bded4356af1002a4d59",
    ),
    Vector(
        "B list",
        CI_KEY,
        T,
        "GET",
        "/jobs",
        {"Host": CI_HOST},
        "c46a73083f060cfc742481666b47c3b7c2ead0f2",
        [
            ("tag", "VoiceSeparate"),
            ("states", "Submitted,Running"),
            ("size", "100"),
            ("nextToken", ""),
            ("startCreationTime", "2024-01-01T00:00:00+0800"),
        ],
    ),
    Vector(
        "C cancel",
        CI_KEY,
        T,
        "PUT",
        "/jobs/j1",
        {"Content-Length": "0", "Host": CI_HOST},
        "5cb2598515db34f149625d61ad563762f0ac86b2",
        [("cancel", "")],
    ),
    Vector(
        "C' cancel unsigned",
        CI_KEY,
        T,
        "PUT",
        "/jobs/j1",
        {"Content-Length": "0", "Host": CI_HOST},
        "42bac74bba06056467eb6774565d5b0f01c8435b",
        [("cancel", "")],
        signed_params="",
    ),
    Vector(
        "D query",
        CI_KEY,
        T,
        "GET",
        "/jobs/j1,j2",
        {"Host": CI_HOST},
        "c67cb48788903210db20a7c9a3c3469ac308cde4",
    ),
    Vector(
        "F object",
        CI_KEY,
        T,
        "GET",
        "/音乐/a b+c(1).mp3",
        {"Host": COS_HOST, "Range": "bytes=0-99"},
        "0cd9ed1616c48a45ebc1ab420b17a16cee526b6e",
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_every_published_signature_is_accepted(vector: Vector) -> None:
    key = vector.verifier().verify(vector.call())

    assert key.secret_id == "AKID"


def with_authorization(fields: list[str]) -> Call:
    headers = CIMultiDict(VECTORS[0].headers | {"Authorization": "&".join(fields)})
    return VECTORS[0].call(request=FakeRequest(headers))


@pytest.mark.parametrize("turn", range(7))
def test_the_fields_of_a_signature_may_have_any_order(turn: int) -> None:
    fields = VECTORS[0].authorization().split("&")
    call = with_authorization([*fields[turn:], *fields[:turn]])

    assert VECTORS[0].verifier().verify(call).secret_id == "AKID"


@pytest.mark.parametrize("place", [0, 6])
def test_a_second_signature_is_refused(place: int) -> None:
    fields = VECTORS[0].authorization().split("&")
    fields.insert(place, fields[-1])

    with pytest.raises(Refusal) as refused:
        VECTORS[0].verifier().verify(with_authorization(fields))

    assert "twice" in refused.value.message


def test_a_session_token_may_be_signed_and_be_in_either_header() -> None:
    vector = Vector(
        "E",
        CI_KEY,
        T,
        "GET",
        "/jobs/j1",
        {"Host": CI_HOST, "x-ci-security-token": "exampleToken=="},
        "05f55a8342aa0bbbe098d69081877c6ce1e9ae5a",
    )
    keys = [KeyPair("AKID", CI_KEY, "exampleToken==")]

    assert Verifier(keys, 10**9).verify(vector.call()) == keys[0]


@given(vector=st.sampled_from(VECTORS), data=st.data())
def test_any_change_of_a_signed_part_is_refused(vector: Vector, data: st.DataObject) -> None:
    part = data.draw(
        st.sampled_from(["method", "path", "secret", "signature", "header", "parameter"])
    )
    call, verifier = vector.call(), vector.verifier()
    text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
    if part == "method":
        call.method = "POST" if vector.method != "POST" else "PUT"
    elif part == "path":
        call.path += data.draw(text)
    elif part == "secret":
        verifier = replace(vector, secret=vector.secret + data.draw(text)).verifier()
    elif part == "signature":
        position = data.draw(st.integers(0, 39))
        digit = data.draw(
            st.sampled_from([d for d in "0123456789abcdef" if d != vector.signature[position]])
        )
        changed = replace(
            vector, signature=vector.signature[:position] + digit + vector.signature[position + 1 :]
        )
        call = changed.call()
    elif part == "header":
        name = data.draw(st.sampled_from([name for name in vector.headers if name != "Date"]))
        headers: Any = call.request.headers
        headers[name] += "x" + data.draw(
            text
        )  # not a bare port, which may be left out of a signature
        call.host = headers["Host"]
    elif vector.params and vector.signed_params is None:
        number = data.draw(st.integers(0, len(vector.params) - 1))
        name, value = call.query[number]
        call.query[number] = (name, value + data.draw(text))
    else:
        return

    with pytest.raises(Refusal) as refused:
        verifier.verify(call)

    assert refused.value.code in {"InvalidAuthorization", "SignatureDoesNotMatch"}


@given(st.text(max_size=300))
def test_any_malformed_authorization_header_is_refused(text: str) -> None:
    vector = VECTORS[-1]
    call = vector.call()
    headers: Any = call.request.headers
    headers["Authorization"] = text.replace("\n", "").replace("\r", "")

    with pytest.raises(Refusal):
        vector.verifier().verify(call)


def test_a_second_value_of_a_signed_parameter_is_refused() -> None:
    call = VECTORS[5].call()
    call.query.append(("size", "1"))

    with pytest.raises(Refusal):
        VECTORS[5].verifier().verify(call)


def test_the_host_may_be_signed_with_or_without_its_port() -> None:
    def signature(host: str) -> str:
        text = auth.http_string("GET", "/jobs", "", f"host={auth.encode(host)}")
        return auth.signature_of(CI_KEY, T, T, text)

    for signed in ("h.example", "h.example:8080"):
        vector = Vector(
            "port", CI_KEY, T, "GET", "/jobs", {"Host": "h.example:8080"}, signature(signed)
        )
        assert vector.verifier().verify(vector.call()).secret_id == "AKID"


def test_clock_errors_use_the_codes_of_each_side() -> None:
    jobs, objects = VECTORS[4], VECTORS[-1]

    def code(vector: Vector, **changes: Any) -> str:
        verifier = Verifier([KeyPair("AKID", vector.secret)], max_skew_s=900)
        with pytest.raises(Refusal) as refused:
            verifier.verify(vector.call(**changes))
        assert refused.value.server_time
        return refused.value.code

    assert code(jobs, now=1700003601) == "SignatureExpired"
    assert code(objects, now=1700003601) == "AccessDenied"
    assert code(jobs, now=1700000000 - 901) == "RequestTimeTooSkewed"


def test_temporary_keys_expire() -> None:
    key = KeyPair("AKID", CI_KEY, expires_at=1700000005)

    with pytest.raises(Refusal) as refused:
        Verifier([key], 900).verify(VECTORS[4].call())

    assert refused.value.code == "ExpiredToken"


def test_the_first_matching_grant_decides() -> None:
    key = KeyPair(
        "a",
        "b",
        grants=(Grant("in-*", write=False), Grant("secret-1", read=False, write=False), Grant("*")),
    )

    assert key.allows("in-1", write=False)
    assert not key.allows("in-1", write=True)
    assert not key.allows("secret-1", write=False)
    assert key.allows("other-1", write=True)
    assert not KeyPair("a", "b", grants=(Grant("x"),)).allows("y", write=False)


def test_secrets_do_not_show_in_a_repr() -> None:
    assert "geheim" not in repr(KeyPair("id", "geheim", "geheim-token"))

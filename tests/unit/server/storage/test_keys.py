"""Object keys are file names below their bucket, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import address, decode_path, decode_query
from orchestrator.server.storage import keys

BAD = [
    "",
    "/",
    "//",
    "..",
    "../x",
    "a/../../x",
    "./a",
    "a/.",
    "/etc/passwd",
    "a//b",
    "a\0b",
    "a\x1bb",
    ".service/queue.db",
    ".SERVICE/x",
    ".orchestrator/ledger.db",
    "a/.service/queue.db",
    "a/b/.Orchestrator/ledger.db",
    "a/.service",
    "a\nb",
]


@pytest.mark.parametrize("key", BAD)
def test_keys_that_could_lead_elsewhere_are_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused:
        keys.locate(tmp_path, key)

    assert refused.value.code == "InvalidObjectName"


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["..", ".", "", "a", "~", "\0", ".service", "ü"]), max_size=8).map(
        "/".join
    )
)
@example("a/..")
@example("..\\x")
def test_an_accepted_key_is_below_its_bucket(key: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name, "bucket")
        folder.mkdir()
        try:
            path = keys.locate(folder, key)
        except Refusal:
            return

        assert path is not None
        inside = os.path.realpath(folder)
        assert os.path.normpath(path) == str(path)
        assert str(path).startswith(inside + "/")


@given(st.binary(max_size=80))
def test_any_bytes_in_a_request_target_are_decoded_or_refused(raw: bytes) -> None:
    text = "/" + raw.decode("latin-1").replace("\n", "")
    code = "InvalidURI"
    try:
        decode_path(text)
        decode_query(text)
    except Refusal as refused:
        code = refused.code

    assert code == "InvalidURI"


def test_encoded_dots_are_decoded_once_and_then_refused(tmp_path: Path) -> None:
    assert decode_path("/%2e%2e/%2e%2e/x") == "/../../x"
    assert decode_path("/%252e%252e/x") == "/%2e%2e/x"
    with pytest.raises(Refusal):
        keys.locate(tmp_path, decode_path("/a/%2e%2e/b")[1:])


def test_a_link_inside_a_bucket_is_not_followed_but_the_bucket_may_be_one(tmp_path: Path) -> None:
    library, outside = tmp_path / "library", tmp_path / "outside"
    library.mkdir()
    outside.mkdir()
    (library / "a").write_bytes(b"x")
    (library / "door").symlink_to(outside)
    (library / "file").symlink_to(library / "a")
    bucket = tmp_path / "b-1"
    bucket.symlink_to(library)

    assert keys.locate(bucket, "a") == library / "a"
    assert keys.locate(bucket, "door/x") is None
    assert keys.locate(bucket, "file") is None


def test_a_key_has_at_most_850_bytes(tmp_path: Path) -> None:
    fits = "/".join(["ü" * 100] * 4) + "/" + "a" * 46
    with pytest.raises(Refusal) as refused:
        keys.locate(tmp_path, fits + "b")

    assert len(fits.encode()) == 850
    assert keys.locate(tmp_path, fits) is not None
    assert refused.value.code == "KeyTooLong"


@pytest.mark.parametrize(
    "bucket", ["..", ".service", "a_b", "UPPER-1", "a.b-1", "-1", "x-", "a/b-1", ""]
)
def test_an_invalid_bucket_name_has_no_folder(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(Refusal):
        keys.bucket_folder(tmp_path, bucket)


def test_the_host_names_bucket_region_and_side() -> None:
    found = address("media-1250000000.ci.ap-chongqing.myqcloud.com:8080", "", "")

    assert (found.bucket, found.region, found.service) == ("media-1250000000", "ap-chongqing", "ci")
    assert address("ci.ap-chongqing.myqcloud.com", "x-1", "r").bucket == ""
    assert address("127.0.0.1:80", "x-1", "r").bucket == "x-1"
    with pytest.raises(Refusal):
        address("b@d.cos.ap-x.myqcloud.com".replace("@", "_"), "", "")


@given(
    st.lists(
        st.text("a.b/~\x00\x7f é歌\u200b", max_size=5) | st.just("x" * 300), min_size=1, max_size=3
    )
)
def test_only_valid_names_of_objects_are_plain(names: list[str]) -> None:
    if keys.are_plain("/".join(names)):
        for name in names:
            keys.check(name)
            assert not name.endswith("/")


@pytest.mark.parametrize("name", ["a", "in/a b.mp3", "歌/曲.mp3", "x" * 200, "a.b/c..d"])
def test_ordinary_names_are_plain(name: str) -> None:
    assert keys.are_plain(f"{name}/{name}") == (len(name) < 200)
    assert keys.are_plain(name)

"""Calls that the service does not know are refused, and touch no file."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
import qcloud_cos

if TYPE_CHECKING:
    from tests.integration.server.conftest import Bench

HOST = "media-1250000000.cos.ap-chongqing.myqcloud.com"
Sent: TypeAlias = "tuple[str, str, dict[str, str], dict[str, str]]"
"""Method, path, parameters and headers of a call."""
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH")
PLACES = ("/", "/song", "/folder/", "/folder/deep", "/none")


def words(text: str) -> list[str]:
    return text.split()


# Parameters of the vendor's storage and data-processing calls, and of its clients.
NAMES = words("""
accelerate acl append async bar-type biz-type callback ci-process continuation-token copyable cors
cover dataid delete delimiter detect-type detect-url domain domaincertificate encoding-type
encryption exif expires fetch-owner height id imageAve imageInfo imageInspect imageMogr2 imageView2
intelligenttiering interval inventory key-marker large-image-detect lifecycle limit list-type live
location logging marker max-frames max-keys max-parts max-uploads mode notification object-lock
origin page part-number-marker partNumber password policy position prefix publicAccessBlock pull
qrcode-content quality range redirect referer rename replication requestPayment response-unknown
restore retention rotate scale select select-type size snapshot start-after status style switch
symlink tag tagging torrent type uploadId upload-id-marker uploads version-id-marker versionId
versioning versions vod watermark website width x-cos-meta-a x-cos-process
""")
LISTING = {"prefix", "delimiter", "encoding-type"}
KNOWN = {
    ("GET", True): [
        LISTING | {"marker", "max-keys"},
        LISTING | {"uploads", "key-marker", "upload-id-marker", "max-uploads"},
    ],
    ("POST", True): [{"delete"}],
    ("GET", False): [{"uploadId", "max-parts", "part-number-marker", "encoding-type"}],
    ("PUT", False): [{"uploadId", "partNumber"}],
    ("POST", False): [{"uploads"}, {"uploadId"}],
    ("DELETE", False): [{"uploadId"}],
}
HEADERS = words("""
If-Match If-None-Match If-Modified-Since If-Unmodified-Since Pic-Operations x-cos-callback
x-cos-copy-source-server-side-encryption-customer-key x-cos-forbid-overwrite x-cos-grant-read
x-cos-grant-write x-cos-object-lock-mode x-cos-replication x-cos-server-side-encryption
x-cos-server-side-encryption-customer-key x-cos-server-side-encryption-context
x-cos-symlink-target x-cos-tagging x-cos-traffic-limit x-cos-unknown x-cos-website-redirect-location
""")


def could_be_known(method: str, place: str, names: set[str]) -> bool:
    lower = {name.lower() for name in names}
    return any(
        lower <= {name.lower() for name in known} for known in KNOWN.get((method, place == "/"), [])
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"/"
        for path in folder.rglob("*")
    }


@pytest.fixture
async def media(bench: Bench) -> Path:
    """The bucket's folder, with two files in it."""
    bucket = bench.root / "media-1250000000"
    (bucket / "folder").mkdir()
    (bucket / "song").write_bytes(b"media")
    (bucket / "folder" / "deep").write_bytes(b"deep")
    return bucket


async def statuses(bench: Bench, calls: list[Sent]) -> list[int]:
    """Send all calls, each with a body, and return their statuses."""

    async def send(method: str, path: str, params: dict[str, str], headers: dict[str, str]) -> int:
        body = b"" if method in {"GET", "HEAD"} else b"<Other><Key>song</Key></Other>"
        answer = await bench.raw(method, path, host=HOST, params=params, headers=headers, body=body)
        return answer.status

    found: list[int] = []
    for start in range(0, len(calls), 50):
        found += await asyncio.gather(*(send(*call) for call in calls[start : start + 50]))
    return found


@pytest.mark.slow
async def test_every_parameter_of_the_vendor_that_is_not_implemented_is_refused(
    bench: Bench, media: Path
) -> None:
    before = tree(media)
    calls: list[Sent] = [
        (method, place, {name: value}, {})
        for method in METHODS
        for place in PLACES
        for name in NAMES
        for value in ("", "song")
        if not could_be_known(method, place, {name})
    ]

    answers = await statuses(bench, calls)

    good = [call for call, status in zip(calls, answers, strict=True) if status < 400]
    assert good == []
    assert set(answers) <= {400, 404, 405, 501}
    assert tree(media) == before
    assert len(calls) > 5000


def names_in(source: str) -> set[str]:
    """Return what may be names of parameters in the source of a client, without those we know."""
    found = set(
        re.findall(r"""['"?&\[]([A-Za-z][\w-]{1,40})['"]?(?:['"\]]\s*[:=]|=|['"]$)""", source)
    )
    found |= set(re.findall(r"""\baction:\s*['"]([\w-]+)""", source))
    harmless = {"sign", "x-cos-security-token"}
    return {
        name
        for name in found
        if name not in harmless and not name.lower().startswith(("q-", "response-"))
    }


async def refused_names(bench: Bench, media: Path, names: set[str]) -> int:
    """Send calls with each name, check that none does anything, and return their number."""
    before = tree(media)
    calls: list[Sent] = [
        (method, place, {name: "song"}, {})
        for method in ("GET", "PUT", "POST", "DELETE")
        for place in ("/", "/song")
        for name in sorted(names)
        if not could_be_known(method, place, {name})
    ]

    answers = await statuses(bench, calls)

    good = [call for call, status in zip(calls, answers, strict=True) if status < 400]
    assert good == []
    assert tree(media) == before
    return len(calls)


@pytest.mark.slow
async def test_every_parameter_in_the_source_of_the_python_client_is_refused(
    bench: Bench, media: Path
) -> None:
    folder = Path(qcloud_cos.__file__).parent
    names = names_in("\n".join(path.read_text() for path in folder.glob("*.py")))

    assert {"retention", "ci-process", "versionId", "acl", "tagging", "tagkey"} <= names | set(
        NAMES
    )
    assert await refused_names(bench, media, names) > 1000


@pytest.mark.slow
async def test_every_parameter_in_the_source_of_the_node_client_is_refused(
    bench: Bench, media: Path, node_modules: Path
) -> None:
    folder = node_modules / "cos-nodejs-sdk-v5" / "sdk"
    names = names_in("\n".join(path.read_text() for path in folder.glob("*.js")))

    assert {"acl", "versioning", "tagging", "inventory", "uploads"} <= names
    assert await refused_names(bench, media, names) > 100


@pytest.mark.slow
async def test_mixed_parameters_and_headers_never_change_a_file(bench: Bench, media: Path) -> None:
    before, dice = tree(media), random.Random(11)
    calls: list[Sent] = []
    while len(calls) < 1500:
        method, place = dice.choice(METHODS), dice.choice(PLACES)
        names = set(dice.sample(NAMES, dice.randrange(4)))
        headers = dict.fromkeys(dice.sample(HEADERS, dice.randrange(3)), "1")
        is_strange_write = headers and method not in {"GET", "HEAD"}
        if is_strange_write or (names and not could_be_known(method, place, names)):
            calls.append((method, place, dict.fromkeys(names, "1"), headers))

    answers = await statuses(bench, calls)

    good = [call for call, status in zip(calls, answers, strict=True) if status < 400]
    assert good == []
    assert tree(media) == before


async def test_every_header_that_is_not_implemented_stops_a_write(
    bench: Bench, media: Path
) -> None:
    before = tree(media)
    calls = [
        (method, place, params, {header: "1"})
        for header in HEADERS
        for method, place, params in (
            ("PUT", "/song", {}),
            ("DELETE", "/song", {}),
            ("PUT", "/", {}),
            ("POST", "/", {"delete": ""}),
            ("POST", "/song", {"uploads": ""}),
            ("PUT", "/song", {"uploadId": "1", "partNumber": "1"}),
        )
    ]

    answers = await statuses(bench, calls)

    assert set(answers) == {501}
    assert tree(media) == before


@pytest.mark.parametrize(
    ("header", "value"), [("x-cos-acl", "public-read"), ("x-cos-storage-class", "ARCHIVE")]
)
async def test_a_value_that_is_not_implemented_stops_a_write(
    bench: Bench, media: Path, header: str, value: str
) -> None:
    assert await statuses(bench, [("PUT", "/song", {}, {header: value})]) == [501]
    assert (media / "song").read_bytes() == b"media"


async def test_metadata_of_a_call_that_keeps_none_is_refused(bench: Bench, media: Path) -> None:
    meta = {"x-cos-meta-artist": "someone"}

    answers = await statuses(
        bench,
        [
            ("DELETE", "/song", {}, meta),
            ("PUT", "/song", {"uploadId": "1", "partNumber": "1"}, meta),
        ],
    )

    assert answers == [501, 501]
    assert (media / "song").exists()


async def test_a_repeated_client_request_is_accepted(bench: Bench, media: Path) -> None:
    """The vendor's clients mark every further try of a request."""
    answer = await bench.raw(
        "PUT", "/song", host=HOST, body=b"again", headers={"x-cos-sdk-retry": "true"}
    )

    assert answer.status == 200
    assert (media / "song").read_bytes() == b"again"


async def test_a_parameter_that_is_there_twice_is_refused(bench: Bench, media: Path) -> None:
    path = "/song?uploadId=1&uploadId=2"

    answer = await bench.raw("DELETE", "/song", host=HOST, wire_path=path)

    assert answer.status == 400
    assert (media / "song").exists()


async def test_a_folder_with_a_body_is_refused(bench: Bench) -> None:
    answer = await bench.raw("PUT", "/folder/", host=HOST, body=b"lost")

    assert answer.status == 400
    assert (await bench.raw("HEAD", "/folder/", host=HOST)).status == 404

"""Addresses where a name is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ConfigError, ManifestError
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.address import AddressRefused, address_of
from orchestrator.manifest.sources.selection import Selection
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk

BUCKET = "media-1250000000"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"cos://{BUCKET}/in/a.mp3", (BUCKET, "", "in/a.mp3")),
        (f"COS://{BUCKET}/in/a%20b?c#d.mp3", (BUCKET, "", "in/a%20b?c#d.mp3")),
        (f"https://{BUCKET}.cos.ap-tokyo.myqcloud.com/in/a.mp3", (BUCKET, "ap-tokyo", "in/a.mp3")),
        (
            f"http://{BUCKET}.cos.ap-tokyo.myqcloud.com:80/%E6%99%9A/a%2Bb+c%20d.mp3?q-ak=x&sign=y",
            (BUCKET, "ap-tokyo", "晚/a+b+c d.mp3"),
        ),
        (f"https://{BUCKET}.cos.accelerate.myqcloud.com/a.mp3", (BUCKET, "", "a.mp3")),
        (f"https://cos.ap-tokyo.myqcloud.com/{BUCKET}/in/a.mp3", (BUCKET, "ap-tokyo", "in/a.mp3")),
        (f"https://{BUCKET}.cos.ap-tokyo.tencentcos.cn/a.mp3", (BUCKET, "ap-tokyo", "a.mp3")),
    ],
)
def test_an_address_names_bucket_region_and_key(text: str, expected: tuple[str, str, str]) -> None:
    assert address_of(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://shelf/in/a.mp3", 'Write the name of the object: "in/a.mp3"'),
        ("https://example.com/in/a%20b.mp3?token=secret", '"in/a b.mp3"'),
        (f"https://{BUCKET}.ci.ap-tokyo.myqcloud.com/in/a.mp3", '"in/a.mp3"'),
        ("cos://alias/in/a.mp3", "lacks the account number"),
        (f"https://{BUCKET}.cos.ap-tokyo.myqcloud.com/a.mp3?versionId=7", "versionId"),
        (f"https://{BUCKET}.cos.ap-tokyo.myqcloud.com/a#1.mp3", "%23"),
        (f"https://{BUCKET}.cos.ap-tokyo.myqcloud.com/caf%E9.mp3", "not UTF-8"),
        (f"https://{BUCKET}.cos.ap-tokyo.myqcloud.com/bad%ZZ.mp3", "%25"),
        (f"https://user:secret@{BUCKET}.cos.ap-tokyo.myqcloud.com/a.mp3", "user name"),
        ("https://[/a.mp3", "not a valid address"),
        ("https://user:secret@example.com/a.mp3", "another host"),
    ],
)
def test_other_addresses_are_refused_with_the_name_that_was_meant(text: str, words: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        address_of(text)

    assert words in caught.value.message
    assert "secret" not in caught.value.message


async def test_lists_objects_rules_and_prefixes_understand_addresses(desk: Desk) -> None:
    desk.write(
        "urls.txt",
        f"cos://{BUCKET}/in/a.mp3\n"
        f"https://{BUCKET}.cos.ap-chongqing.myqcloud.com/in/b.mp3\n"
        "https://other-1250000000.cos.ap-tokyo.myqcloud.com/c%20d.mp3\n"
        "https://example.com/in/e.mp3\n"
        f"https://{BUCKET}.cos.ap-tokyo.myqcloud.com/in/f.mp3\n",
    )
    manifest = desk.load(
        f"""service: tencent
defaults: {{output: {{voice: "s/{{stem}}"}}}}
inputs:
  - list: urls.txt
    exclude: cos://elsewhere-1250000000/*
  - object: cos://{BUCKET}/in/g.mp3
rules:
  - when: {{object: "cos://other-1250000000/*"}}
    level: 2
  - when: {{prefix: "https://{BUCKET}.cos.ap-chongqing.myqcloud.com/in/"}}
    level: 1
"""
    )
    planner = Planner(manifest)
    specs = [spec async for batch in read(manifest) for spec in planner.specs(batch)]

    good = [(*spec.media.place, spec.media.key, spec.level) for spec in specs if not spec.refusal]
    assert good == [
        (BUCKET, "ap-chongqing", "in/a.mp3", 1),
        (BUCKET, "ap-chongqing", "in/b.mp3", 1),
        ("other-1250000000", "ap-tokyo", "c d.mp3", 2),
        (BUCKET, "ap-chongqing", "in/g.mp3", 1),
    ]
    host, region = [spec.refusal.message for spec in specs if spec.refusal]
    assert '"in/e.mp3"' in host
    assert "ap-tokyo" in region
    assert '"in/f.mp3"' in region


async def test_a_refused_address_leaves_no_signature_in_the_report(desk: Desk) -> None:
    desk.write("l.txt", "https://user:pass@example.com/in/a.mp3?q-signature=secret\n")
    manifest = desk.load('defaults: {output: {voice: "s"}}\ninputs: [{list: l.txt}]\n')

    (spec,) = [spec async for batch in read(manifest) for spec in Planner(manifest).specs(batch)]
    assert spec.media.key == "https://example.com/in/a.mp3"
    assert "secret" not in str(spec)
    assert "pass" not in str(spec)


async def test_a_column_that_contradicts_the_address_is_a_problem(desk: Desk) -> None:
    desk.write("l.csv", f"object,bucket\ncos://{BUCKET}/a.mp3,other-12345\n")
    manifest = desk.load('defaults: {output: {voice: "s"}}\ninputs: [{list: l.csv}]\n')

    ((item,),) = [batch async for batch in read(manifest)]
    assert item.problem is not None
    assert "other-12345" in item.problem.message


@pytest.mark.parametrize(
    "source",
    [
        "{object: s3://shelf/a.mp3}",
        "{prefix: https://example.com/in/}",
        "{object: cos://media-1250000000/a.mp3, bucket: other-12345}",
        '{prefix: in/, include: "gs://shelf/*"}',
    ],
)
def test_an_address_that_does_not_fit_in_a_manifest_is_a_fault(desk: Desk, source: str) -> None:
    with pytest.raises(ManifestError, match="address"):
        desk.load(f'defaults: {{output: {{voice: "s"}}}}\ninputs:\n  - {source}\n')


def test_only_refuses_an_address_that_is_not_understood() -> None:
    with pytest.raises(ConfigError, match="--only"):
        Selection(["s3://shelf/*"])

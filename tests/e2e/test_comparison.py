"""The figures of docs/comparison.md: a loop over the vendor's SDK beside a run."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from qcloud_cos import CosConfig, CosS3Client

from tests.documents import page
from tests.e2e.playground import BUCKET, KEYS, REGION, until

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow
OBJECTS = [f"in/{number:03}.mp3" for number in range(200)]
LOST = 20
"""Submits whose answer never arrives."""


@pytest.fixture
def unlucky(service: RunningService) -> RunningService:
    """A service of which some answers are lost after it has accepted the job."""
    service.spoil({"route": "submit", "do": "lose_answer", "skip": 50, "times": LOST})
    return service


def loop_over_the_sdk(service: RunningService) -> None:
    """Submit all objects as a script would, with sixteen threads and the SDK's defaults."""
    place = urlsplit(service.url)
    client = CosS3Client(
        CosConfig(
            Region=REGION,
            SecretId=KEYS.secret_id,
            SecretKey=KEYS.secret_key,
            Scheme="http",
            IP=place.hostname,
            Port=place.port,
        )
    )

    def submit(name: str) -> None:
        client.ci_create_media_jobs(
            Bucket=BUCKET,
            Jobs={
                "Tag": "VoiceSeparate",
                "Input": {"Object": name},
                "Operation": {
                    "VoiceSeparate": {"AudioMode": "IsAudio"},
                    "Output": {"Region": REGION, "Bucket": BUCKET, "AuObject": f"{name}.aac"},
                },
            },
        )

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(submit, OBJECTS))
    until(lambda: set(service.state()["jobs"]) == {"Success"}, "the jobs end")


def said(name: str) -> list[int]:
    """Return the jobs that the page names in a row of its table: lost answers, twice."""
    row = re.search(rf"^\| {name} \| (\d+) \| (\d+) \|$", page("comparison.md"), re.MULTILINE)
    assert row is not None
    return [int(row[1]), int(row[2])]


def test_a_loop_over_the_sdk_pays_for_lost_answers_and_for_a_second_start(
    unlucky: RunningService,
) -> None:
    loop_over_the_sdk(unlucky)
    first = len(unlucky.jobs())
    loop_over_the_sdk(unlucky)

    assert first == len(OBJECTS) + LOST
    assert [first, len(unlucky.jobs())] == said("a loop over the SDK")


def test_a_run_pays_for_neither(here: Playground, unlucky: RunningService) -> None:
    here.write(*OBJECTS)
    assert here.run().code == 0
    first = len(unlucky.jobs())
    assert here.run().code == 0

    assert first == len(OBJECTS)
    assert [first, len(unlucky.jobs())] == said("`orchestrator run`")

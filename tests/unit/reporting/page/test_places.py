"""Addresses of sounds: relative, encoded, and right wherever page and sounds are."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from orchestrator.client.links import SignedLinks
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.states import JobState
from orchestrator.reporting.page.places import Places, named_files, relative_url
from tests.unit.reporting.page.samples import make_row


@pytest.mark.parametrize(
    ("page", "media"),
    [
        ("reports", "media/b-1"),
        (".", "media"),
        ("a b#1/100%", "mü/[x]"),
        ("media", "media"),
        ("media/reports", "media"),
        ("x:y", "x:z"),
    ],
)
def test_a_folder_is_found_from_the_page(tmp_path: Path, page: str, media: str) -> None:
    for name in (page, media):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)

    found = urljoin(
        (tmp_path / page / "page.html").as_uri(),
        f"{relative_url(tmp_path / page, tmp_path / media)}a",
    )

    assert Path(unquote(urlsplit(found).path)) == tmp_path / media / "a"


def test_a_page_that_is_reached_by_a_link_still_finds_its_sounds(tmp_path: Path) -> None:
    (tmp_path / "far" / "away" / "reports").mkdir(parents=True)
    (tmp_path / "media").mkdir()
    (tmp_path / "reports").symlink_to(tmp_path / "far" / "away" / "reports")

    url = relative_url(tmp_path / "reports", tmp_path / "media")

    assert url == "../media/"


def test_a_folder_of_page_and_sounds_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "reports").mkdir(parents=True)
    (tmp_path / "real" / "media").mkdir()
    (tmp_path / "album").symlink_to(tmp_path / "real")

    url = relative_url(tmp_path / "album" / "reports", tmp_path / "real" / "media")

    assert url == "../media/"


def test_a_bucket_is_noted_once_with_its_folder() -> None:
    places = Places(Path("/home/me/reports"), lambda bucket: f"/home/me/media/{bucket}")
    for number in (1, 2):
        assert places.note(make_row(number)) == {}

    bases = places.as_dict()["bases"]
    (place,) = bases
    assert bases[place] == f"../media/{place.partition('/')[0]}/"
    assert places.as_dict()["links"] is None


def test_a_page_in_the_folder_of_the_sounds_finds_them() -> None:
    places = Places(Path("/home/me/media"), lambda _: "/home/me/media")
    places.note(make_row(1))

    assert list(places.as_dict()["bases"].values()) == ["./"]


def test_elsewhere_there_are_no_addresses_and_no_media_may_be_loaded() -> None:
    places = Places(Path("/home/me"), None)
    places.note(make_row(1))

    assert places.as_dict() == {"bases": {}, "links": None}
    assert places.media_sources == ()
    assert places.files(make_row(1)) == {}


def test_only_stems_that_were_made_are_named() -> None:
    assert list(named_files(make_row(1))) == ["input", "voice"]


@pytest.mark.parametrize("bucket", ["../../etc", "Bad Bucket", "evil.example/x", ""])
def test_a_row_with_an_impossible_bucket_has_no_address_and_breaks_nothing(bucket: str) -> None:
    row = make_row(1, JobState.REJECTED)
    row["input"]["bucket"] = bucket
    linked = Places(Path("/home/me"), None, SignedLinks(Credentials("AKID", "secret"), 0.0, 60))
    local = Places(Path("/home/me"), lambda name: f"/home/me/media/{name}")

    assert linked.note(row) == local.note(row) == {}
    assert linked.as_dict()["bases"] == local.as_dict()["bases"] == {}

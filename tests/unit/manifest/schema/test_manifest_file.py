"""The JSON Schema and the cookbook: an editor and the loader must agree."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from orchestrator.domain.remote import ListedObject, ObjectPage
from orchestrator.errors import ManifestError
from orchestrator.manifest import json_schema, load_manifest
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.stream import read
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.spec import Place

ROOT = REPOSITORY
COOKBOOK = sorted((ROOT / "manifests").glob("*.yaml"))
WRONG = sorted((ROOT / "tests/golden/manifest/wrong").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
BEYOND_A_SCHEMA = re.compile(
    # A JSON Schema of reasonable size cannot express these: relations between values, names known
    # only in context, files, YAML itself.
    r"0[4-9]|1[0-9]|2[01234678]|29|3[0-4]|3[6-9]|40|4[6-9]|5[0-6]"
)


class _Core(yaml.SafeLoader):
    """Read YAML as editors do: the core schema of YAML 1.2, where ``no`` and ``22:00`` are text."""


_Core.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Core.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _as_an_editor_reads(path: Path) -> Any:
    return yaml.load(path.read_text(), _Core)  # noqa: S506  # derived from SafeLoader


def _editor_accepts(path: Path) -> bool:
    return VALIDATOR.is_valid(_as_an_editor_reads(path))


class Bucket:
    """Storage with one object under every prefix."""

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        names = [f"{prefix}some/one.mp3", f"{prefix}some/two.flac"]
        return ObjectPage(
            tuple(ListedObject(name, 1_000_000, f"etag-{place.bucket}", 0.0) for name in names)
        )

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_key_of_the_schema_is_described() -> None:
    schema = json_schema()
    parts = {"manifest": schema, **schema["$defs"]}
    keys = [(part, key, inner) for part, node in parts.items() for key, inner in _properties(node)]

    assert len(keys) > 90
    assert [
        f"{part}.{key}"
        for part, key, inner in keys
        if "description" not in inner and "$ref" not in inner
    ] == []


def _properties(node: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    inner = [pair for each in node.get("anyOf", ()) for pair in _properties(each)]
    return [*node.get("properties", {}).items(), *inner]


def test_the_schema_file_in_manifests_is_up_to_date() -> None:
    """Written with: orchestrator schema > manifests/manifest.schema.json"""
    assert json.loads((ROOT / "manifests/manifest.schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("path", COOKBOOK, ids=lambda path: path.name)
async def test_a_cookbook_manifest_validates_and_plans(path: Path) -> None:
    manifest = load_manifest(path)
    planner = Planner(manifest)
    jobs = [spec async for batch in read(manifest, Bucket()) for spec in planner.specs(batch)]

    assert jobs or manifest.name in {
        "backfill",
        "nightly",
    }  # their time ranges exclude objects that old


@pytest.mark.parametrize("path", COOKBOOK, ids=lambda path: path.name)
def test_the_schema_accepts_a_cookbook_manifest(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=manifest.schema.json\n")
    assert [error.message for error in VALIDATOR.iter_errors(_as_an_editor_reads(path))] == []


def test_the_cookbook_has_its_recipes() -> None:
    names = {path.stem for path in COOKBOOK}

    assert names >= {
        "demo",
        "library",
        "nightly",
        "backfill",
        "two-buckets",
        "matrix",
        "from-list",
        "template-id",
        "callback",
    }


DOCUMENTS = [ROOT / "docs/manifest.md", ROOT / "docs/cookbook.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_schema_accepts_every_example_of_the_documentation(path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)

    assert blocks
    for block in blocks:
        assert [error.message for error in VALIDATOR.iter_errors(yaml.load(block, _Core))] == []  # noqa: S506  # derived from SafeLoader


@pytest.mark.parametrize(
    "path",
    [path for path in WRONG if not BEYOND_A_SCHEMA.match(path.name)],
    ids=lambda path: path.name,
)
def test_the_schema_refuses_what_the_loader_refuses(path: Path) -> None:
    assert not _editor_accepts(path)


GOOD = (
    "bucket: media-1250000000\nregion: ap-chongqing\n"
    "inputs: [{object: a.mp3, output: {voice: v}}]\n"
)


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("limits: {submit_per_s: 0.5}", True),
        ("limits: {submit_per_s: 0}", False),
        ("limits: {in_flight: 1.5}", False),
        ("budget: {max_failures: 5%, deadline: 2h30m}", True),
        ("budget: {max_failures: many}", False),
        ("budget: {deadline: 90}", True),
        ("budget: {deadline: soon}", False),
        ("retry: {attempts: 0}", False),
        ("retry: {settle_s: 1m}", True),
        ("callback: no", True),
        ("callback: {url: 'https://a.example/x', format: JSON}", True),
        ("callback: {url: 'https://a.example/x', format: json}", False),
        ("params: {a: 1, b: x, c: 2026-11-22, d: true}", True),
        ("params: {a: [1]}", False),
        ("service: {local: }", True),
        ("service: {ci: 'http://a', cos: 'http://b'}", True),
        ("service: {ci: 'http://a'}", False),
        ("service: tencnt", False),
        ("window: {from: 22:00, to: 06:00, days: [mon, tue]}", True),
        ("window: {from: 22:00}", False),
        ("price: {currency: CNY, per_minute: 0}", True),
        ("price: {currency: yuan}", False),
        ("version: 2", False),
        ("name: a b", False),
        (
            "rules: [{when: {object: '*.a', min_size: 10MB, column: {genre: [a, b]}}, level: 1}]",
            True,
        ),
        ("rules: [{when: {object: '*.a'}, level: 7}]", False),
        (
            (
                "defaults: {operation: {audio: {codec: flac, samplerate: 48000, bitrate: 8, "
                "channels: 1}}}"
            ),
            True,
        ),
        ("defaults: {operation: {audio: {codec: ogg}}}", False),
        ("defaults: {operation: {audio: {samplerate: 1}}}", False),
        ("defaults: {operation: {audio: {channels: 3}}}", False),
        ("defaults: {operation: {audio: {bitrate: 7}}}", False),
        ("defaults: {output: {voyce: x}}", False),
        ("defaults: {matrix: {a: {level: 1, output: {voice: a}}}}", True),
        ("defaults: {user_data: 12}", True),
        ("defaults: {level: }", True),
        ("include: []", True),
        ("timezone: UTC", True),
    ],
)
def test_schema_and_loader_agree(tmp_path: Path, text: str, accepted: bool) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD + text + "\n")
    try:
        load_manifest(path)
    except ManifestError:
        ours = False
    else:
        ours = True

    assert (ours, _editor_accepts(path)) == (accepted, accepted)

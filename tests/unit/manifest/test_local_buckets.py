"""Buckets of the local service that are folders of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ManifestError
from orchestrator.manifest.local_buckets import bucket_name

if TYPE_CHECKING:
    from tests.unit.manifest.conftest import Desk

VOICE = 'defaults: {output: {voice: "stems/{stem}.${ext}"}}\n'


def refusal(desk: Desk, text: str, service: str | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        desk.load(text, head="", service=service)
    return str(caught.value)


def test_a_bucket_may_be_any_folder_and_needs_no_account_number(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(desk.folder / "home"))
    text = (
        'service: {local: {buckets: {interviews: ~/Music/in, out: "../{where}", abs: /srv/x}}}\n'
        "params: {where: deep}\nbucket: interviews\n" + VOICE + "inputs: [{object: a.mp3}]\n"
    )

    manifest = desk.load(text, head="")

    assert manifest.buckets == {
        "interviews": desk.folder / "home/Music/in",
        "out": desk.folder.parent / "deep",
        "abs": Path("/srv/x"),
    }
    assert manifest.bucket == "interviews"


def test_a_relative_folder_starts_at_the_file_that_names_it(desk: Desk) -> None:
    (desk.folder / "team/talks").mkdir(parents=True)
    desk.write("team/base.yaml", "service: {local: {buckets: {a: x}}}\ninputs: [{folder: talks}]\n")

    manifest = desk.load("include: team/base.yaml\n", head="")

    assert manifest.buckets == {
        "a": desk.folder / "team/x",
        "talks": desk.folder / "team/talks",
        "stems": desk.folder / "stems",
    }


def test_a_bucket_without_an_account_number_is_refused_elsewhere(desk: Desk) -> None:
    text = (
        "bucket: talks\nregion: ap-chongqing\n" + VOICE + "inputs: [{object: a.mp3, bucket: b}]\n"
    )
    output = text.replace("voice:", "bucket: out, voice:").replace(
        "bucket: talks", "bucket: t-12345"
    )

    desk.load(text, head="")
    for service in ("tencent", None):
        head = "" if service else "service: {ci: http://h, cos: http://h}\n"
        said = refusal(desk, head + text, service)
        assert said.count("includes the account number") == 2
        assert "inputs[0].bucket" in said
        assert "defaults.output.bucket" in refusal(desk, head + output, service)


@pytest.mark.parametrize("place", ["bucket", "output"])
def test_a_bucket_made_of_params_is_checked_too(desk: Desk, place: str) -> None:
    bucket = '"{b}"' if place == "bucket" else "t-1250000000"
    output = 'bucket: "{b}", ' if place == "output" else ""
    text = (
        f"service: tencent\nparams: {{b: talks}}\nregion: ap-chongqing\nbucket: {bucket}\n"
        f'defaults: {{output: {{{output}voice: "s/{{stem}}"}}}}\ninputs: [{{object: a.mp3}}]\n'
    )

    assert "includes the account number" in refusal(desk, text)
    desk.load(text, head="", service="local")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inputs: [{folder: gone}]", 'gone" does not exist. Correct the path'),
        ("inputs: [{folder: manifest.yaml}]", "is a file, not a folder"),
        ("inputs: [{folder: here, prefix: a}]", "has folder and prefix"),
        ("inputs: [{folder: here, bucket: A_b}]", "Use lower-case letters"),
        ("inputs: [{folder: here, inclde: x}]", 'Did you mean "include"?'),
        ("inputs: [{folder: '{x}'}]", "x"),
        ("service: {local: {buckets: {A_b: x}}}\ninputs: [{object: a}]", "Use lower-case letters"),
        ("service: {local: {buckets: {b: manifest.yaml}}}\ninputs: [{folder: here}]", "is a file"),
        (
            "service: {local: {buckets: {b: x}}}\ninputs: [{folder: here, bucket: b}]",
            "The bucket b is the folder",
        ),
        ("service: tencent\ninputs: [{folder: here}]", "read by service: local only"),
        ("service: {ci: http://h, cos: http://h}\ninputs: [{folder: here}]", "service: local only"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_a_fault_with_its_place(desk: Desk, text: str, said: str) -> None:
    (desk.folder / "here").mkdir()

    message = refusal(desk, text + "\n")

    assert said in message
    assert "manifest.yaml:" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Interviews", "interviews"),
        ("Äußerungen 2024!", "auerungen-2024"),
        ("音乐", "97f3-4e50"),
        ("x" * 99, "x" * 40),
        ("/", "folder"),
    ],
)
def test_a_bucket_is_named_after_its_folder(folder: str, name: str) -> None:
    assert bucket_name(Path(folder)) == name
    assert bucket_name(Path(folder), {name, f"{name}-2"}) == f"{name}-3"


def test_a_folder_called_stems_does_not_become_the_bucket_of_the_stems(desk: Desk) -> None:
    (desk.folder / "old/stems").mkdir(parents=True)

    manifest = desk.load("inputs: [{folder: old/stems}]\n", head="")

    assert manifest.buckets == {
        "stems": desk.folder / "stems",
        "stems-2": desk.folder / "old/stems",
    }


@pytest.mark.parametrize("folder", ["stems", "stems/talks"])
def test_stems_that_would_be_inputs_of_the_next_run_are_refused(desk: Desk, folder: str) -> None:
    (desk.folder / folder).mkdir(parents=True)

    said = refusal(desk, f"inputs: [{{folder: {folder}}}]\n")
    desk.load(
        f"service: {{local: {{buckets: {{stems: out}}}}}}\ninputs: [{{folder: {folder}}}]\n",
        head="",
    )

    assert "would be inputs of the next run. Name another place" in said

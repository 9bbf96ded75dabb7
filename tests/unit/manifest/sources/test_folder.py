"""Folders of this machine as sources."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ConfigError, PlanError
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.manifest.sources.folder import BATCH, STEM_NAMES, MediaFiles, is_walked
from orchestrator.server.storage.folder_store import FolderStore

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.spec import JobSpec
    from tests.unit.manifest.conftest import Desk


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


async def planned(desk: Desk, text: str) -> tuple[list[JobSpec], list[str]]:
    """Return the jobs of a manifest, and the remarks on its sources."""
    manifest = desk.load(text, head="")
    async with FolderStore(desk.folder / "root", manifest.buckets) as store:
        feed = Feed(manifest, store)
        specs = [spec async for batch in feed.specs() for spec in batch]
    return specs, feed.found.remarks


def test_stems_of_an_earlier_run_are_skipped_and_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp3", "one/.separate.yaml", "one/x.mp3", "in/two/.separate.yaml")
    fill(tmp_path, "in/two/b/voice.mp3", ".separate.yaml")
    files = MediaFiles(tmp_path)

    assert [found.key for found in files] == ["a.mp3"]
    part = '2 folders with stems of an earlier run ("one/", "in/two/")'
    assert part in files.skipped.text()


def test_media_beside_stems_are_inputs_and_the_stems_are_not(tmp_path: Path) -> None:
    fill(tmp_path, "talks/new.mp3", "talks/.separate.yaml", "talks/old.mp3/voice.mp3")
    fill(tmp_path, "talks/in/more.mp3", "pure/.separate.yaml", "pure/old.mp3/voice.mp3")
    for folder in ("talks", "pure"):
        (tmp_path / folder / ".orchestrator").mkdir()
        (tmp_path / folder / STEM_NAMES).write_text('{"stems": {"old.mp3": "/x/old.mp3"}}')
    files = MediaFiles(tmp_path)

    assert [found.key for found in files] == ["talks/in/more.mp3", "talks/new.mp3"]
    part = '2 folders with stems of an earlier run ("pure/", "talks/old.mp3/")'
    assert part in files.skipped.text()
    assert not is_walked(tmp_path, tmp_path / "talks/old.mp3/voice.mp3")
    assert is_walked(tmp_path, tmp_path / "talks/in/more.mp3")
    assert [found.key for found in MediaFiles(tmp_path / "talks")] == ["in/more.mp3", "new.mp3"]


@pytest.mark.parametrize("notes", ["", "{}", "[1]", '{"stems": 3}'])
def test_where_it_is_not_known_what_is_a_stem_everything_is(tmp_path: Path, notes: str) -> None:
    fill(tmp_path, "talks/new.mp3", "talks/.separate.yaml")
    (tmp_path / "talks/.orchestrator").mkdir()
    (tmp_path / "talks" / STEM_NAMES).write_text(notes)

    assert list(MediaFiles(tmp_path)) == []


def test_a_walk_has_the_order_of_the_keys_and_takes_any_case(tmp_path: Path) -> None:
    fill(tmp_path, "b.mp3", "a/z.WAV", "a.mp3", "a-b/c.Mp4", "A.flac")

    keys = [found.key for found in MediaFiles(tmp_path)]

    assert keys == sorted(keys)
    assert keys == ["A.flac", "a-b/c.Mp4", "a.mp3", "a/z.WAV", "b.mp3"]


def test_other_files_are_counted_and_named_by_reason(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "a.mp3",
        "notes.txt",
        ".DS_Store",
        "in/cover.jpg",
        ".git/x.mp3",
        "mp3",
        "b.mp3.part",
    )
    (tmp_path / "link.mp3").symlink_to(tmp_path / "a.mp3")
    (tmp_path / "around").symlink_to(tmp_path)
    (tmp_path / "x\ny.mp3").touch()
    (tmp_path / os.fsdecode(b"caf\xe9.mp3")).touch()
    os.mkfifo(tmp_path / "pipe.mp3")
    files = MediaFiles(tmp_path)

    keys = [found.key for found in files]

    assert keys == ["a.mp3"]
    text = files.skipped.text()
    assert text.startswith("11 skipped: ")
    for part in (
        '4 files that are not media ("b.mp3.part", "mp3", "notes.txt", ...)',
        '2 hidden files or folders (".DS_Store", ".git/")',
        '2 symbolic links ("around", "link.mp3")',
        '1 device, pipe or socket ("pipe.mp3")',
        r'1 name that is not UTF-8 ("caf\xe9.mp3")',
        r'1 name that no request can carry ("x\ny.mp3")',
    ):
        assert part in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_skipped(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp3", "locked/b.mp3", "c.mp3")
    (tmp_path / "a.mp3").chmod(0)
    (tmp_path / "locked").chmod(0)
    files = MediaFiles(tmp_path)

    keys = [found.key for found in files]
    (tmp_path / "locked").chmod(0o700)

    assert keys == ["c.mp3"]
    assert files.skipped.text().startswith("2 skipped: 2 files or folders that cannot be read")


async def test_a_folder_needs_no_bucket_region_or_output(desk: Desk) -> None:
    fill(desk.folder / "My Talks", "2024/a.MP3", "2024/a.wav", "notes.txt")

    specs, remarks = await planned(desk, "inputs: [{folder: My Talks}]\n")

    assert [spec.media.key for spec in specs] == ["2024/a.MP3", "2024/a.wav"]
    assert {spec.media.bucket for spec in specs} == {"my-talks"}
    assert all(len(spec.media.etag) == 32 for spec in specs)
    assert [spec.output.voice for spec in specs] == [
        "my-talks/2024/a.MP3/voice.${ext}",
        "my-talks/2024/a.wav/voice.${ext}",
    ]
    assert {spec.output.bucket for spec in specs} == {"stems"}
    assert len(remarks) == 1
    assert remarks[0].endswith(
        '1:10: inputs[0]: 1 skipped: 1 file that is not media ("notes.txt").'
    )


async def test_a_changed_file_is_another_job_and_a_moved_folder_the_same(desk: Desk) -> None:
    fill(desk.folder / "a/talks", "one.mp3", "two.mp3")
    before, _ = await planned(desk, "inputs: [{folder: a/talks}]\n")
    (desk.folder / "a").rename(desk.folder / "b")
    (desk.folder / "b/talks/two.mp3").write_bytes(b"another content")

    after, _ = await planned(desk, "inputs: [{folder: b/talks}]\n")

    assert after[0].key == before[0].key
    assert after[1].key != before[1].key


async def test_the_names_and_the_place_of_the_stems_can_be_chosen_apart(desk: Desk) -> None:
    fill(desk.folder / "talks", "a.mp3")
    service = "service: {local: {buckets: {stems: elsewhere}}}\n"
    voice = 'defaults: {output: {voice: "{stem}.${ext}"}}\n'

    specs, _ = await planned(desk, f"{service}{voice}inputs: [{{folder: talks}}]\n")
    manifest = desk.load(f"{service}{voice}inputs: [{{folder: talks}}]\n", head="")

    assert (specs[0].output.bucket, specs[0].output.voice) == ("stems", "a.${ext}")
    assert not specs[0].output.background
    assert manifest.buckets["stems"] == desk.folder / "elsewhere"


@pytest.mark.parametrize(
    ("stems", "voice"),
    [("m", "{object}"), ("link", "{object}"), (".", "m/{object}"), ("m/in", "{name}")],
)
async def test_stems_never_take_the_place_of_an_input_whatever_their_bucket(
    desk: Desk, stems: str, voice: str
) -> None:
    fill(desk.folder / "m", "in/a.mp3")
    (desk.folder / "link").symlink_to(desk.folder / "m")
    text = (
        f"service: {{local: {{buckets: {{stems: {stems}, media: m}}}}}}\n"
        f'defaults: {{output: {{bucket: stems, voice: "{voice}"}}}}\n'
        "inputs: [{object: in/a.mp3, bucket: media}]\n"
    )

    with pytest.raises(PlanError, match="overwrite its own input"):
        await planned(desk, text)


async def test_stems_never_take_the_place_of_an_input_in_the_root(desk: Desk) -> None:
    text = (
        "service: {local: {root: objects, buckets: {stems: objects/media}}}\n"
        'defaults: {output: {bucket: stems, voice: "{object}"}}\n'
        "inputs: [{object: a.mp3, bucket: media}]\n"
    )

    with pytest.raises(PlanError, match="overwrite its own input"):
        await planned(desk, text)


async def test_the_stems_of_one_object_do_not_take_the_place_of_another_input(desk: Desk) -> None:
    fill(desk.folder / "m", "a.mp3", "a.wav")
    text = (
        "service: {local: {buckets: {stems: ., media: m}}}\n"
        'defaults: {output: {bucket: stems, voice: "m/{stem}.wav"}}\n'
        "inputs: [{object: a.wav, bucket: media, output: {voice: x.wav}},"
        " {object: a.mp3, bucket: media}]\n"
    )

    with pytest.raises(PlanError, match="would be overwritten"):
        await planned(desk, text)


async def test_each_variant_of_a_folder_has_names_of_its_own(desk: Desk) -> None:
    fill(desk.folder / "talks", "a.mp3")
    mp3, flac = (f"{{operation: {{audio: {{codec: {codec}}}}}}}" for codec in ("mp3", "flac"))
    matrix = f"matrix: {{small: {mp3}, big: {flac}}}"

    specs, _ = await planned(desk, f"inputs: [{{folder: talks, {matrix}}}]\n")

    assert [spec.output.voice for spec in specs] == [
        "small/talks/a.mp3/voice.${ext}",
        "big/talks/a.mp3/voice.${ext}",
    ]


async def test_include_and_exclude_ignore_case_in_a_folder(desk: Desk) -> None:
    fill(desk.folder / "talks", "A.WAV", "b.wav", "Draft/c.wav", "d.mp3")

    specs, _ = await planned(
        desk, 'inputs: [{folder: talks, include: ["*.wav"], exclude: ["draft/*"]}]\n'
    )

    assert [spec.media.key for spec in specs] == ["A.WAV", "b.wav"]


async def test_a_manifest_in_its_own_folder_does_not_take_its_own_files(desk: Desk) -> None:
    fill(
        desk.folder,
        "a.mp3",
        "stems/x/a.mp3/voice.mp3",
        "out/voice.mp3",
        "reports/r.jsonl",
        ".orchestrator/manifest.db",
        "notes.txt",
    )
    text = "service: {local: {buckets: {mine: out}}}\ninputs: [{folder: .}]\n"

    specs, remarks = await planned(
        desk, f'{text}rules: [{{when: {{object: "*"}}, output: {{bucket: mine}}}}]\n'
    )

    assert [spec.media.key for spec in specs] == ["a.mp3"]
    assert len(remarks) == 1
    assert '1 skipped: 1 file that is not media ("notes.txt").' in remarks[0]


async def test_two_folders_of_one_name_have_two_buckets(desk: Desk) -> None:
    fill(desk.folder / "a/talks", "x.mp3")
    fill(desk.folder / "b/talks", "x.mp3")

    specs, _ = await planned(
        desk, "inputs: [{folder: a/talks}, {folder: b/talks}, {folder: a/talks, level: 1}]\n"
    )

    assert [spec.media.bucket for spec in specs] == ["talks", "talks-2"]  # the third is the first
    assert len({spec.output.voice for spec in specs}) == 2


async def test_a_folder_without_media_is_remarked(desk: Desk) -> None:
    fill(desk.folder / "talks", "notes.txt")

    specs, remarks = await planned(desk, "inputs: [{folder: talks}]\n")

    assert not specs
    assert "No media files in" in remarks[1]


async def test_a_folder_that_vanishes_after_the_check_is_an_error_in_words(desk: Desk) -> None:
    fill(desk.folder / "talks", "a.mp3")
    manifest = desk.load("inputs: [{folder: talks}]\n", head="")
    (desk.folder / "talks/a.mp3").unlink()
    (desk.folder / "talks").rmdir()

    async with FolderStore(desk.folder / "root", manifest.buckets) as store:
        with pytest.raises(ConfigError, match="talks cannot be read: No such file"):
            [batch async for batch in Feed(manifest, store).specs()]


def test_the_size_and_age_of_files_select_them(desk: Desk) -> None:
    (desk.folder / "talks").mkdir()

    manifest = desk.load("inputs: [{folder: talks, min_size: 1MB, max_age: 7d}]\n", head="")

    assert manifest.inputs[0].min_size == 1_000_000  # type: ignore[union-attr]
    assert manifest.inputs[0].max_age == 7 * 86400  # type: ignore[union-attr]


async def test_files_outside_the_bounds_are_left_out(desk: Desk) -> None:
    fill(desk.folder / "talks", "old.mp3", "new.mp3", "large.mp3")
    os.utime(desk.folder / "talks/old.mp3", (0, 0))
    (desk.folder / "talks/large.mp3").write_bytes(bytes(5000))

    specs, remarks = await planned(
        desk, 'inputs: [{folder: talks, modified_from: "2020-01-01", max_size: 1kB}]\n'
    )

    assert [spec.media.key for spec in specs] == ["new.mp3"]
    assert not remarks


async def test_a_job_that_would_overwrite_a_file_that_is_not_listed_yet_is_never_sent(
    desk: Desk,
) -> None:
    names = [f"{number:03}.mp3" for number in range(BATCH)]
    fill(desk.folder, *(f"talks/{name}" for name in names), "talks/zz.wav")
    rule = "rules: [{when: {object: 000.mp3}, output: {bucket: own, voice: %s}}]"
    text = "service: {local: {buckets: {own: talks}}}\ninputs: [{folder: talks}]\n" + rule
    sent: list[str] = []

    async def read(stem: str) -> None:
        manifest = desk.load(text % stem, head="")
        async with FolderStore(desk.folder / "root", manifest.buckets) as store:
            async for batch in Feed(manifest, store).specs():
                sent.extend(spec.media.key for spec in batch)

    with pytest.raises(PlanError, match=r'of "000.mp3" would overwrite "zz.wav", .*inputs\[0\]'):
        await read("zz.wav")
    assert sent == []

    await read("zz2.wav")
    assert len(sent) == BATCH + 1

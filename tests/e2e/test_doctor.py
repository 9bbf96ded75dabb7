"""``orchestrator doctor``: every check in one line, with the fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir, installed_engine
from tests.demucs_models import write_graph, write_shares
from tests.e2e.playground import BUCKET, KEYS, Playground
from tests.mdx_models import write_model

if TYPE_CHECKING:
    from pathlib import Path


def checks(done_json: dict) -> dict[str, tuple[str, str]]:  # type: ignore[type-arg]
    return {check["name"]: (check["status"], check["text"]) for check in done_json["checks"]}


def test_a_service_that_is_ready_passes_every_check(here: Playground) -> None:
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write("in/a.mp3")

    done = here.do("doctor", here.path.name)
    shown = here.do("doctor", here.path.name, "--json").json()

    assert done.code == 0, done.out
    assert done.out.count("\n") == len(shown["checks"])
    assert shown["good"]
    found = checks(shown)
    assert found["credentials"] == ("ok", "a key from the environment (TENCENTCLOUD_SECRET_ID)")
    assert found[f"bucket {BUCKET}"] == ("ok", "is there, in ap-chongqing")
    assert found["clock"][0] == "ok"
    assert found["jobs API"] == ("ok", f"answers; 2 queues of {BUCKET}")
    assert KEYS.secret_key not in done.out + done.err
    assert not (here.folder / ".orchestrator").exists()


def test_what_has_to_be_fixed_is_named_and_nothing_else_stops(here: Playground) -> None:
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write("in/a.mp3", bucket="gone-1250000000")

    missing = here.do("doctor", here.path.name, "--json")
    wrong = here.do(
        "doctor", here.path.name, "--json", env={"TENCENTCLOUD_SECRET_KEY": "anotherSecretKey"}
    )
    none = here.do(
        "doctor", here.path.name, "--json",
        env={"TENCENTCLOUD_SECRET_ID": None, "TENCENTCLOUD_SECRET_KEY": None},
    )  # fmt: skip

    assert (missing.code, wrong.code, none.code) == (3, 3, 3)
    assert checks(missing.json())["bucket gone-1250000000"][0] == "fail"
    assert checks(wrong.json())["bucket gone-1250000000"][0] == "fail"
    assert "anotherSecretKey" not in wrong.out
    status, text = checks(none.json())["credentials"]
    assert status == "fail"
    assert "Set TENCENTCLOUD_SECRET_ID" in text


def test_a_clock_that_is_far_off_is_found(here: Playground) -> None:
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write("in/a.mp3")

    here.service.spoil({"route": "any", "do": "skew", "skew_s": -1200})
    done = here.do("doctor", here.path.name, "--json")

    assert done.code == 3
    status, text = checks(done.json())["clock"]
    assert status == "fail"
    assert "ahead of the service's. Set the clock of this machine." in text


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        (["--ledger", "album.yaml/x.db"], "ledger", "Name another with --ledger FILE."),
        (["--report", "album.yaml/x.jsonl"], "report", "Name another with --report FILE."),
    ],
)
def test_files_that_cannot_be_written_are_found(
    here: Playground, options: list[str], name: str, said: str
) -> None:
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write("in/a.mp3")

    done = here.do("doctor", here.path.name, "--json", *options)

    assert done.code == 3
    status, text = checks(done.json())[name]
    assert status == "fail"
    assert said in text


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ("postgresql://u@127.0.0.1:1/db", "no PostgreSQL server listens"),
        ("postgresql://u@127.0.0.1:1/db?sslmode=bogus", "sslmode=bogus"),
        ("damaged.db", "damaged.db"),
    ],
)
@pytest.mark.parametrize("has_other", [False, True])
def test_a_fault_of_the_ledger_is_said_once(
    here: Playground, ledger: str, said: str, has_other: bool
) -> None:
    """Also if there is another ledger, in which the jobs would be looked for."""
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write("in/a.mp3")
    (here.folder / "damaged.db").write_bytes(b"no database" * 1000)
    if has_other:
        assert here.run("--ledger", "other.db").code == 0

    done = here.do("doctor", here.path.name, "--ledger", ledger)

    assert done.code == 3
    assert [line.partition(":")[0] for line in done.out.splitlines() if said in line] == [
        "fail  ledger"
    ]


def test_a_missing_key_is_said_once(here: Playground) -> None:
    """The sources of the manifest cannot be read then, which is the same fault."""
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write({"prefix": "in/"})
    (here.folder / ".orchestrator").mkdir()
    assert here.run("--ledger", ".orchestrator/other.db").code == 0

    keys = {"TENCENTCLOUD_SECRET_ID": None, "TENCENTCLOUD_SECRET_KEY": None}
    done = here.do("doctor", here.path.name, env=keys)

    assert done.code == 3
    assert done.out.count("Set TENCENTCLOUD_SECRET_ID") == 1


def test_a_faulty_manifest_is_one_line_per_check_with_its_place(here: Playground) -> None:
    here.path.write_text("inputs: [{objct: a}]\nservce: local\n")

    done = here.do("doctor", here.path.name)

    assert done.code == 3
    assert "fail  manifest: album.yaml:1:10" in done.out
    assert 'Did you mean "object"?; album.yaml:2:1' in done.out


@pytest.mark.engine
@pytest.mark.slow
def test_this_machine_is_checked_without_a_manifest(tmp_path: Path) -> None:
    alone = Playground(tmp_path)
    keys = {"TENCENTCLOUD_SECRET_ID": None, "TENCENTCLOUD_SECRET_KEY": None}

    good = alone.do("doctor", "--json", env={**keys, CACHE_VARIABLE: str(cache_dir())})
    bad = alone.do("doctor", "--json", env={**keys, CACHE_VARIABLE: str(tmp_path / "none")})

    assert (good.code, bad.code) == (0, 3), good.out
    assert checks(good.json())["engine"][0] == "ok"
    assert checks(good.json())["credentials"][0] == "note"
    assert checks(bad.json())["engine"][1].endswith("run: orchestrator fetch-engine")


@pytest.mark.engine
def test_a_local_manifest_shows_the_space_for_its_stems(tmp_path: Path) -> None:
    alone = Playground(tmp_path)
    (tmp_path / "talks").mkdir()
    (tmp_path / "file").touch()
    alone.path.write_text("inputs: [{folder: talks}]\n")

    good = alone.do("doctor", alone.path.name, "--json")
    alone.path.write_text(
        "service: {local: {buckets: {stems: file/x}}}\ninputs: [{folder: talks}]\n"
    )
    bad = alone.do("doctor", alone.path.name, "--json")
    run = alone.run(env={CACHE_VARIABLE: str(cache_dir())})

    assert f"GB free for stems at {tmp_path}/stems" in checks(good.json())["disk"][1]
    assert checks(bad.json())["disk"] == (
        "fail",
        f"{tmp_path}/file is a file, so no stems can be written to {tmp_path}/file/x.",
    )
    assert run.code == 2
    assert "is a file, so no stems can be written" in run.err


def test_a_model_file_is_examined_and_used(here: Playground) -> None:
    """What it is, how it loads and how long it takes; exit code 0 if it separates."""
    write_model(here.folder)
    write_shares(here.folder / "four.onnx")
    for name, kind, stems in (
        ("small.onnx", "an MDX-Net file: input [1, 4, 1537, 32]; chunks of 0.7 s", "voice"),
        (
            "four.onnx",
            "a Demucs file: input [1, 2, 16384]; chunks of 0.4 s",
            "voice, bass and drums",
        ),
    ):
        done = here.do("doctor", "--engine", name, "--json")
        assert done.code == 0, done.out
        found = checks(done.json())
        assert kind in found["engine"][1]
        assert "f32" in found["runtime"][1]
        assert "10 s of noise took" in found["separation"][1]
        assert found["separation"][1].endswith(f"finds {stems}")
        assert "credentials" not in found


def test_a_model_file_that_does_not_fit_is_a_fault_with_the_remedy(here: Playground) -> None:
    (here.folder / "text.onnx").write_text("not a network")
    write_model(here.folder).with_suffix(".json").unlink()
    write_graph(here.folder / "other.onnx", {"x": [1, 80, 3000]}, {"y": [1, 80, 3000]})
    # Its shapes are those of a Demucs file, and its network cannot work on them.
    write_graph(here.folder / "false.onnx", {"x": [1, 2, 9000]}, {"y": [1, 4, 2, 9000]})
    for name, said in (
        ("absent.onnx", "does not exist"),
        ("text.onnx", "not a network in the ONNX format"),
        ("small.onnx", "needs a file small.json beside it"),
        ("other.onnx", "neither an MDX-Net file"),
        ("false.onnx", "does not separate"),
        (str(installed_engine()), "leave it out"),
    ):
        done = here.do("doctor", "--engine", name, "--json")
        assert done.code == 3, (name, done.out)
        (fault,) = [text for status, text in checks(done.json()).values() if status == "fail"]
        assert said in fault, (name, fault)
        assert "Traceback" not in done.err


def test_a_file_at_the_place_of_the_page_is_found_before_the_first_job(here: Playground) -> None:
    assert here.service is not None
    here.service.store("in/a.mp3")
    here.write("in/a.mp3", report={"path": "album.jsonl", "html": True})
    (here.folder / "album.html").write_text("mine")

    found, run = here.do("doctor", here.path.name, "--json"), here.run()

    assert checks(found.json())["report"][0] == "fail"
    assert run.code == 4
    assert here.service.jobs() == []
    for text in (checks(found.json())["report"][1], run.err):
        assert "album.html exists and is not a page of orchestrator" in text
    assert (here.folder / "album.html").read_text() == "mine"

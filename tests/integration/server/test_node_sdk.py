"""The vendor's unmodified Node client works with the local service."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.server.conftest import Benches

PACKAGE = "cos-nodejs-sdk-v5@2.15.4"
SCRIPT = Path(__file__).with_name("node_client.js")


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """Install the client from the npm registry once, and keep it in the test cache."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("node-sdk")
    modules = Path(folder, "node_modules")
    if not (modules / "cos-nodejs-sdk-v5").is_dir():
        command = [
            "npm",
            "install",
            "--prefix",
            str(folder),
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            PACKAGE,
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=50, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the npm registry did not answer in time")
        if done.returncode:
            pytest.skip(f"the npm registry cannot be reached: {done.stderr.decode()[-200:]}")
    return modules


@pytest.mark.slow
async def test_the_node_client_submits_queries_and_lists_jobs_and_objects(
    start: Benches, node_modules: Path
) -> None:
    bench = await start(bucket="media-1250000000", region="ap-chongqing")
    process = await asyncio.create_subprocess_exec(
        "node",
        str(SCRIPT),
        bench.service.url,
        bench.keys.secret_id,
        bench.keys.secret_key,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(node_modules)},
    )
    out, err = await process.communicate()

    assert process.returncode == 0, err.decode()
    results = json.loads(out)
    assert results["submitted"]["State"] == "Submitted"
    assert results["submitted"]["Operation"]["UserData"] == "from node"
    assert results["queried"]["State"] == "Success"
    assert results["queried"]["Operation"]["MediaResult"]["OutputFile"]["ObjectName"] == [
        "out/v.mp3",
        "out/b.mp3",
    ]
    assert results["both"]["NonExistJobIds"] == "j" + "0" * 32
    assert results["listed"]["JobId"] == results["submitted"]["JobId"]
    assert results["got"] == "hello"
    assert results["keys"] == ["x/a b+c.txt"]
    assert results["head"]["etag"] == results["put"]["ETag"]
    assert results["error"] == {"code": "NoSuchKey", "status": 404}

"""The vendor's unmodified Node client works with the local service."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from orchestrator.server.faults.script import Faults
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from tests.integration.server.conftest import Bench, Benches

SCRIPT = Path(__file__).with_name("node_client.js")
TRANSFERS = Path(__file__).with_name("node_transfers.js")
CASES = Path(__file__).with_name("node_cases.js")
BY_HAND = not os.environ.get("ORCH_TEST_TOOLS")


async def played(bench: Bench, modules: Path, script: Path, *arguments: str) -> Any:
    """Run a script of the client against the service, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(script), bench.service.url, bench.keys.secret_id, bench.keys.secret_key),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(modules)},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.mark.slow
async def test_the_node_client_submits_queries_and_lists_jobs_and_objects(
    start: Benches, node_modules: Path
) -> None:
    bench = await start(bucket="media-1250000000", region="ap-chongqing")

    results = await played(bench, node_modules, SCRIPT)

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


@pytest.mark.slow
async def test_the_node_client_uploads_copies_and_deletes_through_the_proxy_setting(
    start: Benches, node_modules: Path, tmp_path: Path
) -> None:
    bench = await start()
    content = random.Random(3).randbytes((3 << 20) + 7)
    (tmp_path / "big.bin").write_bytes(content)

    seen = await played(bench, node_modules, TRANSFERS, str(tmp_path / "big.bin"))

    assert seen["etag"].endswith('-4"')
    assert seen["same"]
    assert seen["open"] == ["open"]
    assert seen["parts"] == ["3"]
    assert seen["keys"] == ["copy", "in/big ü.bin", "parts"]
    assert seen["deleted"] == ["copy", "in/big ü.bin"]
    assert seen["left"] == ["parts"]
    assert (bench.root / "media-1250000000" / "parts").read_bytes() == content
    link = URL(bench.service.url + seen["link"], encoded=True)
    host = "media-1250000000.cos.ap-chongqing.myqcloud.com"
    async with bench.http.get(link, headers={"Host": host}) as answer:
        assert await answer.read() == content


@pytest.mark.slow
@pytest.mark.skipif(BY_HAND, reason="uploads 200 MB: set ORCH_TEST_TOOLS=1")
@pytest.mark.parametrize("megabytes", [1, 20, 200])
async def test_the_node_client_uploads_and_downloads_files_of_up_to_200_mb(
    start: Benches, node_modules: Path, tmp_path: Path, megabytes: int
) -> None:
    bench = await start()
    content = random.Random(megabytes).randbytes((megabytes << 20) + 3)
    (tmp_path / "big.bin").write_bytes(content)

    seen = await played(bench, node_modules, TRANSFERS, str(tmp_path / "big.bin"))

    assert seen["same"]
    assert (bench.root / "media-1250000000" / "parts").read_bytes() == content


@pytest.mark.slow
async def test_the_official_cases_of_the_node_client(
    start: Benches, node_modules: Path, tmp_path: Path
) -> None:
    """Those of other features are refused, and change nothing."""
    # Slow uploads, which a busy machine can interrupt before they end.
    slow = Faults.parse({"faults": [{"route": "multipart", "do": "delay", "delay_s": 0.03}]})
    bench = await start(faults=slow)

    seen = await played(bench, node_modules, CASES, str(tmp_path))

    assert {name: fault for name, fault in seen["passing"].items() if fault} == {}
    assert {tuple(answer) for answer in seen["refused"].values()} == {(501, "NotImplemented")}
    assert seen["there"] == "media"
    assert (len(seen["passing"]), len(seen["refused"])) == counted_cases()


def counted_cases() -> tuple[int, int]:
    """Count the cases in the script that pass, and those that are refused."""
    passing, refused = re.findall(
        r"^const (?:PASSING|REFUSED) = \{\n(.*?)^\};", CASES.read_text(), re.DOTALL | re.MULTILINE
    )
    entry = re.compile(r"^  '[^']+': ", re.MULTILINE)
    return len(entry.findall(passing)), len(entry.findall(refused))


def test_the_page_counts_the_cases_of_the_node_client() -> None:
    page = (REPOSITORY / "docs" / "conformance.md").read_text()

    found = re.search(r"Node.*?_(\d+)_ pass, _(\d+)_ are refused", page, re.DOTALL)

    assert found
    assert (int(found[1]), int(found[2])) == counted_cases()

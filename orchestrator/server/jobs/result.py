"""``MediaInfo`` and ``MediaResult`` of a finished job, from its stored files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.server.jobs.submit_request import STEM_NODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.server.workers.protocol import Probe


@dataclass(frozen=True, slots=True)
class StoredStem:
    """One stored stem."""

    stem: str
    key: str
    md5: str
    probe: Probe


def result_of(bucket: str, region: str, stems: Sequence[StoredStem]) -> dict[str, Any]:
    """Return the trees ``media_info`` and ``media_result``, and each stem's key (``names``).

    ``Format`` is that of the first stem.
    """
    order = list(STEM_NODES)
    stems = sorted(stems, key=lambda stored: order.index(stored.stem))
    sound = [stream for stored in stems for stream in stored.probe.audio[:1]]
    output = {
        "Bucket": bucket,
        "Md5Info": [{"Md5": stored.md5, "ObjectName": stored.key} for stored in stems],
        "ObjectName": [stored.key for stored in stems],
        "ObjectPrefix": None,
        "Region": region,
    }
    return {
        "media_info": {
            "Format": stems[0].probe.format,
            "Stream": {"Audio": sound, "Subtitle": None, "Video": None},
        },
        "media_result": {"OutputFile": output},
        "names": {STEM_NODES[stored.stem]: stored.key for stored in stems},
    }

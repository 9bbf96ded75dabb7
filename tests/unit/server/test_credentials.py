"""The folder that the local service serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import ConfigError
from orchestrator.server.credentials import keys_for

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("root", ["link", "link/below"])
def test_a_root_behind_a_link_that_leads_nowhere_is_refused(tmp_path: Path, root: str) -> None:
    """The advice to make the folder would fail: the link is in its place."""
    (tmp_path / "link").symlink_to("/absent/disk")

    with pytest.raises(ConfigError) as raised:
        keys_for(tmp_path / root, {})

    link = tmp_path / "link"
    wanted = f"{link} is a symbolic link that leads nowhere (to /absent/disk)."
    assert str(raised.value).startswith(wanted)
    assert "mkdir" not in str(raised.value)

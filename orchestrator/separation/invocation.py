"""Commands for messages, as the user of this environment types them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Final

_WITH_EXTRA: Final = "'voiceseparate-orchestrator[local]'"
_UVX: Final = f"uvx --from {_WITH_EXTRA} orchestrator"
_NAMES: Final = ("orchestrator", "voiceseparate-orchestrator")
_UV_CACHE = re.compile(r"(archive|environments|builds)-v\d+")


def _is_for_one_call() -> bool:
    """Return True if ``uvx`` made this environment, in its cache: nothing can be added to it."""
    return any(_UV_CACHE.fullmatch(part) for part in Path(sys.prefix).parts)


def command(arguments: str) -> str:
    """Return the command line of a verb, for example of ``fetch-engine``."""
    return f"{_UVX if _is_for_one_call() else 'orchestrator'} {arguments}"


def with_extra() -> str:
    """Return the command that adds the libraries, by the tool that made this environment."""
    if _is_for_one_call():
        is_ours = Path(sys.argv[0]).name in _NAMES
        return f"{_UVX} {shlex.join(sys.argv[1:])}".rstrip() if is_ours else _UVX
    parts = Path(sys.prefix).parts
    if "uv" in parts and "tools" in parts:
        return f"uv tool install --force {_WITH_EXTRA}"
    if "pipx" in parts and "venvs" in parts:
        return f"pipx install --force {_WITH_EXTRA}"
    return f"pip install {_WITH_EXTRA}"

"""The user's home folder, which a service account or a container may not have."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import ConfigError


def home_folder() -> Path | None:
    """Return the home folder, or None if neither HOME nor the password file names one."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() else None


def with_home(text: str | Path) -> Path:
    """Return a path whose leading ``~`` is replaced by the home folder.

    Raises:
        ConfigError: If that folder is not known.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{text}: the home folder is not known, because HOME is not set and this user is not "
            "in the password file. Set HOME, or write the whole path."
        ) from error

"""The key pair that the service accepts: from the environment, kept under the root, or made up for one run."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import orjson

from orchestrator.errors import ConfigError
from orchestrator.server.settings import KeyPair
from orchestrator.server.storage.keys import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ID_VARIABLE, KEY_VARIABLE, TOKEN_VARIABLE = (
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_SESSION_TOKEN",
)


def make_keys() -> KeyPair:
    """A new random pair, in the shape of the vendor's: for a service that lives as long as one run."""
    return KeyPair(f"AKIDLOCAL{secrets.token_hex(12)}", secrets.token_hex(16))


def keys_file(root: Path) -> Path:
    """Where the pair of a root is kept."""
    return root / RESERVED / "credentials.json"


def keys_for(root: Path, environment: Mapping[str, str]) -> KeyPair:
    """The pair that ``serve`` accepts: the environment's, else the root's own, which is made (mode 0600) the first time.

    Raises:
        ConfigError: A root that is no folder, one variable without the other, or a file that cannot be read.
    """
    if root.exists() and not root.is_dir():
        raise ConfigError(
            f"{root} is not a folder. The root of the local service is one, with a folder for each bucket."
        )
    secret_id, secret_key = environment.get(ID_VARIABLE, ""), environment.get(KEY_VARIABLE, "")
    if bool(secret_id) != bool(secret_key):
        raise ConfigError(
            f"Set both {ID_VARIABLE} and {KEY_VARIABLE}, or neither (then the service makes its own pair)."
        )
    if secret_id:
        return KeyPair(secret_id, secret_key, environment.get(TOKEN_VARIABLE, ""))
    path = keys_file(root)
    try:
        if not path.exists():
            _write_private(path, make_keys())
        stored = orjson.loads(path.read_bytes())
        return KeyPair(stored["secret_id"], stored["secret_key"])
    except OSError as error:
        raise ConfigError(
            f"The key pair in {path} cannot be used: {error.strerror or error}."
        ) from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a key pair; remove it, and a new one is made.") from error


def _write_private(path: Path, keys: KeyPair) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(orjson.dumps({"secret_id": keys.secret_id, "secret_key": keys.secret_key}))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # the first of two that start at once wins, and both read that one
    except FileExistsError:
        pass
    finally:
        temporary.unlink()

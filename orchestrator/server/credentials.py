"""Key pair of ``serve``: from the environment, or from a file under the root."""

from __future__ import annotations

import os
import secrets
import shlex
from typing import TYPE_CHECKING

import orjson

from orchestrator.durable import broken_link, reason_of
from orchestrator.errors import ConfigError
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.storage.keys import RESERVED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ID_VARIABLE, KEY_VARIABLE, TOKEN_VARIABLE = (
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_SESSION_TOKEN",
)


def keys_for(root: Path, environment: Mapping[str, str]) -> KeyPair:
    """Return the environment's pair, else the root's own, which the first call makes (mode 0600).

    Raises:
        ConfigError: The root is not a folder or does not exist, only one variable is set, or the
            file cannot be read.
    """
    if link := broken_link(root):
        raise ConfigError(f"{link}. Make its folder, or correct the link.")
    if not root.exists():
        # A mistyped name must not become an empty service.
        raise ConfigError(
            f"The folder {root.absolute()} does not exist. Check the name, or make the folder for "
            f"a new service: mkdir -p {shlex.quote(str(root))}"
        )
    if not root.is_dir():
        raise ConfigError(
            f"{root} is not a folder. The root of the local service must be one; "
            "it holds a folder for each bucket."
        )
    secret_id, secret_key = environment.get(ID_VARIABLE, ""), environment.get(KEY_VARIABLE, "")
    if bool(secret_id) != bool(secret_key):
        raise ConfigError(
            f"Set both {ID_VARIABLE} and {KEY_VARIABLE}, or neither (to get a pair of the root)."
        )
    if secret_id:
        return KeyPair(secret_id, secret_key, environment.get(TOKEN_VARIABLE, ""))
    path = root / RESERVED / "credentials.json"
    try:
        if not path.exists():
            # In the form of the vendor's pairs.
            _write_private(path, f"AKIDLOCAL{secrets.token_hex(12)}", secrets.token_hex(16))
        stored = orjson.loads(path.read_bytes())
        return KeyPair(stored["secret_id"], stored["secret_key"])
    except OSError as error:
        raise ConfigError(f"The key pair in {path} cannot be used: {reason_of(error)}.") from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a key pair; delete it to get a new one.") from error


def _write_private(path: Path, secret_id: str, secret_key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(orjson.dumps({"secret_id": secret_id, "secret_key": secret_key}))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # the first of two concurrent starts wins, and both read its pair
    except FileExistsError:
        pass
    finally:
        temporary.unlink()

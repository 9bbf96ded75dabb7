"""The engine that a manifest names, and its identity, which is part of that of every job.

The identity of a file is the SHA-256 of its hash, followed by the hash of the JSON file beside it
if there is one: their names and places do not count. An engine of an installed package is
identified by its name with the name and version of the package.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from orchestrator.domain.engines import ENGINE_PLUGINS
from orchestrator.domain.wording import nearest_word, quoted
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def identity_of_model(model: Path) -> str:
    """Return the identity of a model file.

    Raises:
        ConfigError: It cannot be read.
    """
    digest = hashlib.sha256()
    for file in (model, model.with_suffix(".json")):
        try:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        except FileNotFoundError:
            if file == model:
                message = f"The engine's file {file} cannot be read: there is no such file."
                raise ConfigError(message) from None
        except OSError as error:
            message = f"The engine's file {file} cannot be read: {error.strerror}."
            raise ConfigError(message) from error
    return digest.hexdigest()


def identity_of_plugin(name: str) -> str:
    """Return the identity of an engine of an installed package, which is not imported.

    Raises:
        ConfigError: No installed package has it.
    """
    found = entry_points(group=ENGINE_PLUGINS)
    for entry in found:
        if entry.name == name:
            package = entry.dist
            version = f"{package.name} {package.version}" if package is not None else ""
            return f"plugin {name} {version}"
    near = nearest_word(name, found.names)
    meant = f" Did you mean {near}?" if near else ""
    raise ConfigError(
        f"No installed package has an engine {quoted(name)}.{meant} Install its package, or "
        "leave out engine for the default one."
    )

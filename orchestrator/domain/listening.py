"""The error of an address that cannot be listened on."""

from __future__ import annotations

import os
import socket

from orchestrator.errors import ConfigError


def cannot_listen(option: str, host: str, port: int, error: OSError) -> ConfigError:
    """Return the error of the address that an option names."""
    is_name = isinstance(error, socket.gaierror)  # its numbers are not those of the system
    why = os.strerror(error.errno) if error.errno and not is_name else error.strerror or str(error)
    return ConfigError(
        f"{option} {host}:{port}: cannot listen there: {why}. Choose another address."
    )

"""Certificate of ``serve --tls``: given, or made once for this root.

The private key of the authority that signs a made certificate is never stored. So a machine that
trusts the authority trusts this one certificate, and nothing that is made later.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from orchestrator.errors import ConfigError
from orchestrator.server.storage.keys import RESERVED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ANY = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files of a certificate.

    Attributes:
        chain: The certificate, and those that lead to its authority.
        key: Its private key.
        authority: The authority that clients must trust; None for a certificate that was given.
    """

    chain: Path
    key: Path
    authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the settings of a listening socket.

        Raises:
            ConfigError: The files cannot be used.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.chain, self.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ConfigError(
                f"The certificate {self.chain} with the key {self.key} cannot be used: {reason}. "
                "Both must be PEM files, and the key must belong to the certificate."
            ) from error
        return context


def given(chain: Path, key: Path | None) -> TlsFiles:
    """Return the files that the user names; without a key file, the certificate's has the key."""
    return TlsFiles(chain, key or chain)


def made_for(root: Path, host: str, region: str) -> TlsFiles:
    """Return the certificate of a root; make it if it is missing or for other names.

    It is for this machine's loopback names, the address to listen on, and the vendor's hosts of the
    region, so that clients which insist on TLS and on those names can be used.

    Raises:
        ConfigError: The package that makes certificates is not installed, or the folder of the
            certificate cannot be used.
    """
    folder = root / RESERVED / "tls"
    files = TlsFiles(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    names = _names(host, region)
    try:
        if not _is_for(folder, names):
            _make(folder, files, names)
    except OSError as error:
        raise ConfigError(
            f"The certificate in {folder} cannot be used: {error.strerror or error}."
        ) from error
    return files


def _names(host: str, region: str) -> list[str]:
    names = ["localhost", "127.0.0.1", "::1"]
    if host not in {*names, *_ANY}:
        names.append(host)
    names += [
        f"*.{service}.{region}.{domain}"  # *.localhost would be refused: it has only one dot
        for domain in ("myqcloud.com", "localhost")
        for service in ("cos", "ci", "pic")
    ]
    return [*names, f"ci.{region}.myqcloud.com"]


def _is_for(folder: Path, names: Sequence[str]) -> bool:
    try:
        known = orjson.loads((folder / "names.json").read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return False
    return bool(known == names)


def _make(folder: Path, files: TlsFiles, names: Sequence[str]) -> None:
    try:
        import trustme
    except ModuleNotFoundError as error:
        message = (
            "To make a certificate, the package trustme is needed: "
            "pip install 'voiceseparate-orchestrator[tls]', or name a certificate with --tls-cert."
        )
        raise ConfigError(message) from error
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "names.json").unlink(missing_ok=True)
    authority = trustme.CA(organization_name="orchestrator local service")
    leaf = authority.issue_cert(*(_punycode(name) for name in names))
    chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
    _write(files.key, leaf.private_key_pem.bytes(), 0o600)
    _write(files.chain, chain, 0o644)
    _write(folder / "authority.pem", authority.cert_pem.bytes(), 0o644)
    _write(folder / "names.json", orjson.dumps(names), 0o644)


def _punycode(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.encode("idna").decode() if not name.isascii() else name
    return name


def _write(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)

"""Sources of the key pair: the environment, then the files of the vendor's own tools.

No message contains a secret: neither a value nor a line of a file that could not be read.
"""

from __future__ import annotations

import os
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson

from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.home import home_folder
from orchestrator.errors import CredentialsMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECRET_ID = "TENCENTCLOUD_SECRET_ID"  # noqa: S105 - the name of a variable
SECRET_KEY = "TENCENTCLOUD_SECRET_KEY"  # noqa: S105 - the same
SESSION_TOKEN = "TENCENTCLOUD_SESSION_TOKEN"  # noqa: S105 - the same
_MAX_FILE_BYTES = 1 << 20  # a profile file has a few hundred bytes


class CredentialSource(Protocol):
    """Source of the key pair, also after a temporary one has expired."""

    def load(self) -> Credentials:
        """Return the current credentials.

        Raises:
            CredentialsMissing: If there are none; the message names the settings.
        """
        ...


class Static:
    """Fixed keys: for the local service, and for callers with a source of their own."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load(self) -> Credentials:
        """Return the fixed keys."""
        return self._credentials


class Discovered:
    """The key pair of this machine; each :meth:`load` searches again, and the first place wins.

    1. ``TENCENTCLOUD_SECRET_ID``, ``TENCENTCLOUD_SECRET_KEY`` and, for temporary keys,
       ``TENCENTCLOUD_SESSION_TOKEN``.
    2. Section ``[default]`` with ``secret_id``, ``secret_key`` (and ``token``) of the profile file
       of the vendor's SDKs: the file named by ``TENCENTCLOUD_CREDENTIALS_FILE`` (as in the Go SDK's
       README), ``~/.tencentcloud/credentials`` or ``/etc/tencentcloud/credentials`` (as in the
       Python SDK's ``common/credential.py``, class ``ProfileCredential``).
    3. ``secretId``, ``secretKey``, ``token`` of ``~/.tccli/<profile>.credential``, the JSON that
       ``tccli configure`` writes (the CLI's ``tccli/configure.py``); the profile is
       ``TCCLI_PROFILE`` or ``default``.

    Args:
        environment: Environment variables; those of the process if None.
        home: The user's home folder; the platform's if None.
        system: Parent of the machine-wide ``tencentcloud`` folder.
        profile: Use the key pair of this profile of the vendor's CLI, and of no other place: a
            manifest that names one must not pay with the keys that a shell happens to have.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        home: Path | None = None,
        system: Path = Path("/etc"),
        profile: str | None = None,
    ) -> None:
        self._profile = profile
        self._environment = os.environ if environment is None else environment
        self._home = home
        self._system = system

    def load(self) -> Credentials:
        """Return the credentials of the first place that has them.

        Raises:
            CredentialsMissing: See :meth:`located`.
        """
        return self.located()[0]

    def located(self) -> tuple[Credentials, str]:
        """Return the credentials of the first place that has them, and the name of that place.

        Raises:
            CredentialsMissing: If no place has them, a place holds only half of a key pair, or a
                file cannot be read.
        """
        if self._profile is not None:
            return self._of_profile(self._profile)
        found = self._from_environment()
        if found:
            return found, f"the environment ({SECRET_ID})"
        files = list(self._files())
        for file in files:
            found = _from_file(file)
            if found:
                return found, str(file)
        searched = ", ".join(str(file) for file in files)
        raise CredentialsMissing(
            f"No Tencent Cloud key pair was found. Set {SECRET_ID} and {SECRET_KEY} (and"
            f" {SESSION_TOKEN} for a temporary key), or write one of: {searched}."
            " Keys are made at https://console.cloud.tencent.com/cam/capi."
        )

    def _of_profile(self, profile: str) -> tuple[Credentials, str]:
        home = home_folder() if self._home is None else self._home
        file = None if home is None else home / ".tccli" / f"{profile}.credential"
        found = _from_file(file) if file is not None else None
        if found is None:
            searched = file or f"~/.tccli/{profile}.credential, but there is no home folder"
            raise CredentialsMissing(
                f"The profile {profile} has no key pair (looked for {searched})."
                " Correct the name, or write the file with the vendor's tccli."
            )
        return found, str(file)

    def _from_environment(self) -> Credentials | None:
        secret_id, secret_key, token = (
            self._environment.get(name, "").strip()
            for name in (SECRET_ID, SECRET_KEY, SESSION_TOKEN)
        )
        if bool(secret_id) != bool(secret_key):
            there, lacking = (SECRET_ID, SECRET_KEY) if secret_id else (SECRET_KEY, SECRET_ID)
            raise CredentialsMissing(
                f"{there} is set, but {lacking} is not: set both, or neither to use a profile file."
            )
        return (
            _sound(Credentials(secret_id, secret_key, token), "The environment")
            if secret_id
            else None
        )

    def _files(self) -> Iterator[Path]:
        home = home_folder() if self._home is None else self._home
        named = self._environment.get("TENCENTCLOUD_CREDENTIALS_FILE", "")
        if named:
            yield Path(named)
        if home is not None:
            yield home / ".tencentcloud" / "credentials"
        yield self._system / "tencentcloud" / "credentials"
        if home is not None:
            profile = self._environment.get("TCCLI_PROFILE") or "default"
            yield home / ".tccli" / f"{profile}.credential"


def _from_file(file: Path) -> Credentials | None:
    """Return the key pair of a profile file, or None without such a file or pair."""
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CredentialsMissing(
            f"{file}: the key pair cannot be read: {reason}. Correct the file, or set {SECRET_ID}."
        ) from None
    secret_id, secret_key, token = (
        _of_tccli(file, text) if file.suffix == ".credential" else _of_ini(file, text)
    )
    if bool(secret_id) != bool(secret_key):
        raise CredentialsMissing(
            f"{file}: holds only half of a key pair."
            f" Complete it, or set {SECRET_ID} and {SECRET_KEY}."
        )
    return _sound(Credentials(secret_id, secret_key, token), str(file)) if secret_id else None


def _sound(found: Credentials, where: str) -> Credentials:
    """Return the key pair if it can be sent; with a line break in it every job would fail."""
    for name, value in (
        ("secret id", found.secret_id),
        ("secret key", found.secret_key),
        ("token", found.token),
    ):
        if not (value.isascii() and value.isprintable()):
            raise CredentialsMissing(
                f"{where} holds a {name} with a line break or another character that no key has."
                " Set it again."
            )
    return found


def _of_ini(file: Path, text: str) -> tuple[str, str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except IniError:  # it quotes the line, which may be the secret: neither repeated nor chained
        raise CredentialsMissing(
            f"{file}: is not an INI file with a section [default]. Correct it, or set {SECRET_ID}."
        ) from None
    section = parser["default"] if parser.has_section("default") else {}
    secret_id, secret_key, token = (
        section.get(name, "").strip().strip("\"'") for name in ("secret_id", "secret_key", "token")
    )
    return secret_id, secret_key, token


def _of_tccli(file: Path, text: str) -> tuple[str, str, str]:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:  # its object carries the text
        data = None
    if not isinstance(data, dict):
        raise CredentialsMissing(
            f"{file}: is not the JSON that 'tccli configure' writes."
            f" Run it again, or set {SECRET_ID}."
        )
    secret_id, secret_key, token = (
        str(data.get(name) or "").strip() for name in ("secretId", "secretKey", "token")
    )
    return secret_id, secret_key, token

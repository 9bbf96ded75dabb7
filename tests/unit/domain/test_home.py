"""A user without a home folder gets a sentence that names the variable."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from orchestrator.client.credentials import Discovered
from orchestrator.domain.home import home_folder, with_home
from orchestrator.errors import ConfigError, CredentialsMissing, EngineMissing
from orchestrator.ledger import ledger_path
from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away HOME and the entry in the password file, as in a minimal container."""

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME", CACHE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_a_path_in_an_unknown_home_folder_is_refused_with_the_variable() -> None:
    for read in (with_home, ledger_path):
        with pytest.raises(ConfigError, match=r"^~/ledger.db: .*Set HOME"):
            read("~/ledger.db")
    assert with_home("/data/ledger.db") == Path("/data/ledger.db")


@pytest.mark.usefixtures("homeless")
def test_the_folder_of_the_engine_needs_a_home_or_its_own_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(EngineMissing, match=rf"Set HOME, or set {CACHE_VARIABLE}"):
        cache_dir()
    monkeypatch.setenv(CACHE_VARIABLE, "/data/cache")
    assert cache_dir() == Path("/data/cache")


@pytest.mark.usefixtures("homeless")
def test_keys_are_found_without_a_home_folder(tmp_path: Path) -> None:
    assert home_folder() is None
    with pytest.raises(CredentialsMissing, match="TENCENTCLOUD_SECRET_ID"):
        Discovered({}, system=tmp_path).load()
    keys = {"TENCENTCLOUD_SECRET_ID": "AKID", "TENCENTCLOUD_SECRET_KEY": "secret"}
    assert Discovered(keys).load().secret_id == "AKID"

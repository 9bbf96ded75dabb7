"""The key pair is found where the vendor's tools keep it, and no message shows it."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING

import pytest

from orchestrator.client.credentials import Discovered, Static
from orchestrator.client.wire.signature import Credentials
from orchestrator.errors import ConfigError, CredentialsMissing

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {"TENCENTCLOUD_SECRET_ID": " AKIDenv ", "TENCENTCLOUD_SECRET_KEY": "env-secret\n"}


def found(tmp_path: Path, environment: dict[str, str] | None = None) -> Credentials:
    return Discovered(environment or {}, tmp_path / "home", tmp_path / "etc").load()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def all_files(tmp_path: Path) -> dict[str, Path]:
    """Every place holds a key pair of its own."""
    return {
        "named": write(tmp_path / "named.ini", "[default]\nsecret_id = AKIDnamed\nsecret_key = s"),
        "home": write(
            tmp_path / "home/.tencentcloud/credentials",
            '[default]\nsecret_id="AKIDhome"\nsecret_key = "100%s"\ntoken=t',
        ),
        "etc": write(
            tmp_path / "etc/tencentcloud/credentials",
            "[other]\nx=1\n[default]\nSECRET_ID=AKIDetc\nsecret_key=s",
        ),
        "tccli": write(
            tmp_path / "home/.tccli/default.credential",
            json.dumps({"secretId": "AKIDtccli", "secretKey": "s", "token": "t2", "type": "x"}),
        ),
    }


def test_the_environment_comes_first(tmp_path: Path, all_files: dict[str, Path]) -> None:
    assert found(tmp_path, ENVIRONMENT) == Credentials("AKIDenv", "env-secret")
    assert found(tmp_path, {**ENVIRONMENT, "TENCENTCLOUD_SESSION_TOKEN": "tok"}) == Credentials(
        "AKIDenv", "env-secret", "tok"
    )


def test_the_files_follow_in_the_order_of_the_vendors_tools(
    tmp_path: Path, all_files: dict[str, Path]
) -> None:
    environment = {"TENCENTCLOUD_CREDENTIALS_FILE": str(all_files["named"])}

    assert found(tmp_path, environment).secret_id == "AKIDnamed"
    all_files["named"].unlink()
    assert found(tmp_path, environment) == Credentials("AKIDhome", "100%s", "t")
    all_files["home"].write_text("[default]\nregion = ap-beijing\n")
    assert found(tmp_path).secret_id == "AKIDetc"
    all_files["etc"].unlink()
    assert found(tmp_path) == Credentials("AKIDtccli", "s", "t2")


def test_a_tccli_profile_can_be_named(tmp_path: Path, all_files: dict[str, Path]) -> None:
    for name in ("named", "home", "etc"):
        all_files[name].unlink()
    write(tmp_path / "home/.tccli/work.credential", '{"secretId": "AKIDwork", "secretKey": "s"}')

    assert found(tmp_path, {"TCCLI_PROFILE": "work"}) == Credentials("AKIDwork", "s")


def test_the_message_without_a_key_pair_names_the_settings_and_the_searched_files(
    tmp_path: Path,
) -> None:
    with pytest.raises(CredentialsMissing) as caught:
        found(tmp_path)

    text = str(caught.value)
    for words in (
        "TENCENTCLOUD_SECRET_ID",
        "TENCENTCLOUD_SECRET_KEY",
        "TENCENTCLOUD_SESSION_TOKEN",
        ".tencentcloud/credentials",
        "default.credential",
    ):
        assert words in text
    assert isinstance(caught.value, ConfigError)
    assert caught.value.fatal


@pytest.mark.parametrize("name", ["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"])
def test_half_a_key_pair_in_the_environment_is_an_error(
    tmp_path: Path, all_files: dict[str, Path], name: str
) -> None:
    with pytest.raises(CredentialsMissing, match=f"{name} is set, but"):
        found(tmp_path, {name: "the-secret"})


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("home/.tencentcloud/credentials", "secret_key = the-secret"),
        ("home/.tencentcloud/credentials", "[default]\nthe-secret"),
        ("home/.tencentcloud/credentials", "[default]\nsecret_key = the-secret"),
        ("home/.tccli/default.credential", '{"secretKey": "the-secret"'),
        ("home/.tccli/default.credential", '["the-secret"]'),
        ("home/.tccli/default.credential", '{"secretKey": "the-secret"}'),
    ],
    ids=["no section", "no value", "half ini", "cut json", "no object", "half json"],
)
def test_a_broken_file_is_named_without_its_content(tmp_path: Path, place: str, text: str) -> None:
    path = write(tmp_path / place, text)

    with pytest.raises(CredentialsMissing) as caught:
        found(tmp_path)

    shown = "".join(traceback.format_exception(caught.value))
    assert str(path) in shown
    assert "the-secret" not in shown
    assert caught.value.__cause__ is None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "home/.tencentcloud/credentials").mkdir(parents=True)

    with pytest.raises(
        CredentialsMissing, match=r"credentials: the key pair cannot be read: Is a directory"
    ):
        found(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "home/.tencentcloud/credentials", "")
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(CredentialsMissing, match="not UTF-8"):
        found(tmp_path)


def test_each_load_searches_again(tmp_path: Path, all_files: dict[str, Path]) -> None:
    source = Discovered({}, tmp_path / "home", tmp_path / "etc")
    first = source.load()
    all_files["home"].write_text("[default]\nsecret_id=AKIDfresh\nsecret_key=s2\ntoken=t2")

    assert (first.secret_id, source.load()) == ("AKIDhome", Credentials("AKIDfresh", "s2", "t2"))


def test_fixed_keys_are_returned() -> None:
    credentials = Credentials("a", "b")

    assert Static(credentials).load() is credentials


def test_the_process_environment_is_used_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TENCENTCLOUD_SESSION_TOKEN", raising=False)

    assert Discovered().load() == Credentials("AKIDenv", "env-secret")


@pytest.mark.parametrize(
    "name", ["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_SESSION_TOKEN"]
)
@pytest.mark.parametrize(
    "value", ["a\nb-secret", "a\r\nx: b-secret", "a\0b-secret", "a\u2028b-secret"]
)
def test_a_part_that_cannot_be_sent_as_a_header_is_refused_without_showing_it(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(
        CredentialsMissing,
        match=r"environment holds a (secret id|secret key|token) with a line break",
    ) as caught:
        found(tmp_path, {**ENVIRONMENT, name: value})
    assert "secret" not in str(caught.value).replace("secret id", "").replace("secret key", "")


def test_a_part_of_a_file_that_cannot_be_sent_as_a_header_is_refused(tmp_path: Path) -> None:
    file = write(
        tmp_path / "home/.tencentcloud/credentials",
        "[default]\nsecret_id = AKID\nsecret_key = s\ntoken = a\n  b\n",
    )
    with pytest.raises(CredentialsMissing, match="token with a line break") as caught:
        found(tmp_path)
    assert str(file) in str(caught.value)


def test_a_profile_that_is_asked_for_is_the_only_place(
    tmp_path: Path, all_files: dict[str, Path]
) -> None:
    write(tmp_path / "home/.tccli/work.credential", '{"secretId": "AKIDwork", "secretKey": "s"}')
    places = (ENVIRONMENT, tmp_path / "home", tmp_path / "etc")

    credentials, place = Discovered(*places, profile="work").located()

    assert credentials == Credentials("AKIDwork", "s")
    assert place == str(tmp_path / "home/.tccli/work.credential")
    with pytest.raises(CredentialsMissing, match="The profile other has no key pair") as caught:
        Discovered(*places, profile="other").load()
    assert "env-secret" not in str(caught.value)


def test_the_place_of_a_key_pair_is_named_without_its_value(
    tmp_path: Path, all_files: dict[str, Path]
) -> None:
    for environment, said in (
        (ENVIRONMENT, "the environment (TENCENTCLOUD_SECRET_ID)"),
        ({}, str(all_files["home"])),
    ):
        _, place = Discovered(environment, tmp_path / "home", tmp_path / "etc").located()

        assert place == said

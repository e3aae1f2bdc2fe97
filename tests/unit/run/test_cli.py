"""The command line, but for what needs a running server."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from homeserver.run.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_config(text: str) -> None:
    Path("homeserver.yaml").write_text(text)


def test_good_configuration_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    write_config("server: {name: example.org}\nregistration: {enabled: false}")
    assert main(["check-config"]) == 0
    assert capsys.readouterr().out == "The configuration of example.org is in order.\n"


def test_open_registration_is_remarked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 0
    assert "whoever reaches the server" in capsys.readouterr().out


def test_every_fault_of_the_configuration_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    write_config("server: {nam: example.org}\ndatabase: {max_connections: many}")
    assert main(["check-config"]) == 1
    errors = capsys.readouterr().err
    assert "server.nam: is not a setting; did you mean name?" in errors
    assert "database.max_connections: expected a whole number, not text" in errors


@pytest.mark.parametrize("command", ["run", "check-config", "register-user --user a"])
def test_missing_configuration_is_explained(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--config", "nowhere.yaml"]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err


def test_environment_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMESERVER_SERVER_NAME", "environment.example.org")
    assert main(["check-config"]) == 0
    assert "environment.example.org" in capsys.readouterr().out


def test_generated_configuration_is_for_the_server_and_in_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generate-config", "--server-name", "example.org"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["server"] == {"name": "example.org"}
    write_config(text)
    assert main(["check-config"]) == 0


def test_generated_configuration_never_replaces_a_file(folder: Path) -> None:
    generate = ["generate-config", "--output", "new.yaml"]
    assert main(generate) == 0
    assert "every setting" in (folder / "new.yaml").read_text()
    (folder / "new.yaml").write_text("mine")
    assert main(generate) == 1
    assert (folder / "new.yaml").read_text() == "mine"


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


def test_user_cannot_be_registered_without_the_shared_secret(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["register-user", "--user", "alice", "--password", "p"]) == 1
    assert "registration.shared_secret" in capsys.readouterr().err


def test_user_cannot_be_registered_at_a_server_that_is_down(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_config("{registration: {shared_secret: s}, listeners: [{port: 1}]}")
    Path("password").write_text("p\n")
    assert main(["register-user", "--user", "alice", "--password-file", "password"]) == 1
    assert "no homeserver answers at http://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run", "now"],
        ["register-user"],
        ["generate-config", "--server-name", "not a name"],
        ["register-user", "--user", "a", "--password", "p", "--password-file", "f"],
    ],
)
def test_what_is_not_understood_exits_with_two(arguments: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2

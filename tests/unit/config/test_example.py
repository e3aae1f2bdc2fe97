"""The documented example and the generated documents."""

from pathlib import Path

import msgspec
import pytest

from homeserver.config.environment import settings
from homeserver.config.example import example, for_server
from homeserver.config.load import load
from homeserver.config.model import Config
from homeserver.web.endpoint import RateLimit
from tools.config_docs import outputs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_example_says_exactly_the_defaults(folder: Path) -> None:
    (folder / "homeserver.yaml").write_text(example())
    with_file = load()
    (folder / "homeserver.yaml").unlink()
    assert with_file == load()


def test_example_shows_every_setting() -> None:
    lines = {line.strip().removeprefix("- ").partition(":")[0] for line in example().splitlines()}
    assert {setting.path[-1] for setting in settings()} <= lines


def test_every_setting_is_described() -> None:
    text = example().splitlines()
    for number, line in enumerate(text):
        is_setting = ":" in line and not line.strip().startswith(("#", "- "))
        if is_setting and line.startswith("  "):
            assert text[number - 1].strip().startswith("#"), line


def test_configuration_for_a_server_differs_in_name_and_closed_registration(folder: Path) -> None:
    (folder / "homeserver.yaml").write_text(for_server("example.org"))
    generated = load()
    assert generated.server.name == "example.org"
    assert not generated.registration.enabled
    default = Config()
    for section in set(Config.__struct_fields__) - {"server", "registration"}:
        assert getattr(generated, section) == getattr(default, section)


def test_generated_documents_are_fresh() -> None:
    for path, text in outputs().items():
        assert path.read_text("utf-8") == text, f"{path.name}: run python -m tools.config_docs"


def test_every_group_of_rate_limits_can_be_set() -> None:
    groups = {field.name for field in msgspec.structs.fields(Config().rate_limits.groups)}
    assert groups == {group.value for group in RateLimit}

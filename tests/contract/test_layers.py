"""Imports go down the layers."""

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

CONFIGURATION = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_imports_respect_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(CONFIGURATION))
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out

"""The image: what goes in, whom it runs as, how its health is asked for."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from homeserver.run.cli import main

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text("utf-8")
SECRET = {
    "HOMESERVER_DATABASE_DSN": "postgresql://homeserver:x@postgres:5432/homeserver",
    "HOMESERVER_REDIS_URL": "redis://:x@redis:6379/0",
    "HOMESERVER_REGISTRATION_SHARED_SECRET": "x",
}


def test_both_stages_have_the_same_pinned_base() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+", bases[0])


def test_what_is_copied_exists_and_is_let_through() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    sources = [source for line in copied for source in line.split()]
    ignored = (ROOT / "docker/Dockerfile.dockerignore").read_text("utf-8").splitlines()
    passing = tuple(line[1:] for line in ignored if line.startswith("!"))
    assert "*" in ignored
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.startswith(passing), source


def test_every_package_is_in_the_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    for package in packages:
        name = package.rstrip("*")
        assert f"COPY {name} {name}\n" in DOCKERFILE


def test_libraries_are_those_of_the_lock() -> None:
    install = DOCKERFILE[DOCKERFILE.index("pip install") :]
    assert "--require-hashes --requirement requirements.lock" in install
    # What is built with must not be fetched from anywhere either.
    assert "--no-index --no-build-isolation ." in install


def test_it_does_not_run_as_root() -> None:
    last_stage = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    users = re.findall(r"^USER (\d+):(\d+)$", last_stage, re.M)
    assert users == [("991", "991")]
    assert "--owner 991 --group 991 --mode 0700 /data" in last_stage


def test_health_is_asked_for_where_the_configuration_listens() -> None:
    config = yaml.safe_load((ROOT / "docker/homeserver/single.yaml").read_text("utf-8"))
    listener = config["listeners"][0]
    assert "health" in listener["serves"]
    assert f"http://127.0.0.1:{listener['port']}/health" in DOCKERFILE
    assert f"EXPOSE {listener['port']}\n" in DOCKERFILE
    assert config["server"]["data_dir"] == "/data"


def test_nothing_secret_is_baked_in() -> None:
    assert not re.search(r"password|secret|token", DOCKERFILE, re.I)


def test_configuration_of_the_nodes_is_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRET.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOMESERVER_SERVER_NAME", "example.org")
    file = ROOT / "docker/homeserver/homeserver.yaml"
    assert main(["check-config", "--config", str(file)]) == 0
    assert capsys.readouterr().out == "The configuration of example.org is in order.\n"


def test_configuration_of_the_image_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    file = ROOT / "docker/homeserver/single.yaml"
    assert main(["check-config", "--config", str(file)]) == 0
    assert "whoever reaches" not in capsys.readouterr().out

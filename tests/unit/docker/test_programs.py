"""Programs that are not ours accept the configuration that docker/ has for them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from homeserver.run.proxy_config import ProxyProgram, ProxySettings, proxy_config
from homeserver.storage import postgres_programs
from tests.support.programs import passes, program

DOCKER = Path(__file__).resolve().parents[3] / "docker"
MATRIX_PART = DOCKER / "nginx/conf.d/homeserver.conf"


def test_the_nginx_configuration_is_what_proxy_config_prints() -> None:
    settings = ProxySettings(nodes=["node1:8008", "node2:8008"], server_names=["localhost"])
    assert MATRIX_PART.read_text("utf-8") == proxy_config(ProxyProgram.NGINX, settings), (
        "print it again with: homeserver proxy-config nginx --node node1:8008 --node node2:8008"
    )


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    part = MATRIX_PART.read_text("utf-8")
    # Names that only the container knows, and what only root may open.
    for host in compose["services"]["nginx"]["extra_hosts"]:
        name, address = host.split(":")
        part = part.replace(f"server {name}:", f"server {address}:")
    part = part.replace("/var/log/nginx", str(tmp_path))
    part = re.sub(r"listen (\[::\]:)?80;", r"listen \g<1>18080;", part)
    whole = (DOCKER / "nginx/nginx.conf").read_text("utf-8")
    whole = whole.replace("user nginx;", "").replace("/run/nginx.pid", f"{tmp_path}/pid")
    whole = whole.replace("/var/log/nginx", str(tmp_path))
    whole = whole.replace("/etc/nginx/conf.d/*.conf", f"{tmp_path}/homeserver.conf")
    (tmp_path / "homeserver.conf").write_text(part)
    (tmp_path / "nginx.conf").write_text(whole)
    error_log = tmp_path / "error.log"
    passes(
        program("nginx"), "-t", "-q", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", error_log
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("max_connections", "100"), ("shared_buffers", "65536")]
)
def test_postgresql_understands_its_configuration(setting: str, value: str, tmp_path: Path) -> None:
    file = DOCKER / "postgres/postgresql.conf"
    shown = subprocess.run(
        [
            postgres_programs.newest().postgres,
            *("-C", setting, "-D", tmp_path, "-c", f"config_file={file}"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.strip() == value


def test_nodes_do_not_want_more_connections_than_postgresql_gives() -> None:
    node = yaml.safe_load((DOCKER / "homeserver/homeserver.yaml").read_text("utf-8"))
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))["services"]
    nodes = sum(name.startswith("node") for name in services)
    limit = re.search(
        r"^max_connections = (\d+)", (DOCKER / "postgres/postgresql.conf").read_text(), re.M
    )
    assert limit
    # Some stay free for maintenance.
    assert nodes * node["database"]["max_connections"] <= int(limit[1]) - 10

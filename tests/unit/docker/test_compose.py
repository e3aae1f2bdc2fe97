"""The files of docker/ agree with each other, as far as that can be told without Docker."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

DOCKER = Path(__file__).resolve().parents[3] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = sorted(name for name in SERVICES if name.startswith("node"))
NODE_CONFIG = yaml.safe_load((DOCKER / "homeserver/homeserver.yaml").read_text("utf-8"))


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        yield source, target


def address_of(service: str, network: str) -> str:
    address: str = SERVICES[service]["networks"][network]["ipv4_address"]
    return address


def port_that_serves(api: str) -> int:
    ports = [each["port"] for each in NODE_CONFIG["listeners"] if api in each["serves"]]
    assert len(ports) == 1
    port: int = ports[0]
    return port


def text_of(name: str) -> str:
    return (DOCKER / name).read_text("utf-8")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder that make-secrets fills."""
    shutil.copytree(DOCKER, tmp_path / "docker", ignore=shutil.ignore_patterns("secrets"))
    (tmp_path / "docker/secrets").mkdir()
    subprocess.run([tmp_path / "docker/make-secrets"], check=True, capture_output=True)
    return tmp_path / "docker/secrets"


def test_there_are_two_nodes_and_they_are_the_same() -> None:
    assert NODES == ["node1", "node2"]
    apart = [
        {key: value for key, value in SERVICES[node].items() if key != "networks"} for node in NODES
    ]
    assert apart[0] == apart[1]


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_by_version_unless_it_is_ours(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    if "build" in SERVICES[name]:
        assert image == "homeserver"
    else:
        assert re.match(r"v?\d+\.\d+", tag)


@pytest.mark.parametrize("name", SERVICES)
def test_everything_mounted_is_there(name: str) -> None:
    for source, _ in mounts(SERVICES[name]):
        if source.startswith("./"):
            assert (DOCKER / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_networks_and_dependencies_exist(name: str) -> None:
    service = SERVICES[name]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    needs = service.get("depends_on", {})
    assert set(needs) <= set(SERVICES)
    for need in needs if isinstance(needs, dict) else ():
        if needs[need]["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[need]
            # They could not reach each other otherwise.
        assert set(SERVICES[need]["networks"]) & set(service["networks"])


@pytest.mark.parametrize("name", SERVICES)
def test_only_nginx_is_published_beyond_this_machine(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert name == "nginx" or port.startswith("127.0.0.1:")


def test_make_secrets_makes_every_secret(secrets: Path) -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    for name in used:
        assert COMPOSE["secrets"][name]["file"] == f"secrets/{name}"
        assert len((secrets / name).read_text()) > 20


def test_make_secrets_keeps_what_is_there(secrets: Path) -> None:
    (secrets / "postgres_password").write_text("mine\n")
    before = (secrets / "redis_password").read_text()
    subprocess.run([secrets.parent / "make-secrets"], check=True, capture_output=True)
    assert (secrets / "postgres_password").read_text() == "mine\n"
    assert (secrets / "redis_password").read_text() == before
    dsn = urlsplit((secrets / "database_dsn").read_text().strip())
    assert (dsn.password, dsn.hostname) == ("mine", "postgres")
    assert dsn.username == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert dsn.path == f"/{SERVICES['postgres']['environment']['POSTGRES_DB']}"


def test_secrets_lie_behind_a_closed_door_and_out_of_the_repository(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert text_of("secrets/.gitignore").splitlines()[-2:] == ["*", "!.gitignore"]


def test_secrets_of_the_nodes_are_where_their_configuration_looks() -> None:
    named = re.findall(r"/run/secrets/(\w+)", text_of("homeserver/homeserver.yaml"))
    assert sorted(named) == sorted(SERVICES["node1"]["secrets"])


def test_nginx_knows_every_node_by_name_and_right_port() -> None:
    hosts = dict(each.split(":") for each in SERVICES["nginx"]["extra_hosts"])
    assert hosts == {node: address_of(node, "edge") for node in NODES}
    servers = re.findall(r"^    server (\S+) ", text_of("nginx/conf.d/homeserver.conf"), re.M)
    assert servers == [f"{node}:{port_that_serves('client')}" for node in NODES]


def test_nodes_trust_nginx_and_nobody_else() -> None:
    trusted = [each.get("trusted_proxies", []) for each in NODE_CONFIG["listeners"]]
    assert trusted == [[f"{address_of('nginx', 'edge')}/32"], []]


def test_nginx_reaches_neither_metrics_nor_administration() -> None:
    public = port_that_serves("client")
    assert public not in (port_that_serves("metrics"), port_that_serves("admin"))


def test_nginx_is_published_at_the_port_where_it_listens() -> None:
    assert SERVICES["nginx"]["ports"] == ["${HTTP_PORT:-8008}:80"]
    assert re.search(r"^    listen 80;", text_of("nginx/conf.d/homeserver.conf"), re.M)


def test_prometheus_scrapes_every_node() -> None:
    jobs = yaml.safe_load(text_of("prometheus/prometheus.yaml"))["scrape_configs"]
    targets = next(job for job in jobs if job["job_name"] == "homeserver")["static_configs"]
    port = port_that_serves("metrics")
    assert targets == [{"targets": [f"{node}:{port}" for node in NODES]}]


def test_docker_sends_log_lines_to_the_input_of_logstash() -> None:
    port = re.search(r"port => (\d+)", text_of("logstash/pipeline/homeserver.conf"))
    assert port
    expected = f"udp://{address_of('logstash', 'observation')}:{port[1]}"
    for name in ("nginx", *NODES):
        logging = SERVICES[name]["logging"]
        assert logging["driver"] == "gelf"
        assert logging["options"]["gelf-address"] == expected


def test_fixed_addresses_lie_in_the_subnet_but_not_where_docker_chooses() -> None:
    for network, prefix in (("edge", "172.30.8."), ("observation", "172.30.9.")):
        config = COMPOSE["networks"][network]["ipam"]["config"]
        assert config == [{"subnet": f"{prefix}0/24", "ip_range": f"{prefix}128/25"}]
    fixed = [
        options["ipv4_address"]
        for service in SERVICES.values()
        if isinstance(service["networks"], dict)
        for options in service["networks"].values()
        if "ipv4_address" in options
    ]
    assert len(set(fixed)) == len(fixed) == 4
    assert all(1 < int(address.rpartition(".")[2]) < 128 for address in fixed)


def addresses_in_files() -> Iterator[tuple[str, str]]:
    """Every http://service:port of the configuration, with the file that has it."""
    for path in sorted(DOCKER.rglob("*")):
        if path.is_file() and "secrets" not in path.parts:
            for host in re.findall(r"http://([\w-]+:\d+)", path.read_text("utf-8")):
                if not host.startswith("localhost"):
                    yield str(path.relative_to(DOCKER)), host


# Where each listens in its container unless it is told otherwise.
PORTS = {"zipkin": 9411, "elasticsearch": 9200, "kibana": 5601, "prometheus": 9090}


def test_services_call_each_other_by_the_right_ports() -> None:
    found = list(addresses_in_files())
    assert {host.partition(":")[0] for _, host in found} == set(PORTS)
    for file, host in found:
        name, _, port = host.partition(":")
        assert PORTS[name] == int(port), file
        assert name in SERVICES


def test_make_secrets_and_setups_may_be_run() -> None:
    assert (DOCKER / "make-secrets").stat().st_mode & 0o111
    for script in ("make-secrets", "elasticsearch/put-templates", "kibana/put-data-view"):
        subprocess.run(["sh", "-n", DOCKER / script], check=True)

"""The configurations that `homeserver proxy-config` prints, in the eyes of nginx and HAProxy."""

import re
from pathlib import Path

import pytest

from homeserver.config.model import Config
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.server import ServerSection
from homeserver.run.cli import main
from homeserver.run.proxy_config import (
    InvalidProxySetting,
    ProxyProgram,
    ProxySettings,
    TlsFiles,
    local_nodes,
    proxy_config,
    public_names,
)
from tests.support.programs import passes, program

NODES = ("127.0.0.1:18101", "[::1]:18102", "unix:/run/homeserver/node3.sock")


def settings(**changes: object) -> ProxySettings:
    given = {"nodes": NODES, "server_names": ("example.org",), "port": 18_080, **changes}
    return ProxySettings(**given)  # type: ignore[arg-type]


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    """A certificate with its key beside it, under the name that HAProxy looks for."""
    certificate, key = tmp_path / "site.pem", tmp_path / "site.pem.key"
    request = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    files = ("-subj", "/CN=example.org", "-out", certificate, "-keyout", key)
    passes(program("openssl"), *request, *files)
    return TlsFiles(str(certificate), str(key))


def nginx_accepts(text: str, folder: Path) -> None:
    nginx = program("nginx")
    # What only root may open is moved; the rest is as it is printed.
    text = text.replace("/var/log/nginx/access.log", str(folder / "access.log"))
    text = re.sub(r"(listen (?:\[::\]:)?)(443|8448)\b", r"\g<1>2\2", text)
    main_file = folder / "nginx.conf"
    main_file.write_text(f"pid {folder}/pid; events {{}} http {{\n{text}\n}}\n")
    passes(nginx, "-t", "-q", "-p", folder, "-c", main_file, "-e", folder / "error.log")


def haproxy_accepts(text: str, folder: Path) -> None:
    file = folder / "haproxy.cfg"
    file.write_text(f"global\n    maxconn 1000\n\n{text}")
    passes(program("haproxy"), "-c", "-q", "-f", file)


def test_nginx_accepts_its_configuration(tmp_path: Path) -> None:
    nginx_accepts(proxy_config(ProxyProgram.NGINX, settings()), tmp_path)


def test_nginx_accepts_its_configuration_with_tls(tmp_path: Path, tls: TlsFiles) -> None:
    text = proxy_config(ProxyProgram.NGINX, settings(tls=tls))
    assert "listen 8448 ssl;" in text
    nginx_accepts(text, tmp_path)


def test_haproxy_accepts_its_configuration(tmp_path: Path) -> None:
    haproxy_accepts(proxy_config(ProxyProgram.HAPROXY, settings()), tmp_path)


def test_haproxy_accepts_its_configuration_with_tls(tmp_path: Path, tls: TlsFiles) -> None:
    haproxy_accepts(proxy_config(ProxyProgram.HAPROXY, settings(tls=tls)), tmp_path)


@pytest.mark.parametrize("chosen", ProxyProgram)
def test_every_node_is_there(chosen: ProxyProgram) -> None:
    text = proxy_config(chosen, settings()).replace("unix@", "unix:")
    servers = re.findall(r"^    server (?:node\d )?(\S+)", text, re.MULTILINE)
    assert servers == list(NODES)


@pytest.mark.parametrize("chosen", ProxyProgram)
@pytest.mark.parametrize(
    "changes",
    [
        {"nodes": ()},
        {"nodes": ("node1",)},
        {"nodes": ("node1:8008; include /etc/passwd",)},
        {"nodes": ("node1:8008\n}",)},
        {"tls": TlsFiles('/a"; include /etc/passwd; "', "/b")},
        {"tls": TlsFiles("/a", "/b\nssl off")},
        {"port": 0},
        {"port": 65_536},
        {"max_upload_bytes": 0},
    ],
)
def test_what_would_break_the_configuration_is_refused(
    chosen: ProxyProgram, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidProxySetting):
        proxy_config(chosen, settings(**changes))


def test_nodes_of_the_configuration_are_those_that_serve_clients_without_tls() -> None:
    config = Config(
        listeners=(
            Listener(address="0.0.0.0", port=8008),
            Listener(address="::", port=8009),
            Listener(address="192.0.2.1", port=9008, serves=("metrics",)),
            Listener(port=8448, tls_certificate=Path("a"), tls_key=Path("b")),
            Listener(unix_socket=Path("/run/homeserver.sock")),
        )
    )
    assert local_nodes(config) == [
        "127.0.0.1:8008",
        "[::1]:8009",
        "unix:/run/homeserver.sock",
    ]


def test_names_are_that_of_the_server_and_that_of_its_address() -> None:
    server = ServerSection(name="Example.org:8448", public_base_url="https://matrix.example.org/x")
    assert public_names(Config(server=server)) == ["example.org", "matrix.example.org"]
    alone = ServerSection(name="example.org", public_base_url="https://example.org")
    assert public_names(Config(server=alone)) == ["example.org"]


def test_command_prints_the_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("homeserver.yaml").write_text("server: {name: example.org}")
    assert main(["proxy-config", "nginx", "--node", "10.0.0.1:8008", "--port", "8080"]) == 0
    printed = capsys.readouterr().out
    assert "server 10.0.0.1:8008 max_fails" in printed
    assert "listen 8080;" in printed
    assert "server_name example.org" in printed


@pytest.mark.parametrize(
    "wrong", [["--node", "nowhere"], ["--tls-key", "/key"], ["--max-upload-bytes", "-1"]]
)
def test_command_explains_what_is_wrong(
    wrong: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["proxy-config", "haproxy", *wrong]) == 1
    assert capsys.readouterr().err.startswith("homeserver: ")


def test_a_checker_that_finds_a_fault_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        nginx_accepts("no_such_directive on;", tmp_path)

"""Configurations of reverse proxies that lead rooms and callers to always the same node."""

import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from homeserver.config.model import Config
from homeserver.config.sections.listeners import Listener

_TEMPLATES: Final = Path(__file__).parent / "templates"
_NODE: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}|unix:/[\w./@+-]+")
# What neither program takes for an end of the word; paths stand in quotes.
_FILE: Final = re.compile(r"[^\x00-\x1f\"'\\$#;{}]+")

_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

DEFAULT_PORT: Final = 80
# Larger files than users of most servers send; the nodes set the limit that counts.
DEFAULT_MAX_UPLOAD_BYTES: Final = 512 * 1024 * 1024


class InvalidProxySetting(Exception):
    """A proxy cannot be configured like this; the text tells the operator why."""


class ProxyProgram(Enum):
    """The reverse proxies that we write configurations for."""

    NGINX = "nginx"
    HAPROXY = "haproxy"


_TEMPLATE_NAMES: Final = {
    ProxyProgram.NGINX: "nginx.conf.j2",
    ProxyProgram.HAPROXY: "haproxy.cfg.j2",
}


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files, as absolute paths on the machine of the proxy."""

    certificate: str
    key: str


class ProxySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy has to know."""

    # `host:port`, `[address]:port` or `unix:/path`.
    nodes: Sequence[str]
    # The host names that clients and other servers use.
    server_names: Sequence[str]
    # With TLS the ports are 443 and 8448.
    port: int = DEFAULT_PORT
    tls: TlsFiles | None = None
    max_upload_bytes: int = DEFAULT_MAX_UPLOAD_BYTES


def proxy_config(program: ProxyProgram, settings: ProxySettings) -> str:
    """Return the text of the configuration. Raises InvalidProxySetting."""
    _check(settings)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - no HTML; every value was checked
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template(_TEMPLATE_NAMES[program])
    return template.render(msgspec.structs.asdict(settings))


def local_nodes(config: Config) -> list[str]:
    """Return the listeners of this configuration that serve clients, as addresses of nodes."""
    return [
        _address(listener)
        for listener in config.listeners
        if "client" in listener.serves and listener.tls_certificate is None
    ]


def public_names(config: Config) -> list[str]:
    """Return the host names under which this server is asked for, each once."""
    hosts = (
        urlsplit(f"//{config.server.name}").hostname,
        urlsplit(config.public_base_url).hostname,
    )
    return list(dict.fromkeys(host for host in hosts if host))


def _address(listener: Listener) -> str:
    if listener.unix_socket is not None:
        return f"unix:{listener.unix_socket}"
    # Who listens everywhere is reached at the loopback address.
    local = msgspec.structs.replace(
        listener, address=_LOOPBACKS.get(listener.address, listener.address)
    )
    return urlsplit(local.base_url).netloc


def _check(settings: ProxySettings) -> None:
    if not settings.nodes:
        raise InvalidProxySetting("name at least one node that serves clients without TLS")
    for node in settings.nodes:
        if not _NODE.fullmatch(node):
            raise InvalidProxySetting(f"{node!r} is not an address: host:port or unix:/path")
    for path in (settings.tls.certificate, settings.tls.key) if settings.tls else ():
        if not _FILE.fullmatch(path):
            raise InvalidProxySetting(f"{path!r} cannot stand in the configuration of a proxy")
    if not 0 < settings.port < 65_536:
        raise InvalidProxySetting(f"{settings.port} is not a port")
    if settings.max_upload_bytes < 1:
        raise InvalidProxySetting("the largest upload must have a byte at least")

"""Servers that other servers reach over TLS, by an address with a port as their name."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from homeserver.config.sections.federation import FederationSection
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.server import ServerSection
from homeserver.config.values import IpRange
from homeserver.protocol.identifiers import ServerName
from homeserver.run.compose import RunningServer
from tests.support.certificates import Authority
from tests.support.processes import free_port
from tests.support.server import server_of

LOOPBACK = IpRange("127.0.0.0/8")


class NamedServer(msgspec.Struct, frozen=True):
    """A server of ours in this process, reached as `https://{name}` by others."""

    name: ServerName
    running: RunningServer

    @property
    def url(self) -> str:
        """Where clients reach it, in plain HTTP."""
        return self.running.url


def federation_section(authority: Authority, **settings: Any) -> FederationSection:
    """Trust the tests' authority and reach servers on loopback."""
    return FederationSection(
        **{"ca_files": (authority.ca_file,), "allowed_ip_ranges": (LOOPBACK,), **settings}
    )


@contextlib.asynccontextmanager
async def named_server(
    authority: Authority, dsn: str, folder: Path, *, name: str | None = None, **sections: Any
) -> AsyncIterator[NamedServer]:
    """Start a server; `sections` as for `server_config`, and `federation` as settings.

    `name`: of one that ran before.
    """
    port = free_port() if name is None else int(name.rpartition(":")[2])
    name = f"127.0.0.1:{port}"
    certificate, key = authority.certificate("127.0.0.1")
    federation = sections.pop("federation", {})
    defaults: dict[str, Any] = {
        "server": ServerSection(name=name, data_dir=folder),
        "listeners": (
            Listener(port=0),
            Listener(
                port=port, tls_certificate=certificate, tls_key=key, serves=("federation", "media")
            ),
        ),
        "federation": federation_section(authority, **federation),
    }
    async with server_of(dsn, folder, **(defaults | sections)) as running:
        yield NamedServer(ServerName(name), running)


def process_settings(
    authority: Authority, dsn: str, client_port: int, *, name: str | None = None
) -> Mapping[str, str]:
    """Return the settings of a `ServerProcess` that federates; its name is in SERVER_NAME."""
    port = free_port() if name is None else int(name.rpartition(":")[2])
    certificate, key = authority.certificate("127.0.0.1")
    listeners = [
        {"port": client_port},
        {
            "port": port,
            "tls_certificate": str(certificate),
            "tls_key": str(key),
            "serves": ["federation", "media"],
        },
    ]
    return {
        "DATABASE_DSN": dsn,
        "SERVER_NAME": f"127.0.0.1:{port}",
        "LISTENERS": json.dumps(listeners),
        "FEDERATION_CA_FILES": json.dumps([str(authority.ca_file)]),
        "FEDERATION_ALLOWED_IP_RANGES": json.dumps(["127.0.0.0/8"]),
        "RATE_LIMITS_ENABLED": "false",
        "PASSWORDS_BCRYPT_COST": "4",
        "REGISTRATION_WITHOUT_VERIFICATION": "true",
    }

"""A whole server in the process of the test, over a database of its own and real HTTP."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from homeserver.config.model import Config
from homeserver.config.sections.database import DatabaseSection
from homeserver.config.sections.federation import FederationSection
from homeserver.config.sections.listeners import Listener
from homeserver.config.sections.passwords import PasswordsSection
from homeserver.config.sections.presence import PresenceSection
from homeserver.config.sections.rate_limits import RateLimitsSection
from homeserver.config.sections.registration import RegistrationSection
from homeserver.config.sections.server import ServerSection
from homeserver.config.values import Secret
from homeserver.run.compose import RunningServer, running_server

SERVER_NAME = "hs.example"


def server_config(dsn: str, folder: Path, **sections: Any) -> Config:
    """Return a configuration for tests: a free port, cheap passwords, no rate limits.

    `sections` replace whole sections.
    """
    defaults: dict[str, Any] = {
        "server": ServerSection(name=SERVER_NAME, data_dir=folder),
        "listeners": (Listener(port=0),),
        "database": DatabaseSection(dsn=Secret(dsn)),
        "passwords": PasswordsSection(bcrypt_cost=4),
        "rate_limits": RateLimitsSection(enabled=False),
        # Made-up servers shall not be looked for in the real DNS.
        "federation": FederationSection(enabled=False),
        # With it, whoever waits may be answered because somebody has come.
        "presence": PresenceSection(enabled=False),
        "registration": RegistrationSection(without_verification=True, guests_allowed=True),
    }
    return Config(**(defaults | sections))


@contextlib.asynccontextmanager
async def server_of(dsn: str, folder: Path, **sections: Any) -> AsyncIterator[RunningServer]:
    """Start a server; see `server_config`."""
    async with running_server(server_config(dsn, folder, **sections)) as server:
        yield server

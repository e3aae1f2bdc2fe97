"""What an administrator decides about profiles.

Spec: client-server-api/#profiles, client-server-api/#mprofile_fields-capability
"""

import contextlib

import pytest

from homeserver.config.sections.profiles import ProfilesSection
from homeserver.protocol.identifiers import UserID
from tests.support.client import clients_of, quoted, refused
from tests.support.server import server_of

ATTEMPTS = 500


@pytest.fixture
def server_with(database_dsn, tmp_path):
    """Runs a server with settings of the section, and gives it with its clients."""

    @contextlib.asynccontextmanager
    async def run(**settings):
        section = ProfilesSection(**settings)
        async with (
            server_of(database_dsn, tmp_path, profiles=section) as server,
            clients_of(server.url) as clients,
        ):
            yield server, clients

    return run


async def may_read(client, other):
    """Whether a user may read the profile of another, in whole and in part."""
    answers = set()
    for path in (other.user_id, other.user_id + "/displayname"):
        try:
            await client.get(f"profile/{path}")
        except Exception as refusal:  # noqa: BLE001 - looked at below
            answers.add(str(refusal.errcode))
        else:
            answers.add("read")
    assert len(answers) == 1
    (answer,) = answers
    assert answer in ("read", "M_FORBIDDEN")
    return answer == "read"

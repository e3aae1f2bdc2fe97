"""The key of the policy server. Spec: client-server-api/#getwell-knownmatrixpolicy_server"""

from homeserver.config.sections.discovery import DiscoverySection
from tests.support.client import clients_of
from tests.support.server import server_of

KEY = "6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS+s"


async def test_the_key_is_published(database_dsn, tmp_path):
    discovery = DiscoverySection(policy_server_key=KEY)
    async with (
        server_of(database_dsn, tmp_path, discovery=discovery) as server,
        clients_of(server.url) as clients,
    ):
        document = await clients.nobody().get("/.well-known/matrix/policy_server")
        assert document == {"public_keys": {"ed25519": KEY}}

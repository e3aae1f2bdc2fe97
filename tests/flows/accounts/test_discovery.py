"""Spec: client-server-api/#server-discovery, client-server-api/#capabilities-negotiation"""

import pytest

from homeserver.config.sections.discovery import DiscoverySection, SupportContact
from homeserver.config.sections.server import ServerSection
from tests.flows.accounts.conftest import NodeMaker
from tests.support.account_node import AccountNode

CLIENT = "/.well-known/matrix/client"
SUPPORT = "/.well-known/matrix/support"
VERSIONS = "/_matrix/client/versions"


async def test_versions_are_told_with_and_without_a_token(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    for each in (None, token):
        answer = await node.call("GET", VERSIONS, token=each)
        assert {"v1.1", "v1.13", "v1.19"} <= set(answer.json["versions"])
        assert all(answer.json["unstable_features"].values())
    assert (await node.call("GET", VERSIONS, token="old")).errcode == (401, "M_UNKNOWN_TOKEN")


async def test_the_client_document_has_what_is_configured(node_with: NodeMaker) -> None:
    async with node_with(
        server=ServerSection(name="localhost", public_base_url="https://m.example.org"),
        discovery=DiscoverySection(client={"org.example.tiles": {"url": "https://t"}}),
    ) as node:
        answer = await node.call("GET", CLIENT)
        assert answer.json == {
            "m.homeserver": {"base_url": "https://m.example.org/"},
            "org.example.tiles": {"url": "https://t"},
        }
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_support_document_has_what_is_configured(node_with: NodeMaker) -> None:
    contact = SupportContact(role="m.role.admin", matrix_id="@admin:example.org")
    async with node_with(discovery=DiscoverySection(support_contacts=(contact,))) as node:
        answer = await node.call("GET", SUPPORT)
        assert answer.json == {
            "contacts": [{"role": "m.role.admin", "matrix_id": "@admin:example.org"}]
        }


async def test_without_anybody_to_ask_there_is_no_support_document(node: AccountNode) -> None:
    assert (await node.call("GET", SUPPORT)).errcode == (404, "M_NOT_FOUND")


async def test_capabilities_are_told_to_users(node: AccountNode) -> None:
    token = (await node.register("alice"))["access_token"]
    capabilities = (await node.call("GET", "capabilities", token=token)).json["capabilities"]
    assert capabilities["m.change_password"] == {"enabled": True}
    assert capabilities["m.get_login_token"] == {"enabled": True}
    assert capabilities["m.room_versions"]["default"] == "12"
    assert capabilities["m.room_versions"]["available"]["11"] == "stable"


@pytest.mark.parametrize("path", ["capabilities", "account/whoami", "devices"])
async def test_a_token_is_needed(node: AccountNode, path: str) -> None:
    assert (await node.call("GET", path)).errcode == (401, "M_MISSING_TOKEN")
    assert (await node.call("GET", path, token="x")).errcode == (401, "M_UNKNOWN_TOKEN")

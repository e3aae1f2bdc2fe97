import pytest

from homeserver.config.sections.discovery import DiscoverySection, SupportContact
from homeserver.errors import NotFound
from homeserver.protocol.identifiers import UserID
from homeserver.services.discovery import (
    SPEC_VERSIONS,
    Capabilities,
    Discovery,
    fixed_capability,
    room_versions_capability,
)
from homeserver.web.requester import Requester

ALICE = Requester(user_id=UserID("@alice:x"))


def test_every_version_since_1_1_is_listed() -> None:
    assert SPEC_VERSIONS[0] == "r0.6.1"
    assert SPEC_VERSIONS[1:] == tuple(f"v1.{minor}" for minor in range(1, 20))


async def test_a_capability_may_leave_itself_out() -> None:
    async def nothing(_requester: Requester) -> None:
        return None

    capabilities = Capabilities({"a": fixed_capability({"enabled": True}), "b": nothing})
    assert await capabilities.of(ALICE) == {"a": {"enabled": True}}


async def test_all_room_versions_are_stable() -> None:
    told = await room_versions_capability("10")(ALICE)
    assert told is not None
    assert told["default"] == "10"
    assert told["available"] == {str(version): "stable" for version in range(1, 13)}


def test_the_client_document_names_the_server_and_what_else_is_configured() -> None:
    settings = DiscoverySection(client={"org.example": {"a": 1}, "m.homeserver": "ours wins"})
    assert Discovery(settings, base_url="https://m.example/").client() == {
        "org.example": {"a": 1},
        "m.homeserver": {"base_url": "https://m.example/"},
    }


def test_a_server_that_does_not_know_its_address_says_nothing() -> None:
    assert Discovery(DiscoverySection(), base_url=None).client() is None


def test_the_support_document_leaves_out_what_is_not_set() -> None:
    settings = DiscoverySection(
        support_contacts=(SupportContact(role="m.role.admin", email_address="a@example.org"),),
        support_page="https://example.org/help",
    )
    assert Discovery(settings, base_url=None).support() == {
        "contacts": [{"role": "m.role.admin", "email_address": "a@example.org"}],
        "support_page": "https://example.org/help",
    }


def test_without_anybody_to_ask_there_is_no_support_document() -> None:
    with pytest.raises(NotFound):
        Discovery(DiscoverySection(), base_url=None).support()

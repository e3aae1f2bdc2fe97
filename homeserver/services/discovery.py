"""What clients find out about this server before they use it.

Spec: client-server-api/#server-discovery, client-server-api/#capabilities-negotiation
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from homeserver.config.sections.discovery import DiscoverySection
from homeserver.config.sections.rooms import RoomsSection
from homeserver.errors import NotFound
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms.presets import encrypted_presets
from homeserver.web.requester import Requester

# r0.6.1 because the paths of old clients are still answered. Some clients refuse a server that
# lists only new versions, so the whole run is here.
SPEC_VERSIONS: Final = ("r0.6.1", *(f"v1.{minor}" for minor in range(1, 20)))

# Returns what a capability says to a user; None leaves it out.
Capability: TypeAlias = Callable[[Requester], Awaitable[JsonObject | None]]


class Versions(msgspec.Struct, frozen=True):
    """The specification's versions and the experimental features that are there."""

    versions: tuple[str, ...]
    unstable_features: Mapping[str, bool]


class Capabilities:
    """What a user can and cannot do here; every feature brings its own."""

    def __init__(self, capabilities: Mapping[str, Capability]) -> None:
        self._capabilities = capabilities

    async def of(self, requester: Requester) -> JsonObject:
        """Return all capabilities, by name."""
        told = {name: await tell(requester) for name, tell in self._capabilities.items()}
        return {name: value for name, value in told.items() if value is not None}


def fixed_capability(value: JsonObject) -> Capability:
    """Return a capability that says the same to everybody."""

    async def tell(_requester: Requester) -> JsonObject:
        return value

    return tell


def forced_encryption_features(settings: RoomsSection) -> dict[str, bool]:
    """Return the flags by which Element knows which new rooms are encrypted in any case."""
    names = {preset: preset.removesuffix("_chat") for preset in encrypted_presets(settings)}
    return {f"io.element.e2ee_forced.{names[preset]}": True for preset in sorted(names)}


def room_versions_capability(default_version: str) -> Capability:
    """Return `m.room_versions`. Spec: client-server-api/#mroom_versions-capability"""
    available = dict.fromkeys(ROOM_VERSIONS, "stable")
    return fixed_capability({"default": default_version, "available": available})


class Discovery:
    """The documents under /.well-known/matrix/ for clients."""

    def __init__(self, settings: DiscoverySection, *, base_url: str | None) -> None:
        """`base_url`: where clients reach this server; None: nobody can tell."""
        self._settings = settings
        self._base_url = base_url

    def client(self) -> JsonObject | None:
        """Return where this server is, None if that is not known.

        A guess that is wrong would lead clients away. Spec:
        client-server-api/#getwell-knownmatrixclient
        """
        if self._base_url is None:
            return None
        return {**self._settings.client, "m.homeserver": {"base_url": self._base_url}}

    def support(self) -> JsonObject:
        """Return whom to ask for help.

        Raises NotFound: nobody is named. Spec: client-server-api/#getwell-knownmatrixsupport
        """
        document: JsonObject = {}
        if self._settings.support_contacts:
            document["contacts"] = [
                {name: value for name, value in msgspec.structs.asdict(contact).items() if value}
                for contact in self._settings.support_contacts
            ]
        if self._settings.support_page is not None:
            document["support_page"] = self._settings.support_page
        if not document:
            raise NotFound("No support information is available")
        return document

    def policy_server(self) -> JsonObject:
        """Return the public key of this domain's policy server.

        Raises NotFound: there is none. Spec: client-server-api/#getwell-knownmatrixpolicy_server
        """
        if self._settings.policy_server_key is None:
            raise NotFound("There is no policy server here")
        return {"public_keys": {"ed25519": self._settings.policy_server_key}}

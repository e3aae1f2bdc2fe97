"""Room upgrades. Spec: client-server-api/#room-upgrades"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from client_api.routes.joining import RoomPath
from homeserver.protocol.identifiers import RoomID
from homeserver.rooms.upgrade import UpgradeRoom
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# They must fit into one event.
MAX_ADDITIONAL_CREATORS: Final = 200


class UpgradeBody(Body, frozen=True):
    """To which version, and who else is to be a creator of the new room."""

    new_version: str
    # Plain strings: versions without additional creators ignore them, whatever they are.
    additional_creators: Annotated[tuple[str, ...], Meta(max_length=MAX_ADDITIONAL_CREATORS)] = ()


class UpgradeAnswer(msgspec.Struct, frozen=True):
    """The new room."""

    replacement_room: RoomID


class RoomUpgradeRoutes:
    """Replacing rooms."""

    def __init__(self, upgrade: UpgradeRoom) -> None:
        self._upgrade = upgrade

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/upgrade",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.JOIN,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidupgrade",
    )
    async def post_upgrade(
        self, requester: Requester, path: RoomPath, body: UpgradeBody
    ) -> UpgradeAnswer:
        """Replace a room by a new one of another version."""
        return UpgradeAnswer(
            await self._upgrade.upgrade(
                requester, path.room_id, body.new_version, body.additional_creators
            )
        )

"""EDUs from other servers: one table from what they are to who takes them.

Who may say what is checked by `protocol/edu.py` (a server speaks for its own users) and here (the
access control lists of rooms). Spec: server-server-api/#edus
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from homeserver.errors import MatrixError
from homeserver.protocol import edu
from homeserver.protocol.edu import InvalidEdu, parse_edu
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.protocol.json_types import JsonValue
from homeserver.rooms.heads import Heads
from homeserver.rooms.receive.server_acls import ServerAcls
from homeserver.services.presence import Presence
from homeserver.services.receipts import Receipts
from homeserver.services.remote_devices import RemoteDevices
from homeserver.services.to_device import ToDevice
from homeserver.services.typing_notifications import TypingNotifications
from homeserver.storage import room_servers
from homeserver.storage.database import Database
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

# In one EDU: a server has no reason to speak of more of them at once.
_MAX_ROOMS: Final = 100


class RoomGate:
    """Tells in which rooms a server may say something."""

    def __init__(self, database: Database, heads: Heads, acls: ServerAcls) -> None:
        self._database = database
        self._heads = heads
        self._acls = acls

    async def open_to(self, origin: ServerName, room_ids: Iterable[RoomID]) -> set[RoomID]:
        """Return those of the rooms that this server is in and that do not deny the origin.

        Spec: server-server-api/#server-access-control-lists-acls
        """
        asked = sorted(set(room_ids))[:_MAX_ROOMS]
        async with self._database.connection("room_gate") as connection:
            # Heads are not looked up for names that somebody has made up.
            known = await room_servers.known_rooms(connection, asked)
        allowed: set[RoomID] = set()
        for room_id in asked:
            head = await self._heads.head(room_id) if room_id in known else None
            if head is not None and head.local_joined and await self._acls.allows(head, origin):
                allowed.add(room_id)
        return allowed


class ReceivedEdus:
    """Hands EDUs to those who take them."""

    def __init__(
        self,
        gate: RoomGate,
        typing: TypingNotifications,
        receipts: Receipts,
        presence: Presence,
        to_device: ToDevice,
        devices: RemoteDevices,
        *,
        takes_presence: bool,
    ) -> None:
        self._gate = gate
        self._typing = typing
        self._receipts = receipts
        self._presence = presence
        self._to_device = to_device
        self._devices = devices
        self._takes_presence = takes_presence
        self._takers: Final[dict[type, Callable[[ServerName, Any], Awaitable[None]]]] = {
            edu.Typing: self._take_typing,
            edu.Receipts: self._take_receipts,
            edu.Presence: self._take_presence,
            edu.DirectToDevice: self._to_device.receive,
            edu.DeviceListUpdate: self._devices.receive_update,
            edu.SigningKeyUpdate: self._devices.receive_signing_keys,
        }

    async def take(self, origin: ServerName, edus: Sequence[JsonValue]) -> None:
        """Take the EDUs of a transaction, in order; what is wrong with one spoils no other.

        Raises DatabaseUnavailable: the rest is not taken.
        """
        for envelope in edus:
            try:
                parsed = parse_edu(envelope, origin)
                if parsed is not None:
                    await self._takers[type(parsed)](origin, parsed)
            except (InvalidEdu, MatrixError) as error:
                log.warning("edu refused", origin=origin, reason=str(error))

    async def _take_typing(self, origin: ServerName, typing: edu.Typing) -> None:
        if await self._gate.open_to(origin, [typing.room_id]):
            await self._typing.receive(typing)

    async def _take_receipts(self, origin: ServerName, received: edu.Receipts) -> None:
        rooms = await self._gate.open_to(origin, (each.room_id for each in received.receipts))
        receipts = [each for each in received.receipts if each.room_id in rooms]
        if receipts:
            await self._receipts.receive(receipts)

    async def _take_presence(self, origin: ServerName, presence: edu.Presence) -> None:
        if self._takes_presence:
            await self._presence.receive(origin, presence.push)

"""What this server tells other servers of the rooms in a space.

Spec: server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from collections.abc import Sequence
from typing import NamedTuple

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import RoomID, ServerName
from homeserver.services.room_facts import KnownRooms, RoomFacts, SpaceChild
from homeserver.storage import room_summary
from homeserver.storage.database import Database


class SpaceForServer(NamedTuple):
    """A room, and what may be told of those that it lists."""

    facts: RoomFacts
    children_state: Sequence[SpaceChild]
    children: Sequence[RoomFacts]
    inaccessible_children: Sequence[RoomID]


class SpacesForServers:
    """Tells servers of rooms that some user of theirs could peek into or join."""

    def __init__(self, database: Database, known: KnownRooms) -> None:
        self._database = database
        self._known = known

    async def of(
        self, origin: ServerName, room_id: RoomID, *, suggested_only: bool
    ) -> SpaceForServer:
        """Return a room with the rooms that it lists.

        Raises NotFound: this server does not take part in the room, or the other one cannot.
        """
        facts = (await self._known.facts([room_id])).get(room_id)
        if facts is None or not facts.is_current:
            raise NotFound("Unknown room")
        listed = [
            child
            for child in (facts.children if facts.is_space else ())
            if child.is_suggested or not suggested_only
        ]
        # "Rooms which the responding server cannot provide details on will be outright excluded".
        known = await self._known.facts(child.room_id for child in listed)
        current = [child for child in known.values() if child.is_current]
        visible = await self._visible_to(origin, [facts, *current])
        if room_id not in visible:
            raise NotFound("Unknown room")
        return SpaceForServer(
            facts,
            listed,
            [child for child in current if child.room_id in visible],
            [child.room_id for child in current if child.room_id not in visible],
        )

    async def _visible_to(self, origin: ServerName, rooms: Sequence[RoomFacts]) -> set[RoomID]:
        asked = {room.room_id for room in rooms}
        asked.update(allowed for room in rooms for allowed in room.join_rules.allowed_rooms())
        async with self._database.connection("spaces_for_servers") as connection:
            of_origin = await room_summary.rooms_of_server(connection, asked, origin)
        return {
            room.room_id
            for room in rooms
            if room.room_id in of_origin
            or room.is_world_readable
            or (
                room.is_federatable
                and (
                    room.join_rules.is_public
                    or room.join_rules.admits_knocks
                    or not of_origin.isdisjoint(room.join_rules.allowed_rooms())
                )
            )
        }

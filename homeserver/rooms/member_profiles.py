"""Telling a room that the display name or the avatar of a member has changed.

Spec: client-server-api/#events-on-change-of-profile-information
"""

from collections.abc import Sequence
from typing import Final

from homeserver.ports import MemberProfiles
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import RoomID, UserID
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.build import Built, Sent
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import RoomHead
from homeserver.rooms.write import RoomWriter

_FIELDS: Final = ("displayname", "avatar_url")
# What belonged to the join alone. The authorising user would have the event need another signature.
_OF_THE_JOIN: Final = ("reason", "join_authorised_via_users_server", "third_party_invite")


class MemberProfileUpdates:
    """Brings membership events up to date with profiles."""

    def __init__(self, writer: RoomWriter, cache: EventCache, profiles: MemberProfiles) -> None:
        self._writer = writer
        self._cache = cache
        self._profiles = profiles

    async def update(self, user_id: UserID, room_id: RoomID) -> None:
        """Have a room know the present profile of a local user; nothing happens if it does.

        Nothing happens either when the user is not joined any more. Raises MatrixError,
        ProtocolError: the room's rules forbid it.
        """

        async def build(head: RoomHead) -> Sequence[Built]:
            # Read on each head: who is overtaken by another node builds again, on what is new.
            fields = await self._profiles.member_fields(user_id)
            content = await self._join_content(head, user_id)
            if content is None or _told(content) == fields:
                return []
            wanted = {
                key: value
                for key, value in content.items()
                if key not in _FIELDS and key not in _OF_THE_JOIN
            }
            draft = EventDraft(
                type="m.room.member",
                sender=user_id,
                content={**wanted, **fields},
                room_id=head.room_id,
                state_key=user_id,
            )
            return [await self._writer.builder.build(head, draft, Sent())]

        await self._writer.write(room_id, build)

    async def _join_content(self, head: RoomHead, user_id: UserID) -> JsonObject | None:
        entry = head.state.get(("m.room.member", user_id))
        if entry is None or entry.membership != "join":
            return None
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        return event.content if event is not None else None


def _told(content: JsonObject) -> JsonObject:
    return {field: content[field] for field in _FIELDS if content.get(field) is not None}

"""Setting state in the name of a client: what some event types need besides sending.

Spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
"""

from typing import Final

from homeserver.protocol.identifiers import EventID, RoomID, parse_user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.head import GUEST_ACCESS
from homeserver.rooms.membership import Memberships
from homeserver.rooms.send import SendEvent
from homeserver.services.canonical_alias import CANONICAL_ALIAS, CanonicalAlias
from homeserver.services.guest_eviction import GuestEviction
from homeserver.services.notice_rooms import NoticeRooms
from homeserver.services.suspension import Suspension
from homeserver.web.requester import Requester

# The server's word for a join, never the client's: copied into a later profile change, it would
# ask for the signature of a server that has not seen the event.
_AUTHORISING_USER: Final = "join_authorised_via_users_server"


class SetState:
    """Sets state events."""

    def __init__(
        self,
        send: SendEvent,
        memberships: Memberships,
        canonical_alias: CanonicalAlias,
        guest_eviction: GuestEviction,
        suspension: Suspension,
        notice_rooms: NoticeRooms,
    ) -> None:
        self._send = send
        self._memberships = memberships
        self._canonical_alias = canonical_alias
        self._guest_eviction = guest_eviction
        self._suspension = suspension
        self._notice_rooms = notice_rooms

    async def set(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        state_key: str,
        content: JsonObject,
        *,
        origin_server_ts: int | None = None,
    ) -> EventID:
        """Set a state event; the same content by the same sender again changes nothing.

        Raises UserSuspended, InvalidIdentifier: a membership of somebody who is no user;
        InvalidParam, BadAlias, CannotLeaveServerNoticeRoom; and what `SendEvent.state` and
        `Memberships` raise.
        """
        self._suspension.check_state(requester, event_type, state_key, content.get("membership"))
        if event_type == "m.room.member":
            target = parse_user_id(state_key)
            if target == requester.user_id and content.get("membership") == "leave":
                await self._notice_rooms.check_may_leave(target, room_id)
            own = {key: value for key, value in content.items() if key != _AUTHORISING_USER}
            return await self._memberships.set_member_event(requester, room_id, target, own)
        if (event_type, state_key) == CANONICAL_ALIAS:
            await self._canonical_alias.check(room_id, content)
        event_id = await self._send.state(
            requester,
            room_id,
            event_type,
            state_key,
            content,
            origin_server_ts=origin_server_ts,
        )
        if (event_type, state_key) == GUEST_ACCESS:
            await self._guest_eviction.enforce(room_id)
        return event_id

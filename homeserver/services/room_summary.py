"""Summaries of rooms, for those who may see them.

Spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from homeserver.errors import NotFound
from homeserver.protocol.identifiers import (
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    has_domain,
    parse_room_alias,
    parse_room_id,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.aliases import RoomAliases
from homeserver.services.remote_spaces import RemoteSpaces
from homeserver.services.room_facts import KnownRooms, RoomFacts, facts_from_state
from homeserver.storage.memberships import MembershipRow
from homeserver.streams.user_rooms import UserRooms
from homeserver.web.requester import Requester

_decode: Final = msgspec.json.Decoder(list[JsonObject]).decode


class PublicRoom(msgspec.Struct, frozen=True, kw_only=True):
    """A room as directories list it. Spec: client-server-api/#published-room-directory"""

    room_id: RoomID
    num_joined_members: int
    world_readable: bool
    guest_can_join: bool
    join_rule: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET
    canonical_alias: RoomAlias | UnsetType = UNSET
    room_type: str | UnsetType = UNSET


class SummarizedRoom(PublicRoom, frozen=True, kw_only=True):
    """A room as summaries and space trees tell of it."""

    allowed_room_ids: tuple[RoomID, ...] | UnsetType = UNSET
    encryption: str | UnsetType = UNSET
    room_version: str | UnsetType = UNSET


class Viewer(NamedTuple):
    """Who wants to see rooms, with all memberships by room; nobody in particular: no user ID."""

    user_id: UserID | None
    memberships: Mapping[str, MembershipRow]

    def membership_of(self, room_id: RoomID) -> str | None:
        """Return the present membership of a room; None: there never was one."""
        row = self.memberships.get(room_id)
        return row.membership if row is not None else None

    def may_see(self, facts: RoomFacts) -> bool:
        """Whether the room may be summarized to the viewer.

        Spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
        """
        membership = self.membership_of(facts.room_id)
        if membership in ("join", "invite") or facts.is_world_readable:
            return True
        rules = facts.join_rules
        if membership == "ban":
            return False
        # "The room's join rules are set to public", "The room is knockable".
        if rules.is_public or rules.admits_knocks:
            return True
        # "…restricted, provided the user meets one of the specified conditions."
        return any(self.membership_of(each) == "join" for each in rules.allowed_rooms())


async def viewer_of(user_rooms: UserRooms, requester: Requester | None) -> Viewer:
    """Return the view of a user, or that of anybody."""
    if requester is None:
        return Viewer(None, {})
    rows = await user_rooms.of_user(requester.user_id)
    return Viewer(requester.user_id, {row.room_id: row for row in rows.values()})


class RoomSummary:
    """Tells what a room is to those who think of joining it."""

    def __init__(
        self,
        known: KnownRooms,
        aliases: RoomAliases,
        remote: RemoteSpaces,
        user_rooms: UserRooms,
    ) -> None:
        self._known = known
        self._aliases = aliases
        self._remote = remote
        self._user_rooms = user_rooms

    async def of(
        self, requester: Requester | None, room_id_or_alias: str, via: Sequence[ServerName]
    ) -> tuple[SummarizedRoom, str | None]:
        """Return the summary of a room and the requester's membership; None: nobody asks.

        Raises InvalidIdentifier; NotFound, for rooms that the requester may not see as well.
        """
        room_id, servers = await self._find(room_id_or_alias, via)
        viewer = await viewer_of(self._user_rooms, requester)
        facts = await self._facts(viewer, room_id, servers)
        if facts is None or not viewer.may_see(facts):
            raise NotFound("Room not found")
        membership = None
        if viewer.user_id is not None:
            membership = viewer.membership_of(room_id) or "leave"
        return summarized(facts), membership

    async def _find(
        self, room_id_or_alias: str, via: Sequence[ServerName]
    ) -> tuple[RoomID, list[ServerName]]:
        if room_id_or_alias.startswith("#"):
            room_id, servers = await self._aliases.resolve(parse_room_alias(room_id_or_alias))
            return room_id, [*servers, *via]
        room_id = parse_room_id(room_id_or_alias)
        return room_id, [*via, *([server_name_of(room_id)] if has_domain(room_id) else [])]

    async def _facts(
        self, viewer: Viewer, room_id: RoomID, servers: Sequence[ServerName]
    ) -> RoomFacts | None:
        facts = (await self._known.facts([room_id])).get(room_id)
        if facts is not None and facts.is_current:
            return facts
        # Whoever does not say who it is may not have other servers asked.
        if viewer.user_id is not None:
            space = await self._remote.space(room_id, servers)
            if space is not None:
                return space.facts
        return _facts_of_stripped_state(viewer.memberships.get(room_id))


def public_room(facts: RoomFacts) -> PublicRoom:
    """Return a room as directories list it."""
    return PublicRoom(**_public_fields(facts))


def summarized(facts: RoomFacts) -> SummarizedRoom:
    """Return a room as summaries tell of it."""
    return SummarizedRoom(
        **_public_fields(facts),
        allowed_room_ids=facts.join_rules.allowed_rooms() or UNSET,
        encryption=facts.encryption or UNSET,
        room_version=facts.room_version or UNSET,
    )


def _public_fields(facts: RoomFacts) -> JsonObject:
    return {
        "room_id": facts.room_id,
        "num_joined_members": facts.joined,
        "world_readable": facts.is_world_readable,
        "guest_can_join": facts.guests_may_join,
        "join_rule": facts.join_rule,
        "name": facts.name or UNSET,
        "topic": facts.topic or UNSET,
        "avatar_url": facts.avatar_url or UNSET,
        "canonical_alias": facts.canonical_alias or UNSET,
        "room_type": facts.room_type or UNSET,
    }


def _facts_of_stripped_state(membership: MembershipRow | None) -> RoomFacts | None:
    """Return what came with an invite or a knock, which another server may have made up."""
    if membership is None or membership.stripped_state is None:
        return None
    try:
        events = _decode(membership.stripped_state)
    except msgspec.DecodeError:
        return None
    contents = {
        event["type"]: event["content"]
        for event in events
        if isinstance(event.get("type"), str)
        and event.get("state_key") == ""
        and isinstance(event.get("content"), dict)
    }
    version = contents.get("m.room.create", {}).get("room_version", "1")
    return facts_from_state(
        membership.room_id, version if isinstance(version, str) else "", contents
    )

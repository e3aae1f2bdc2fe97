"""Upgrading a room: a new room of another version takes its place.

Spec: client-server-api/#room-upgrades
"""

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from homeserver.errors import BadState, InvalidParam, MatrixError, NotJoined, UnsupportedRoomVersion
from homeserver.ports import MemberProfiles
from homeserver.protocol.errors import AuthRefusal, InvalidEvent, InvalidIdentifier, InvalidJson
from homeserver.protocol.event import Event, StateKey
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import RoomAlias, RoomID, ServerName, UserID, parse_user_id
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersionRules
from homeserver.rooms.build import Built
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.head import CREATE, POWER_LEVELS, RoomHead
from homeserver.rooms.heads import Heads
from homeserver.rooms.presets import StateDraft
from homeserver.rooms.send import SendEvent
from homeserver.rooms.upgraded_state import (
    CANONICAL_ALIAS,
    is_related,
    keys_to_read,
    quieted_power_levels,
    replacement_creation,
    replacement_power_levels,
    transferred_state,
    without_aliases,
)
from homeserver.rooms.write import RoomWriter
from homeserver.storage import aliases as stored_aliases
from homeserver.storage import room_upgrade
from homeserver.storage.database import Database
from homeserver.streams.user_rooms import UserRooms
from homeserver.telemetry.clock import Clock
from homeserver.web.requester import Requester

# As for new rooms: unguessable enough not to collide.
_OPAQUE_ID_BYTES: Final = 13
_NOTICE: Final = "This room has been replaced"


class UpgradeRoom:
    """Replaces rooms in the name of users who may close them."""

    def __init__(
        self,
        database: Database,
        writer: RoomWriter,
        heads: Heads,
        cache: EventCache,
        send: SendEvent,
        profiles: MemberProfiles,
        user_rooms: UserRooms,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._writer = writer
        self._heads = heads
        self._cache = cache
        self._send = send
        self._profiles = profiles
        self._user_rooms = user_rooms
        self._clock = clock
        self._server_name = server_name
        # One upgrade at a time on this node, so that those that wait hold one connection.
        self._turn = asyncio.Lock()

    async def upgrade(
        self,
        requester: Requester,
        room_id: RoomID,
        new_version: str,
        additional_creators: Iterable[str] = (),
    ) -> RoomID:
        """Replace a room and return the ID of the new one.

        Who asks while the room is being upgraded to that version shares the new room. Raises
        UnsupportedRoomVersion; InvalidParam: an additional creator is no user ID; NotJoined,
        AuthRefusal: the user may not send the tombstone; BadState: the room was upgraded to another
        version meanwhile. Then nothing has changed.
        """
        rules = ROOM_VERSIONS.get(new_version)
        if rules is None:
            raise UnsupportedRoomVersion
        creators = [requester.user_id]
        if rules.privileged_creators:
            creators += _additional(additional_creators, requester.user_id)
        async with self._database.connection("room_upgrade") as connection:
            known = await room_upgrade.tombstone_nid(connection, room_id)
        await self._closable(requester, room_id)
        # Beside the pool: what is done meanwhile needs connections of it.
        async with (
            self._turn,
            self._database.dedicated() as connection,
            connection.transaction(),
        ):
            await room_upgrade.lock_room(connection, room_id)
            made = await room_upgrade.replacement(connection, room_id, known)
            if made is None:
                return await self._replace(requester, room_id, rules, creators)
        if made.room_version != new_version:
            raise BadState("The room has just been upgraded to another version")
        return made.room_id

    async def _closable(self, requester: Requester, room_id: RoomID) -> RoomHead:
        """Return the head of a room that the user may upgrade. Raises NotJoined, AuthRefusal."""
        head = await self._heads.head(room_id)
        if head is None or head.membership_of(requester.user_id) != "join":
            raise NotJoined(room_id)
        # 1. "Checks that the user has permission to send m.room.tombstone events in the room."
        # The rules themselves decide, on an event that is not sent.
        await self._writer.builder.build(head, _tombstone(requester, room_id, room_id))
        return head

    async def _replace(
        self,
        requester: Requester,
        room_id: RoomID,
        rules: RoomVersionRules,
        creators: list[UserID],
    ) -> RoomID:
        head = await self._closable(requester, room_id)
        # 2., 3. "Creates a replacement room… Replicates transferable state events".
        new_room_id = await self._create(head, rules, creators)
        # 4. "Moves any local aliases to the new room."
        moved = await self._move_directory_entries(room_id, new_room_id)
        # 5., 6. The tombstone, and power levels that keep people from going on in the old room.
        await self._close(requester, room_id, new_room_id)
        await self._withdraw_aliases(requester, room_id, moved)
        await self._relink(requester, room_id, new_room_id)
        return new_room_id

    async def _create(
        self, old: RoomHead, rules: RoomVersionRules, creators: list[UserID]
    ) -> RoomID:
        keys = [CREATE, *keys_to_read(old)]
        by_nid = await self._cache.get(old.state[key].event_nid for key in keys)
        events = {
            key: by_nid[old.state[key].event_nid]
            for key in keys
            if old.state[key].event_nid in by_nid
        }
        async with self._database.connection("room_upgrade") as connection:
            aliases = await stored_aliases.aliases_of_room(connection, old.room_id)
        create = replacement_creation(old, events.pop(CREATE), rules, creators)
        built = [await self._begin(creators[0], create, rules)]
        profile = await self._profiles.member_fields(creators[0])
        join = StateDraft("m.room.member", {"membership": "join", **profile}, creators[0])
        built.append(await self._build(built[-1].head, creators[0], join))
        for draft in transferred_state(events, rules, aliases):
            built += await self._build_if_possible(built[-1].head, creators[0], draft)
        levels = replacement_power_levels(old, _content(events, POWER_LEVELS), rules, creators)
        draft = StateDraft("m.room.power_levels", levels)
        built.append(await self._build(built[-1].head, creators[0], draft))
        await self._writer.write_new(built)
        return built[0].event.room_id

    async def _begin(self, creator: UserID, content: JsonObject, rules: RoomVersionRules) -> Built:
        room_id = None
        if not rules.room_id_is_create_hash:
            room_id = RoomID(f"!{secrets.token_hex(_OPAQUE_ID_BYTES)}:{self._server_name}")
        draft = EventDraft(
            type="m.room.create", sender=creator, content=content, room_id=room_id, state_key=""
        )
        return await self._writer.builder.begin_room(draft, rules)

    async def _build(self, head: RoomHead, sender: UserID, draft: StateDraft) -> Built:
        event = EventDraft(
            type=draft.type,
            sender=sender,
            content=draft.content,
            room_id=head.room_id,
            state_key=draft.state_key,
        )
        return await self._writer.builder.build(head, event)

    async def _build_if_possible(
        self, head: RoomHead, sender: UserID, draft: StateDraft
    ) -> list[Built]:
        """Build an event, or nothing: later versions refuse some of what older rooms hold."""
        try:
            return [await self._build(head, sender, draft)]
        except (AuthRefusal, InvalidEvent, InvalidJson):
            return []

    async def _move_directory_entries(self, old: RoomID, new: RoomID) -> list[RoomAlias]:
        async with self._database.transaction("room_upgrade") as tx:
            await room_upgrade.move_listing(tx, old, new, self._clock.now_ms())
            return await room_upgrade.move_aliases(tx, old, new)

    async def _close(self, requester: Requester, old: RoomID, new: RoomID) -> None:
        async def build(head: RoomHead) -> Sequence[Built]:
            tombstone = await self._writer.builder.build(head, _tombstone(requester, old, new))
            levels = quieted_power_levels(head, await self._stored(head, POWER_LEVELS))
            if levels is None:
                return [tombstone]
            draft = StateDraft("m.room.power_levels", levels)
            # "If possible": the user's own level may not reach that high.
            quieted = await self._build_if_possible(tombstone.head, requester.user_id, draft)
            return [tombstone, *quieted]

        await self._writer.write(old, build)

    async def _withdraw_aliases(
        self, requester: Requester, old: RoomID, moved: list[RoomAlias]
    ) -> None:
        head = await self._heads.head(old)
        content = await self._stored(head, CANONICAL_ALIAS) if head is not None else None
        if content is None:
            return
        kept = without_aliases(content, moved)
        if kept != content:
            await self._set_if_possible(requester, old, *CANONICAL_ALIAS, kept)

    async def _relink(self, requester: Requester, old: RoomID, new: RoomID) -> None:
        """Put the new room in the old one's place in spaces and rooms that the user may change."""
        memberships = await self._user_rooms.of_user(requester.user_id)
        joined = [nid for nid, row in memberships.items() if row.membership == "join"]
        for event_type in ("m.space.child", "m.space.parent"):
            async with self._database.connection("room_upgrade") as connection:
                related = await room_upgrade.rooms_with_state(connection, joined, event_type, old)
            # The new room has copied what the old one says; it does not speak of itself.
            await asyncio.gather(
                *(
                    self._replace_relation(requester, room_id, event_type, old, new)
                    for room_id in related
                    if room_id not in (old, new)
                )
            )

    async def _replace_relation(
        self, requester: Requester, room_id: RoomID, event_type: str, old: RoomID, new: RoomID
    ) -> None:
        head = await self._heads.head(room_id)
        if head is None or not head.power_levels.may_send(
            requester.user_id, event_type, is_state=True
        ):
            return
        content = await self._stored(head, (event_type, old))
        if content is None or not is_related(content):
            return
        content = {**content, "via": [self._server_name]}
        if await self._set_if_possible(requester, room_id, event_type, new, content):
            await self._set_if_possible(requester, room_id, event_type, old, {})

    async def _set_if_possible(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        state_key: str,
        content: JsonObject,
    ) -> bool:
        try:
            await self._send.state(requester, room_id, event_type, state_key, content)
        except (AuthRefusal, InvalidEvent, InvalidJson, MatrixError):
            return False
        return True

    async def _stored(self, head: RoomHead, key: StateKey) -> JsonObject | None:
        entry = head.state.get(key)
        if entry is None:
            return None
        event = (await self._cache.get([entry.event_nid])).get(entry.event_nid)
        return event.content if event is not None else None


def _tombstone(requester: Requester, room_id: RoomID, replacement: RoomID) -> EventDraft:
    return EventDraft(
        type="m.room.tombstone",
        sender=requester.user_id,
        content={"body": _NOTICE, "replacement_room": replacement},
        room_id=room_id,
        state_key="",
    )


def _additional(user_ids: Iterable[str], upgrader: UserID) -> list[UserID]:
    try:
        parsed = [parse_user_id(each) for each in dict.fromkeys(user_ids)]
    except InvalidIdentifier as error:
        raise InvalidParam(f"additional_creators: {error}") from error
    return [user_id for user_id in parsed if user_id != upgrader]


def _content(events: dict[StateKey, Event], key: StateKey) -> JsonObject | None:
    event = events.get(key)
    return event.content if event is not None else None

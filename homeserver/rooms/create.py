"""Creating a room. Spec: client-server-api/#post_matrixclientv3createroom"""

import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from homeserver.errors import (
    InvalidRoomState,
    InviteBlocked,
    MatrixError,
    NamedError,
    RemoteError,
    UnsupportedRoomVersion,
)
from homeserver.ports import MemberProfiles, RoomPeers
from homeserver.protocol.errors import AuthRefusal
from homeserver.protocol.event_builder import EventDraft
from homeserver.protocol.identifiers import (
    RoomAlias,
    RoomID,
    ServerName,
    UserID,
    parse_room_alias,
    server_name_of,
)
from homeserver.protocol.json_types import JsonObject
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersionRules
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.build import Built
from homeserver.rooms.invite_permissions import InvitePermissions
from homeserver.rooms.presets import (
    Preset,
    StateDraft,
    creation_content,
    default_power_levels,
    preset_state,
)
from homeserver.rooms.write import RoomWriter
from homeserver.telemetry.log import get_logger
from homeserver.web.requester import Requester

log = get_logger(__name__)

# What a client is told of invites that other servers refuse.
_REFUSALS: Final[dict[str, type[NamedError]]] = {
    "M_INVITE_BLOCKED": InviteBlocked,
    "M_INCOMPATIBLE_ROOM_VERSION": UnsupportedRoomVersion,
}

# A random room ID of versions 1 to 11: as unguessable as an access token needs not be.
_OPAQUE_ID_BYTES: Final = 13


class NewRoom(msgspec.Struct, frozen=True, kw_only=True):
    """What a room is to begin with; the fields are those of the request."""

    preset: Preset
    room_version: str
    is_published: bool = False
    alias_localpart: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: tuple[UserID, ...] = ()
    is_direct: bool = False
    creation_content: JsonObject = {}
    initial_state: tuple[StateDraft, ...] = ()
    power_level_content_override: JsonObject = {}


class CreateRoom:
    """Makes rooms: all of their first events are committed together."""

    def __init__(
        self,
        writer: RoomWriter,
        aliases: RoomAliases,
        profiles: MemberProfiles,
        peers: RoomPeers,
        permissions: InvitePermissions,
        server_name: ServerName,
        encrypted_presets: Collection[Preset] = (),
    ) -> None:
        self._writer = writer
        self._aliases = aliases
        self._profiles = profiles
        self._peers = peers
        self._permissions = permissions
        self._server_name = server_name
        self._encrypted_presets = encrypted_presets

    async def create(self, requester: Requester, room: NewRoom) -> RoomID:
        """Create a room and return its ID.

        Raises UnsupportedRoomVersion, RoomInUse, InvalidRoomState: the requested state does not
        pass the authorization rules; InvalidEvent, EventTooLarge; Forbidden, InviteBlocked: an
        invitee cannot be invited. Then there is no room, unless the invitee's server says so.
        """
        rules = ROOM_VERSIONS.get(room.room_version)
        if rules is None:
            raise UnsupportedRoomVersion
        alias = self._alias(room.alias_localpart)
        for target in room.invite:
            if server_name_of(target) != self._server_name:
                self._peers.check_reachable(target)
        local = [each for each in room.invite if server_name_of(each) == self._server_name]
        remote = [each for each in room.invite if server_name_of(each) != self._server_name]
        for target in local:
            await self._permissions.check(requester.user_id, target)
        try:
            built = await self._build(requester.user_id, room, rules, alias, local)
        except AuthRefusal as refusal:
            raise InvalidRoomState(refusal.reason) from refusal
        room_id = built[0].event.room_id
        if alias is not None:
            await self._aliases.add(alias, room_id, requester.user_id)
        try:
            await self._writer.write_new(built)
        except BaseException:
            if alias is not None:
                await self._aliases.remove(alias)
            raise
        if room.is_published:
            await self._aliases.publish(room_id, requester.user_id)
        await self._invite_others(requester.user_id, room_id, remote, self._invite_content(room))
        return room_id

    async def _invite_others(
        self, creator: UserID, room_id: RoomID, targets: Iterable[UserID], content: JsonObject
    ) -> None:
        """Invite users of other servers to the room, which stands whether they can be or not.

        Raises InviteBlocked, UnsupportedRoomVersion, as the specification has it, when everybody
        else is invited; the room is there all the same.
        """
        refusals: list[MatrixError] = []
        for target in targets:
            try:
                await self._peers.invite(creator, target, room_id, content)
            except (MatrixError, RemoteError, AuthRefusal) as error:
                log.warning("user not invited", room_id=room_id, user=target, reason=str(error))
                if isinstance(error, MatrixError) and error.errcode in _REFUSALS:
                    refusals.append(_REFUSALS[error.errcode]())
        if refusals:
            raise refusals[0]

    def _alias(self, localpart: str | None) -> RoomAlias | None:
        if localpart is None:
            return None
        return parse_room_alias(f"#{localpart}:{self._server_name}")

    async def _build(
        self,
        creator: UserID,
        room: NewRoom,
        rules: RoomVersionRules,
        alias: RoomAlias | None,
        invitees: Iterable[UserID],
    ) -> list[Built]:
        builder = self._writer.builder
        content = creation_content(room.creation_content, creator, room.preset, room.invite, rules)
        room_id = None
        if not rules.room_id_is_create_hash:
            room_id = RoomID(f"!{secrets.token_hex(_OPAQUE_ID_BYTES)}:{self._server_name}")
        create = EventDraft(
            type="m.room.create", sender=creator, content=content, room_id=room_id, state_key=""
        )
        built = [await builder.begin_room(create, rules)]
        for draft in await self._first_state(creator, room, rules, alias, invitees):
            event = EventDraft(
                type=draft.type,
                sender=creator,
                content=draft.content,
                room_id=built[0].event.room_id,
                state_key=draft.state_key,
            )
            built.append(await builder.build(built[-1].head, event))
        return built

    async def _first_state(
        self,
        creator: UserID,
        room: NewRoom,
        rules: RoomVersionRules,
        alias: RoomAlias | None,
        invitees: Iterable[UserID],
    ) -> Sequence[StateDraft]:
        """Return everything after the create event, in the order of the specification."""
        profile = await self._profiles.member_fields(creator)
        levels = default_power_levels(creator, room.preset, room.invite, rules)
        levels.update(room.power_level_content_override)
        drafts = [
            StateDraft("m.room.member", {"membership": "join", **profile}, creator),
            StateDraft("m.room.power_levels", levels),
        ]
        if alias is not None:
            drafts.append(StateDraft("m.room.canonical_alias", {"alias": alias}))
        overridden = {(draft.type, draft.state_key) for draft in room.initial_state}
        of_preset = preset_state(room.preset, is_encrypted=room.preset in self._encrypted_presets)
        drafts += [draft for draft in of_preset if (draft.type, "") not in overridden]
        drafts += room.initial_state
        if room.name is not None:
            drafts.append(StateDraft("m.room.name", {"name": room.name}))
        if room.topic is not None:
            text = [{"body": room.topic, "mimetype": "text/plain"}]
            content = {"topic": room.topic, "m.topic": {"m.text": text}}
            drafts.append(StateDraft("m.room.topic", content))
        for target in invitees:
            fields = await self._profiles.member_fields(target)
            drafts.append(
                StateDraft("m.room.member", {**self._invite_content(room), **fields}, target)
            )
        return drafts

    def _invite_content(self, room: NewRoom) -> JsonObject:
        content: JsonObject = {"membership": "invite"}
        if room.is_direct:
            content["is_direct"] = True
        return content

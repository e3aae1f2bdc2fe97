"""`POST /createRoom`. Spec: client-server-api/#creation"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, convert, field

from client_api.routes.room_answers import RoomAnswer
from homeserver.errors import Forbidden, InvalidParam
from homeserver.protocol.identifiers import RoomAlias, ServerName, UserID, parse_room_alias
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.create import CreateRoom, NewRoom
from homeserver.rooms.presets import Preset, StateDraft
from homeserver.services.directory_rules import DirectoryRules
from homeserver.services.third_party_invites import Invitee, ThirdPartyInvites
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# Each of them is an event to hash, sign and judge before anything is written.
MAX_INVITES: Final = 1_000
MAX_INITIAL_STATE: Final = 1_000
# An identity server is asked two or three times for each.
MAX_3PID_INVITES: Final = 20

Visibility: TypeAlias = Literal["public", "private"]


class InitialState(Struct, frozen=True):
    """One state event that the room is to begin with."""

    type: str
    content: JsonObject
    state_key: str = ""


class ThirdPartyInvite(Struct, frozen=True):
    """Somebody to invite by an address, through an identity server."""

    id_server: str
    id_access_token: str
    medium: str
    address: str


class CreateRoomBody(Body, frozen=True):
    """What the room is to be."""

    visibility: Visibility = "private"
    room_alias_name: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    invite: Annotated[tuple[UserID, ...], Meta(max_length=MAX_INVITES)] = ()
    invite_3pid: Annotated[tuple[ThirdPartyInvite, ...], Meta(max_length=MAX_3PID_INVITES)] = ()
    room_version: str | UnsetType = UNSET
    creation_content: JsonObject = field(default_factory=dict)
    initial_state: Annotated[tuple[InitialState, ...], Meta(max_length=MAX_INITIAL_STATE)] = ()
    preset: Preset | UnsetType = UNSET
    is_direct: bool = False
    power_level_content_override: JsonObject = field(default_factory=dict)


class CreateRoomRoutes:
    """Creating rooms."""

    def __init__(
        self,
        create: CreateRoom,
        invites: ThirdPartyInvites,
        rules: DirectoryRules,
        *,
        default_room_version: str,
        server_name: ServerName,
    ) -> None:
        self._create = create
        self._invites = invites
        self._rules = rules
        self._default_room_version = default_room_version
        self._server_name = server_name

    @endpoint(
        "POST",
        CLIENT_V3 / "createRoom",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.JOIN,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3createroom",
    )
    async def post_create_room(self, requester: Requester, body: CreateRoomBody) -> RoomAnswer:
        """Create a new room with various configuration options."""
        invitees = [convert(each, Invitee, from_attributes=True) for each in body.invite_3pid]
        self._invites.check(invitees)
        self._check_rules(requester, body)
        room_id = await self._create.create(requester, self._new_room(body))
        # An identity server wants to know the room.
        content: JsonObject = {"is_direct": True} if body.is_direct else {}
        for invitee in invitees:
            await self._invites.invite(requester, room_id, invitee, content)
        return RoomAnswer(room_id)

    def _check_rules(self, requester: Requester, body: CreateRoomBody) -> None:
        alias = self._alias(body.room_alias_name)
        user_id = requester.user_id
        if alias is not None and not self._rules.may_make_alias(user_id, None, alias):
            raise Forbidden("This server does not let you make this alias")
        aliases = [] if alias is None else [alias]
        if body.visibility == "public" and not self._rules.may_publish(user_id, None, aliases):
            raise Forbidden("This server does not let you publish this room")

    def _alias(self, localpart: str | UnsetType) -> RoomAlias | None:
        if localpart is UNSET:
            return None
        if ":" in localpart:
            raise InvalidParam("room_alias_name is the part before the colon")
        return parse_room_alias(f"#{localpart}:{self._server_name}")

    def _new_room(self, body: CreateRoomBody) -> NewRoom:
        version = body.room_version
        return NewRoom(
            preset=_preset(body),
            room_version=self._default_room_version if version is UNSET else version,
            is_published=body.visibility == "public",
            alias_localpart=_optional(body.room_alias_name),
            name=_optional(body.name),
            topic=_optional(body.topic),
            invite=tuple(dict.fromkeys(body.invite)),
            is_direct=body.is_direct,
            creation_content=body.creation_content,
            initial_state=tuple(
                StateDraft(each.type, each.content, each.state_key) for each in body.initial_state
            ),
            power_level_content_override=body.power_level_content_override,
        )


def _preset(body: CreateRoomBody) -> Preset:
    """Return the preset: "If unspecified, the server should use the visibility"."""
    if body.preset is not UNSET:
        return body.preset
    return "public_chat" if body.visibility == "public" else "private_chat"


def _optional(text: str | UnsetType) -> str | None:
    return None if text is UNSET else text

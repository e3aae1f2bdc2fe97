"""Joining and knocking. Spec: client-server-api/#joining-rooms"""

from collections.abc import Iterable
from typing import Final

from client_api.routes.room_answers import RoomAnswer
from homeserver.protocol.identifiers import RoomID, ServerName, parse_room_alias, parse_room_id
from homeserver.protocol.json_types import JsonObject
from homeserver.rooms.aliases import RoomAliases
from homeserver.rooms.membership import Memberships
from homeserver.services.third_party_invites import ThirdPartyInvites
from homeserver.web.endpoint import Auth, RateLimit, endpoint
from homeserver.web.params import Body, Params, Query
from homeserver.web.paths import CLIENT_V3
from homeserver.web.requester import Requester

# Enough to find one that answers; more would only keep the client waiting longer.
MAX_VIA: Final = 20


class RoomPath(Params, frozen=True):
    """A room."""

    room_id: RoomID


class RoomOrAliasPath(Params, frozen=True):
    """A room by its ID or one of its aliases."""

    room_id_or_alias: str


class ViaQuery(Query, frozen=True):
    """Servers through which the room may be reached."""

    via: tuple[ServerName, ...] = ()
    # COMPAT(clients before v1.12): the older name of `via`.
    server_name: tuple[ServerName, ...] = ()


class ReasonBody(Body, frozen=True, kw_only=True):
    """Why."""

    # COMPAT(matrix-bot-sdk): null counts as absent.
    reason: str | None = None

    def content(self) -> JsonObject:
        """Return what the body adds to the membership event."""
        return {} if self.reason is None else {"reason": self.reason}


class JoinBody(ReasonBody, frozen=True, kw_only=True):
    """Why, and by what an identity server has signed, if the user was invited by an address."""

    third_party_signed: JsonObject | None = None


class JoiningRoutes:
    """Coming into rooms."""

    def __init__(
        self, memberships: Memberships, aliases: RoomAliases, invites: ThirdPartyInvites
    ) -> None:
        self._memberships = memberships
        self._aliases = aliases
        self._invites = invites

    @endpoint(
        "POST",
        CLIENT_V3 / "rooms/{room_id}/join",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.JOIN,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3roomsroomidjoin",
    )
    async def post_join_by_id(
        self, requester: Requester, path: RoomPath, body: JoinBody
    ) -> RoomAnswer:
        """Join a room by its ID."""
        await self._join(requester, path.room_id, [], body)
        return RoomAnswer(path.room_id)

    # The list of what guests may do has only the operation above, but clients of guests use
    # this one for both.
    @endpoint(
        "POST",
        CLIENT_V3 / "join/{room_id_or_alias}",
        auth=Auth.ACCESS_TOKEN,
        guests=True,
        rate_limit=RateLimit.JOIN,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3joinroomidoralias",
    )
    async def post_join(
        self, requester: Requester, path: RoomOrAliasPath, query: ViaQuery, body: JoinBody
    ) -> RoomAnswer:
        """Join a room by its ID or alias."""
        room_id, via = await self._find(path.room_id_or_alias, query)
        await self._join(requester, room_id, via, body)
        return RoomAnswer(room_id)

    @endpoint(
        "POST",
        CLIENT_V3 / "knock/{room_id_or_alias}",
        auth=Auth.ACCESS_TOKEN,
        rate_limit=RateLimit.JOIN,
        while_suspended=False,
        spec="client-server-api/#post_matrixclientv3knockroomidoralias",
    )
    async def post_knock(
        self, requester: Requester, path: RoomOrAliasPath, query: ViaQuery, body: ReasonBody
    ) -> RoomAnswer:
        """Ask to be let into a room."""
        room_id, via = await self._find(path.room_id_or_alias, query)
        await self._memberships.knock(requester, room_id, via=via, content=body.content())
        return RoomAnswer(room_id)

    async def _join(
        self, requester: Requester, room_id: RoomID, via: list[ServerName], body: JoinBody
    ) -> None:
        if body.third_party_signed is not None:
            inviter = await self._invites.accept(requester, room_id, body.third_party_signed)
            via = _distinct([*([] if inviter is None else [inviter]), *via])
        await self._memberships.join(requester, room_id, via=via, content=body.content())

    async def _find(
        self, room_id_or_alias: str, query: ViaQuery
    ) -> tuple[RoomID, list[ServerName]]:
        named = (*query.via, *query.server_name)
        if not room_id_or_alias.startswith("#"):
            return parse_room_id(room_id_or_alias), _distinct(named)
        room_id, servers = await self._aliases.resolve(parse_room_alias(room_id_or_alias))
        return room_id, _distinct((*servers, *named))


def _distinct(servers: Iterable[ServerName]) -> list[ServerName]:
    return list(dict.fromkeys(servers))[:MAX_VIA]

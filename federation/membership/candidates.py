"""Which servers to ask about a room that this server is not in, and asking one after the other."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

from federation.membership.refusals import most_telling
from federation.policy import FederationPolicy
from homeserver.errors import RemoteError
from homeserver.protocol.errors import InvalidIdentifier
from homeserver.protocol.identifiers import (
    RoomID,
    ServerName,
    UserID,
    has_domain,
    parse_server_name,
    server_name_of,
)
from homeserver.rooms.heads import Heads
from homeserver.rooms.outside import OutsideMemberships
from homeserver.rooms.servers_in_room import ServersInRooms
from homeserver.rooms.stripped_state import senders_of
from homeserver.telemetry.clock import Clock
from homeserver.telemetry.log import get_logger

log = get_logger(__name__)

_Result = TypeVar("_Result")

MAX_CANDIDATES: Final = 20
# After so long no further server is begun with: the client has given up.
_PATIENCE_SECONDS: Final = 60.0


class Candidates:
    """Finds servers that may be in a room."""

    def __init__(
        self,
        outside: OutsideMemberships,
        heads: Heads,
        servers: ServersInRooms,
        policy: FederationPolicy,
        clock: Clock,
    ) -> None:
        self._outside = outside
        self._heads = heads
        self._servers = servers
        self._policy = policy
        self._clock = clock

    async def of(
        self, user_id: UserID, room_id: RoomID, via: Sequence[ServerName] = ()
    ) -> list[ServerName]:
        """Return servers that may be talked with, the likeliest to help first.

        Those that the client names, that of who has invited the user, those of whoever is named in
        the stripped state, those that were in the room when this server left it, that of the room
        ID.
        """
        found = [*via]
        row = await self._outside.of(user_id, room_id)
        if row is not None and row.membership == "invite":
            found.append(server_name_of(row.sender))
        if row is not None and row.stripped_state is not None:
            found += [server_name_of(each) for each in senders_of(row.stripped_state)]
        found += await self._former(room_id)
        if has_domain(room_id):
            found.append(server_name_of(room_id))
        return self._admitted(found)[:MAX_CANDIDATES]

    def _admitted(self, servers: Iterable[str]) -> list[ServerName]:
        names = [each for each in dict.fromkeys(servers) if _is_server_name(each)]
        return [each for each in map(ServerName, names) if self._policy.may_talk_to(each)]

    async def _former(self, room_id: RoomID) -> list[ServerName]:
        head = await self._heads.head(room_id)
        if head is None:
            return []
        return (await self._servers.all(head))[:MAX_CANDIDATES]

    async def first(
        self, servers: Sequence[ServerName], ask: Callable[[ServerName], Awaitable[_Result]]
    ) -> _Result:
        """Return the first result that one of the servers gives, one after the other.

        Raises MatrixError: what they refuse with; NotFound: there is none, or none knows the
        room; RemoteError. What is not their fault passes through.
        """
        failures: list[RemoteError] = []
        until = self._clock.monotonic() + _PATIENCE_SECONDS
        for server in servers:
            if failures and self._clock.monotonic() > until:
                break
            try:
                # One after the other: the first good answer makes the others superfluous.
                return await ask(server)
            except RemoteError as error:
                log.warning("candidate does not help", server=server, reason=error.reason)
                failures.append(error)
        raise most_telling(failures)


def _is_server_name(text: str) -> bool:
    try:
        parse_server_name(text)
    except InvalidIdentifier:
        return False
    return True

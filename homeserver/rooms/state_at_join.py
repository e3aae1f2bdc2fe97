"""What a server that joins a room through this one is told of it.

Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from homeserver.protocol.event import StateKey
from homeserver.protocol.identifiers import ServerName
from homeserver.rooms.head import RoomHead, StateEntry
from homeserver.rooms.receive.states import RoomStates
from homeserver.rooms.serving import ServedEvent, served_events
from homeserver.storage import received_events
from homeserver.storage.database import Database
from homeserver.storage.received_events import EventFacts

# As many as `m.heroes` of /sync has: client-server-api/#get_matrixclientv3sync
_MAX_HEROES: Final = 5
_NAMES: Final[tuple[StateKey, ...]] = (("m.room.name", ""), ("m.room.canonical_alias", ""))


class StateAtJoin(NamedTuple):
    """The state before a join and its auth chain, as far as they are told."""

    state: list[ServedEvent]
    auth_chain: list[ServedEvent]
    members_omitted: bool
    # With joined members, before the join.
    servers_in_room: list[ServerName]


class StatesAtJoin:
    """Puts together what rooms are before joins."""

    def __init__(self, database: Database, states: RoomStates) -> None:
        self._database = database
        self._states = states

    async def whole(self, join: EventFacts, head: RoomHead) -> StateAtJoin:
        """Return all of it. `head` is the room as it was shortly before, to save a statement."""
        entries = await self._entries(join, head)
        nids = [entry.event_nid for entry in entries.values()]
        return await self._told(join, nids, entries, may_repeat=True)

    async def without_members(self, join: EventFacts, head: RoomHead) -> StateAtJoin:
        """Return it without the members, but for those who give a nameless room its name."""
        entries = await self._entries(join, head)
        nids = [entry.event_nid for key, entry in entries.items() if key[0] != "m.room.member"]
        if not any(key in entries for key in _NAMES):
            nids += _heroes(entries)
        return await self._told(join, nids, entries, may_repeat=False)

    async def _entries(self, join: EventFacts, head: RoomHead) -> Mapping[StateKey, StateEntry]:
        if head.chain and join.state_nid == head.state_nid:
            return head.state
        return (await self._states.before(join)).entries

    async def _told(
        self,
        join: EventFacts,
        nids: list[int],
        entries: Mapping[StateKey, StateEntry],
        *,
        may_repeat: bool,
    ) -> StateAtJoin:
        async with self._database.connection("state_at_join") as connection:
            edges = await received_events.auth_chains(connection, [*nids, join.event_nid])
        chain = {nid for edge in edges for nid in edge.auth_nids}
        if not may_repeat:
            # "…any events that are returned in `state` may be omitted from `auth_chain`".
            chain -= set(nids)
        return StateAtJoin(
            await served_events(self._database, nids),
            await served_events(self._database, chain),
            not may_repeat,
            servers_of(entries),
        )


def servers_of(entries: Mapping[StateKey, StateEntry]) -> list[ServerName]:
    """Return the servers that have joined members in a state."""
    return [*dict.fromkeys(_joined_servers(entries))]


def _joined_servers(entries: Mapping[StateKey, StateEntry]) -> Iterable[ServerName]:
    for key, entry in entries.items():
        if key[0] == "m.room.member" and entry.membership == "join":
            yield ServerName(key[1].partition(":")[2])


def _heroes(entries: Mapping[StateKey, StateEntry]) -> list[int]:
    """Return the member events of those who would be the joining user's heroes."""
    members = [
        (entry.membership not in ("join", "invite"), entry.event_nid)
        for key, entry in entries.items()
        if key[0] == "m.room.member" and entry.membership is not None
    ]
    are_gone = all(is_gone for is_gone, _ in members)
    present = sorted(nid for is_gone, nid in members if is_gone is are_gone)
    return present[:_MAX_HEROES]

"""Servers that were cut off from each other, and meet again.

Spec: server-server-api/#room-state-resolution
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from homeserver.config.sections.listeners import Listener
from homeserver.protocol.identifiers import RoomID
from homeserver.protocol.room_versions import StateResolution, rules_of
from tests.between_servers.conftest import NewDatabase
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of, quoted
from tests.support.dag import Dag, State
from tests.support.federation import NamedServer, named_server
from tests.support.link import Link, link
from tests.support.watching import Watcher

POWER_LEVELS, AVATAR = ("m.room.power_levels", ""), ("m.room.avatar", "")


class Side(NamedTuple):
    """A server, and the wire by which the other one reaches it."""

    server: NamedServer
    link: Link


@pytest.fixture
async def sides(
    authority: Authority, new_database: NewDatabase, tmp_path: Path
) -> AsyncIterator[list[Side]]:
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(2):
            wire = await stack.enter_async_context(link())
            certificate, key = authority.certificate("127.0.0.1")
            behind = Listener(
                port=wire.target_port,
                tls_certificate=certificate,
                tls_key=key,
                serves=("federation",),
            )
            server = await stack.enter_async_context(
                named_server(
                    authority,
                    new_database(),
                    tmp_path / f"side{number}",
                    name=f"127.0.0.1:{wire.port}",
                    listeners=(Listener(port=0), behind),
                )
            )
            made.append(Side(server, wire))
        yield made


async def state_at(side: Side, room_id: str) -> State:
    head = await side.server.running.rooms.heads.head(RoomID(room_id))
    assert head is not None
    return {key: entry.event_id for key, entry in head.state.items()}


async def prescribed_state(side: Side, room_id: str, version: str) -> State:
    """Compute the state of the room by the specification, from the events that a server has."""
    running = side.server.running
    async with running.base.database.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT e.event_nid, e.flags FROM events e JOIN rooms r ON r.room_nid = e.room_nid
            WHERE r.room_id = $1 ORDER BY e.depth, e.event_nid
            """,
            room_id,
        )
    events = await running.rooms.cache.get([row["event_nid"] for row in rows])
    dag = Dag(RoomID(room_id), rules_of(version))
    for row in rows:
        dag.add(events[row["event_nid"]])
    assert not dag.rejected
    head = await running.rooms.heads.head(RoomID(room_id))
    assert head is not None
    return dag.state_at(event_id for _, event_id in head.extremities)


async def meet(one: Watcher, other: Watcher, room_id: str) -> None:
    """Have two users say something that both have read."""
    said = [await each.client.sends(room_id, "here again") for each in (one, other)]
    for each in (one, other):
        await each.until(lambda w: set(said) <= w.events[room_id].keys())


async def changes_levels(client: Client, room_id: str, **users: int) -> str:
    """Set power levels by localpart, of users that the room's power levels know."""
    levels = await client.reads_state(room_id, "m.room.power_levels")
    by_name = {user_id[1:].partition(":")[0]: user_id for user_id in levels["users"]}
    levels["users"] |= {by_name[name]: level for name, level in users.items()}
    return await client.sets(room_id, "m.room.power_levels", levels)


@contextlib.asynccontextmanager
async def users_of(sides: list[Side]) -> AsyncIterator[dict[str, Client]]:
    async with contextlib.AsyncExitStack() as stack:
        found: dict[str, Client] = {}
        for side, names in zip(
            sides, (("alice", "anna"), ("bob", "ben", "bea", "bill")), strict=True
        ):
            maker = await stack.enter_async_context(clients_of(side.server.url))
            found |= {name: await maker.user(name) for name in names}
        yield found


async def room_of_all(sides: list[Side], users: dict[str, Client], version: str) -> str:
    """Return a room of Alice's where Bob may change power levels, and some others may ban."""
    alice = users["alice"]
    room_id = await alice.creates_room(preset="public_chat", room_version=version)
    levels: Any = await alice.reads_state(room_id, "m.room.power_levels")
    given = {"bob": 90, "anna": 50, "ben": 50, "bea": 50}
    levels["users"] |= {users[name].user_id: level for name, level in given.items()}
    levels["events"]["m.room.power_levels"] = 90
    await alice.sets(room_id, "m.room.power_levels", levels)
    await users["anna"].joins(room_id)
    for name in ("bob", "ben", "bea", "bill"):
        await users[name].post(f"join/{quoted(room_id)}", {}, via=sides[0].server.name)
    return room_id


@pytest.mark.parametrize("version", ["1", "2", "10", "12"])
async def test_a_fork_of_power_levels_and_bans_is_healed(sides: list[Side], version: str) -> None:
    async with users_of(sides) as users:
        room_id = await room_of_all(sides, users, version)
        alice, bob = Watcher(users["alice"]), Watcher(users["bob"])
        await meet(alice, bob, room_id)
        assert await state_at(sides[0], room_id) == await state_at(sides[1], room_id)

        for side in sides:
            await side.link.cut()
        # Alice takes Bob's power, and bans Ben.
        await changes_levels(users["alice"], room_id, bob=10)
        await users["alice"].bans(room_id, users["ben"])
        await users["alice"].sets(room_id, "m.room.topic", {"topic": "of Alice"})
        await users["anna"].sets(room_id, "m.room.name", {"name": "of Anna"})
        # Meanwhile Bob gives power to Ben, who bans Anna; Bea bans Bill.
        await changes_levels(users["bob"], room_id, ben=80)
        await users["ben"].bans(room_id, users["anna"])
        await users["bob"].sets(room_id, "m.room.topic", {"topic": "of Bob"})
        await users["bea"].bans(room_id, users["bill"])
        await users["bea"].sets(room_id, "m.room.avatar", {"url": "mxc://of/Bea"})
        await users["ben"].sends(room_id, "is anybody there?")
        apart = [await state_at(side, room_id) for side in sides]
        assert apart[0] != apart[1]

        for side in sides:
            await side.link.mend()
        await meet(alice, bob, room_id)
        await meet(bob, alice, room_id)
        states = [await state_at(side, room_id) for side in sides]
        assert states[0] == states[1]
        assert states[0] not in apart
        assert states == [await prescribed_state(each, room_id, version) for each in sides]
        if rules_of(version).state_resolution is not StateResolution.V1:
            # In words: who had more power was heard first, and Bea had as much on both sides.
            assert states[0][POWER_LEVELS] == apart[0][POWER_LEVELS]
            assert states[0][AVATAR] == apart[1][AVATAR]
            members = await users["bob"].reads_members(room_id)
            joined = {name for name in users if members[users[name].user_id] == "join"}
            assert joined == {"alice", "anna", "bob", "bea"}

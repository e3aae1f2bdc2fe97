"""Restarts, other servers, crowds. Spec: server-server-api/#presence"""

import contextlib

import pytest

from federation.sending.presence_repeats import REPEAT_MS, PresenceRepeats
from homeserver.protocol.edu import PresenceUpdate
from homeserver.protocol.identifiers import RoomID, ServerName, UserID
from homeserver.services.presence_remote import SILENT_MS
from homeserver.services.presence_writer import ALIVE_MS
from tests.support.client import clients_of, refused
from tests.support.presence import (
    passes,
    presence_in,
    presence_server,
    reads_presence,
    sets_presence,
    settles,
    states_in,
)
from tests.support.reading import waiting_sync

ELSEWHERE = ServerName("elsewhere.example")
EVE = UserID("@eve:elsewhere.example")


@contextlib.asynccontextmanager
async def restarted(dsn, folder, clock, *users):
    """Start the server anew; return it and its users, logged in as before."""
    async with (
        presence_server(dsn, folder, clock) as server,
        clients_of(server.url) as clients,
    ):
        again = []
        for user in users:
            client = clients.nobody()
            client.access_token, client.user_id = user.access_token, user.user_id
            again.append(client)
        yield server, *again


async def test_after_a_restart_only_those_who_come_back_stay(database_dsn, tmp_path, clock):
    async with (
        presence_server(database_dsn, tmp_path, clock) as server,
        clients_of(server.url) as clients,
    ):
        alice, bob, carol = [await clients.user(name) for name in ("alice", "bob", "carol")]
        room = await alice.creates_room(preset="public_chat")
        await bob.joins(room)
        await carol.joins(room)
        before = (await alice.syncs(set_presence="offline"))["next_batch"]
        await bob.syncs()
        await sets_presence(carol, "online", status_msg="brb")
        await settles(server)
        since = (await alice.syncs(set_presence="offline"))["next_batch"]
    async with restarted(database_dsn, tmp_path, clock, alice, bob) as (server, alice, bob):
        told = states_in(await alice.syncs(before, set_presence="offline"))
        assert told == {bob.user_id: "online", carol.user_id: "online"}
        assert "presence" not in await alice.syncs(since, set_presence="offline")
        await bob.syncs()
        await settles(server)
        await passes(server, clock, ALIVE_MS / 1000 - 5)
        await bob.syncs()
        await passes(server, clock, 5)
        answer = await alice.syncs(since, set_presence="offline")
        assert states_in(answer) == {carol.user_id: "offline"}
        assert presence_in(answer)[carol.user_id]["status_msg"] == "brb"
        assert (await reads_presence(alice, bob))["presence"] == "online"


async def test_a_node_that_was_thought_dead_says_again_who_is_there(
    server, clock, alice, bob, room
):
    since = (await bob.syncs())["next_batch"]
    async with waiting_sync(server, bob, since):
        await settles(server)
        # As another node would after this one's silence.
        async with server.base.database.connection() as connection:
            await connection.execute("DELETE FROM presence_on_nodes")
            await connection.execute("DELETE FROM presence_nodes")
        await passes(server, clock, 1)
        assert (await reads_presence(alice, bob))["presence"] == "online"
        async with server.base.database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM presence_on_nodes") == 1


async def joins_from_elsewhere(server, room_id, user_id=EVE):
    """Put a user of another server into a room, as far as presence looks."""
    async with server.base.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO memberships (user_id, room_nid, membership, event_nid, sender, pos)
            SELECT $1, room_nid, 'join', 0, $1, 0 FROM rooms WHERE room_id = $2
            """,
            user_id,
            RoomID(room_id),
        )


async def test_other_servers_tell_of_their_users(server, clock, alice, bob, room):
    await joins_from_elsewhere(server, room)
    with refused(404, "M_NOT_FOUND"):
        await reads_presence(alice, EVE)
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    update = PresenceUpdate(EVE, "online", 5_000, "Making cupcakes", currently_active=True)
    await server.presence.presence.receive(ELSEWHERE, [update])
    await settles(server)
    answer = await alice.syncs(since, set_presence="offline")
    assert presence_in(answer) == {
        EVE: {
            "presence": "online",
            "last_active_ago": 5_000,
            "status_msg": "Making cupcakes",
            "currently_active": True,
        }
    }
    assert (await reads_presence(alice, EVE))["last_active_ago"] == 5_000
    await server.presence.presence.receive(ELSEWHERE, [update])
    await settles(server)
    assert "presence" not in await alice.syncs(answer["next_batch"], set_presence="offline")


async def test_users_whose_server_is_silent_are_offline_after_a_time(
    server, clock, alice, bob, room
):
    await joins_from_elsewhere(server, room)
    for _ in range(2):
        await server.presence.presence.receive(ELSEWHERE, [PresenceUpdate(EVE, "online", 0)])
        await passes(server, clock, SILENT_MS / 1000 - 1)
        await server.presence.remote.end_silent()
        assert (await reads_presence(alice, EVE))["presence"] == "online"
    await passes(server, clock, 2)
    await server.presence.remote.end_silent()
    assert (await reads_presence(alice, EVE))["presence"] == "offline"


@pytest.mark.parametrize(
    "update",
    [
        PresenceUpdate(UserID("@bob:hs.example"), "offline", 0),
        PresenceUpdate(UserID("@eve:third.example"), "online", 0),
        PresenceUpdate(UserID("@unknown:elsewhere.example"), "online", 0),
    ],
    ids=lambda update: update.user_id,
)
async def test_servers_speak_for_their_own_users_who_are_known(server, alice, bob, room, update):
    await joins_from_elsewhere(server, room, UserID("@eve:third.example"))
    await sets_presence(bob, "online")
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    await server.presence.presence.receive(ELSEWHERE, [update])
    await settles(server)
    assert "presence" not in await alice.syncs(since, set_presence="offline")
    async with server.base.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM presence") == 1


async def test_what_other_servers_send_is_made_storable(server, alice, bob, room):
    await joins_from_elsewhere(server, room)
    update = PresenceUpdate(EVE, "online", 2**63 - 1, "a\0\ud800" + "b" * 100_000)
    await server.presence.presence.receive(ELSEWHERE, [update])
    await settles(server)
    told = await reads_presence(alice, EVE)
    assert told["status_msg"] == "a" + "b" * 511
    assert "last_active_ago" not in told, "an unknown time is none"


class ToldAgain:
    """What other servers are told again, as the router would."""

    def __init__(self) -> None:
        self.users: list[str] = []

    async def repeat_presence(self, states):
        self.users += [state.user_id for state in states if state.pos]


async def test_other_servers_are_told_again_of_whoever_is_there(server, clock, alice, bob, room):
    await joins_from_elsewhere(server, room)
    await server.presence.presence.receive(ELSEWHERE, [PresenceUpdate(EVE, "online", 0)])
    await sets_presence(alice, "offline")
    await bob.syncs()
    await settles(server)
    told = ToldAgain()
    repeats = PresenceRepeats(server.presence.index, told, clock, ServerName("hs.example"))
    await repeats.tell()
    assert told.users == []
    # However long the rounds are: once in each period, those at once whose time was missed.
    for seconds in (1, 5, 60, REPEAT_MS / 1000 - 66):
        clock.tick(seconds)
        await repeats.tell()
    assert told.users == [bob.user_id]
    clock.tick(REPEAT_MS / 1000 * 3)
    await repeats.tell()
    assert told.users == [bob.user_id] * 2


async def test_a_crowd_is_not_woken_for_each_change(server, clock, clients, alice, bob, room):
    """After a wake-up the next waits, and the change is not lost with a sync that times out."""
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    async with waiting_sync(server, alice, since) as waiting:
        await sets_presence(bob, "online", status_msg="1")
        since = (await waiting)["next_batch"]
    async with waiting_sync(server, alice, since) as waiting:
        await sets_presence(bob, "online", status_msg="2")
        assert not waiting.done()
        assert server.base.notifier.waiting() == 1, "time stands still: nobody was woken"
        # Whoever waits in vain is told at the end.
        answer = await alice.syncs(since, set_presence="offline", timeout=10)
        assert presence_in(answer)[bob.user_id]["status_msg"] == "2"
        clock.tick(1)
        assert presence_in(await waiting)[bob.user_id]["status_msg"] == "2"


async def test_a_sync_that_times_out_tells_what_nobody_woke_it_for(server, clock, alice, bob, room):
    since = (await alice.syncs(set_presence="offline"))["next_batch"]
    async with waiting_sync(server, alice, since) as waiting:
        await sets_presence(bob, "online", status_msg="1")
        since = (await waiting)["next_batch"]
    notifier = server.base.notifier
    waiter = notifier.begin_waiting(UserID(alice.user_id), [])
    assert not notifier.owes(waiter)
    notifier.wake_later([], alice.user_id)
    assert notifier.owes(waiter)
    assert notifier.wake_owed() == 1
    assert waiter.future.done()
    assert notifier.wake_owed() == 0
    notifier.end_waiting(waiter)

"""What goes to other servers: events and EDUs, in order, once, and after outages."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from federation.sending import backlog, catch_up
from homeserver.config.sections.presence import PresenceSection
from homeserver.rooms.receive.accept import AcceptEvent
from homeserver.storage.database import Database
from homeserver.telemetry.clock import SystemClock
from tests.between_servers.conftest import NewDatabase, RunServers
from tests.support.certificates import Authority
from tests.support.client import Client, clients_of, quoted
from tests.support.federation import NamedServer, named_server, process_settings
from tests.support.key_uploads import CrossSigner
from tests.support.peer_server import PeerServer, hangs, now_ms
from tests.support.processes import free_port, server_processes
from tests.support.remote_member import RemoteMember


@pytest.fixture
async def alice(server: NamedServer) -> AsyncIterator[Client]:
    async with clients_of(server.url) as clients:
        yield await clients.user("alice")


@pytest.fixture
def eve(server: NamedServer, peer: PeerServer) -> RemoteMember:
    """A user of another server."""
    return RemoteMember(server, peer, "eve")


@pytest.fixture
def fred(server: NamedServer, other_peer: PeerServer) -> RemoteMember:
    return RemoteMember(server, other_peer, "fred")


@pytest.fixture
async def room(alice: Client, eve: RemoteMember) -> str:
    """A room of Alice and Eve."""
    room_id = await alice.creates_room(preset="public_chat")
    await eve.joins(room_id)
    return room_id


async def test_a_message_reaches_the_other_servers_of_the_room(alice, eve, room):
    await alice.sends(room, "hello")
    await eve.waits_until(lambda: eve.bodies == ["hello"])
    (transaction,) = [each for each in eve.transactions if each["pdus"]]
    assert transaction["origin"] == eve.server.name
    assert transaction["pdus"][0]["room_id"] == room
    assert "unsigned" not in transaction["pdus"][0]


async def test_a_message_of_the_other_server_is_shown(alice, eve, room):
    event = await eve.sends_message(room, "hi alice")
    assert (await alice.reads_event(room, event.event_id))["content"]["body"] == "hi alice"


# Outages


async def test_what_a_server_missed_comes_in_order_once_it_is_back(
    alice, eve, room, monkeypatch: pytest.MonkeyPatch
):
    # As in a long log, in which little is for the server.
    monkeypatch.setattr(catch_up, "_FIRST_STRETCH", 5)
    monkeypatch.setattr(catch_up, "_MAX_STRETCH", 20)
    eve.is_down = True
    for number in range(130):
        await alice.sends(room, str(number))
    eve.is_down = False
    await eve.waits_until(lambda: len(set(eve.bodies)) == 130)
    assert list(dict.fromkeys(eve.bodies)) == [str(number) for number in range(130)]
    assert all(len(each["pdus"]) <= 50 for each in eve.transactions)


async def test_a_server_that_hangs_keeps_nobody_waiting(alice, eve, fred, room):
    await fred.joins(room)
    eve.script = hangs
    await alice.sends(room, "one")
    await alice.sends(room, "two")
    await fred.waits_until(lambda: fred.bodies == ["one", "two"])


async def test_a_server_that_has_left_gets_no_more(alice, eve, fred, room):
    await fred.joins(room)
    await eve.makes(room, "m.room.member", {"membership": "leave"}, eve.user_id)
    await alice.sends(room, "secret")
    await fred.waits_until(lambda: fred.bodies == ["secret"])
    assert eve.bodies == []


async def test_who_is_kicked_is_told_and_hears_no_more(alice, eve, fred, room):
    await fred.joins(room)
    await alice.post(f"rooms/{quoted(room)}/kick", {"user_id": eve.user_id})
    await alice.sends(room, "secret")
    await fred.waits_until(lambda: fred.bodies == ["secret"])
    await eve.waits_until(lambda: bool(eve.pdus))
    assert [pdu["content"]["membership"] for pdu in eve.pdus] == ["leave"]


async def test_who_left_during_an_outage_gets_what_was_said_before(alice, eve, fred, room):
    eve.is_down = True
    await alice.sends(room, "before")
    await alice.post(f"rooms/{quoted(room)}/kick", {"user_id": eve.user_id})
    await alice.sends(room, "after")
    eve.is_down = False
    await eve.waits_until(lambda: len(eve.pdus) >= 2)
    assert eve.bodies == ["before"]
    assert eve.pdus[-1]["content"]["membership"] == "leave"


async def test_what_one_server_refuses_does_not_keep_back_the_rest(alice, eve, room):
    refused = []

    async def picky(request):
        body = await request.text()
        if "poison" in body:
            refused.append(body)
            return web.json_response({"errcode": "M_BAD_JSON", "error": "?"}, status=400)
        return None

    eve.script = picky
    for body in ("one", "two", "poison", "three", "four"):
        await alice.sends(room, body)
    await eve.waits_until(lambda: "four" in eve.bodies)
    assert list(dict.fromkeys(eve.bodies)) == ["one", "two", "three", "four"]
    assert refused


async def test_what_is_missing_is_sent_after_a_restart(
    authority: Authority, new_database: NewDatabase, tmp_path: Path, peer: PeerServer
):
    dsn = new_database()
    async with named_server(authority, dsn, tmp_path) as server, clients_of(server.url) as clients:
        alice = await clients.user("alice")
        room_id = await alice.creates_room(preset="public_chat")
        eve = RemoteMember(server, peer, "eve")
        await eve.joins(room_id)
        eve.is_down = True
        for number in range(60):
            await alice.sends(room_id, str(number))
    eve.is_down = False
    async with named_server(authority, dsn, tmp_path, name=server.name):
        await eve.waits_until(lambda: len(set(eve.bodies)) == 60)
    assert list(dict.fromkeys(eve.bodies)) == [str(number) for number in range(60)]


async def test_who_came_during_an_outage_gets_nothing_of_what_was_said_before(alice, eve, room):
    eve.is_down = True
    await alice.sends(room, "one")
    other = await alice.creates_room(preset="public_chat")
    await alice.sends(other, "secret")
    await eve.joins(other)
    await alice.sends(other, "two")
    eve.is_down = False
    await eve.waits_until(lambda: "two" in eve.bodies)
    assert eve.bodies == ["one", "two"]


async def test_a_join_that_was_handed_in_here_is_passed_on_to_the_others(alice, eve, fred, room):
    running = eve.server.running
    dag, last = await fred.sees(room)
    join = dag.make(
        fred.user_id,
        "m.room.member",
        {"membership": "join"},
        last,
        state_key=fred.user_id,
        ts=now_ms(),
    )
    receiving = running.receiving
    accept = AcceptEvent(running.rooms.heads, receiving.known, receiving.take_events)
    await accept.accept(join, fred.peer.name)
    await alice.sends(room, "welcome")
    await eve.waits_until(lambda: eve.bodies == ["welcome"])
    await fred.waits_until(lambda: fred.bodies == ["welcome"])
    assert [pdu.get("state_key") for pdu in eve.pdus] == [fred.user_id, None]
    assert [pdu.get("state_key") for pdu in fred.pdus] == [None]


# EDUs


async def test_receipts_and_typing_reach_the_other_server(alice, eve, room):
    event = await eve.sends_message(room, "read this")
    path = f"rooms/{quoted(room)}"
    await alice.post(f"{path}/receipt/m.read/{quoted(event.event_id)}")
    await alice.post(f"{path}/receipt/m.read.private/{quoted(event.event_id)}")
    await alice.put(f"{path}/typing/{quoted(alice.user_id)}", {"typing": True})
    await eve.waits_until(lambda: bool(eve.edus("m.receipt") and eve.edus("m.typing")))
    (receipt,) = eve.edus("m.receipt")
    assert receipt[room].keys() == {"m.read"}
    assert receipt[room]["m.read"][alice.user_id]["event_ids"] == [event.event_id]
    typing = {"room_id": room, "user_id": alice.user_id, "typing": True}
    assert eve.edus("m.typing") == [typing]
    await alice.put(f"{path}/typing/{quoted(alice.user_id)}", {"typing": False})
    await eve.waits_until(lambda: eve.edus("m.typing")[-1] == {**typing, "typing": False})


async def test_messages_to_devices_arrive_once_after_an_outage(alice, eve, room):
    eve.is_down = True
    for number in range(3):
        body = {"messages": {eve.user_id: {"DEV": {"number": number}}}}
        await alice.put(f"sendToDevice/m.test/{number}", body)
    eve.is_down = False
    await eve.waits_until(lambda: len(eve.edus("m.direct_to_device")) == 3)
    contents = [each["messages"][eve.user_id]["DEV"] for each in eve.edus("m.direct_to_device")]
    assert contents == [{"number": 0}, {"number": 1}, {"number": 2}]
    # The next transaction begins when the one before is settled.
    await alice.sends(room, "hello")
    await eve.waits_until(lambda: eve.bodies == ["hello"])
    async with eve.server.running.base.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbound_to_device") == 0


async def test_changes_of_devices_come_in_a_chain(alice, eve, room):
    path = f"devices/{quoted(alice.device_id)}"
    await alice.put(path, {"display_name": "one"})
    await alice.put(path, {"display_name": "two"})
    await eve.waits_until(lambda: len(eve.edus("m.device_list_update")) >= 2)
    first, second = eve.edus("m.device_list_update")[-2:]
    assert second["prev_id"] == [first["stream_id"]]
    assert second["device_display_name"] == "two"
    assert (second["user_id"], second["device_id"]) == (alice.user_id, alice.device_id)


async def test_presence_reaches_who_shares_a_room(running_servers: RunServers, peer: PeerServer):
    async with (
        running_servers(1, presence=PresenceSection()) as [server],
        clients_of(server.url) as clients,
    ):
        alice, eve = await clients.user("alice"), RemoteMember(server, peer, "eve")
        await eve.joins(await alice.creates_room(preset="public_chat"))
        path = f"presence/{quoted(alice.user_id)}/status"
        await alice.put(path, {"presence": "unavailable", "status_msg": "lunch"})
        await eve.waits_until(lambda: bool(eve.edus("m.presence")))
        (update,) = eve.edus("m.presence")[-1]["push"]
    assert (update["user_id"], update["status_msg"]) == (alice.user_id, "lunch")


async def test_presence_stays_here_where_it_is_not_to_be_sent(
    running_servers: RunServers, peer: PeerServer
):
    presence = PresenceSection(send_to_servers=False)
    async with (
        running_servers(1, presence=presence) as [server],
        clients_of(server.url) as clients,
    ):
        alice, eve = await clients.user("alice"), RemoteMember(server, peer, "eve")
        room_id = await alice.creates_room(preset="public_chat")
        await eve.joins(room_id)
        path = f"presence/{quoted(alice.user_id)}/status"
        await alice.put(path, {"presence": "unavailable", "status_msg": "lunch"})
        await alice.sends(room_id, "after it")
        await eve.waits_until(lambda: eve.bodies == ["after it"])
    assert eve.edus("m.presence") == []


async def test_nothing_is_sent_to_a_blocked_server(
    authority: Authority,
    new_database: NewDatabase,
    tmp_path: Path,
    peer: PeerServer,
    other_peer: PeerServer,
):
    dsn = new_database()
    async with named_server(authority, dsn, tmp_path) as server, clients_of(server.url) as clients:
        alice = await clients.user("alice")
        room_id = await alice.creates_room(preset="public_chat")
        eve, fred = RemoteMember(server, peer, "eve"), RemoteMember(server, other_peer, "fred")
        await eve.joins(room_id)
        await fred.joins(room_id)
    blocked = {"block": (eve.peer.name,)}
    async with (
        named_server(authority, dsn, tmp_path, name=server.name, federation=blocked) as server,
        clients_of(server.url) as clients,
    ):
        bob = await clients.user("bob")
        await bob.joins(room_id)
        await bob.sends(room_id, "hello")
        await fred.waits_until(lambda: fred.bodies == ["hello"])
    assert eve.pdus == []


async def test_state_events_come_once_and_in_order(alice, eve, room):
    for number in range(3):
        await alice.sets(room, "m.room.topic", {"topic": str(number)})
    await alice.sends(room, "end")
    await eve.waits_until(lambda: "end" in eve.bodies)
    topics = [pdu["content"] for pdu in eve.pdus if pdu["type"] == "m.room.topic"]
    assert topics == [{"topic": "0"}, {"topic": "1"}, {"topic": "2"}]


async def test_nothing_is_lost_when_the_sender_is_killed(
    authority: Authority, new_database: NewDatabase, tmp_path: Path, peer: PeerServer
):
    dsn = new_database()
    async with named_server(authority, dsn, tmp_path) as server, clients_of(server.url) as clients:
        alice = await clients.user("alice")
        room_id = await alice.creates_room(preset="public_chat")
        eve = RemoteMember(server, peer, "eve")
        await eve.joins(room_id)
    client_port = free_port()
    settings = process_settings(authority, dsn, client_port, name=server.name)
    with server_processes() as make:
        process = make(tmp_path, settings, port=client_port)
        await asyncio.to_thread(process.start)
        async with clients_of(process.url) as clients:
            again = clients.nobody()
            again.access_token = alice.access_token
            eve.script = hangs
            for number in range(30):
                await again.sends(room_id, str(number))
            await asyncio.to_thread(process.kill)
            eve.script = None
            dead = await _nodes_with_leases(dsn)
            await asyncio.to_thread(process.start)
            # What it held need not run out first.
            assert dead
            assert not dead & await _nodes_with_leases(dsn)
            await eve.waits_until(lambda: len(set(eve.bodies)) == 30)
        await asyncio.to_thread(process.stop)
    assert list(dict.fromkeys(eve.bodies)) == [str(number) for number in range(30)]


async def _nodes_with_leases(dsn: str) -> set[str]:
    async with Database(dsn, clock=SystemClock()) as database, database.connection() as connection:
        rows = await connection.fetch("SELECT DISTINCT lease_node FROM followers")
    return {row["lease_node"] for row in rows} - {None}


async def test_of_devices_changed_in_an_outage_the_last_change_is_told(alice, eve, room):
    path = f"devices/{quoted(alice.device_id)}"
    await alice.put(path, {"display_name": "one"})
    await eve.waits_until(lambda: bool(eve.edus("m.device_list_update")))
    eve.is_down = True
    for name in ("two", "three", "four"):
        await alice.put(path, {"display_name": name})
    await alice.sends(room, "hello")
    known = len(eve.transactions)
    eve.is_down = False
    await eve.waits_until(lambda: eve.bodies == ["hello"])
    missed = [
        edu["content"]
        for transaction in eve.transactions[known:]
        for edu in transaction["edus"]
        if edu["edu_type"] == "m.device_list_update"
    ]
    assert missed[-1]["device_display_name"] == "four"
    first = eve.edus("m.device_list_update")[0]
    assert missed[-1]["prev_id"] != [first["stream_id"]]


async def test_new_cross_signing_keys_are_told(alice, eve, room):
    signer = CrossSigner(alice.user_id)
    await alice.post("keys/device_signing/upload", signer.keys)
    await eve.waits_until(lambda: bool(eve.edus("m.signing_key_update")))
    update = eve.edus("m.signing_key_update")[-1]
    assert update["user_id"] == alice.user_id
    assert update["master_key"]["keys"] == signer.master_key["keys"]
    assert update["self_signing_key"]["keys"] == signer.self_signing_key["keys"]
    assert "user_signing_key" not in update


# Figures


async def test_what_is_sent_and_what_waits_is_measured(
    running_servers: RunServers, peer: PeerServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backlog, "LOOK_SECONDS", 0.05)
    async with running_servers(1) as [server], clients_of(server.url) as clients:
        alice, eve = await clients.user("alice"), RemoteMember(server, peer, "eve")
        registry = server.running.base.metrics.registry

        def figure(name: str, **labels: str) -> float:
            return registry.get_sample_value(f"homeserver_federation_{name}", labels) or 0.0

        async def becomes(is_so) -> None:
            async with asyncio.timeout(30):
                while not is_so():
                    await alice.get("account/whoami")

        room = await alice.creates_room(preset="public_chat")
        await eve.joins(room)
        eve.is_down = True
        await alice.sends(room, "one")
        await becomes(lambda: figure("oldest_waiting_seconds", state="down") > 0)
        assert figure("destinations", state="down") == 1
        assert figure("destinations", state="sending") == 0
        failed = "transaction_duration_seconds_count"
        assert figure(failed, outcome="failed") >= 1
        assert figure("items_sent_total", type="pdu") == 0

        async def refuses_events(request):
            body = await request.json()
            ids = await events_of(server, room)
            eve.script = None
            return web.json_response({"pdus": {ids[-1]: {"error": "no"}}} if body["pdus"] else {})

        eve.script = refuses_events
        eve.is_down = False
        await becomes(lambda: figure("items_refused_total", type="pdu") == 1)
        await becomes(lambda: figure("items_sent_total", type="pdu") >= 1)
        await becomes(lambda: figure("destinations", state="down") == 0)
        assert figure("oldest_waiting_seconds", state="down") == 0
        assert figure(failed, outcome="arrived") >= 1


async def events_of(server: NamedServer, room_id: str) -> list[str]:
    async with server.running.base.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT event_id FROM events JOIN rooms USING (room_nid) WHERE room_id = $1"
            " ORDER BY pos",
            room_id,
        )
    return [row["event_id"] for row in rows]

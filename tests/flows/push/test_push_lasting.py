"""What lasts: notifications over restarts, outages, and attempts to reach what nobody may reach."""

from homeserver.storage import push_queue
from tests.support.client import clients_of
from tests.support.push_gateway import NOTIFY, OUTGOING
from tests.support.server import server_of

MORE_THAN_A_BATCH = 55


async def queue_length(server):
    async with server.base.database.connection() as connection:
        return await connection.fetchval("SELECT count(*) FROM push_queue")


async def failures(server):
    async with server.base.database.connection() as connection:
        return await connection.fetchval("SELECT sum(failures) FROM pushers")


async def test_a_restart_loses_nothing_and_repeats_nothing(database_dsn, tmp_path, gateway):
    texts = [f"message {number}" for number in range(6)]
    async with (
        server_of(database_dsn, tmp_path, outgoing_http=OUTGOING) as server,
        clients_of(server.url) as clients,
    ):
        alice, bob = await clients.user("alice"), await clients.user("bob")
        room = await alice.creates_room(preset="public_chat")
        await bob.joins(room)
        await bob.post("pushers/set", gateway.pusher())
        await alice.sends(room, texts[0])
        assert await gateway.next_bodies(1) == texts[:1]
        gateway.is_down = True
        for text in texts[1:4]:
            await alice.sends(room, text)
        await gateway.tried()
    gateway.is_down = False
    async with (
        server_of(database_dsn, tmp_path, outgoing_http=OUTGOING) as server,
        clients_of(server.url) as clients,
    ):
        again = clients.nobody()
        again.access_token = alice.access_token
        for text in texts[4:]:
            await again.sends(room, text, txn_id=text)
        assert await gateway.next_bodies(5) == texts[1:]
    assert gateway.is_empty


async def test_what_has_waited_too_long_is_dropped(server, alice, bob, room, gateway):
    await bob.post("pushers/set", gateway.pusher())
    gateway.is_down = True
    await alice.sends(room, "old")
    await gateway.tried()
    async with server.base.database.connection() as connection:
        await connection.execute("UPDATE push_queue SET added_ts = added_ts - 86400001")
    await alice.sends(room, "new")
    gateway.is_down = False
    assert await gateway.next_bodies(1) == ["new"]


async def test_of_too_many_the_newest_are_kept(server, alice, bob, room, gateway):
    await bob.post("pushers/set", gateway.pusher())
    gateway.is_down = True
    for text in ("one", "two", "three"):
        await alice.sends(room, text)
    await gateway.tried()
    while await queue_length(server) < 3:
        await alice.syncs()
    async with server.base.database.connection() as connection:
        await push_queue.expire(connection, 0, 2)
    gateway.is_down = False
    assert await gateway.next_bodies(2) == ["two", "three"]


async def test_private_addresses_are_not_contacted(database_dsn, tmp_path, gateway):
    """By number, by name, and in another spelling, though the gateway listens there."""
    port = gateway.url.rsplit(":", 1)[1]
    hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"]
    async with server_of(database_dsn, tmp_path) as server, clients_of(server.url) as clients:
        alice, bob = await clients.user("alice"), await clients.user("bob")
        room = await alice.creates_room(preset="public_chat")
        await bob.joins(room)
        for host in hosts:
            data = {"url": f"https://{host}:{port}{NOTIFY}"}
            await bob.post("pushers/set", gateway.pusher(host, data=data))
        await alice.sends(room, "hello")
        while (await failures(server) or 0) < len(hosts):
            await alice.syncs()
    assert gateway.attempts == 0


async def test_more_than_fits_into_a_batch_comes_in_order(alice, bob, room, gateway):
    await bob.post("pushers/set", gateway.pusher())
    gateway.is_down = True
    texts = [str(number) for number in range(MORE_THAN_A_BATCH)]
    for text in texts:
        await alice.sends(room, text)
    gateway.is_down = False
    assert await gateway.next_bodies(len(texts)) == texts


async def test_a_room_without_pushers_costs_the_queue_nothing(server, alice, carol, bob, gateway):
    await carol.post("pushers/set", gateway.pusher())
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    await alice.sends(room, "hello")
    assert await queue_length(server) == 0
    # Who comes with a pusher is told of what follows.
    await carol.joins(room)
    await alice.sends(room, "carol!")
    assert await gateway.next_bodies(1) == ["carol!"]

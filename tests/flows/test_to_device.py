"""Spec: client-server-api/#send-to-device-messaging"""

import asyncio
import json
from types import SimpleNamespace

import pytest

from client_api.sync import sync
from homeserver.protocol.edu import DirectToDevice
from homeserver.protocol.identifiers import DeviceID, ServerName, UserID
from homeserver.run.to_device_layer import to_device_of
from homeserver.services.to_device import MAX_CONTENT_BYTES, MAX_MESSAGES
from homeserver.services.to_device_expiry import REMEMBER_REQUESTS_MS, ToDeviceExpiry
from homeserver.services.to_device_inbox import MAX_BATCH
from homeserver.storage import to_device
from tests.support.client import answer_of, clients_of, refused
from tests.support.reading import waiting_sync
from tests.support.server import server_of
from tests.support.to_device import events_told, logs_in_again, sends_to_device, told

THERE = "other.example"


@pytest.fixture
async def phone(clients, bob):
    """Bob's second device."""
    return await logs_in_again(clients, bob, "PHONE")


async def queue_of(server, client):
    """Return what is kept for a device."""
    async with server.base.database.connection() as connection:
        rows = await to_device.messages_of(
            connection, client.user_id, client.device_id, 0, 2**60, 10_000
        )
    return [json.loads(row.content) for row in rows]


async def outbound(server, destination=THERE):
    async with server.base.database.connection() as connection:
        rows = await to_device.outbound_of(connection, destination, 0, 100)
    return [json.loads(row.edu) for row in rows]


async def head_of(server):
    """Return the position of the log, which this node has reached."""
    position = await server.base.reader.head()
    await server.base.tail.reach(position)
    return position


async def numbers(alice, bob, count, first=0):
    """Have Alice send numbers to Bob's device."""
    for number in range(first, first + count):
        await sends_to_device(alice, {bob.user_id: {bob.device_id: {"n": number}}})


async def test_a_message_reaches_one_device_and_no_other(alice, bob, phone):
    await sends_to_device(alice, {bob.user_id: {"PHONE": {"key": "ü"}}}, "m.room_key")
    assert events_told(await phone.syncs()) == [
        {"type": "m.room_key", "sender": alice.user_id, "content": {"key": "ü"}}
    ]
    for other in (alice, bob):
        assert "to_device" not in await other.syncs()


async def test_messages_come_again_until_they_are_acknowledged_and_then_never(server, alice, bob):
    start = (await bob.syncs())["next_batch"]
    await numbers(alice, bob, 3)
    first = await bob.syncs(start)
    assert told(first) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert told(await bob.syncs(start)) == told(first)
    assert told(await bob.syncs(start, full_state=True)) == told(first)
    assert told(await bob.syncs()) == told(first), "an initial sync acknowledges nothing"

    await numbers(alice, bob, 1, first=3)
    second = await bob.syncs(first["next_batch"])
    assert told(second) == [{"n": 3}]
    assert await queue_of(server, bob) == [{"n": 3}]
    assert told(await bob.syncs()) == [{"n": 3}]
    last = await bob.syncs(second["next_batch"])
    assert "to_device" not in last
    assert await queue_of(server, bob) == []
    for since in (None, start, first["next_batch"], last["next_batch"]):
        assert told(await bob.syncs(since)) == []


async def test_an_acknowledgement_does_not_depend_on_the_filter(server, alice, bob):
    nothing = {"room": {"rooms": []}, "account_data": {"not_types": ["*"]}}
    start = (await bob.syncs())["next_batch"]
    await numbers(alice, bob, 1)
    answer = await bob.syncs(start, filter=nothing)
    assert told(answer) == [{"n": 0}]
    await bob.syncs(answer["next_batch"], filter=nothing)
    assert await queue_of(server, bob) == []


async def test_one_device_does_not_acknowledge_for_another(alice, bob, phone):
    await sends_to_device(alice, {bob.user_id: {"*": {"n": 1}}})
    answer = await bob.syncs()
    await bob.syncs(answer["next_batch"])
    assert told(await phone.syncs()) == [{"n": 1}]


async def test_an_asterisk_is_every_device_with_exceptions(alice, bob, phone):
    messages = {
        bob.user_id: {"*": {"to": "all"}, "PHONE": {"to": "phone"}},
        alice.user_id: {"*": {"to": "me"}},
        "@nobody:hs.example": {"*": {"to": "nobody"}},
    }
    await sends_to_device(alice, messages)
    assert told(await bob.syncs()) == [{"to": "all"}]
    assert told(await phone.syncs()) == [{"to": "phone"}]
    assert told(await alice.syncs()) == [{"to": "me"}]


async def test_unknown_devices_are_left_out(server, alice, bob):
    before = await head_of(server)
    await sends_to_device(alice, {bob.user_id: {"GONE": {"n": 1}, "x" * 300: {}}})
    await sends_to_device(alice, {})
    await sends_to_device(alice, {bob.user_id: {}})
    assert await head_of(server) == before
    assert "to_device" not in await bob.syncs()


async def test_a_transaction_has_its_effect_once(clients, alice, bob, phone):
    hello = {bob.user_id: {bob.device_id: {"n": 1}}}
    for _ in range(2):
        await sends_to_device(alice, hello, txn_id="one")
    assert told(await bob.syncs()) == [{"n": 1}]
    # The type is part of the path; another device has transaction IDs of its own.
    await sends_to_device(alice, hello, "m.other", txn_id="one")
    tablet = await logs_in_again(clients, alice, "TABLET")
    await sends_to_device(tablet, hello, txn_id="one")
    assert len(events_told(await bob.syncs())) == 3


async def test_requests_at_the_same_time_under_one_transaction_id_have_their_effect_once(
    alice, bob
):
    hello = {bob.user_id: {"*": {"n": 1}}}
    await asyncio.gather(*(sends_to_device(alice, hello, txn_id="one") for _ in range(20)))
    assert told(await bob.syncs()) == [{"n": 1}]


async def test_many_messages_come_in_batches_without_waiting(server, alice, bob):
    start = (await bob.syncs())["next_batch"]
    count = 2 * MAX_BATCH + 7
    for first in range(0, count, 23):
        await asyncio.gather(
            *(
                sends_to_device(alice, {bob.user_id: {bob.device_id: {"n": n}}}, txn_id=f"many-{n}")
                for n in range(first, min(first + 23, count))
            )
        )
    expected = await queue_of(server, bob)
    got, since = [], start
    while batch := told(answer := await bob.syncs(since, timeout=20_000 if len(got) < 207 else 0)):
        assert len(batch) <= MAX_BATCH
        assert told(await bob.syncs(since)) == batch
        got += batch
        since = answer["next_batch"]
    assert got == expected
    assert sorted(each["n"] for each in got) == list(range(count))
    assert await queue_of(server, bob) == []


async def test_rooms_go_on_while_messages_wait(server, alice, bob):
    room = await alice.creates_room(preset="public_chat")
    await bob.joins(room)
    start = (await bob.syncs())["next_batch"]
    await numbers(alice, bob, MAX_BATCH + 1)
    event_id = await alice.sends(room, "hello")
    first = await bob.syncs(start)
    events = first["rooms"]["join"][room]["timeline"]["events"]
    assert [event["event_id"] for event in events] == [event_id]
    second = await bob.syncs(first["next_batch"], timeout=20_000)
    assert told(second) == [{"n": MAX_BATCH}]
    assert "rooms" not in second


async def test_a_waiting_sync_answers_when_a_message_comes(server, alice, bob, phone):
    since = (await bob.syncs())["next_batch"]
    async with waiting_sync(server, bob, since) as waiting:
        await sends_to_device(alice, {bob.user_id: {"PHONE": {"n": 1}}})
        assert not waiting.done()
        await numbers(alice, bob, 1)
        assert told(await waiting) == [{"n": 0}]


async def test_messages_survive_a_restart(database_dsn, tmp_path):
    async with server_of(database_dsn, tmp_path) as running, clients_of(running.url) as clients:
        alice, bob = await clients.user("alice"), await clients.user("bob")
        since = (await bob.syncs())["next_batch"]
        await numbers(alice, bob, 2)
        seen = await bob.syncs(since)
        await numbers(alice, bob, 1, first=2)
    async with server_of(database_dsn, tmp_path) as running, clients_of(running.url) as clients:
        back = clients.nobody()
        back.access_token = bob.access_token
        assert told(await back.syncs(since)) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert told(await back.syncs(seen["next_batch"])) == [{"n": 2}]
        assert told(await back.syncs()) == [{"n": 2}]


async def test_messages_go_with_the_device(server, alice, bob, phone, clients):
    await sends_to_device(alice, {bob.user_id: {"*": {"n": 1}}})
    await phone.post("logout")
    assert await queue_of(server, phone) == []
    again = await logs_in_again(clients, bob, "PHONE")
    assert "to_device" not in await again.syncs()
    await sends_to_device(alice, {bob.user_id: {"*": {"n": 2}}})
    assert told(await again.syncs()) == [{"n": 2}]
    assert told(await bob.syncs()) == [{"n": 1}, {"n": 2}]


async def test_what_waits_for_too_long_is_deleted(server, alice, bob):
    base = server.base
    await numbers(alice, bob, 2)
    await sends_to_device(alice, {f"@carol:{THERE}": {"*": {"n": 1}}}, txn_id="there")

    class Later:
        ms = 0

        def now_ms(self):
            return base.clock.now_ms() + self.ms

    later = Later()
    expiry = ToDeviceExpiry(base.database, base.config.to_device, later)
    later.ms = REMEMBER_REQUESTS_MS - 60_000
    await expiry.delete()
    await sends_to_device(alice, {f"@carol:{THERE}": {"*": {"n": 1}}}, txn_id="there")
    assert len(await outbound(server)) == 1
    later.ms = base.config.to_device.max_age_ms - 60_000
    await expiry.delete()
    assert len(await queue_of(server, bob)) == 2
    assert len(await outbound(server)) == 1
    later.ms = base.config.to_device.max_age_ms + 60_000
    await expiry.delete()
    assert await queue_of(server, bob) == await outbound(server) == []
    assert "to_device" not in await bob.syncs()
    async with base.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM to_device_requests") == 0


async def test_messages_to_other_servers_wait_as_one_edu_for_each(server, alice, bob):
    seen = []
    await head_of(server)
    server.base.tail.follow(seen.extend)
    messages = {
        bob.user_id: {"*": {"n": 0}},
        f"@carol:{THERE}": {"ONE": {"n": 1}, "*": {"n": 2}},
        f"@dave:{THERE}": {"TWO": {"n": 3}},
        "@erin:third.example": {"THREE": {"n": 4}},
    }
    await sends_to_device(alice, messages, "m.room_key", txn_id="x")
    await sends_to_device(alice, messages, "m.room_key", txn_id="x")
    [edu] = await outbound(server)
    assert edu == {
        "sender": alice.user_id,
        "type": "m.room_key",
        "message_id": edu["message_id"],
        "messages": {user: messages[user] for user in (f"@carol:{THERE}", f"@dave:{THERE}")},
    }
    assert 0 < len(edu["message_id"]) <= 32
    [other] = await outbound(server, "third.example")
    assert list(other["messages"]) == ["@erin:third.example"]
    [entry] = seen
    assert entry.user_ids == (bob.user_id,)
    assert sorted(entry.destinations) == [THERE, "third.example"]
    assert await server.base.reader.read(entry.pos - 1, entry.pos) == [entry]
    async with server.base.database.connection() as connection:
        await to_device.delete_outbound(connection, THERE, entry.pos)
    assert await outbound(server) == []


async def test_an_edu_of_another_server_is_delivered_once(server, bob, phone):
    service = to_device_of(server.base)
    edu = DirectToDevice(
        UserID(f"@carol:{THERE}"),
        "m.room_key",
        "id-1",
        {
            UserID(bob.user_id): {DeviceID("*"): {"n": 1}, DeviceID("A\0B"): {"n": 2}},
            UserID("@nobody:hs.example"): {DeviceID("*"): {"n": 3}},
            UserID("@dave:third.example"): {DeviceID("*"): {"n": 4}},
            UserID("@a\0b:hs.example"): {DeviceID("*"): {"n": 5}},
            UserID("not a user"): {DeviceID("*"): {"n": 6}},
        },
    )
    await service.receive(ServerName(THERE), edu)
    await service.receive(ServerName(THERE), edu)
    expected = [{"type": "m.room_key", "sender": f"@carol:{THERE}", "content": {"n": 1}}]
    assert events_told(await bob.syncs()) == events_told(await phone.syncs()) == expected
    await service.receive(ServerName("fourth.example"), edu)
    assert len(events_told(await bob.syncs())) == 2
    assert await outbound(server, "third.example") == []


async def test_what_another_server_sends_too_large_is_dropped(server, bob, phone):
    service = to_device_of(server.base)
    large = {"x": "x" * MAX_CONTENT_BYTES}
    messages = {UserID(bob.user_id): {DeviceID("PHONE"): large, DeviceID(bob.device_id): {"n": 1}}}
    sender = UserID(f"@carol:{THERE}")
    await service.receive(ServerName(THERE), DirectToDevice(sender, "m.key", "1", messages))
    await service.receive(ServerName(THERE), DirectToDevice(sender, "m" * 256, "2", messages))
    assert told(await bob.syncs()) == [{"n": 1}]
    assert told(await phone.syncs()) == []


async def test_a_thousand_devices_get_a_message_in_one_statement(server, alice, bob, monkeypatch):
    async with server.base.database.connection() as connection:
        await connection.execute(
            """
            INSERT INTO devices (user_id, device_id, created_ts)
            SELECT $1, 'D' || n, 0 FROM generate_series(1, 1000) n
            """,
            bob.user_id,
        )
    before = await head_of(server)
    await sends_to_device(alice, {bob.user_id: {"*": {"n": 1}}})
    named = {f"D{number}": {"n": number} for number in range(1, 1001)}
    await sends_to_device(alice, {bob.user_id: named})
    assert await head_of(server) == before + 2
    async with server.base.database.connection() as connection:
        count = await connection.fetchval("SELECT count(*) FROM to_device_messages")
    assert count == 2001


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"messages": None}, (400, "M_BAD_JSON")),
        ({"messages": []}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:hs.example": []}}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:hs.example": {"*": "text"}}}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:hs.example": {"*": None}}}, (400, "M_BAD_JSON")),
        ({"messages": {"bob": {"*": {}}}}, (400, "M_INVALID_PARAM")),
        ({"messages": {"@bob:hs.example": {"A\0": {}}}}, (400, "M_INVALID_PARAM")),
        (
            {"messages": {"@bob:hs.example": {"*": {"x": "x" * MAX_CONTENT_BYTES}}}},
            (413, "M_TOO_LARGE"),
        ),
        (
            {"messages": {"@bob:hs.example": {str(n): {} for n in range(MAX_MESSAGES + 1)}}},
            (413, "M_TOO_LARGE"),
        ),
        ({"messages": {}, "x": "x" * 5 * 1024 * 1024}, (413, "M_TOO_LARGE")),
        ({"messages": {"@bob:other.example": {"*": {"x": 1.5}}}}, (400, "M_BAD_JSON")),
        ({"messages": {"@bob:other.example": {"*": {"x": 2**53}}}}, (400, "M_BAD_JSON")),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_bodies_are_refused(alice, bob, body, refusal):
    assert await answer_of(alice.put("sendToDevice/m.dummy/1", body)) == refusal
    assert "to_device" not in await bob.syncs()


async def test_bad_paths_are_refused(alice, bob):
    body = {"messages": {}}
    for event_type in ("", "m" * 256, "m%00"):
        with refused(400, "M_INVALID_PARAM"):
            await alice.put(f"sendToDevice/{event_type}/1", body)
    with refused(405, "M_UNRECOGNIZED"):
        await alice.get("sendToDevice/m.dummy/1")
    with refused(400, "M_NOT_JSON"):
        await alice.request("PUT", "sendToDevice/m.dummy/1", raw=b"{")


async def test_whoever_is_not_logged_in_sends_nothing(clients, bob):
    with refused(401, "M_MISSING_TOKEN"):
        await sends_to_device(clients.nobody(), {bob.user_id: {"*": {}}})


async def test_guests_may_send(guest, bob):
    await sends_to_device(guest, {bob.user_id: {"*": {"n": 1}}})
    assert told(await bob.syncs()) == [{"n": 1}]


@pytest.mark.parametrize("since", ["s5d5", "s5d6", "s5d", "s5d-1", "s5d01", "d5", "s5d1d2"])
async def test_a_token_that_was_never_given_is_refused(alice, since):
    with refused(400, "M_INVALID_PARAM"):
        await alice.syncs(since)


async def test_what_comes_when_the_time_is_over_is_not_lost(alice, bob, monkeypatch):
    since = (await bob.syncs())["next_batch"]

    class Ends:
        """A time that ends before the message comes, and is noticed afterwards."""

        def __init__(self, seconds):
            assert seconds > 0

        async def __aenter__(self):
            monkeypatch.undo()
            await numbers(alice, bob, 1)
            raise TimeoutError

        async def __aexit__(self, *_):
            pass

    monkeypatch.setattr(sync, "asyncio", SimpleNamespace(timeout=Ends))
    answer = await bob.syncs(since, timeout=20_000)
    later = await bob.syncs(answer["next_batch"])
    assert told(answer) + told(later) == [{"n": 0}]


# Requests for keys that are not wanted any more


def key_request(request_id, action="request", **more):
    return {"action": action, "request_id": request_id, "requesting_device_id": "NEW", **more}


def cancellation(request_id):
    return key_request(request_id, "request_cancellation")


async def asks(alice, bob, content, event_type="m.room_key_request"):
    await sends_to_device(alice, {bob.user_id: {"*": content}}, event_type)


async def test_a_cancelled_request_and_its_cancellation_do_not_wait_for_who_is_away(
    server, alice, bob, phone
):
    long_ago = server.base.clock.now_ms() - 3_600_000
    async with server.base.database.connection() as connection:
        await connection.execute(
            "UPDATE devices SET last_seen_ts = $1 WHERE device_id = 'PHONE'", long_ago
        )
        await connection.execute(
            "UPDATE devices SET last_seen_ts = $1 WHERE device_id = $2",
            server.base.clock.now_ms(),
            bob.device_id,
        )
    wanted = key_request("other", body={"session_id": '"request_id":"one"'})
    other_type = {"n": 1}
    await asks(alice, bob, key_request("one", body={"session_id": "s\0"}))
    await asks(alice, bob, wanted)
    await asks(alice, bob, key_request("one"), "m.test")
    # Of somebody else, under the same ID.
    await asks(bob, bob, key_request("one"))
    await asks(alice, bob, key_request("two"), "m.secret.request")
    await sends_to_device(alice, {bob.user_id: {"PHONE": other_type}}, "m.room_key_request")
    await asks(alice, bob, cancellation("one"))
    await asks(alice, bob, cancellation("two"), "m.secret.request")
    # What was asked before may have been taken long ago: the cancellation is all there is.
    await asks(alice, bob, cancellation("three"))
    kept = [wanted, key_request("one"), key_request("one")]
    assert await queue_of(server, phone) == [*kept, other_type, cancellation("three")]
    # The other device may be reading at the moment.
    ends = [cancellation("one"), cancellation("two"), cancellation("three")]
    assert await queue_of(server, bob) == [*kept, *ends]
    # Asked again.
    await asks(alice, bob, key_request("three"))
    await asks(alice, bob, cancellation("three"))
    assert (await queue_of(server, phone))[-1] == cancellation("three")
    await asks(alice, bob, key_request("three", body={}))
    assert (await queue_of(server, phone))[-1] == key_request("three", body={})

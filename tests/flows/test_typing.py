"""Spec: client-server-api/#typing-notifications"""

import contextlib

import pytest
import redis.asyncio

from homeserver.config.sections.redis import RedisSection
from homeserver.config.values import Secret
from homeserver.services.typing_notifications import MAX_TIMEOUT_MS
from tests.support.client import Refusal, clients_of, quoted, refused
from tests.support.reading import waiting_sync
from tests.support.server import server_of


@pytest.fixture
async def room(alice, bob):
    """A room of Alice and Bob."""
    room_id = await alice.creates_room(preset="public_chat")
    await bob.joins(room_id)
    return room_id


async def types(client, room, **body):
    path = f"rooms/{quoted(room)}/typing/{quoted(client.user_id)}"
    assert await client.put(path, {"typing": True, **body}) == {}


async def stops_typing(client, room):
    await types(client, room, typing=False)


def told_typing(answer, room):
    """Return the users of the last `m.typing` in an answer, None without."""
    room = answer.get("rooms", {}).get("join", {}).get(room, {})
    told = None
    for event in room.get("ephemeral", {}).get("events", ()):
        if event["type"] == "m.typing":
            told = event["content"]["user_ids"]
    return told


async def test_who_types_is_told_until_they_stop(alice, bob, room):
    since = (await alice.syncs())["next_batch"]
    await types(bob, room)
    answer = await alice.syncs(since)
    assert told_typing(answer, room) == [bob.user_id]
    assert "rooms" not in await alice.syncs(answer["next_batch"])
    await types(alice, room, timeout=10_000)
    more = await alice.syncs(answer["next_batch"])
    assert told_typing(more, room) == [alice.user_id, bob.user_id]
    for client in (alice, bob):
        await stops_typing(client, room)
    assert told_typing(await alice.syncs(more["next_batch"]), room) == []
    assert told_typing(await alice.syncs(answer["next_batch"]), room) == []
    assert "rooms" not in await alice.syncs(since), "nothing has changed since then"


async def test_a_waiting_client_hears_who_types(server, alice, bob, room):
    since = (await alice.syncs())["next_batch"]
    async with waiting_sync(server, alice, since) as waiting:
        await types(bob, room)
        answer = await waiting
    assert told_typing(answer, room) == [bob.user_id]
    async with waiting_sync(server, alice, answer["next_batch"]) as waiting:
        await types(bob, room)
        assert not waiting.done()
        await stops_typing(bob, room)
        assert told_typing(await waiting, room) == []


async def test_a_new_client_is_told_who_types(alice, bob, room):
    assert told_typing(await alice.syncs(), room) is None
    await types(bob, room)
    assert told_typing(await alice.syncs(), room) == [bob.user_id]


async def test_typing_ends_with_its_timeout(server, clock, alice, bob, room, monkeypatch):
    monkeypatch.setattr(server.base.typing, "_clock", clock)
    await types(bob, room, timeout=5_000)
    await types(alice, room, timeout=10**15)
    since = (await alice.syncs())["next_batch"]
    clock.tick(5)
    await server.base.typing.expire()
    answer = await alice.syncs(since)
    assert told_typing(answer, room) == [alice.user_id]
    clock.tick(MAX_TIMEOUT_MS / 1000)
    await server.base.typing.expire()
    assert told_typing(await alice.syncs(answer["next_batch"]), room) == []


async def test_a_timeout_of_nothing_is_no_typing(alice, bob, room):
    since = (await alice.syncs())["next_batch"]
    await types(bob, room, timeout=0)
    assert "rooms" not in await alice.syncs(since)


async def test_whoever_leaves_types_no_more(alice, bob, room):
    await types(bob, room)
    since = (await alice.syncs())["next_batch"]
    await bob.leaves(room)
    assert told_typing(await alice.syncs(since), room) == []


async def test_whoever_comes_into_a_room_is_told_who_types(alice, bob, carol, room):
    since = (await carol.syncs())["next_batch"]
    await types(bob, room)
    await carol.joins(room)
    answer = await carol.syncs(since)
    assert told_typing(answer, room) == [bob.user_id]
    await carol.leaves(room)
    await stops_typing(bob, room)
    later = await carol.syncs(answer["next_batch"])
    assert told_typing(later, room) is None
    await carol.joins(room)
    assert told_typing(await carol.syncs(later["next_batch"]), room) is None


@pytest.mark.parametrize(
    "chosen",
    [
        {"room": {"ephemeral": {"not_types": ["m.typing"]}}},
        {"room": {"ephemeral": {"types": []}}},
        {"room": {"ephemeral": {"rooms": []}}},
        {"room": {"rooms": []}},
    ],
    ids=["not_types", "types", "ephemeral rooms", "rooms"],
)
async def test_a_filter_keeps_typing_back(alice, bob, room, chosen):
    since = (await alice.syncs(filter=chosen))["next_batch"]
    await types(bob, room)
    assert "rooms" not in await alice.syncs(since, filter=chosen)
    assert told_typing(await alice.syncs(filter=chosen), room) is None
    assert told_typing(await alice.syncs(since), room) == [bob.user_id]


async def test_a_token_says_what_the_client_knows_after_a_restart_too(database_dsn, tmp_path):
    async with server_of(database_dsn, tmp_path) as server, clients_of(server.url) as clients:
        alice, bob = await clients.user("alice"), await clients.user("bob")
        room = await alice.creates_room(preset="public_chat")
        await bob.joins(room)
        quiet = (await alice.syncs())["next_batch"]
        await types(bob, room)
        busy = (await alice.syncs())["next_batch"]
    async with server_of(database_dsn, tmp_path) as server, clients_of(server.url) as clients:
        again = clients.nobody()
        again.access_token, again.user_id = alice.access_token, alice.user_id
        assert told_typing(await again.syncs(busy), room) == []
        assert "rooms" not in await again.syncs(quiet)
        await types(again, room)
        assert told_typing(await again.syncs(quiet), room) == [again.user_id]


async def test_nodes_tell_each_other_who_types(database_dsn, tmp_path, redis_server):
    shared = RedisSection(url=Secret(redis_server.url))
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(server_of(database_dsn, tmp_path, redis=shared))
            for _ in range(2)
        ]
        here, there = [await stack.enter_async_context(clients_of(node.url)) for node in nodes]
        await all_listen(redis_server, len(nodes))
        alice, bob = await here.user("alice"), await there.user("bob")
        room = await alice.creates_room(preset="public_chat")
        await bob.joins(room)
        since = (await alice.syncs())["next_batch"]
        async with waiting_sync(nodes[0], alice, since) as waiting:
            await types(bob, room)
            answer = await waiting
        assert told_typing(answer, room) == [bob.user_id]
        # The token of the one node serves on the other.
        elsewhere = there.nobody()
        elsewhere.access_token, elsewhere.user_id = alice.access_token, alice.user_id
        assert "rooms" not in await elsewhere.syncs(answer["next_batch"])
        await stops_typing(bob, room)
        assert told_typing(await elsewhere.syncs(answer["next_batch"]), room) == []


async def all_listen(redis_server, count):
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        while (await client.pubsub_numsub("homeserver:messages"))[0][1] < count:
            pass


async def test_a_token_with_typing_serves_wherever_a_token_does(alice, bob, room):
    await types(bob, room)
    token = (await alice.syncs())["next_batch"]
    assert "_" in token
    await alice.sends(room, "later")
    page = await alice.reads_messages(room, "f", from_=token)
    assert [event["content"]["body"] for event in page["chunk"]] == ["later"]
    assert bob.user_id in await alice.reads_members(room, at=token)


async def test_tokens_that_name_other_rooms_do_no_harm(alice, bob, room):
    token = (await alice.syncs())["next_batch"]
    assert "rooms" not in await alice.syncs(f"{token}_7fffffffffffffff.00000000")
    with refused(400, "M_INVALID_PARAM"):
        await alice.syncs(f"{token}_1.0")


async def test_nobody_types_for_others(alice, bob, room):
    path = f"rooms/{quoted(room)}/typing/{quoted(bob.user_id)}"
    with refused(403, "M_FORBIDDEN"):
        await alice.put(path, {"typing": True})


async def test_only_members_type(carol, bob, room):
    with refused(403, "M_FORBIDDEN"):
        await types(carol, room)
    with refused(403, "M_FORBIDDEN"):
        await types(bob, "!unknown:hs.example")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"timeout": 5},
        {"typing": "yes"},
        {"typing": None},
        {"typing": True, "timeout": "5"},
        {"typing": True, "timeout": -1},
        {"typing": True, "timeout": None},
    ],
    ids=repr,
)
async def test_a_malformed_request_is_refused(alice, room, body):
    path = f"rooms/{quoted(room)}/typing/{quoted(alice.user_id)}"
    with pytest.raises(Refusal) as caught:
        await alice.put(path, body)
    assert caught.value.status == 400
